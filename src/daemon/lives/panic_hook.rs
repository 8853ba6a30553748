//! Records the panics of a life. Those that a script injects are expected; any other one is a fault,
//! even if the daemon catches it and restarts the task.

use std::cell::{Cell, RefCell};
use std::panic::PanicHookInfo;
use std::sync::Once;

use crate::clock::virtual_time;
use crate::panics::Panic;

thread_local! {
    static INJECTED: Cell<u32> = const { Cell::new(0) };
    static UNEXPECTED: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Begins to record on this thread.
pub(super) fn begin() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let former = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| match virtual_time::is_active() {
            true => record(info),
            false => former(info),
        }));
    });
    INJECTED.set(0);
    UNEXPECTED.take();
}

fn record(info: &PanicHookInfo<'_>) {
    let panic = Panic::new(info.payload());
    if panic.message().starts_with("injected panic") {
        return INJECTED.set(INJECTED.get() + 1);
    }
    let at = info.location().map(ToString::to_string);
    let text = format!("{panic} ({})", at.unwrap_or_default());
    UNEXPECTED.with_borrow_mut(|first| {
        first.get_or_insert(text);
    });
}

/// Returns the number of injected panics that have happened.
pub(super) fn injected() -> u32 {
    INJECTED.get()
}

/// Returns the first panic that was not injected.
pub(super) fn unexpected() -> Option<String> {
    UNEXPECTED.with_borrow(Clone::clone)
}
