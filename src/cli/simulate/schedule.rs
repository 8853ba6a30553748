//! Syntax of scheduled one-off faults: `5s=kill-agent`, `1m=break:1000`.

use std::time::Duration;

use crate::sim::{Manner, OneOffFault, ScheduledFault, parse_duration};

/// Parses `AFTER=FAULT`.
///
/// # Errors
///
/// Returns a message for the user.
pub(super) fn planned(text: &str) -> Result<ScheduledFault, String> {
    let (after, fault) = text
        .split_once('=')
        .ok_or("expected AFTER=FAULT, for example 5s=kill-agent")?;
    let after = parse_duration(after).map_err(|error| format!("invalid AFTER: {error}"))?;
    let fault = one_off_fault(fault)?;
    Ok(ScheduledFault { after, fault })
}

fn one_off_fault(text: &str) -> Result<OneOffFault, String> {
    match text.split_once(':') {
        Some(("break", how)) => manner(how).map(OneOffFault::Break),
        Some(("agent-away", span)) => away(span).map(OneOffFault::AgentAway),
        Some(("agent-away-amid-message", span)) => {
            away(span).map(OneOffFault::AgentAwayAmidMessage)
        }
        None => word(text),
        Some(_) => Err(unknown(text)),
    }
}

/// Parses a fault without an argument.
fn word(text: &str) -> Result<OneOffFault, String> {
    Ok(match text {
        "pause-client" => OneOffFault::PauseClient,
        "start-client" => OneOffFault::StartClient,
        "pause-agent" => OneOffFault::PauseAgent,
        "start-agent" => OneOffFault::StartAgent,
        "kill-agent" => OneOffFault::KillAgent,
        "break" => return Err("missing manner, for example break:reset or break:1000".to_owned()),
        "agent-away" | "agent-away-amid-message" => {
            return Err(format!("missing duration, for example {text}:2s"));
        }
        other => return Err(unknown(other)),
    })
}

fn away(span: &str) -> Result<Duration, String> {
    parse_duration(span).map_err(|error| format!("invalid duration: {error}"))
}

/// Parses `reset`, `fin`, `black-hole` or a close code.
///
/// # Errors
///
/// Returns a message for the user.
pub(super) fn manner(text: &str) -> Result<Manner, String> {
    match text {
        "reset" => Ok(Manner::Reset),
        "fin" => Ok(Manner::Fin),
        "black-hole" => Ok(Manner::BlackHole),
        code => match code.parse() {
            Ok(code @ 1000..=4999) => Ok(Manner::Close(code)),
            Ok(_) | Err(_) => Err("expected reset, fin, black-hole, or 1000 to 4999".to_owned()),
        },
    }
}

fn unknown(text: &str) -> String {
    format!("{text:?} is not a fault; expected {FAULTS}")
}

const FAULTS: &str = "break:MANNER, pause-client, start-client, pause-agent, start-agent, \
    kill-agent, agent-away:DURATION or agent-away-amid-message:DURATION";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_a_syntax() {
        let two = Duration::from_secs(2);
        for (words, expected) in [
            ("break:reset", OneOffFault::Break(Manner::Reset)),
            ("break:fin", OneOffFault::Break(Manner::Fin)),
            ("break:black-hole", OneOffFault::Break(Manner::BlackHole)),
            ("break:1000", OneOffFault::Break(Manner::Close(1000))),
            ("pause-client", OneOffFault::PauseClient),
            ("start-client", OneOffFault::StartClient),
            ("pause-agent", OneOffFault::PauseAgent),
            ("start-agent", OneOffFault::StartAgent),
            ("kill-agent", OneOffFault::KillAgent),
            ("agent-away:2s", OneOffFault::AgentAway(two)),
            (
                "agent-away-amid-message:2s",
                OneOffFault::AgentAwayAmidMessage(two),
            ),
        ] {
            let read = planned(&format!("150ms={words}")).unwrap();

            assert_eq!(read.fault, expected, "{words}");
            assert_eq!(read.after, Duration::from_millis(150));
        }
    }

    #[test]
    fn an_invalid_fault_is_reported_with_the_valid_ones() {
        for (bad, words) in [
            ("kill-agent", "AFTER=FAULT, for example 5s=kill-agent"),
            ("soon=kill-agent", "AFTER: "),
            ("5=kill-agent", "write \"5s\""),
            ("5s=", "\"\" is not a fault"),
            ("5s=kil-agent", "\"kil-agent\" is not a fault"),
            ("5s=kil-agent", "kill-agent"),
            ("5s=kill-agent:1s", "not a fault"),
            ("5s=break", "break:reset"),
            ("5s=break:softly", "expected reset, fin, black-hole"),
            ("5s=break:999", "1000 to 4999"),
            ("5s=agent-away", "agent-away:2s"),
            ("5s=agent-away-amid-message", "agent-away-amid-message:2s"),
            ("5s=agent-away:long", "invalid duration"),
        ] {
            let said = planned(bad).unwrap_err();

            assert!(said.contains(words), "{bad}: no {words:?} in {said:?}");
        }
    }
}
