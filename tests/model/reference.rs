//! The reference model: the duties of a tunnel, written as simply as possible.
//!
//! It gets every frame that the tunnel received or sent, and every call on a stream with its
//! result. It keeps all of it, computes everything from scratch, and panics on a difference.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ssm_proxyd::proto::{MAX_UNSENT, Read, Reason, StreamId, Write};
use ssm_proxyd::wire::message::{Message, MessageType, PayloadType};
use ssm_proxyd::wire::payload;

use super::frames::{NOTHING, OPENS_NOTHING, next_frame, payload_of_nothing};
use crate::support::payload::assert_prefix;

/// Everything that happened to a tunnel.
pub(super) struct Reference {
    streams: BTreeMap<u32, NaiveTunnel>,
    window: usize,
    /// Sent messages, by number.
    frames: Vec<Bytes>,
    /// The rest of our mux, from the first incomplete frame: the half of a NOP.
    seam: Vec<u8>,
    acknowledged: BTreeSet<u64>,
    /// Received messages, by number.
    received: BTreeMap<u64, Message>,
    /// The number of received messages that are in order.
    in_order: u64,
    /// The rest of the agent's mux, from the first incomplete frame.
    rest: Vec<u8>,
    /// The end of the ids that were used at the last refusal, and the last id of a frame.
    refusable: u32,
    heard: u32,
    /// The messages that must still be acknowledged.
    owed: Vec<u64>,
}

impl Reference {
    pub(super) fn new(window: usize) -> Self {
        Self {
            streams: BTreeMap::new(),
            window,
            frames: Vec::new(),
            seam: Vec::new(),
            acknowledged: BTreeSet::new(),
            received: BTreeMap::new(),
            in_order: 0,
            rest: Vec::new(),
            refusable: 0,
            heard: 0,
            owed: Vec::new(),
        }
    }

    /// A probe is acknowledged: the tunnel may be ready. The readiness itself is not modelled.
    pub(super) fn may_be_ready(&self) -> bool {
        self.acknowledged.iter().any(|seq| *seq > 0)
    }

    /// A stream was opened.
    pub(super) fn open(&mut self, id: StreamId) {
        assert_eq!(id.0 as usize, 3 + 2 * self.streams.len());
        self.streams.insert(id.0, NaiveTunnel::default());
    }

    /// Bytes were offered, with this result.
    pub(super) fn write(&mut self, id: StreamId, data: &[u8], answer: Write) {
        let stream = self.stream(id);
        let room = MAX_UNSENT - (stream.written.len() - stream.sent);
        let taken = data.len().min(room);
        let is_over = stream.ended && (stream.confirmed || answer == Write::Closed);
        let right = if stream.finished || stream.closed || is_over {
            Write::Closed
        } else if taken == 0 && !data.is_empty() {
            stream.writer_waits = true;
            Write::Full
        } else {
            stream.written.extend_from_slice(&data[..taken]);
            Write::Accepted(taken)
        };
        assert_eq!(answer, right, "a write of {} bytes", data.len());
    }

    /// Bytes were requested, with this result.
    pub(super) fn read(&mut self, id: StreamId, max: usize, answer: &Read) {
        let stream = self.stream(id);
        let unread = &stream.received[stream.read..];
        let right = match () {
            // The stream has no reader any more: any result is right.
            () if stream.closed => {
                stream.reader_waits |= *answer == Read::Blocked;
                return;
            }
            () if !unread.is_empty() => {
                let Read::Data(data) = answer else {
                    panic!("{answer:?} with {} bytes unread", unread.len());
                };
                assert!((1..=max).contains(&data.len()), "{} bytes", data.len());
                assert_prefix(unread, data);
                stream.read += data.len();
                return;
            }
            // Whether it is certain is computed elsewhere, and may be undecided for a moment; without
            // a byte sent it must be certain at once.
            () if stream.is_refusal_known(answer) => {
                stream.confirmed = true;
                match *answer == Read::Lost(Reason::RefusedOrClosed) {
                    true if stream.sent > 0 => Read::Lost(Reason::RefusedOrClosed),
                    _ => Read::Lost(Reason::Refused),
                }
            }
            // The tunnel may hold an end back until it is confirmed.
            () if stream.ended
                && !stream.refused
                && (stream.confirmed || *answer != Read::Blocked) =>
            {
                stream.confirmed = true;
                Read::End
            }
            () => {
                stream.reader_waits = true;
                Read::Blocked
            }
        };
        let outcome = match answer {
            Read::Data(data) => panic!("{} bytes that were not sent", data.len()),
            outcome @ (Read::Blocked | Read::End | Read::Lost(_)) => outcome,
        };
        assert_eq!(*outcome, right);
    }

    /// A client closed its writing side.
    pub(super) fn finish(&mut self, id: StreamId) {
        self.stream(id).finished = true;
    }

    /// A client closed its stream.
    pub(super) fn reset(&mut self, id: StreamId) {
        self.stream(id).closed = true;
    }

    /// The tunnel reports that a read would not block.
    pub(super) fn handle_readable(&mut self, id: StreamId) {
        let waited = std::mem::take(&mut self.stream(id).reader_waits);
        assert!(waited, "a reader of {id} is woken without waiting");
    }

    /// The tunnel reports that a write would take bytes.
    pub(super) fn handle_writable(&mut self, id: StreamId) {
        let waited = std::mem::take(&mut self.stream(id).writer_waits);
        assert!(waited, "a writer of {id} is woken without waiting");
    }

    /// The tunnel received a frame.
    pub(super) fn receive(&mut self, frame: &Bytes) {
        let message = Message::decode(frame.clone()).expect("agents must send valid messages");
        if message.header.kind == MessageType::Acknowledge {
            let body = payload::decode_acknowledge(&message.payload).unwrap();
            self.acknowledged.insert(u64::try_from(body.seq).unwrap());
        } else {
            assert_eq!(message.header.kind, MessageType::Output);
            let seq = message.header.seq.0;
            self.owed.push(seq);
            self.received.insert(seq, message);
            self.collect_in_order();
        }
    }

    fn collect_in_order(&mut self) {
        while let Some(message) = self.received.get(&self.in_order) {
            self.in_order += 1;
            if message.header.payload_type == PayloadType::Output {
                self.rest.extend_from_slice(&message.payload);
            }
            if message.header.payload_type == PayloadType::Flag {
                self.refusable = self.streams.keys().last().map_or(0, |id| id + 1);
            }
            self.take_frames();
        }
    }

    fn take_frames(&mut self) {
        while let Some((command, id, data)) = next_frame(&mut self.rest) {
            let Some(stream) = self.streams.get_mut(&id) else {
                continue;
            };
            match command {
                2 => stream.received.extend(data),
                1 => {
                    stream.ended = true;
                    stream.refused = self.heard < id && id < self.refusable;
                }
                other => assert_eq!(other, 3, "agents must open no stream"),
            }
            self.heard = self.heard.max(id);
        }
        self.take_part_of_frame();
    }

    /// The received part of an incomplete frame is not held back.
    fn take_part_of_frame(&mut self) {
        let Some([_, _, l0, l1, s0, s1, s2, s3]) = self.rest.first_chunk() else {
            return;
        };
        let length = u16::from_le_bytes([*l0, *l1]);
        let id = u32::from_le_bytes([*s0, *s1, *s2, *s3]);
        let part = self.rest.split_off(8);
        let missing = length - u16::try_from(part.len()).expect("shorter than its frame");
        self.rest[2..4].copy_from_slice(&missing.to_le_bytes());
        if let Some(stream) = self.streams.get_mut(&id) {
            if !part.is_empty() {
                self.heard = self.heard.max(id);
            }
            stream.received.extend(part);
        }
    }

    /// The tunnel sent a frame.
    pub(super) fn send(&mut self, frame: &Bytes) {
        let message = Message::decode(frame.clone()).expect("a tunnel must send valid messages");
        if message.header.kind == MessageType::Acknowledge {
            let body = payload::decode_acknowledge(&message.payload).unwrap();
            let seq = u64::try_from(body.seq).unwrap();
            let place = self.owed.iter().position(|owed| *owed == seq);
            self.owed.remove(place.expect("was received"));
            return;
        }
        assert_eq!(message.header.kind, MessageType::Input);
        let seq = message.header.seq.0;
        match self.frames.get(usize::try_from(seq).unwrap()) {
            Some(former) => {
                assert_eq!(former, frame, "a retransmission must be identical");
                assert!(!self.acknowledged.contains(&seq), "{seq} has arrived");
            }
            None => self.send_first(seq, &message, frame),
        }
    }

    fn send_first(&mut self, seq: u64, message: &Message, frame: &Bytes) {
        assert_eq!(seq, self.frames.len() as u64, "a gap in numbers");
        self.frames.push(frame.clone());
        assert!(self.unacknowledged() <= self.window.max(1024));
        if message.header.payload_type != PayloadType::Output {
            return;
        }
        let mut frames = std::mem::take(&mut self.seam);
        let before = frames.clone();
        frames.extend_from_slice(&message.payload);
        while let Some((command, id, data)) = next_frame(&mut frames) {
            match (command, self.streams.get_mut(&id)) {
                (3, None) => assert_eq!(id, 0),
                (2, None) => {
                    assert_eq!((id, &data[..8]), (1, &OPENS_NOTHING[..]));
                    assert!(data[8..].iter().all(|byte| *byte == 0));
                }
                (command, Some(stream)) => stream.send(command, &data),
                (command, None) => panic!("command {command} for a stream {id}"),
            }
        }
        let is_certain = match (payload_of_nothing(&before), payload_of_nothing(&frames)) {
            (Some(16), Some(after)) => after == 22,
            (Some(before), Some(after)) => after == before - 1,
            (Some(_), None) => frames.is_empty(),
            (None, Some(after)) => after == 22 && before.is_empty(),
            (None, None) => {
                // Probes are sent separately and as a whole.
                let is_probe = message.payload[..] == NOTHING;
                let alternates = frames.is_empty() != before.is_empty();
                (is_probe || alternates) && [&[][..], &[1, 3]].contains(&&frames[..])
            }
        };
        assert!(is_certain, "{before:?}, then {frames:?}");
        self.seam = frames;
    }

    fn unacknowledged(&self) -> usize {
        let frames = (0..).zip(&self.frames);
        let waiting = frames.filter(|(seq, _)| !self.acknowledged.contains(seq));
        waiting.map(|(_, frame)| frame.len() - 120).sum()
    }

    /// The tunnel has nothing more to send now.
    pub(super) fn check(&self, connected: bool) {
        if connected {
            assert!(self.owed.is_empty(), "{:?} not acknowledged", self.owed);
        }
        for (id, stream) in &self.streams {
            stream.check(*id);
        }
    }

    /// Everything has arrived: all written bytes were sent, and the FIN if there is one.
    pub(super) fn check_end(&self) {
        for (id, stream) in &self.streams {
            let waits = stream.reader_waits || stream.writer_waits;
            assert!(
                !(stream.ended && waits && !stream.closed),
                "the end of {id} was not reported"
            );
            if !stream.ended {
                assert_eq!(stream.sent, stream.written.len(), "stream {id}");
            }
            let wants_fin = stream.opened && (stream.closed || stream.ended);
            assert_eq!(stream.fin, wants_fin, "the FIN of stream {id}");
        }
    }

    /// All bytes taken from the client.
    pub(super) fn written(&self, id: StreamId) -> &[u8] {
        &self.streams[&id.0].written
    }

    fn stream(&mut self, id: StreamId) -> &mut NaiveTunnel {
        self.streams.get_mut(&id.0).expect("the stream was opened")
    }
}

/// One stream.
#[derive(Default)]
struct NaiveTunnel {
    /// Bytes that the tunnel took.
    written: Vec<u8>,
    /// The number of them that were sent.
    sent: usize,
    opened: bool,
    /// Our FIN was sent.
    fin: bool,
    finished: bool,
    /// The tunnel has reported the end.
    confirmed: bool,
    closed: bool,
    /// Bytes received in order.
    received: Vec<u8>,
    read: usize,
    /// The agent's FIN was received.
    ended: bool,
    refused: bool,
    reader_waits: bool,
    writer_waits: bool,
}

impl NaiveTunnel {
    fn send(&mut self, command: u8, data: &[u8]) {
        assert!(!self.fin, "a frame after a FIN");
        assert_eq!(self.opened, command != 0, "a SYN, first and once");
        match command {
            0 => self.opened = true,
            1 => {
                assert!(self.closed || self.ended, "a FIN that must be held back");
                assert!(self.ended || self.sent == self.written.len());
                self.fin = true;
            }
            2 => {
                assert_prefix(&self.written[self.sent..], data);
                self.sent += data.len();
            }
            other => panic!("command {other}"),
        }
    }

    /// The dial was refused, or may have been, and a read must say so.
    fn is_refusal_known(&self, answer: &Read) -> bool {
        self.refused && (self.sent == 0 || self.confirmed || *answer != Read::Blocked)
    }

    fn check(&self, id: u32) {
        let is_known = self.confirmed || self.refused && self.sent == 0;
        let is_over = self.ended && is_known;
        let readable = self.read < self.received.len() || is_over;
        assert!(
            !(self.reader_waits && readable && !self.closed),
            "the reader of {id} was not woken"
        );
        let writable = self.written.len() - self.sent <= MAX_UNSENT / 2 || is_over;
        assert!(
            !(self.writer_waits && writable && !self.closed),
            "the writer of {id} was not woken"
        );
    }
}
