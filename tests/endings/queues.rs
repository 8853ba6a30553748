//! Either side does not read, and bytes wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::scene::{End, Scene, each, pattern, read_to_end};
use crate::support::stage::unpaced;

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_holds_back_the_destination_and_loses_nothing() {
    each(async |kind| {
        let mut options = unpaced();
        // What is not acknowledged waits in the kernel, and is not what is measured.
        options.agent.window = Some(1 << 20);
        let scene = Scene::new(kind, options, "").await;
        let (mut client, destination) = scene.pair().await;
        let words: Arc<[u8]> = pattern(LARGE).into();

        let speech = Speech::begin(destination, Arc::clone(&words));
        let said = speech.held_back().await;
        assert!(said < LARGE, "{kind:?}: all {said} bytes were taken");

        let (came, end) = client.read_to_end().await;
        assert!(came[..] == words[..], "{kind:?}: {} bytes", came.len());
        assert_eq!(end, End::Fin, "{kind:?}");
        scene.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_does_not_read_holds_back_the_client_and_loses_nothing() {
    each(async |kind| {
        let scene = Scene::new(kind, unpaced(), FAST_UPLOAD).await;
        let (client, mut destination) = scene.pair().await;
        let words: Arc<[u8]> = pattern(LARGE).into();

        let speech = Speech::begin(client.into_io(), Arc::clone(&words));
        let said = speech.held_back().await;
        assert!(said < LARGE, "{kind:?}: all {said} bytes were taken");

        let (came, end) = read_to_end(&mut destination).await;
        assert!(came[..] == words[..], "{kind:?}: {} bytes", came.len());
        assert_eq!(end, End::Fin, "{kind:?}");
        scene.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_closes_while_megabytes_wait_has_all_of_them_delivered() {
    each(async |kind| {
        let scene = Scene::new(kind, unpaced(), FAST_UPLOAD).await;
        let (mut client, mut destination) = scene.pair().await;
        let words = pattern(3_000_000);

        // The agent takes 4 MiB that its destination does not.
        client.say(&words).await;
        drop(client);
        let mut came = Vec::new();
        while came.len() < words.len() / 2 {
            let mut some = [0; 4096];
            let len = destination.read(&mut some).await.unwrap();
            assert!(len > 0, "{kind:?}: an end after {} bytes", came.len());
            came.extend(&some[..len]);
            tokio::task::yield_now().await;
        }
        let (rest, end) = read_to_end(&mut destination).await;
        came.extend(rest);

        assert!(came == words, "{kind:?}: {} bytes", came.len());
        assert_eq!(end, End::Fin, "{kind:?}");
        scene.end().await;
    })
    .await;
}

/// The last bytes wait in sockets and not in the daemon, which has closed its end.
#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_ends_before_the_client_reads_is_an_end_after_every_byte() {
    each(async |kind| {
        let scene = Scene::new(kind, unpaced(), "").await;
        let (mut client, mut destination) = scene.pair().await;
        let words = pattern(1_000_000);

        client.say(b"question").await;
        destination.write_all(&words).await.unwrap();
        destination.shutdown().await.unwrap();
        scene
            .stage
            .until("all is on its way", |l| {
                l.sessions[0].traffic.bytes_out >= words.len() as u64
            })
            .await;

        let (came, end) = client.read_to_end().await;
        assert!(came == words, "{kind:?}: {} bytes", came.len());
        assert_eq!(end, End::Fin, "{kind:?}");
        scene.end().await;
    })
    .await;
}

/// Someone who writes, and how far they came.
struct Speech {
    said: Arc<AtomicUsize>,
    _task: tokio::task::JoinSet<()>,
}

impl Speech {
    /// Writes `words` and closes.
    fn begin<W: AsyncWrite + Unpin + Send + 'static>(mut to: W, words: Arc<[u8]>) -> Self {
        let said = Arc::new(AtomicUsize::new(0));
        let mut task = tokio::task::JoinSet::new();
        let counter = Arc::clone(&said);
        task.spawn(async move {
            for piece in words.chunks(16 * 1024) {
                to.write_all(piece).await.unwrap();
                counter.fetch_add(piece.len(), Ordering::Relaxed);
            }
        });
        Self { said, _task: task }
    }

    /// Waits until no more is taken, and tells how much was.
    async fn held_back(&self) -> usize {
        let mut before = usize::MAX;
        loop {
            let said = self.said.load(Ordering::Relaxed);
            if said == before {
                return said;
            }
            before = said;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}

/// More than every limit on the way together.
const LARGE: usize = 32 << 20;

/// No pace, and large messages.
const FAST_UPLOAD: &str = "upload_rate = 0\nupload_payload = 32768\nupload_window = \"1MiB\"";
