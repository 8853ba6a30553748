//! Options of the simulated agents, and the job of one session.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use super::version::Version;

/// Options of an agent. The defaults model a current agent, as measured.
#[derive(Clone, Debug)]
pub struct Options {
    /// Version that the agent reports and behaves like (docs/protocol.md, section 5.5).
    pub version: Version,
    /// Maximum payload bytes per message to the client; at least 1. Real agents: 1024.
    pub message_size: usize,
    /// Send rate of data messages.
    pub pace: SendRate,
    /// Retransmission strategy.
    pub retransmission: Retransmission,
    /// Handling of digests.
    pub digests: Digests,
    /// Time from StartSession to HandshakeRequest, in which the agent starts a process. Drawn from
    /// this range (docs/protocol.md, section 0.2: 21 to 29 ms).
    pub process_start: Range<Duration>,
    /// Time from HandshakeComplete to the first acknowledgement. Drawn from this range
    /// (docs/protocol.md, section 0.2: 0.2 to 2.1 ms).
    pub readiness: Range<Duration>,
    /// Delay between sending HandshakeComplete and marking the handshake as complete. Data that
    /// arrives in between is acknowledged and discarded (docs/protocol.md, section 5.1).
    pub handshake_race: Race,
    /// Delay between sending a message and recording it as unacknowledged. An acknowledgement that
    /// arrives in between has no effect, so the message is retransmitted (docs/protocol.md, section
    /// 6.5, item 1).
    pub acknowledgement_race: Race,
    /// Added to [`readiness`](Self::readiness) for sessions with a `host`: time for lookups.
    /// Measured: 0.45 s where no metadata service responded. Default: none.
    pub host_readiness: Duration,
    /// Time limit for the client's handshake response. Default: 15 s.
    pub handshake_timeout: Duration,
    /// How long an ending agent waits for acknowledgements (docs/protocol.md, section 9.3).
    /// Default: 2 s. Agents before 3.0.732.0 do not wait.
    pub drain: Duration,
    /// Time from the crash of a worker to its report (docs/protocol.md, section 7). Default: 60 s.
    pub crash_delay: Duration,
    /// Time from a refused dial without a mux to the end of the session (docs/protocol.md, section
    /// 0.2). The worker crashes and no reason is reported. Default: 34 ms.
    pub refusal_delay: Duration,
    /// Maximum unacknowledged bytes, with headers; no data is sent beyond it. Real agents have no
    /// window but are slow. `None`: 128 MiB with a pace, 4 MiB without.
    pub window: Option<usize>,
}

impl Options {
    pub(super) fn window(&self) -> usize {
        self.window.unwrap_or(match self.pace {
            SendRate::Every(_) => PACED_WINDOW,
            SendRate::Unlimited => UNPACED_WINDOW,
        })
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            version: Version::parse(DEFAULT_VERSION),
            message_size: 1024,
            pace: SendRate::Every(FAITHFUL_INTERVAL),
            retransmission: Retransmission::OldestOnly,
            digests: Digests::Ignored,
            process_start: Duration::from_millis(21)..Duration::from_millis(29),
            readiness: Duration::from_micros(200)..Duration::from_micros(2100),
            handshake_race: HANDSHAKE_RACE,
            acknowledgement_race: ACKNOWLEDGEMENT_RACE,
            host_readiness: Duration::ZERO,
            handshake_timeout: Duration::from_secs(15),
            drain: Duration::from_secs(2),
            crash_delay: Duration::from_secs(60),
            refusal_delay: Duration::from_millis(34),
            window: None,
        }
    }
}

/// A step of the agent that is sometimes later than what depends on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Race {
    /// Probability that the step is late, from 0 (never) to 1 (always).
    pub probability: f64,
    /// How late the step is then; drawn from this range.
    pub delay: Range<Duration>,
}

impl Race {
    /// The step is never late.
    pub const NEVER: Self = Self {
        probability: 0.0,
        delay: Duration::ZERO..Duration::ZERO,
    };

    /// Draws the delay of one step.
    pub(super) fn draw(&self, random: &mut fastrand::Rng) -> Duration {
        match self.probability > 0.0 && random.f64() < self.probability {
            true => draw(&self.delay, random),
            false => Duration::ZERO,
        }
    }
}

/// Draws a duration from a range, including both ends.
pub(super) fn draw(range: &Range<Duration>, random: &mut fastrand::Rng) -> Duration {
    let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let (start, end) = (nanos(range.start), nanos(range.end));
    Duration::from_nanos(random.u64(start..=end.max(start)))
}

/// Send rate of an agent's data messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendRate {
    /// One message per interval, on an absolute schedule.
    Every(Duration),
    /// As fast as messages can be carried.
    Unlimited,
}

/// What an agent retransmits when no acknowledgement arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retransmission {
    /// The oldest message, once per tick of 100 ms, as real agents do.
    OldestOnly,
    /// Everything that is overdue. No real agent does this, but it recovers in bounded time.
    All,
}

/// Handling of digests by an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digests {
    /// Digests are not checked, as in real agents.
    Ignored,
    /// A wrong digest is recorded as a violation; the message is accepted.
    Recorded,
    /// A wrong digest is recorded; the message is neither accepted nor acknowledged.
    Required,
}

/// What StartSession requests of an agent.
#[derive(Clone, Debug, Default)]
pub struct Job {
    /// Resolved properties of the document, as the client receives them.
    pub properties: BTreeMap<String, String>,
    /// Error text that ends the session if `host` is refused (docs/protocol.md, section 9.3).
    pub refusal: Option<String>,
}

impl Job {
    /// Returns true if `type` requests port forwarding; otherwise the session is SSH.
    pub(super) fn is_port_forwarding(&self) -> bool {
        self.properties
            .get("type")
            .is_some_and(|kind| kind == "LocalPortForwarding")
    }

    pub(super) fn has_host(&self) -> bool {
        self.properties.contains_key("host")
    }
}

/// On a busy machine, 17 of 1000 sessions lost a first message (docs/protocol.md, section 5.1).
const HANDSHAKE_RACE: Race = Race {
    probability: 0.02,
    delay: Duration::from_micros(300)..Duration::from_micros(3000),
};

/// 5 to 10 of 3080 messages were retransmitted although acknowledged (docs/protocol.md, section
/// 0.2). If the round trip is longer than the delay, the race cannot occur.
const ACKNOWLEDGEMENT_RACE: Race = Race {
    probability: 0.0025,
    delay: Duration::from_micros(500)..Duration::from_micros(2000),
};

/// Version of the agent whose source and measurements docs/protocol.md describes.
const DEFAULT_VERSION: &str = "3.3.987.0";

/// 1024 bytes every 1.425 ms are 0.685 MiB/s (docs/protocol.md, section 0.2).
pub const FAITHFUL_INTERVAL: Duration = Duration::from_micros(1425);

/// More than 100,000 messages of 1024 bytes, so that the agent's own limit applies first.
const PACED_WINDOW: usize = 128 << 20;

/// Far more than a loopback path holds, and far less than 100,000 messages of 1024 bytes.
const UNPACED_WINDOW: usize = 4 << 20;
