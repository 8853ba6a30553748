//! Output of `doctor`: a line for each check as soon as it is done, or one JSON object at the end.

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::cli::exit::Exit;
use crate::cli::progress::CLEAR;
use crate::cli::stdout::{self, StdoutClosed};
use crate::cli::terminal;
use crate::daemon::doctor::{Check, Finding, Verdict};
use crate::telemetry;

/// Prints findings, and derives the exit code.
pub(super) struct Output {
    is_json: bool,
    has_colour: bool,
    /// Progress may be shown in the line of the next result.
    has_progress: bool,
    path: Option<PathBuf>,
    /// Whether there is more than one forward, so that lines name it.
    has_many: bool,
    findings: Vec<Finding>,
    /// The first error of stdout; nothing more is printed then.
    closed: Option<StdoutClosed>,
}

impl Output {
    /// Creates the output for this number of forwards of the file at `path`.
    pub(super) fn new(is_json: bool, path: Option<PathBuf>, forwards: usize) -> Self {
        Self {
            is_json,
            has_colour: terminal::has_colour_on_stdout(),
            has_progress: io::stdout().is_terminal()
                && io::stderr().is_terminal()
                && !terminal::is_dumb(),
            path,
            has_many: forwards > 1,
            findings: Vec::new(),
            closed: None,
        }
    }

    /// Adds a finding.
    pub(super) fn add(&mut self, finding: Finding) {
        if !self.is_json && self.closed.is_none() {
            let lines = self.lines(&finding);
            let before = if self.has_progress { CLEAR } else { "" };
            self.closed = stdout::print(format_args!("{before}{lines}")).err();
        }
        self.findings.push(finding);
    }

    /// Adds all checks that need the configuration, none of which can be made.
    pub(super) fn skip_all(&mut self) {
        for check in Check::ALL {
            if check != Check::Configuration {
                let why = "needs configuration, which has failed";
                self.add(Finding::new(check, Verdict::Skip, why));
            }
        }
    }

    /// Prints the result. Returns the exit code: that of `signal`, if one has interrupted the checks,
    /// else of the worst failure, else of a failed stdout.
    pub(super) fn end(mut self, signal: Option<Exit>) -> Exit {
        let failed: Vec<_> = self.findings.iter().filter_map(exit_of).collect();
        let worst = failed.iter().copied().max_by_key(|exit| severity(*exit));
        let exit = signal.or(worst);
        if self.has_progress {
            // Progress that is still queued would be printed after the last line.
            telemetry::flush_log();
        }
        let printed = match self.closed.take() {
            Some(closed) => Err(closed),
            None if self.is_json => stdout::print_json(self.json(exit.unwrap_or(Exit::Done))),
            None => stdout::print_line(summary(failed.len(), signal.is_some())),
        };
        let unheard = printed.map_or_else(|unheard| unheard.exit(), |()| Exit::Done);
        exit.unwrap_or(unheard)
    }

    /// Formats a finding: one line, and another one for the remedy.
    fn lines(&self, finding: &Finding) -> String {
        let Finding {
            check,
            subject,
            verdict,
            text,
            duration: _,
        } = finding;
        let (word, colour) = match verdict {
            Verdict::Pass => ("PASS", "\x1b[32m"),
            Verdict::Skip => ("SKIP", "\x1b[33m"),
            Verdict::Fail { .. } => ("FAIL", "\x1b[1;31m"),
        };
        let (colour, plain) = match self.has_colour {
            true => (colour, "\x1b[0m"),
            false => ("", ""),
        };
        let subject = subject.as_ref().filter(|_| self.has_many);
        let subject = subject.map_or_else(String::new, |subject| format!("{subject}: "));
        let name = check.name();
        let mut lines = format!("{colour}{word}{plain}  {name:WIDTH$}  {subject}{text}\n");
        if let Verdict::Fail { class, remedy } = verdict {
            lines += &format!("      hint: {remedy} [{class}]\n");
        }
        lines
    }

    fn json(&self, exit: Exit) -> Value {
        let checks = self.findings.iter().map(|finding| {
            let (verdict, class, remedy) = match &finding.verdict {
                Verdict::Pass => ("pass", None, None),
                Verdict::Skip => ("skip", None, None),
                Verdict::Fail { class, remedy } => ("fail", Some(class.name()), Some(remedy)),
            };
            json!({
                "check": finding.check.name(),
                "subject": finding.subject,
                "verdict": verdict,
                "text": finding.text,
                "class": class,
                "remedy": remedy,
                "seconds": (finding.duration.as_secs_f64() * 1000.0).round() / 1000.0,
            })
        });
        // A path that is not UTF-8 has no exact form in JSON.
        let path = self.path.as_ref().map(|path| path.to_string_lossy());
        json!({
            "config": path,
            "checks": checks.collect::<Value>(),
            "exit_code": exit.code(),
        })
    }
}

/// Returns the last line.
fn summary(failed: usize, is_interrupted: bool) -> String {
    let failed = match failed {
        0 => "no check has failed".to_owned(),
        1 => "1 check has failed".to_owned(),
        count => format!("{count} checks have failed"),
    };
    match is_interrupted {
        true => format!("interrupted; {failed} so far"),
        false => failed,
    }
}

fn exit_of(finding: &Finding) -> Option<Exit> {
    match finding.verdict {
        Verdict::Fail { class, .. } => Some(class.into()),
        Verdict::Pass | Verdict::Skip => None,
    }
}

/// Returns how bad a failure is. What must be corrected here comes before what AWS must permit, and
/// that before what may be reachable later; what a second attempt may fix comes last.
fn severity(exit: Exit) -> u8 {
    match exit {
        Exit::Configuration => 6,
        Exit::CannotListen => 5,
        Exit::Refused => 4,
        Exit::Unavailable => 3,
        Exit::Usage | Exit::Failed | Exit::Command(_) | Exit::Signal(_) => 2,
        Exit::TryAgain => 1,
        Exit::Done => 0,
    }
}

/// The width of the longest name of a check.
const WIDTH: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::doctor::Failure;
    use crate::error_class::ErrorClass;

    #[test]
    fn the_exit_code_is_that_of_the_worst_failure() {
        let exit = |classes: &[ErrorClass]| {
            let mut output = Output::new(true, None, 1);
            output.is_json = true;
            for class in classes {
                let failure = Failure::new(*class, "text", "");
                output
                    .findings
                    .push(Finding::failed(Check::Target, failure));
            }
            let failed = output.findings.iter().filter_map(exit_of);
            failed.max_by_key(|exit| severity(*exit))
        };

        let all = [
            ErrorClass::TimedOut,
            ErrorClass::InternalError,
            ErrorClass::DestinationRefused,
            ErrorClass::AccessDenied,
            ErrorClass::CannotListen,
            ErrorClass::BadConfiguration,
        ];
        let codes: Vec<_> = (1..=all.len())
            .map(|count| exit(&all[..count]).unwrap().code())
            .collect();

        assert_eq!(codes, [75, 1, 69, 77, 71, 78]);
        assert_eq!(exit(&[]), None);
    }

    #[test]
    fn all_names_fit_the_column() {
        let longest = Check::ALL.iter().map(|check| check.name().len()).max();

        assert_eq!(longest, Some(WIDTH));
    }
}
