//! The hot paths of the core, a number of messages each.

use std::hint::black_box;
use std::process::ExitCode;

use sha2::{Digest, Sha256};

use crate::pair::{PAYLOAD, Pair};
use crate::wire::message::{
    FIN, HEADER_LEN, Header, Message, MessageId, MessageType, PayloadType, SYN, Seq,
};
use crate::wire::payload;

/// A hot path.
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    work: fn(),
    /// Workloads that are part of it, and are subtracted.
    pub(crate) digests: &'static [&'static str],
}

/// All hot paths.
pub(crate) const ALL: [Workload; 6] = [
    of("encode", encode, &["digest-message"]),
    of("decode", decode, &["digest-message"]),
    of("acknowledge", acknowledge, &["digest-acknowledgement"]),
    of("acknowledged", acknowledged, &[]),
    of("download", download, BOTH),
    of("upload", upload, BOTH),
];

/// A message is digested, and its acknowledgement.
const BOTH: &[&str] = &["digest-message", "digest-acknowledgement"];

const fn of(name: &'static str, work: fn(), digests: &'static [&'static str]) -> Workload {
    Workload {
        name,
        work,
        digests,
    }
}

/// Messages of each workload.
pub(crate) const MESSAGES: u64 = 1000;

/// Does the work of this name.
pub(crate) fn run(name: &str) -> ExitCode {
    match name {
        "digest-message" => digest(PAYLOAD),
        "digest-acknowledgement" => digest(acknowledgement(7).len()),
        _ => match ALL.iter().find(|workload| workload.name == name) {
            Some(workload) => (workload.work)(),
            None => {
                eprintln!("no workload is called {name}");
                return ExitCode::FAILURE;
            }
        },
    }
    ExitCode::SUCCESS
}

/// The function that valgrind looks for: what it does is counted.
#[inline(never)]
pub(crate) fn measured<T>(work: impl FnOnce() -> T) -> T {
    black_box(work())
}

fn digest(len: usize) {
    let payload = vec![7; len];
    for _ in 0..MESSAGES {
        measured(|| Sha256::digest(black_box(&payload)));
    }
}

fn encode() {
    let message = message();
    for _ in 0..MESSAGES {
        measured(|| black_box(&message).encode());
    }
}

fn decode() {
    let frame = message().encode();
    for _ in 0..MESSAGES {
        let frame = frame.clone();
        measured(|| Message::decode(frame).is_ok());
    }
}

fn acknowledge() {
    let header = Header {
        kind: MessageType::Acknowledge,
        flags: SYN | FIN,
        ..message().header
    };
    let id = MessageId::from_random([7; 16]);
    for seq in 1000..1000 + MESSAGES {
        measured(|| {
            payload::acknowledge(&MessageType::Output, id, Seq(seq)).finish_message(&header)
        });
    }
}

fn acknowledged() {
    let body = acknowledgement(1234);
    for _ in 0..MESSAGES {
        measured(|| payload::decode_acknowledge(black_box(&body)).is_ok());
    }
}

fn download() {
    let mut pair = Pair::new();
    for _ in 0..MESSAGES {
        pair.download();
    }
}

fn upload() {
    let mut pair = Pair::new();
    for _ in 0..MESSAGES {
        pair.upload();
    }
}

fn message() -> Message {
    let header = Header {
        kind: MessageType::Input,
        created: 1,
        seq: Seq(1234),
        flags: 0,
        id: MessageId::from_random([7; 16]),
        payload_type: PayloadType::Output,
    };
    let payload = vec![7; PAYLOAD].into();
    Message { header, payload }
}

/// The body of an acknowledgement.
fn acknowledgement(seq: u64) -> Vec<u8> {
    let id = MessageId::from_random([7; 16]);
    let mut draft = payload::acknowledge(&MessageType::Output, id, Seq(seq));
    draft.payload()[HEADER_LEN..].to_vec()
}
