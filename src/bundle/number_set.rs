//! The numbers that were received: all up to one, and ranges beyond it.

use std::collections::BTreeMap;

/// A set of numbers from 1, received nearly in order.
///
/// The caller bounds how far a number may be ahead of [`NumberSet::complete`], and so the memory.
#[derive(Debug, Default)]
pub(super) struct NumberSet {
    complete: u64,
    /// First and last number of each range beyond `complete`. Ranges do not touch.
    ranges: BTreeMap<u64, u64>,
}

impl NumberSet {
    /// Returns the highest number up to which all are in the set.
    pub(super) fn complete(&self) -> u64 {
        self.complete
    }

    pub(super) fn contains(&self, number: u64) -> bool {
        let below = self.ranges.range(..=number).next_back();
        number <= self.complete || below.is_some_and(|(_, last)| number <= *last)
    }

    /// Adds a number. Returns false if it was in the set.
    pub(super) fn insert(&mut self, number: u64) -> bool {
        if self.contains(number) {
            return false;
        }
        let last = self.ranges.remove(&number.saturating_add(1));
        let last = last.unwrap_or(number);
        if number == self.complete + 1 {
            self.complete = last;
            return true;
        }
        match self.ranges.range_mut(..number).next_back() {
            Some((_, end)) if *end + 1 == number => *end = last,
            Some(_) | None => {
                self.ranges.insert(number, last);
            }
        }
        true
    }

    #[cfg(test)]
    pub(super) fn ranges(&self) -> usize {
        self.ranges.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_new_once_in_any_order() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut numbers: Vec<u64> = (1..=60).collect();
            random.shuffle(&mut numbers);
            let mut set = NumberSet::default();

            for (i, number) in numbers.iter().enumerate() {
                assert!(set.insert(*number));
                assert!(!set.insert(*number));
                let seen = &numbers[..=i];
                let complete = (1..).take_while(|n| seen.contains(n)).count();
                assert_eq!(set.complete(), u64::try_from(complete).unwrap());
                assert!((1..=60).all(|n| set.contains(n) == seen.contains(&n)));
            }

            assert_eq!((set.complete(), set.ranges()), (60, 0));
        }
    }
}
