//! `status`: forwards of a running daemon, with state and counters; `status NAME`: one of them, with
//! sessions and connections.

mod detail;
mod text;
mod watch;

use clap::Args;
use serde::Serialize;

use super::completions::forward_names;
use super::control::{ask, sent, unexpected_response};
use super::daemon_address::DaemonAddress;
use super::exit::Exit;
use super::{stdout, terminal};
use crate::daemon::{Request, Response};

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// A forward, to list its sessions and connections (at most 1000 of each) [default: all
    /// forwards]
    #[arg(value_name = "NAME", add = forward_names())]
    name: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Repeat each second, on a terminal, until Ctrl-C
    #[arg(long, conflicts_with = "json")]
    watch: bool,
    #[command(flatten)]
    daemon: DaemonAddress,
}

/// Prints the status of the daemon, or of one forward.
pub(super) async fn status(args: StatusArgs) -> Exit {
    if args.watch {
        return watch::watch(&args).await;
    }
    match (ask(&args.daemon, &request(&args)).await, args.json) {
        (Ok(response), false) => match text(&response) {
            Some(text) => sent(stdout::print_text(&text)),
            None => unexpected_response(&response),
        },
        (Ok(Response::Status(report)), true) => json(&*report),
        (Ok(Response::Forward(detail)), true) => json(&*detail),
        (Ok(other), true) => unexpected_response(&other),
        (Err(exit), _) => exit,
    }
}

fn request(args: &StatusArgs) -> Request {
    match &args.name {
        Some(name) => Request::Forward { name: name.clone() },
        None => Request::Status,
    }
}

/// Returns the text of a response, if it is a status.
fn text(response: &Response) -> Option<String> {
    match response {
        Response::Status(report) => Some(text::summary(report)),
        Response::Forward(detail) => Some(detail::detail(detail)),
        Response::Closed { .. }
        | Response::Reloaded(_)
        | Response::Stopped { .. }
        | Response::Log { .. }
        | Response::Error(_) => None,
    }
}

fn json(report: &impl Serialize) -> Exit {
    match serde_json::to_string(report) {
        Ok(json) => sent(stdout::print_json(json)),
        Err(error) => terminal::fail(Exit::Failed, &error, ""),
    }
}
