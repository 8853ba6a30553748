//! What an agent is told: the knobs of a simulation, and the job of one session.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use super::version::Version;

/// The knobs of an agent. The defaults are a current agent as it was measured.
#[derive(Clone, Debug)]
pub struct Options {
    /// What it claims to be, and behaves like (protocol.md section 5.5).
    pub version: Version,
    /// Most payload bytes in a message to the client; at least 1. Agents: 1024.
    pub message_size: usize,
    /// How fast messages of data leave.
    pub pace: Pace,
    /// What is sent again.
    pub retransmission: Retransmission,
    /// What a digest is worth.
    pub digests: Digests,
    /// Time from StartSession to HandshakeRequest, in which the agent starts a process; one value is
    /// drawn from it (protocol.md section 0.2: 21 to 29 ms).
    pub process_start: Range<Duration>,
    /// Time from HandshakeComplete to the first acknowledgement; one value is drawn from it
    /// (protocol.md section 0.2: 0.2 to 2.1 ms).
    pub readiness: Range<Duration>,
    /// The agent sends HandshakeComplete and marks the handshake as complete a moment later. Data
    /// that arrives between the two is acknowledged and discarded (protocol.md section 5.1).
    pub handshake_race: Race,
    /// The agent sends a message and records it as unacknowledged a moment later. An
    /// acknowledgement that arrives between the two has no effect, so the message is sent again
    /// (protocol.md section 6.5 item 1).
    pub acknowledgement_race: Race,
    /// What a session with a `host` adds to [`readiness`](Self::readiness): look-ups. 0.45 s was
    /// measured where no metadata service answered; none by default.
    pub host_readiness: Duration,
    /// How long the client may take to answer the handshake: 15 s.
    pub handshake_timeout: Duration,
    /// How long an agent that ends waits for acknowledgements before it closes: 2 s (protocol.md
    /// section 9.3). Those before 3.0.732.0 do not wait.
    pub drain: Duration,
    /// Time from the crash of a worker to the agent's report: 60 s (protocol.md section 7).
    pub crash_delay: Duration,
    /// Time from a refused dial without a mux to the end of the session: 34 ms (protocol.md section
    /// 0.2). The worker crashes, and nothing is said about why.
    pub refusal_delay: Duration,
    /// Most unacknowledged payload bytes; when they are reached, no data is sent. An agent has
    /// no such window, but it is slow; `None` takes 128 MiB with a pace and 4 MiB without.
    pub window: Option<usize>,
}

impl Options {
    pub(super) fn window(&self) -> usize {
        self.window.unwrap_or(match self.pace {
            Pace::Every(_) => PACED_WINDOW,
            Pace::Unlimited => UNPACED_WINDOW,
        })
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            version: Version::parse(DEFAULT_VERSION),
            message_size: 1024,
            pace: Pace::Every(FAITHFUL_INTERVAL),
            retransmission: Retransmission::Front,
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

/// A step of the agent that sometimes comes later than what depends on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Race {
    /// How often the step is late: 0 is never, 1 is always.
    pub chance: f64,
    /// By how much it is late then; one value is drawn from this range.
    pub delay: Range<Duration>,
}

impl Race {
    /// The step is never late.
    pub const NEVER: Self = Self {
        chance: 0.0,
        delay: Duration::ZERO..Duration::ZERO,
    };

    /// The delay of one such step.
    pub(super) fn draw(&self, random: &mut fastrand::Rng) -> Duration {
        match self.chance > 0.0 && random.f64() < self.chance {
            true => draw(&self.delay, random),
            false => Duration::ZERO,
        }
    }
}

/// Draws a duration from a range, both ends included.
pub(super) fn draw(range: &Range<Duration>, random: &mut fastrand::Rng) -> Duration {
    let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let (start, end) = (nanos(range.start), nanos(range.end));
    Duration::from_nanos(random.u64(start..=end.max(start)))
}

/// How fast messages of data leave an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// One each time this interval has passed, on an absolute schedule.
    Every(Duration),
    /// As fast as they can be carried.
    Unlimited,
}

/// What an agent sends again when no acknowledgement came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retransmission {
    /// The oldest message, once in each tick of 100 ms: what agents do.
    Front,
    /// Everything that is overdue. No agent does, but it recovers in bounded time.
    All,
}

/// What a digest is worth to an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digests {
    /// Nothing: what agents do.
    Ignored,
    /// A wrong one is noted as a violation, and the message is taken.
    Noted,
    /// A wrong one is noted, and the message is neither taken nor acknowledged.
    Demanded,
}

/// What StartSession asked an agent to do.
#[derive(Clone, Debug, Default)]
pub struct Job {
    /// The resolved properties of the document, as the client will see them.
    pub properties: BTreeMap<String, String>,
    /// Why `host` cannot be dialled, if it cannot: the text that ends the session
    /// (protocol.md section 9.3).
    pub refusal: Option<String>,
}

impl Job {
    /// Whether `type` asks for port forwarding; anything else is SSH.
    pub(super) fn is_port_forwarding(&self) -> bool {
        self.properties
            .get("type")
            .is_some_and(|kind| kind == "LocalPortForwarding")
    }

    pub(super) fn has_host(&self) -> bool {
        self.properties.contains_key("host")
    }
}

/// On a busy machine 17 of 1000 sessions lost a first message (protocol.md section 5.1).
const HANDSHAKE_RACE: Race = Race {
    chance: 0.02,
    delay: Duration::from_micros(300)..Duration::from_micros(3000),
};

/// 5 to 10 of 3080 messages were sent again though they were acknowledged (protocol.md section
/// 0.2). On a path with a round trip longer than the delay the race is never lost.
const ACKNOWLEDGEMENT_RACE: Race = Race {
    chance: 0.0025,
    delay: Duration::from_micros(500)..Duration::from_micros(2000),
};

/// The agent of the sources and measurements behind protocol.md.
const DEFAULT_VERSION: &str = "3.3.987.0";

/// 1024 bytes each 1.425 ms are 0.685 MiB/s (protocol.md section 0.2).
pub const FAITHFUL_INTERVAL: Duration = Duration::from_micros(1425);

/// Above 100,000 messages of 1024 bytes, so that the agent's own limit comes first.
const PACED_WINDOW: usize = 128 << 20;

/// Far above what a loopback path holds, and far below 100,000 messages of 1024 bytes.
const UNPACED_WINDOW: usize = 4 << 20;
