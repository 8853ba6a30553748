//! Batches of frames that are ready together, limited in frames and bytes.
//!
//! The core is asked once per batch whether it wants input, so it gets at most one batch more than
//! it wants. A frame may have a megabyte.

use std::future::poll_fn;
use std::task::Poll;

use futures_util::{Stream, StreamExt};

use super::websocket::{Message, ReceivedItem};

/// Waits for frames and returns all that are ready; none if the source has ended.
pub(super) async fn next_batch(
    source: &mut (impl Stream<Item = ReceivedItem> + Unpin),
) -> Vec<ReceivedItem> {
    let mut frames = Vec::new();
    let mut bytes = 0;
    poll_fn(|cx| {
        while frames.len() < MAX_FRAMES && bytes < MAX_BYTES {
            match source.poll_next_unpin(cx) {
                Poll::Ready(Some(frame)) => {
                    bytes += frame.as_ref().map_or(0, Message::len);
                    frames.push(frame);
                }
                Poll::Pending if frames.is_empty() => return Poll::Pending,
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        Poll::Ready(())
    })
    .await;
    frames
}

/// Maximum frames per batch.
const MAX_FRAMES: usize = 64;

/// Bytes after which no more frames are added.
const MAX_BYTES: usize = 128 * 1024;

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::stream;

    use super::*;

    fn frames(count: usize, len: usize) -> Vec<ReceivedItem> {
        let frame = Bytes::from(vec![0; len]);
        vec![(); count]
            .into_iter()
            .map(|()| Ok(Message::Binary(frame.clone())))
            .collect()
    }

    #[tokio::test]
    async fn a_batch_is_bounded_in_frames_and_in_bytes() {
        let mut small = stream::iter(frames(100, 10));
        let mut large = stream::iter(frames(100, 1 << 20));
        let mut middle = stream::iter(frames(100, 50_000));

        assert_eq!(next_batch(&mut small).await.len(), 64);
        assert_eq!(next_batch(&mut small).await.len(), 36);
        assert_eq!(next_batch(&mut small).await.len(), 0, "it has ended");
        assert_eq!(next_batch(&mut large).await.len(), 1);
        assert_eq!(next_batch(&mut middle).await.len(), 3);
    }

    #[tokio::test]
    async fn a_batch_waits_for_its_first_frame_only() {
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
        let receiving = stream::unfold(receiver, |mut receiver| async move {
            Some((receiver.recv().await?, receiver))
        });
        let mut source = Box::pin(receiving);

        let send = async {
            for frame in frames(3, 10) {
                sender.send(frame).unwrap();
            }
        };
        let (batch, ()) = tokio::join!(next_batch(&mut source), send);

        assert_eq!(batch.len(), 3);
    }
}
