//! Panics: reported as one log line, caught where work can continue.
//!
//! A panic is a bug, here or in a library. It ends the task in which it happens and no more:
//!
//! - [`install_hook`] reports it as one log line.
//! - [`caught`] turns it into an error, so that the caller can restart the work or reject requests.
//! - [`internal_errors`] counts it.
//!
//! Tests of debug builds can make a task panic at a [`point`]. Release builds have none.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::RefCell;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook};
use std::pin::pin;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;

use tracing::{debug, dispatcher, error};

use crate::printable::Printable;

/// Reports every panic of the process as one log line, or through `print` if no log was started.
pub fn install_hook(print: fn(&str)) {
    set_hook(Box::new(move |info| {
        COUNT.fetch_add(1, Relaxed);
        // Without a location if the thread is ending.
        let _ended =
            LOCATION.try_with(|location| location.replace(info.location().map(Printable::of)));
        report(info, print);
    }));
}

fn report(info: &PanicHookInfo<'_>, print: fn(&str)) {
    let message = message(info.payload());
    let location = info.location().map(ToString::to_string).unwrap_or_default();
    if !dispatcher::has_been_set() {
        return print(&format!(
            "error: internal error at {location}: {message}\n hint: {HINT}"
        ));
    }
    error!(panic = %message, at = %location, hint = HINT, "internal error");
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        debug!(%backtrace, "internal error");
    }
}

/// Returns the number of panics in this process since [`install_hook`].
pub fn internal_errors() -> u64 {
    COUNT.load(Relaxed)
}

/// Runs a future and returns its panic as an error. The future is dropped then.
///
/// Data that it has borrowed may be in any state after a panic: replace it, or treat it as lost.
///
/// # Errors
///
/// The panic, if there was one.
pub async fn caught<T>(future: impl Future<Output = T>) -> Result<T, Panic> {
    let mut future = pin!(future);
    poll_fn(
        |context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(poll) => poll.map(Ok),
            Err(payload) => Poll::Ready(Err(Panic::new(&*payload))),
        },
    )
    .await
}

thread_local! {
    /// Where the last panic of this thread happened.
    static LOCATION: RefCell<Option<Printable>> = const { RefCell::new(None) };
}

/// Returns where the panic happened that was just caught on this thread, as file and line; `None`
/// if no hook is installed.
pub fn take_location() -> Option<Printable> {
    LOCATION.with(RefCell::take)
}

/// A caught panic.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("internal error: {0}")]
pub struct Panic(Printable);

impl Panic {
    /// Creates the error from the payload returned by `catch_unwind`.
    pub fn new(payload: &(dyn Any + Send)) -> Self {
        Self(message(payload))
    }

    /// Returns the message of the panic.
    pub fn message(&self) -> &Printable {
        &self.0
    }
}

fn message(payload: &(dyn Any + Send)) -> Printable {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    Printable::cut(text.unwrap_or("a panic without a message"), MAX_MESSAGE)
}

/// Panics here if a test of a debug build has armed `name`. Does nothing in a release build.
#[cfg(not(debug_assertions))]
#[inline]
pub fn point(_name: &str) {}

#[cfg(debug_assertions)]
pub use self::injection::{Armed, arm, point};
#[cfg(test)]
pub use self::injection::{arm_here, disarm_here};

/// Injected panics, for tests of debug builds.
#[cfg(debug_assertions)]
mod injection {
    use std::str::FromStr;
    use std::sync::atomic::Ordering::Relaxed;
    use std::sync::atomic::{AtomicBool, AtomicUsize};
    use std::sync::{Mutex, PoisonError};

    /// A point that panics: `NAME`, or `NAME:N` to skip its first N passes.
    #[derive(Clone, Debug)]
    pub struct Armed {
        name: String,
        passes: usize,
    }

    impl FromStr for Armed {
        type Err = std::num::ParseIntError;

        fn from_str(text: &str) -> Result<Self, Self::Err> {
            let (name, passes) = text.split_once(':').unwrap_or((text, "0"));
            Ok(Self {
                name: name.to_owned(),
                passes: passes.parse()?,
            })
        }
    }

    /// Makes a point panic once.
    pub fn arm(armed: Armed) {
        lock().push(armed);
        IS_ARMED.store(true, Relaxed);
    }

    #[cfg(test)]
    thread_local! {
        static ARMED_HERE: std::cell::Cell<Option<&'static str>> = const { std::cell::Cell::new(None) };
    }

    /// Makes a point panic once, on this thread only.
    #[cfg(test)]
    pub fn arm_here(name: &'static str) {
        ARMED_HERE.set(Some(name));
    }

    /// Undoes [`arm_here`]. Returns true if the point has not panicked.
    #[cfg(test)]
    pub fn disarm_here() -> bool {
        ARMED_HERE.take().is_some()
    }

    /// Panics here if a test of a debug build has armed `name`. Does nothing in a release build.
    pub fn point(name: &str) {
        #[cfg(test)]
        if ARMED_HERE.get() == Some(name) {
            ARMED_HERE.set(None);
            panic!("injected panic at {name}");
        }
        if !IS_ARMED.load(Relaxed) {
            return;
        }
        let mut armed = lock();
        let Some(index) = armed.iter().position(|armed| armed.name == name) else {
            return;
        };
        match &mut armed[index].passes {
            0 => drop(armed.remove(index)),
            passes => return *passes -= 1,
        }
        drop(armed);
        let count = COUNT.fetch_add(1, Relaxed) + 1;
        panic!("injected panic {count} at {name}");
    }

    fn lock() -> std::sync::MutexGuard<'static, Vec<Armed>> {
        ARMED.lock().unwrap_or_else(PoisonError::into_inner)
    }

    static ARMED: Mutex<Vec<Armed>> = Mutex::new(Vec::new());
    static IS_ARMED: AtomicBool = AtomicBool::new(false);
    static COUNT: AtomicUsize = AtomicUsize::new(0);
}

static COUNT: AtomicU64 = AtomicU64::new(0);

const HINT: &str = "this is a bug; please report it with the lines before";

/// Maximum number of characters of a message.
const MAX_MESSAGE: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_with_its_message_in_one_line() {
        let panic = caught(async { panic!("a\nb {}", 1) }).await;

        let error: Result<(), _> = panic;
        assert_eq!(error.unwrap_err().to_string(), "internal error: a b 1");
        assert_eq!(caught(async { 5 }).await, Ok(5));
    }
}
