//! Targets of the relay protocol: its decoders, and both ends with a hostile peer.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use ssm_proxyd::bundle::error::RecordError;
use ssm_proxyd::bundle::event::{Event, Read};
use ssm_proxyd::bundle::handshake::{Handshake, HandshakeDecoder, Hello, VERSION, Welcome};
use ssm_proxyd::bundle::ids::{BundleId, FlowId, StripeId};
use ssm_proxyd::bundle::limits::MAX_TEXT;
use ssm_proxyd::bundle::record::{
    Ack, Decoder, Destination, FailureClass, Frame, GoodbyeClass, Record, encode,
};
use ssm_proxyd::bundle::{Bundle, Options};
use ssm_proxyd::clock;

use super::byte_source::ByteSource;

/// Records are the same in any fragmentation, and survive their encoding.
pub(super) fn records(data: &[u8]) {
    let (frames, error) = decode(data.chunks(data.len().max(1)));
    let bytewise = decode(data.chunks(1));
    assert_eq!((&frames, &error), (&bytewise.0, &bytewise.1));
    if let Some(error) = error {
        assert!(!error.to_string().contains(char::is_control));
    }
    for frame in frames {
        let mut bytes = BytesMut::new();
        encode(frame.flow, frame.number, &frame.record, &mut bytes);
        let again = decode(bytes.chunks(7));
        // A text that can be displayed may be longer than what was sent, and is cut again.
        if let Record::Failed(_, text) | Record::Goodbye(_, text) = &frame.record
            && text.len() > MAX_TEXT
        {
            assert!(again.1.is_none() && again.0.len() == 1);
        } else {
            assert_eq!(again, (vec![frame], None));
        }
    }
}

fn decode<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Frame>, Option<RecordError>) {
    let (mut decoder, mut frames) = (Decoder::default(), Vec::new());
    for mut piece in pieces {
        loop {
            match decoder.decode(&mut piece) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
        assert!(piece.is_empty());
    }
    (frames, None)
}

/// A handshake message is an error or survives its encoding.
pub(super) fn handshake(data: &[u8]) {
    let mut rest = data;
    let message = match HandshakeDecoder::default().decode(&mut rest) {
        Ok(Some(message)) => message,
        Ok(None) => return assert!(rest.is_empty()),
        Err(error) => return assert!(!error.to_string().contains(char::is_control)),
    };
    let encoded = message.encode();
    let again = HandshakeDecoder::default().decode(&mut &encoded[..]);
    match (message, again) {
        // REFUSED is always sent with the own version, and its text as it can be displayed.
        (Handshake::Refused(..), Ok(Some(Handshake::Refused(..)))) => {}
        (message, again) => assert_eq!(again, Ok(Some(message))),
    }
}

/// The relay's end survives every daemon.
pub(super) fn relay(data: &[u8]) {
    let now = clock::now();
    attack(Bundle::relay(now, Options::DEFAULT), now, data);
}

/// The daemon's end survives every relay.
pub(super) fn daemon(data: &[u8]) {
    let now = clock::now();
    let id = BundleId::new([7; 16]);
    attack(Bundle::daemon(now, id, Options::DEFAULT), now, data);
}

/// A bundle with its driver, and what its peer has sent.
struct Victim {
    bundle: Bundle,
    now: Instant,
    stripes: Vec<StripeId>,
    flows: Vec<FlowId>,
    number: u64,
}

fn attack(bundle: Bundle, now: Instant, data: &[u8]) {
    let mut victim = Victim {
        bundle,
        now,
        stripes: Vec::new(),
        flows: vec![FlowId(1)],
        number: 0,
    };
    let mut source = ByteSource::new(data);
    victim.add_stripe();
    while let Some(step) = source.step() {
        victim.step(step, &mut source);
        victim.settle();
    }
}

impl Victim {
    fn add_stripe(&mut self) {
        if let Some(id) = self.bundle.connect_stripe(self.now) {
            let welcome = Handshake::Welcome(Welcome {
                version: VERSION,
                features: 0,
                complete: 0,
            });
            self.bundle.handle_bytes(self.now, id, &welcome.encode());
            self.stripes.push(id);
            return;
        }
        let hello = Hello {
            version: VERSION,
            features: 0,
            bundle: BundleId::new([7; 16]),
            stripe: 0,
            complete: 0,
        };
        self.stripes
            .extend(self.bundle.accept_stripe(self.now, &hello));
    }

    fn step(&mut self, step: u8, source: &mut ByteSource<'_>) {
        let (flow, now) = (source.pick(&self.flows), self.now);
        match step % 24 {
            0 => self.now += Duration::from_millis(source.number() as u64),
            1 => self.add_stripe(),
            2 => self.lose_stripe(source),
            3 => self.flows.extend(self.bundle.open(now, "db", 1)),
            4 => self.bundle.handle_dialled(flow),
            5 => {
                let text = "refused".into();
                let class = FailureClass::Refused;
                self.bundle.handle_dial_failed(flow, class, text);
            }
            6 => assert!(self.bundle.write(flow, source.bytes()) <= 255),
            7 => self.bundle.finish(flow),
            8 => self.bundle.reset(flow),
            9 => while let Read::Data(_) = self.bundle.read(now, flow, 1000) {},
            10 => self.receive(source.bytes(), source),
            11 if source.byte() == 7 => self.bundle.close(now),
            kind => self.send(kind, flow, source),
        }
    }

    fn lose_stripe(&mut self, source: &mut ByteSource<'_>) {
        let lost = usize::from(source.byte());
        if lost < self.stripes.len() {
            let id = self.stripes.swap_remove(lost);
            self.bundle.handle_stripe_lost(self.now, id);
        }
    }

    /// The peer sends a record that is more or less plausible.
    fn send(&mut self, kind: u8, flow: FlowId, source: &mut ByteSource<'_>) {
        let value = source.number() as u64;
        let record = match kind {
            12 | 13 => Record::Open(destination(), 1 << 16),
            14 => Record::Opened(1 << 16),
            15 => Record::Failed(FailureClass::Other, "no".into()),
            16 | 17 => Record::Data {
                offset: value,
                bytes: [source.bytes(), b"x"].concat().into(),
            },
            18 => Record::Fin(value),
            19 => Record::Reset,
            20 => Record::Credit(value),
            21 => Record::Ack(Ack {
                count: value,
                complete: u64::from(source.byte()),
                is_saturated: true,
            }),
            22 => Record::Ping(value),
            _ => Record::Goodbye(GoodbyeClass::of(source.byte()), "bye".into()),
        };
        let is_numbered = kind < 21;
        self.number += u64::from(is_numbered);
        let flow = match matches!(record, Record::Open(..)) {
            true => FlowId(1 + u32::from(source.byte())),
            false => flow,
        };
        let (flow, number) = match is_numbered {
            true => (flow, self.number),
            false => (FlowId::NONE, 0),
        };
        let mut bytes = BytesMut::new();
        encode(flow, number, &record, &mut bytes);
        self.receive(&bytes, source);
    }

    fn receive(&mut self, bytes: &[u8], source: &mut ByteSource<'_>) {
        if !self.stripes.is_empty() {
            let id = source.pick(&self.stripes);
            self.bundle.handle_bytes(self.now, id, bytes);
        }
    }

    fn settle(&mut self) {
        if self.bundle.poll_timeout().is_some_and(|at| at <= self.now) {
            self.bundle.handle_timeout(self.now);
        }
        let was_ended = self.bundle.is_ended();
        while let Some(event) = self.bundle.poll_event() {
            assert!(!matches!(event, Event::Open(..)) || !was_ended);
            if let Event::Open(id, _) = event {
                self.flows.push(id);
            }
        }
        for id in &self.stripes {
            while self.bundle.poll_transmit(self.now, *id).is_some() {}
        }
        while self.bundle.poll_event().is_some() {}
        if let Some(at) = self.bundle.poll_timeout() {
            assert!(at > self.now, "a timer stays due");
        }
        assert!(!self.bundle.is_ended() || self.bundle.flow_count() == 0);
    }
}

fn destination() -> Destination {
    Destination {
        host: "db.internal".into(),
        port: 5432,
    }
}
