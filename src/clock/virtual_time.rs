//! The clocks of a thread in virtual time: tokio's paused clock, plus the time that work takes.
//!
//! In a paused runtime no time passes while a task runs, so no deadline could pass within one poll.
//! Each reading therefore advances the clock a little; tokio's clock catches up at its next timer.
//! The wall clock follows, and can be set forward alone, as a suspend of the machine does.

use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

thread_local! {
    static CLOCK: Cell<Option<Clock>> = const { Cell::new(None) };
}

#[derive(Clone, Copy)]
struct Clock {
    begin: Instant,
    last: Instant,
    /// Time of the wall clock at `begin`.
    wall: SystemTime,
}

/// Starts virtual time on this thread, until the guard is dropped. Must be called in a runtime
/// whose clock is paused.
pub fn install() -> Installed {
    let begin = tokio_now();
    let wall = UNIX_EPOCH + FIRST_DAY;
    CLOCK.set(Some(Clock {
        begin,
        last: begin,
        wall,
    }));
    Installed(())
}

/// Ends virtual time when it is dropped.
#[derive(Debug)]
pub struct Installed(());

impl Drop for Installed {
    fn drop(&mut self) {
        CLOCK.set(None);
    }
}

/// Returns true if this thread is in virtual time.
pub fn is_active() -> bool {
    CLOCK.get().is_some()
}

/// Sets the wall clock forward.
pub fn set_wall_forward(by: Duration) {
    let clock = CLOCK.get().expect("virtual time is active");
    let wall = clock.wall + by;
    CLOCK.set(Some(Clock { wall, ..clock }));
}

/// Returns how long virtual time has been active, without advancing it.
pub fn elapsed() -> Duration {
    CLOCK.get().map_or(Duration::ZERO, |clock| {
        tokio_now().saturating_duration_since(clock.begin)
    })
}

/// # Panics
///
/// If the clock was read for a minute of virtual time while no timer fired: a busy loop.
pub(super) fn now() -> Option<Instant> {
    let clock = CLOCK.get()?;
    let tokio = tokio_now();
    let last = tokio.max(clock.last + READING);
    CLOCK.set(Some(Clock { last, ..clock }));
    assert!(
        last < tokio + MAX_LEAD,
        "busy loop: the clock is read without end"
    );
    Some(last)
}

pub(super) fn wall() -> Option<SystemTime> {
    let clock = CLOCK.get()?;
    Some(
        clock.wall
            + clock
                .last
                .max(tokio_now())
                .saturating_duration_since(clock.begin),
    )
}

fn tokio_now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The time that passes with each reading.
const READING: Duration = Duration::from_micros(100);

/// How far the clock may be ahead of tokio's.
const MAX_LEAD: Duration = Duration::from_secs(60);

/// The day on which virtual time begins, since the Unix epoch.
const FIRST_DAY: Duration = Duration::from_secs(20_454 * 86_400);
