//! Options of `simulate` for fault injection.
//!
//! Common faults have their own options. `--faults` accepts all faults as the JSON of `POST
//! /simulator/faults`, documented in the simulator's manual; the other options override it.

use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;

use super::schedule::{manner, planned};
use crate::sim::{
    Action, ApiFault, BreakEvery, Direction, Faults, Join, Manner, MessageFault, Operation,
    RefusedUpgrades, ScheduledFault, SecondWebsocket, Subject, TokenLife, parse_duration,
};

/// The options about what goes wrong.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Fault injection")]
pub(super) struct FaultArgs {
    /// Break every websocket this long after it was opened
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    drop_every: Option<Duration>,
    /// Manner of the break: reset, fin, black-hole, or a close code
    #[arg(
        long,
        value_name = "MANNER",
        default_value = "reset",
        requires = "drop_every",
        value_parser = manner
    )]
    drop_manner: Manner,
    /// Inject a fault into every session, this long after its start: break:MANNER, as with
    /// --drop-manner, pause-client, start-client, pause-agent, start-agent, kill-agent,
    /// agent-away:DURATION, or agent-away-amid-message:DURATION
    #[arg(long = "inject", alias = "blow", value_name = "AFTER=FAULT", value_parser = planned)]
    planned: Vec<ScheduledFault>,
    /// Apply a fault to every Nth message: drop|duplicate|reorder|delay=DURATION, then :N, then
    /// optionally :data|handshake|flag|acknowledge, then optionally :to-agent|to-client
    #[arg(long = "message", value_name = "ACTION:N[:KIND[:WAY]]", value_parser = message)]
    messages: Vec<MessageFault>,
    /// Delay of messages from client to service
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    delay_to_agent: Option<Duration>,
    /// Delay of messages from service to client
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    delay_to_client: Option<Duration>,
    /// Make API calls fail: OPERATION:CODE, or OPERATION:CODE:N for the next N
    #[arg(long, value_name = "OPERATION:CODE[:N]", value_parser = api_fault)]
    api_fault: Vec<(Operation, ApiFault)>,
    /// Reject websocket upgrades: STATUS, or STATUS:N for the first N
    #[arg(long, value_name = "STATUS[:N]", value_parser = refused)]
    refuse_upgrades: Option<RefusedUpgrades>,
    /// Validity of a token: until-resumed, single-use, or a duration
    #[arg(long, value_name = "LIFE", value_parser = token)]
    token: Option<TokenLife>,
    /// Handling of a second websocket of a session
    #[arg(long, value_enum)]
    second_websocket: Option<Second>,
    /// When the agent joins a session
    #[arg(long, value_enum)]
    agent_joins: Option<Joins>,
    /// Break the websocket of a client that sends a longer message
    #[arg(long, value_name = "BYTES")]
    max_message: Option<usize>,
    /// Break the websocket of a client that sends more sequenced messages per second
    #[arg(long, value_name = "N")]
    max_rate: Option<u32>,
    /// Terminate a session without stream data for this long
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    idle_timeout: Option<Duration>,
    /// Stop reading from and writing to destinations
    #[arg(long)]
    stall: bool,
    /// All faults as JSON, in the format shown by --help below the options, and by a running
    /// simulator at /simulator/
    #[arg(long, value_name = "JSON", value_parser = json)]
    faults: Option<Faults>,
}

impl FaultArgs {
    /// Returns the faults given by the options.
    pub(super) fn faults(self) -> Faults {
        let mut faults = self.faults.unwrap_or_default();
        let manner = self.drop_manner;
        let break_every = self.drop_every.map(|every| BreakEvery { every, manner });
        faults.break_every = break_every.or(faults.break_every);
        faults.planned.extend(self.planned);
        faults.messages.extend(self.messages);
        faults.api.extend(self.api_fault);
        set(&mut faults.to_agent.delay, self.delay_to_agent);
        set(&mut faults.to_client.delay, self.delay_to_client);
        faults.refuse_upgrades = self.refuse_upgrades.or(faults.refuse_upgrades);
        set(&mut faults.token, self.token);
        set(
            &mut faults.second_websocket,
            self.second_websocket.map(Into::into),
        );
        set(&mut faults.join, self.agent_joins.map(Into::into));
        faults.max_message = self.max_message.or(faults.max_message);
        faults.max_rate = self.max_rate.or(faults.max_rate);
        faults.idle_timeout = self.idle_timeout.or(faults.idle_timeout);
        faults.stall |= self.stall;
        faults
    }
}

/// Handling of a second websocket.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Second {
    /// The first one is closed.
    Replaces,
    /// The second one is rejected with 409.
    Refused,
}

impl From<Second> for SecondWebsocket {
    fn from(second: Second) -> Self {
        match second {
            Second::Replaces => Self::Replaces,
            Second::Refused => Self::Refused,
        }
    }
}

/// When the agent joins.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Joins {
    /// With StartSession.
    AtStart,
    /// With the client's first websocket.
    AtConnect,
}

impl From<Joins> for Join {
    fn from(joins: Joins) -> Self {
        match joins {
            Joins::AtStart => Self::AtStart,
            Joins::AtConnect => Self::AtConnect,
        }
    }
}

fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

/// Parses `drop:10:data:to-agent`.
fn message(text: &str) -> Result<MessageFault, String> {
    let mut parts = text.split(':');
    let action = action(parts.next().unwrap_or_default())?;
    let every = number(
        parts
            .next()
            .ok_or("expected ACTION:N, for example drop:10")?,
    )?;
    let subject = parts.next().map_or(Ok(Subject::Any), subject)?;
    let direction = parts.next().map(direction).transpose()?;
    if every == 0 || parts.next().is_some() {
        return Err("expected ACTION:N[:KIND[:WAY]], with N above 0".to_owned());
    }
    Ok(MessageFault {
        action,
        every,
        direction,
        subject,
    })
}

fn action(text: &str) -> Result<Action, String> {
    match text.split_once('=') {
        Some(("delay", late)) => parse_duration(late).map(Action::Delay),
        None if text == "drop" => Ok(Action::Drop),
        None if text == "duplicate" => Ok(Action::Duplicate),
        None if text == "reorder" => Ok(Action::Reorder),
        Some(_) | None => Err("expected drop, duplicate, reorder or delay=DURATION".to_owned()),
    }
}

fn subject(text: &str) -> Result<Subject, String> {
    Ok(match text {
        "any" => Subject::Any,
        "data" => Subject::Data,
        "handshake" => Subject::Handshake,
        "flag" => Subject::Flag,
        "acknowledge" => Subject::Acknowledge,
        other => {
            return Err(format!(
                "{other}: expected any, data, handshake, flag, acknowledge"
            ));
        }
    })
}

fn direction(text: &str) -> Result<Direction, String> {
    match text {
        "to-agent" => Ok(Direction::ToAgent),
        "to-client" => Ok(Direction::ToClient),
        other => Err(format!("{other}: expected to-agent or to-client")),
    }
}

/// Parses `ResumeSession:ThrottlingException:3`.
fn api_fault(text: &str) -> Result<(Operation, ApiFault), String> {
    let (operation, rest) = text.split_once(':').ok_or("expected OPERATION:CODE[:N]")?;
    let operation = Operation::from_name(operation).ok_or(
        "expected StartSession, ResumeSession, TerminateSession or DescribeInstanceInformation",
    )?;
    let (code, times) = counted(rest)?;
    if code.is_empty() {
        return Err("expected an error code, for example ThrottlingException".to_owned());
    }
    let code = code.to_owned();
    Ok((operation, ApiFault { code, times }))
}

/// Parses `503:3`.
fn refused(text: &str) -> Result<RefusedUpgrades, String> {
    let (status, times) = counted(text)?;
    let status = number(status)?;
    match (400..=599).contains(&status) {
        true => Ok(RefusedUpgrades { status, times }),
        false => Err("expected an HTTP status from 400 to 599".to_owned()),
    }
}

/// Splits `WHAT[:N]`.
fn counted(text: &str) -> Result<(&str, Option<u32>), String> {
    match text.split_once(':') {
        Some((what, times)) => Ok((what, Some(number(times)?))),
        None => Ok((text, None)),
    }
}

fn token(text: &str) -> Result<TokenLife, String> {
    match text {
        "until-resumed" => Ok(TokenLife::UntilResumed),
        "single-use" => Ok(TokenLife::SingleUse),
        span => parse_duration(span).map(TokenLife::For),
    }
}

fn json(text: &str) -> Result<Faults, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

fn number<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("invalid number {text:?}"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::sim::OneOffFault;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        trouble: FaultArgs,
    }

    fn faults(line: &[&str]) -> Result<Faults, clap::Error> {
        let line = ["simulate"].iter().chain(line);
        Line::try_parse_from(line).map(|line| line.trouble.faults())
    }

    #[test]
    fn without_options_nothing_goes_wrong() {
        assert_eq!(faults(&[]).unwrap(), Faults::default());
    }

    #[test]
    fn options_are_faults_and_win_over_the_json() {
        let faults = faults(&[
            "--drop-every",
            "200ms",
            "--drop-manner",
            "1000",
            "--inject",
            "5s=pause-client",
            "--blow",
            "6s=start-client",
            "--message",
            "drop:10:data:to-agent",
            "--message",
            "delay=5ms:3",
            "--api-fault",
            "ResumeSession:ThrottlingException:2",
            "--refuse-upgrades",
            "503:1",
            "--token",
            "single-use",
            "--faults",
            r#"{"max_rate": 900, "token": "until_resumed"}"#,
        ])
        .unwrap();

        let every = Duration::from_millis(200);
        let manner = Manner::Close(1000);
        assert_eq!(faults.break_every, Some(BreakEvery { every, manner }));
        assert_eq!(faults.planned[1].fault, OneOffFault::StartClient);
        assert_eq!(faults.messages[0].direction, Some(Direction::ToAgent));
        assert_eq!(
            faults.messages[1].action,
            Action::Delay(Duration::from_millis(5))
        );
        assert_eq!(faults.api[&Operation::ResumeSession].times, Some(2));
        assert_eq!(faults.refuse_upgrades.unwrap().status, 503);
        assert_eq!(
            (faults.max_rate, faults.token),
            (Some(900), TokenLife::SingleUse)
        );
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for bad in [
            ["--message", "drop"],
            ["--message", "drop:0"],
            ["--message", "burn:1"],
            ["--message", "drop:1:data:sideways"],
            ["--drop-manner", "5000"],
            ["--drop-manner", "fin"],
            ["--api-fault", "StartSession:"],
            ["--inject", "kill-agent"],
            ["--api-fault", "ListSessions:X"],
            ["--refuse-upgrades", "200"],
            ["--token", "forever"],
            ["--faults", "{\"x\": 1}"],
        ] {
            assert!(faults(&bad).is_err(), "{bad:?}");
        }
    }
}
