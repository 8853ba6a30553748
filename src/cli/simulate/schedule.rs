//! Syntax of scheduled one-off faults: `5s=kill-agent`, `1m=break:1000`.

use serde_json::json;

use crate::sim::{OneOffFault, ScheduledFault, parse_duration};

/// Parses `AFTER=FAULT`.
///
/// # Errors
///
/// Returns a message for the user.
pub(super) fn scheduled(text: &str) -> Result<ScheduledFault, String> {
    let (after, fault) = text
        .split_once('=')
        .ok_or("expected AFTER=FAULT, for example 5s=kill-agent")?;
    let after = parse_duration(after).map_err(|error| format!("invalid AFTER: {error}"))?;
    let fault = one_off_fault(fault)?;
    Ok(ScheduledFault { after, fault })
}

/// Parses `NAME` or `NAME:ARGUMENT`, which are the words of the JSON with other separators.
fn one_off_fault(text: &str) -> Result<OneOffFault, String> {
    let word = |text: &str| text.replace('-', "_");
    let json = match text.split_once(':') {
        None => json!(word(text)),
        Some((name, argument)) => match argument.parse::<u16>() {
            Ok(code) => json!({ word(name): { "close": code } }),
            Err(_) => json!({ word(name): word(argument) }),
        },
    };
    serde_json::from_value(json).map_err(|_| format!("{text:?} is not a fault; expected {FAULTS}"))
}

const FAULTS: &str = "break:MANNER with reset, fin, black-hole or a close code from 1000 to 4999, \
    pause-client, start-client, pause-agent, start-agent, kill-agent, agent-away:DURATION or \
    agent-away-amid-message:DURATION, for example break:1000 or agent-away:2s";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sim::DisconnectKind;

    #[test]
    fn every_fault_has_a_syntax() {
        let two = Duration::from_secs(2);
        for (words, expected) in [
            ("break:reset", OneOffFault::Break(DisconnectKind::Reset)),
            ("break:fin", OneOffFault::Break(DisconnectKind::Fin)),
            (
                "break:black-hole",
                OneOffFault::Break(DisconnectKind::BlackHole),
            ),
            (
                "break:1000",
                OneOffFault::Break(DisconnectKind::Close(1000)),
            ),
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
            let read = scheduled(&format!("150ms={words}")).unwrap();

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
            ("5s=kil-agent", "kill-agent,"),
            ("5s=kill-agent:1s", "not a fault"),
            ("5s=break", "for example break:1000"),
            ("5s=break:softly", "reset, fin, black-hole"),
            ("5s=break:999", "1000 to 4999"),
            ("5s=agent-away", "agent-away:2s"),
            (
                "5s=agent-away-amid-message",
                "agent-away-amid-message:DURATION",
            ),
            ("5s=agent-away:long", "agent-away:DURATION"),
            ("5s=agent-away:5", "agent-away:DURATION"),
        ] {
            let error = scheduled(bad).unwrap_err();

            assert!(error.contains(words), "{bad}: no {words:?} in {error:?}");
        }
    }
}
