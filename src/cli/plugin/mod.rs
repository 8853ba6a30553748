//! This program in place of the official `session-manager-plugin`, called by that name.
//!
//! ```text
//!   aws ssm start-session ─▶ session-manager-plugin RESPONSE REGION StartSession …
//!      shell, or unknown document ─▶ the official plugin, if it is installed besides (exec)
//!      port ─▶ listens; the first connection uses the session of the AWS CLI, others their own
//!      ssh  ─▶ stdin and stdout
//! ```
//!
//! Scripts read its lines and exit code, so both are those of the official plugin: stdout has the
//! lines, and the exit code is 0 whatever happened, unless the official plugin has no counterpart
//! of a failure. stdout of an ssh session carries data only.

mod arguments;
mod caller;
mod configuration;
mod failures;
mod fields;
mod lines;
mod link;
mod official;
mod output;
mod request;
mod serve;
mod unserved;

use std::ffi::{OsStr, OsString};
use std::path::Path;

use self::arguments::{Arguments, Invocation};
pub(super) use self::link::{PluginArgs, plugin};
use self::official::{OfficialPlugin, Purpose};
use super::exit::Exit;
use super::{in_runtime, terminal};
use crate::proto::ClientVersion;
use crate::telemetry::Log;

/// Does what the official plugin does, if the program is called by its name.
pub(super) fn answer() -> Option<Exit> {
    let mut arguments = std::env::args_os();
    let called = arguments.next()?;
    if Path::new(&called).file_stem() != Some(OsStr::new(NAME)) {
        return None;
    }
    Some(run(&arguments.collect::<Vec<_>>()))
}

fn run(arguments: &[OsString]) -> Exit {
    let parsed = match Invocation::parse(arguments, terminal::environment) {
        Ok(Invocation::Session(parsed)) => *parsed,
        Ok(Invocation::Unusable(parsed, error)) => {
            return in_runtime(unserved::refuse(*parsed, error));
        }
        Ok(Invocation::Check) => return lines::print(INSTALLED),
        Ok(Invocation::Version) => return lines::print(&format!("{}\n", ClientVersion::DEFAULT)),
        Ok(Invocation::TooFew(first)) => return lines::print(&lines::unknown_operation(&first)),
        Ok(Invocation::OtherOperation) => return lines::print("Invalid Operation"),
        Err(error) => return unserved::unknown(&error),
    };
    let purpose = Purpose::of(parsed.request.as_ref());
    if is_left(purpose, &parsed)
        && let Some(official) = OfficialPlugin::find()
    {
        let error = official.hand_over(arguments);
        let path = official.path.display();
        let error = format!("cannot run {path}: {}", terminal::os_message(&error));
        let exit = terminal::fail(Exit::Failed, &error, "repair or remove it");
        return in_runtime(unserved::end(parsed, exit));
    }
    let filter = terminal::environment("SSM_PROXYD_LOG");
    let log = Log::new(filter.as_deref(), None, terminal::has_colour(), false);
    match log {
        Ok(log) => in_runtime(serve::serve(parsed, purpose, log)),
        Err(error) => {
            let hint = "for example SSM_PROXYD_LOG=ssm_proxyd=debug";
            let exit = terminal::fail(Exit::Usage, &error, hint);
            in_runtime(unserved::end(parsed, exit))
        }
    }
}

/// Returns whether a session is left to the official plugin. One whose request has no target would
/// be refused by it.
fn is_left(purpose: Purpose, arguments: &Arguments) -> bool {
    let request = arguments.request.as_ref();
    match purpose {
        Purpose::Shell => true,
        Purpose::Unknown => request.is_none_or(|request| !request.target.is_empty()),
        Purpose::Port | Purpose::Ssh => false,
    }
}

/// The name of the official plugin.
const NAME: &str = "session-manager-plugin";

/// What the official plugin prints without arguments, word for word: scripts look for it.
const INSTALLED: &str = "\nThe Session Manager plugin was installed successfully. \
                         Use the AWS CLI to start a session.\n\n";
