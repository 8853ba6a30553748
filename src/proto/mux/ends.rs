//! FINs of the agent: refused dials, ends, and ends that are not confirmed yet.

use super::{Mux, Stream, Theirs};
use crate::wire::smux::StreamId;

impl Mux {
    /// The flag of a failed dial names no stream; the FIN that follows it does, by being the
    /// next on a stream that has not shown a byte.
    pub(super) fn handle_finish(&mut self, id: StreamId) {
        let refused = self.refusals > 0 && self.streams.get(&id).is_some_and(|s| !s.answered);
        self.refusals -= usize::from(refused);
        let was_open = self.change(id, |stream| {
            let was_open = stream.theirs() == Theirs::Open;
            stream.handle_finish(refused);
            was_open
        });
        if was_open.is_some() {
            self.prove_start();
        }
        if refused {
            self.wake_reader(id);
        } else if was_open == Some(true) {
            self.ends.push_back(id);
        }
        self.wake_writer(id);
        self.forget_if_over(id);
    }

    /// The next stream whose FIN came. [`Mux::confirm_end`] makes it the end of the stream.
    pub(crate) fn poll_end(&mut self) -> Option<StreamId> {
        self.ends.pop_front()
    }

    /// The FIN of a stream was sent because its destination ended.
    pub(crate) fn confirm_end(&mut self, id: StreamId) {
        self.change(id, Stream::confirm_end);
        self.wake_reader(id);
        self.forget_if_over(id);
    }
}
