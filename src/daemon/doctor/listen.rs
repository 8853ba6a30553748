//! Checks whether the local addresses of a forward are free, by binding them.

use tokio::task::spawn_blocking;

use super::finding::{Check, CheckOutcome, Failure, Finding};
use super::holder::{Holder, holders};
use super::{Checks, Scope};
use crate::config::{self, Listen};
use crate::forward::{ActivatedSockets, ListenError, ListenErrorKind, ListenSpec, Listeners};
use crate::printable::Printable;

/// Checks the addresses of a forward. `daemon` is the process that may hold them.
pub(super) async fn check(
    checks: &mut Checks<impl FnMut(Finding)>,
    forward: &config::Forward,
    daemon: Option<u32>,
) {
    let name = Printable::new(&forward.name);
    let scope = Scope {
        subject: Some(&name),
        blocked: None,
    };
    let work = examine(forward, daemon);
    let _checked = checks.check(Check::Listen, scope, work).await;
}

async fn examine(forward: &config::Forward, daemon: Option<u32>) -> CheckOutcome<()> {
    let is_passed = |listen: &Listen| matches!(listen, Listen::Systemd(_));
    let (passed, own): (Vec<_>, Vec<_>) = forward.listen.iter().cloned().partition(is_passed);
    if own.is_empty() {
        return CheckOutcome::Skip("the service manager passes the sockets to the daemon".into());
    }
    let mut texts = Vec::new();
    for listen in &own {
        match bind(listen, forward).await {
            Ok(()) => texts.push(format!("{listen} is free")),
            Err(error) => match explain(listen, error, daemon).await {
                Ok(text) => texts.push(text),
                Err(failure) => return failure.into(),
            },
        }
    }
    if !passed.is_empty() {
        texts.push("the service manager passes the others".to_owned());
    }
    CheckOutcome::Pass((), texts.join("; ").into())
}

/// Binds an address as the daemon does, and releases it.
async fn bind(listen: &Listen, forward: &config::Forward) -> Result<(), ListenError> {
    let wanted = ListenSpec {
        listen: std::slice::from_ref(listen),
        ..forward.into()
    };
    let (own, mut released) = (Listeners::default(), Listeners::default());
    let passed = ActivatedSockets::default();
    let bound = Listeners::bind(wanted, &passed, own, &mut released).await;
    bound.map(drop)
}

/// Returns a text if the daemon holds the address, else the failure with the process that holds it.
async fn explain(
    listen: &Listen,
    error: ListenError,
    daemon: Option<u32>,
) -> Result<String, Failure> {
    let failure = |text: String, remedy: String| Failure::new(error.class(), text, remedy);
    let is_held = matches!(
        error.kind,
        ListenErrorKind::InUse | ListenErrorKind::OwnListener(_) | ListenErrorKind::Locked(_)
    );
    if !is_held {
        return Err(failure(error.to_string(), error.hint()));
    }
    let address = error.address.clone();
    // Without a result the holder is unknown.
    let holders = spawn_blocking(move || holders(&address)).await;
    let holders = holders.unwrap_or_default();
    let is_daemon = |holder: &Holder| Some(holder.pid) == daemon;
    if let Some(Holder { pid, .. }) = holders.iter().find(|holder| is_daemon(holder)) {
        return Ok(format!(
            "{listen} is held by the running daemon (process {pid})"
        ));
    }
    let Some(Holder { pid, command }) = holders.first() else {
        let text = format!("{error}, by a process that this user cannot see");
        return Err(failure(text, error.hint()));
    };
    let text = format!("{error}, by process {pid} ({command})");
    let remedy = format!("stop process {pid}, or choose another `listen`");
    Err(failure(text, remedy))
}
