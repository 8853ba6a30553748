//! Decodes bytes into steps: after the end of the bytes there are zeros.

/// The input of a target with state.
pub(super) struct ByteSource<'a> {
    rest: &'a [u8],
    steps: usize,
}

impl<'a> ByteSource<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            steps: 0,
        }
    }

    /// The number of the next step; `None` at the end, or after the maximum number of steps.
    pub(super) fn step(&mut self) -> Option<u8> {
        self.steps += 1;
        (self.steps <= MAX_STEPS && !self.rest.is_empty()).then(|| self.byte())
    }

    pub(super) fn byte(&mut self) -> u8 {
        self.rest.split_off_first().copied().unwrap_or_default()
    }

    /// A number, most often a small one.
    pub(super) fn number(&mut self) -> usize {
        let (exponent, digit) = (self.byte() % 17, self.byte());
        (usize::from(digit) << exponent) >> 8
    }

    /// As many bytes as the next byte says, if there are that many.
    pub(super) fn bytes(&mut self) -> &'a [u8] {
        let len = usize::from(self.byte()).min(self.rest.len());
        self.rest.split_off(..len).unwrap_or_default()
    }

    /// One of the given choices.
    pub(super) fn pick<T: Clone>(&mut self, things: &[T]) -> T {
        things[usize::from(self.byte()) % things.len()].clone()
    }
}

const MAX_STEPS: usize = 400;
