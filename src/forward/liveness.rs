//! Whether the accept loops of a forward still turn: each is asked, and answers from its loop.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use tokio::sync::watch;

/// Whoever asks the loops of one forward.
#[derive(Clone, Debug)]
pub struct Liveness {
    loops: usize,
    question: watch::Sender<()>,
    /// Loops that have not answered the last question.
    missing: Arc<AtomicUsize>,
}

impl Liveness {
    /// And what each loop needs to answer, from now on: a question may come before it turns.
    pub(super) fn new(loops: usize) -> (Self, Vec<Answer>) {
        let liveness = Self {
            loops,
            question: watch::Sender::new(()),
            missing: Arc::new(AtomicUsize::new(0)),
        };
        let answer = || Answer {
            question: liveness.question.subscribe(),
            missing: Arc::clone(&liveness.missing),
        };
        let answers = (0..loops).map(|_| answer()).collect();
        (liveness, answers)
    }

    /// Asks every loop. False while one has not answered the last question; nothing more is asked
    /// then.
    pub fn ask(&self) -> bool {
        let all = self.missing.load(Relaxed) == 0;
        if all {
            self.missing.store(self.loops, Relaxed);
            self.question.send_replace(());
        }
        all
    }
}

/// One loop's ear.
#[derive(Debug)]
pub(super) struct Answer {
    question: watch::Receiver<()>,
    missing: Arc<AtomicUsize>,
}

impl Answer {
    /// Waits for a question and answers it.
    pub(super) async fn given(&mut self) {
        if self.question.changed().await.is_err() {
            // Nobody will ask any more.
            return std::future::pending().await;
        }
        self.missing.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_must_answer_before_they_are_asked_again() {
        let (liveness, mut answers) = Liveness::new(2);
        let (mut one, mut two) = (answers.pop().unwrap(), answers.pop().unwrap());

        // Before any of them turns.
        assert!(liveness.ask());
        assert!(!liveness.ask(), "nobody has answered");
        one.given().await;
        assert!(!liveness.ask(), "one has not");
        two.given().await;
        assert!(liveness.ask());
    }
}
