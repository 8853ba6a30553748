//! Order and selection of the rows of a list.

use std::cmp::{Ordering, Reverse};

use super::rates::{Rate, RateHistory};
use crate::telemetry::{ConnectionReport, ForwardReport, ForwardState};

/// The order of a list: a key, and whether it is reversed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Order<K> {
    pub(crate) key: K,
    pub(crate) is_reversed: bool,
}

/// A key by which a list is sorted.
pub(crate) trait SortKey: Copy + PartialEq + 'static {
    /// All keys, in the order of the key `s`.
    const ALL: &'static [Self];

    /// Returns its name.
    fn name(self) -> &'static str;
}

impl<K: SortKey> Order<K> {
    /// Selects the next key.
    pub(super) fn advance(&mut self) {
        let current = K::ALL.iter().position(|key| *key == self.key);
        let next = current.map_or(0, |current| (current + 1) % K::ALL.len());
        *self = Self {
            key: K::ALL[next],
            is_reversed: false,
        };
    }

    fn directed(self, ordering: Ordering) -> Ordering {
        match self.is_reversed {
            true => ordering.reverse(),
            false => ordering,
        }
    }
}

/// Keys of the list of forwards. Numbers are sorted from the largest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ForwardKey {
    /// The order of the configuration.
    #[default]
    Configuration,
    Name,
    State,
    Open,
    Sent,
    Received,
}

impl SortKey for ForwardKey {
    const ALL: &'static [Self] = &[
        Self::Configuration,
        Self::Name,
        Self::State,
        Self::Open,
        Self::Sent,
        Self::Received,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Name => "name",
            Self::State => "state",
            Self::Open => "open",
            Self::Sent => "sent",
            Self::Received => "received",
        }
    }
}

impl Order<ForwardKey> {
    /// Sorts forwards, each with its rates.
    pub(super) fn sort(self, rows: &mut [(&ForwardReport, Option<&RateHistory>)]) {
        let rate = |history: &Option<&RateHistory>| {
            let current = history.and_then(RateHistory::current);
            current.unwrap_or_default()
        };
        rows.sort_by(|(a, a_rates), (b, b_rates)| {
            let ordering = match self.key {
                // The sort is stable; reversed below.
                ForwardKey::Configuration => Ordering::Equal,
                ForwardKey::Name => a.name.cmp(&b.name),
                ForwardKey::State => urgency(a.state).cmp(&urgency(b.state)),
                ForwardKey::Open => b.connections.cmp(&a.connections),
                ForwardKey::Sent => by_size(rate(a_rates), rate(b_rates), |rate| rate.sent),
                ForwardKey::Received => by_size(rate(a_rates), rate(b_rates), |rate| rate.received),
            };
            self.directed(ordering)
        });
        if self.key == ForwardKey::Configuration && self.is_reversed {
            rows.reverse();
        }
    }
}

fn by_size(a: Rate, b: Rate, which: fn(Rate) -> u64) -> Ordering {
    which(b).cmp(&which(a))
}

/// Returns the position of a state in the list: what needs attention comes first.
fn urgency(state: ForwardState) -> u8 {
    match state {
        ForwardState::Failing => 0,
        ForwardState::Stopping => 1,
        ForwardState::Warming => 2,
        ForwardState::Ready => 3,
        ForwardState::Disabled => 4,
    }
}

/// Keys of the list of connections. Numbers are sorted from the largest, except the id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ConnectionKey {
    /// The oldest first.
    #[default]
    Id,
    Peer,
    State,
    Sent,
    Received,
}

impl SortKey for ConnectionKey {
    const ALL: &'static [Self] = &[
        Self::Id,
        Self::Peer,
        Self::State,
        Self::Sent,
        Self::Received,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Peer => "peer",
            Self::State => "state",
            Self::Sent => "sent",
            Self::Received => "received",
        }
    }
}

impl Order<ConnectionKey> {
    /// Sorts connections.
    pub(super) fn sort(self, rows: &mut [&ConnectionReport]) {
        rows.sort_by(|a, b| {
            self.directed(match self.key {
                ConnectionKey::Id => a.id.cmp(&b.id),
                ConnectionKey::Peer => a.peer.cmp(&b.peer).then(a.id.cmp(&b.id)),
                ConnectionKey::State => a.phase.cmp(&b.phase).then(a.id.cmp(&b.id)),
                ConnectionKey::Sent => Reverse(a.sent).cmp(&Reverse(b.sent)),
                ConnectionKey::Received => Reverse(a.received).cmp(&Reverse(b.received)),
            })
        });
    }
}

/// The selected row of a list. It stays selected while other rows come, go or move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selection<I> {
    id: Option<I>,
    /// Where it was last, in case it disappears.
    index: usize,
}

impl<I> Default for Selection<I> {
    fn default() -> Self {
        Self { id: None, index: 0 }
    }
}

impl<I: Clone + PartialEq> Selection<I> {
    /// Returns the index of the selected row; 0 if there is none.
    pub(crate) fn index(&self, rows: &[I]) -> usize {
        let found = rows.iter().position(|row| Some(row) == self.id.as_ref());
        found.unwrap_or_else(|| self.index.min(rows.len().saturating_sub(1)))
    }

    /// Selects the row at `index`, or the last one.
    pub(super) fn select(&mut self, rows: &[I], index: usize) {
        self.index = index.min(rows.len().saturating_sub(1));
        self.id = rows.get(self.index).cloned();
    }

    /// Updates the position for changed rows.
    pub(super) fn handle_rows(&mut self, rows: &[I]) {
        self.select(rows, self.index(rows));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_selected_row_stays_selected_while_rows_move() {
        let mut selection = Selection::default();
        selection.select(&["a", "b", "c"], 1);

        selection.handle_rows(&["c", "a", "x", "b"]);
        assert_eq!(selection.index(&["c", "a", "x", "b"]), 3);
        selection.handle_rows(&["c", "a"]);
        assert_eq!(selection.index(&["c", "a"]), 1);
        selection.handle_rows(&[]);
        assert_eq!(selection.index(&[]), 0);
        selection.select(&["a", "b"], 9);
        assert_eq!(selection.index(&["a", "b"]), 1);
    }

    #[test]
    fn each_key_follows_the_one_before() {
        let mut order = Order::<ForwardKey>::default();
        let mut names = Vec::new();
        for _ in ForwardKey::ALL {
            names.push(order.key.name());
            order.is_reversed = true;
            order.advance();
        }

        assert_eq!(
            names.join(" "),
            "configuration name state open sent received"
        );
        assert_eq!(order, Order::default());
    }
}
