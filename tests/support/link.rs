//! One direction of a bad path, as a value with a seed.
//!
//! ```text
//!   send ──▶ lost? doubled? damaged? ──▶ in flight, by arrival ──▶ poll
//!                                        overtaken only if the weather says so
//! ```
//!
//! The path is a websocket, so it keeps its order unless it is told not to, and takes no more
//! than its capacity: whoever sends must ask for room first.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fastrand::Rng;
use ssm_proxyd::wire::message::{Kind, Message};

/// One direction of a path.
pub(crate) struct Link {
    weather: Weather,
    chance: Rng,
    in_flight: BTreeMap<(Instant, u64), Bytes>,
    bytes: usize,
    serial: u64,
    /// When the last frame arrives that keeps the order.
    latest: Option<Instant>,
    mishaps: Vec<Mishap>,
    held_until: Option<Instant>,
    deaf: bool,
}

impl Link {
    pub(crate) fn new(seed: u64, weather: Weather) -> Self {
        Self {
            weather,
            chance: Rng::with_seed(seed),
            in_flight: BTreeMap::new(),
            bytes: 0,
            serial: 0,
            latest: None,
            mishaps: Vec::new(),
            held_until: None,
            deaf: false,
        }
    }

    /// From now on, for what is sent.
    pub(crate) fn change_weather(&mut self, weather: Weather) {
        self.weather = weather;
    }

    /// Loses the next frames.
    pub(crate) fn lose_next(&mut self, count: usize) {
        self.plan(count, None, Fate::Lost);
    }

    /// Loses the next frames of a kind.
    pub(crate) fn lose_next_of(&mut self, kind: Kind, count: usize) {
        self.plan(count, Some(kind), Fate::Lost);
    }

    /// Carries each of the next frames of a kind twice.
    pub(crate) fn double_next_of(&mut self, kind: Kind, count: usize) {
        self.plan(count, Some(kind), Fate::Doubled);
    }

    /// Flips a bit in the last byte of the next frames of a kind.
    pub(crate) fn damage_next_of(&mut self, kind: Kind, count: usize) {
        self.plan(count, Some(kind), Fate::Damaged);
    }

    /// Carries the next frame of a kind so much later that others overtake it.
    pub(crate) fn delay_next_of(&mut self, kind: Kind, by: Duration) {
        self.plan(1, Some(kind), Fate::Late(by));
    }

    /// Plans no more mishaps.
    pub(crate) fn forgive(&mut self) {
        self.mishaps.clear();
    }

    fn plan(&mut self, count: usize, kind: Option<Kind>, fate: Fate) {
        let mishap = Mishap { kind, fate, count };
        self.mishaps.push(mishap);
    }

    /// Nothing arrives before `until`, and nothing is lost.
    pub(crate) fn hold_until(&mut self, until: Instant) {
        self.held_until = Some(until);
    }

    /// While deaf, whatever is sent is lost.
    pub(crate) fn set_deaf(&mut self, deaf: bool) {
        self.deaf = deaf;
    }

    /// Loses all that is in flight, but for the frames that would arrive first.
    pub(crate) fn cut_off(&mut self, spared: usize) {
        while self.in_flight.len() > spared {
            if let Some((_, frame)) = self.in_flight.pop_last() {
                self.bytes -= frame.len();
            }
        }
        self.latest = None;
    }

    /// Takes out the frame that would arrive first.
    pub(crate) fn take_first(&mut self) -> Option<Bytes> {
        let (_, frame) = self.in_flight.pop_first()?;
        self.bytes -= frame.len();
        Some(frame)
    }

    /// Takes a frame that leaves now.
    pub(crate) fn send(&mut self, now: Instant, frame: Bytes) {
        let fate = self.fate(&frame);
        if self.deaf || self.happens(self.weather.loss) {
            return;
        }
        match fate {
            Fate::Lost => {}
            Fate::Late(by) => self.put(now + self.weather.delay + by, frame),
            Fate::Damaged => {
                let mut damaged = frame.to_vec();
                if let Some(last) = damaged.last_mut() {
                    *last ^= 1;
                }
                self.carry(now, damaged.into());
            }
            Fate::Doubled => {
                self.carry(now, frame.clone());
                self.carry(now, frame);
            }
            Fate::Carried => {
                if self.happens(self.weather.doubling) {
                    self.carry(now, frame.clone());
                }
                self.carry(now, frame);
            }
        }
    }

    /// Takes a frame of the service itself: it is not lost, and arrives behind all others.
    pub(crate) fn send_surely(&mut self, now: Instant, frame: Bytes) {
        let last = self.in_flight.last_key_value().map(|((at, _), _)| *at);
        let at = last.unwrap_or(now).max(now + self.weather.delay);
        self.latest = Some(at);
        self.put(at, frame);
    }

    fn fate(&mut self, frame: &Bytes) -> Fate {
        if self.mishaps.is_empty() {
            return Fate::Carried;
        }
        let kind = Message::decode_unverified(frame.clone())
            .expect("whoever sends, sends messages")
            .header
            .kind;
        let fits = |mishap: &&mut Mishap| mishap.kind.as_ref().is_none_or(|k| *k == kind);
        let Some(mishap) = self.mishaps.iter_mut().find(fits) else {
            return Fate::Carried;
        };
        mishap.count -= 1;
        let fate = mishap.fate;
        self.mishaps.retain(|mishap| mishap.count > 0);
        fate
    }

    fn carry(&mut self, now: Instant, frame: Bytes) {
        let late = self.part_of(self.weather.jitter);
        let at = now + self.weather.delay + late;
        if self.happens(self.weather.overtaking) {
            let later = self.part_of(2 * (self.weather.delay + self.weather.jitter));
            self.put(at + later, frame);
        } else {
            let latest = self.latest.map(|latest| latest + self.span_of(&frame));
            let at = latest.map_or(at, |latest| latest.max(at));
            self.latest = Some(at);
            self.put(at, frame);
        }
    }

    /// How long a frame takes from its first byte to its last.
    fn span_of(&self, frame: &Bytes) -> Duration {
        let Some(bandwidth) = self.weather.bandwidth else {
            return Duration::ZERO;
        };
        Duration::from_secs(1) * u32::try_from(frame.len()).unwrap() / bandwidth
    }

    fn put(&mut self, at: Instant, frame: Bytes) {
        self.serial += 1;
        self.bytes += frame.len();
        self.in_flight.insert((at, self.serial), frame);
    }

    fn happens(&mut self, chance: f64) -> bool {
        chance > 0.0 && self.chance.f64() < chance
    }

    fn part_of(&mut self, span: Duration) -> Duration {
        match span.is_zero() {
            true => span,
            false => span.mul_f64(self.chance.f64()),
        }
    }

    /// The next frame that has arrived.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Bytes> {
        if self.poll_timeout()? > now {
            return None;
        }
        self.take_first()
    }

    /// When [`Link::poll`] has something.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let ((at, _), _) = self.in_flight.first_key_value()?;
        Some(self.held_until.map_or(*at, |until| until.max(*at)))
    }

    /// False while the path takes nothing more.
    pub(crate) fn has_room(&self) -> bool {
        self.bytes < self.weather.capacity
    }

    /// Frames on their way.
    pub(crate) fn len(&self) -> usize {
        self.in_flight.len()
    }
}

/// What a path does to what it carries. Chances are between 0 and 1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    pub(crate) delay: Duration,
    /// Up to this much more delay.
    pub(crate) jitter: Duration,
    pub(crate) loss: f64,
    pub(crate) doubling: f64,
    /// The chance of a frame to be overtaken by others.
    pub(crate) overtaking: f64,
    /// Bytes in flight, after which nothing more is taken.
    pub(crate) capacity: usize,
    /// Bytes per second; more of them wait for each other. `None`: no limit.
    pub(crate) bandwidth: Option<u32>,
}

impl Weather {
    /// Nothing happens but a delay.
    pub(crate) const fn fair(delay: Duration) -> Self {
        Self {
            delay,
            jitter: Duration::ZERO,
            loss: 0.0,
            doubling: 0.0,
            overtaking: 0.0,
            capacity: 1 << 20,
            bandwidth: None,
        }
    }
}

/// Something that shall happen to a frame that is yet to come.
struct Mishap {
    kind: Option<Kind>,
    fate: Fate,
    count: usize,
}

#[derive(Clone, Copy)]
enum Fate {
    Carried,
    Lost,
    Doubled,
    Damaged,
    Late(Duration),
}
