//! Tests that the manual is served and that its statements are true.

use std::collections::BTreeSet;

use super::*;
use crate::sim::{
    Action, Direction, DisconnectKind, Faults, Join, OneOffFault, SecondWebsocket, Subject,
    TokenLife,
};

#[tokio::test]
async fn the_manual_is_served_as_text() {
    let simulator = simulator(unpaced()).await;

    for path in ["/simulator/", "/simulator"] {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let mut tcp = TcpStream::connect(simulator.address()).await.unwrap();
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).await.unwrap();

        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        assert!(answer.contains("content-type: text/plain"), "{answer}");
        assert!(answer.ends_with(MANUAL), "{answer}");
    }
}

#[test]
fn the_manual_shows_every_fault_in_a_valid_form() {
    let mut shown = BTreeSet::new();
    for example in examples("Faults, each") {
        let change: Map<String, Value> = serde_json::from_value(example.clone()).unwrap();
        shown.extend(change.keys().cloned());
        let faults = Faults::default().changed(change).unwrap();
        let came = serde_json::to_value(&faults).unwrap();

        assert_ne!(faults, Faults::default(), "{example} changes nothing");
        assert!(serde_json::from_value::<Faults>(came).is_ok(), "{example}");
    }

    let Value::Object(all) = serde_json::to_value(Faults::default()).unwrap() else {
        panic!("faults are an object")
    };
    assert_eq!(shown, all.keys().cloned().collect());
}

#[test]
fn the_manual_shows_every_one_off_fault_once() {
    let faults: Vec<OneOffFault> = examples("One-off faults")
        .map(|example| serde_json::from_value(example).unwrap())
        .collect();

    let places: Vec<_> = faults.into_iter().map(place).collect();

    assert_eq!(places, [0, 1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn the_requests_in_the_manual_are_valid() {
    let requests: Vec<_> = examples("Request body").collect();
    let commands = MANUAL.lines().filter_map(|line| {
        let (_, rest) = line.split_once("curl -d '")?;
        Some(rest.split_once('\'')?.0)
    });
    let commands = commands.map(|request| serde_json::from_str(request).unwrap());
    let requests: Vec<_> = requests.into_iter().chain(commands).collect();

    assert_eq!(requests.len(), 2);
    for request in requests {
        assert!(serde_json::from_value::<FaultRequest>(request).is_ok());
    }
}

#[test]
fn the_manual_contains_every_value() {
    let second = Duration::from_secs(1);
    let words = [
        json!([
            Action::Drop,
            Action::Duplicate,
            Action::Reorder,
            Action::Delay(second)
        ]),
        json!([Direction::ToAgent, Direction::ToClient]),
        json!([Subject::Any, Subject::Data, Subject::Handshake]),
        json!([Subject::Flag, Subject::Acknowledge]),
        json!([
            DisconnectKind::Close(1000),
            DisconnectKind::Fin,
            DisconnectKind::Reset,
            DisconnectKind::BlackHole
        ]),
        json!([
            TokenLife::UntilResumed,
            TokenLife::SingleUse,
            TokenLife::For(second)
        ]),
        json!([SecondWebsocket::Replaces, SecondWebsocket::Refused]),
        json!([Join::AtStart, Join::AtConnect]),
        json!([Operation::StartSession, Operation::ResumeSession]),
        json!([Operation::TerminateSession, Operation::DescribeSessions]),
        json!([Operation::DescribeInstanceInformation]),
        json!([Operation::SendSshPublicKey]),
    ];

    for word in words.iter().flat_map(|words| words.as_array().unwrap()) {
        let tag = word.as_object().map(|tagged| tagged.keys().next().unwrap());
        let word = tag.map_or_else(|| word.as_str().unwrap(), String::as_str);
        assert!(MANUAL.contains(&format!("\"{word}\"")), "{word}");
    }
}

/// Returns the JSON at the start of the lines of a section, indented by two spaces.
fn examples(section: &str) -> impl Iterator<Item = Value> {
    let lines = MANUAL
        .lines()
        .skip_while(move |line| !line.starts_with(section));
    let lines = lines
        .skip(1)
        .take_while(|line| line.is_empty() || line.starts_with(' '));
    let examples = lines.filter_map(|line| line.strip_prefix("  "));
    let examples = examples.filter(|line| line.starts_with(['{', '"']));
    examples.map(|line| {
        let mut values = serde_json::Deserializer::from_str(line).into_iter();
        values
            .next()
            .unwrap()
            .unwrap_or_else(|error| panic!("{line}: {error}"))
    })
}

/// Position of a fault among the manual's examples. Does not compile if a variant is missing.
fn place(fault: OneOffFault) -> usize {
    match fault {
        OneOffFault::Break(_) => 0,
        OneOffFault::PauseClient => 1,
        OneOffFault::StartClient => 2,
        OneOffFault::PauseAgent => 3,
        OneOffFault::StartAgent => 4,
        OneOffFault::KillAgent => 5,
        OneOffFault::AgentAway(_) => 6,
        OneOffFault::AgentAwayAmidMessage(_) => 7,
    }
}
