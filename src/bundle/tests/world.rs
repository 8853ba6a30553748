//! Both ends, the links between them, and their clients and destinations.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::apps::{App, Plan};
use super::invariants;
use super::link::{Link, Quality};
use crate::bundle::event::{End, Event, StripeEnd};
use crate::bundle::handshake::Handshake;
use crate::bundle::ids::{BundleId, FlowId, StripeId};
use crate::bundle::limits::MAX_STRIPES;
use crate::bundle::record::FailureClass;
use crate::bundle::{Bundle, Options};
use crate::clock;

/// A simulation. Side 0 is the daemon, side 1 the relay.
#[derive(Debug)]
pub(super) struct World {
    pub(super) start: Instant,
    pub(super) now: Instant,
    pub(super) ends: [Bundle; 2],
    pub(super) links: Vec<Link>,
    pub(super) apps: [BTreeMap<FlowId, App>; 2],
    /// Plans of the flows that are not opened yet: daemon's and relay's. The port is the index.
    pub(super) plans: Vec<[Plan; 2]>,
    pub(super) quality: Vec<Quality>,
    pub(super) random: fastrand::Rng,
    /// No link can be connected before.
    pub(super) offline_until: Instant,
    /// Flows that the relay cannot connect, by index.
    pub(super) unreachable: Vec<usize>,
    pub(super) failed: Vec<FlowId>,
    pub(super) ended: [Option<End>; 2],
    pub(super) closed_stripes: Vec<StripeEnd>,
    pub(super) max_links: usize,
    connected: usize,
}

impl World {
    pub(super) fn new(seed: u64, options: &Options, quality: Vec<Quality>) -> Self {
        let now = clock::now() + Duration::from_secs(1);
        let id = BundleId::new([7; 16]);
        Self {
            start: now,
            now,
            ends: [
                Bundle::daemon(now, id, options.clone()),
                Bundle::relay(now, options.clone()),
            ],
            links: Vec::new(),
            apps: [BTreeMap::new(), BTreeMap::new()],
            plans: Vec::new(),
            quality,
            random: fastrand::Rng::with_seed(seed),
            offline_until: now,
            unreachable: Vec::new(),
            failed: Vec::new(),
            ended: [None, None],
            closed_stripes: Vec::new(),
            max_links: 0,
            connected: 0,
        }
    }

    /// Opens a flow; returns it.
    pub(super) fn open(&mut self, daemon: Plan, relay: Plan) -> FlowId {
        let port = u16::try_from(self.plans.len()).unwrap();
        self.plans.push([daemon, relay]);
        let id = self.ends[0].open(self.now, "db", port).unwrap();
        self.apps[0].insert(id, App::new(self.now, 0, daemon));
        id
    }

    /// Runs until a condition holds.
    pub(super) fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) {
        let deadline = self.now + limit;
        loop {
            self.settle();
            if done(self) {
                return;
            }
            let next = self.next_time().expect("something is to be done");
            assert!(next <= deadline, "no progress until {:?}", self.elapsed());
            self.now = self.now.max(next);
        }
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// Runs for a time.
    pub(super) fn run_for(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            self.settle();
            match self.next_time().filter(|next| *next < until) {
                Some(next) => self.now = self.now.max(next),
                None => break,
            }
        }
        self.now = until;
    }

    fn next_time(&self) -> Option<Instant> {
        let timers = self.ends.iter().filter_map(Bundle::poll_timeout);
        let links = self.links.iter();
        let links = links.filter_map(|link| link.next_time(self.now));
        let apps = self.apps.iter().flat_map(BTreeMap::values);
        let apps = apps.filter_map(App::next_time);
        let online = Some(self.offline_until).filter(|at| *at > self.now);
        timers.chain(links).chain(apps).chain(online).min()
    }

    /// Handles everything that is due, until nothing changes.
    fn settle(&mut self) {
        let mut rounds = 0;
        while self.step() {
            rounds += 1;
            assert!(rounds < 10_000, "the ends do not settle");
        }
        for (end, reason) in self.ends.iter().zip(&self.ended) {
            invariants::check(end);
            assert_eq!(reason.is_some(), end.is_ended());
        }
        self.links
            .retain(|link| link.stripes != [None, None] || !is_quiet(link));
    }

    /// Returns true if anything was done.
    fn step(&mut self) -> bool {
        let is_due = |end: &Bundle, now| end.poll_timeout().is_some_and(|at| at <= now);
        let mut is_busy = false;
        for end in &mut self.ends {
            if is_due(end, self.now) {
                end.handle_timeout(self.now);
                is_busy = true;
            }
        }
        self.connect();
        for side in [0, 1] {
            is_busy |= self.deliver(side);
            self.run_apps(side);
        }
        self.transmit(0) | self.transmit(1) | is_busy
    }

    fn connect(&mut self) {
        let open = |link: &&Link| link.stripes[0].is_some();
        while self.now >= self.offline_until
            && self.links.iter().filter(open).count() < self.ends[0].stripes_wanted()
        {
            let Some(stripe) = self.ends[0].connect_stripe(self.now) else {
                return;
            };
            let quality = self.quality[self.connected % self.quality.len()];
            self.connected += 1;
            self.links.push(Link::new(self.now, stripe, quality));
            self.max_links = self.max_links.max(self.links.len());
        }
    }

    /// Delivers what has arrived at one end, cut into pieces. Returns true if that is anything.
    fn deliver(&mut self, side: usize) -> bool {
        let mut is_busy = false;
        for i in 0..self.links.len() {
            while let Some(bytes) = self.links[i].towards[side].read(self.now) {
                is_busy = true;
                let cut = self.random.usize(..=bytes.len());
                for mut piece in [&bytes[..cut], &bytes[cut..]] {
                    if side == 1 && self.links[i].stripes[1].is_none() {
                        self.accept(i, &mut piece);
                    }
                    if let Some(stripe) = self.links[i].stripes[side] {
                        self.ends[side].handle_bytes(self.now, stripe, piece);
                        self.handle_events(side);
                    }
                }
            }
            let pipe = &self.links[i].towards[side];
            if pipe.is_cut && pipe.next_arrival().is_none() {
                is_busy |= self.lose(i, side);
            }
        }
        is_busy
    }

    fn accept(&mut self, i: usize, piece: &mut &[u8]) {
        let link = &mut self.links[i];
        if let Ok(Some(Handshake::Hello(hello))) = link.hello.decode(piece) {
            match self.ends[1].accept_stripe(self.now, &hello) {
                Ok(stripe) => link.stripes[1] = Some(stripe),
                Err(class) => {
                    let refused = Handshake::Refused(class, "no".into());
                    link.towards[0].write(self.now, refused.encode());
                    link.towards[0].is_cut = true;
                }
            }
        }
    }

    /// An end learns that its stripe is lost; the other one will.
    fn lose(&mut self, i: usize, side: usize) -> bool {
        self.links[i].towards[1 - side].is_cut = true;
        let stripe = self.links[i].stripes[side].take();
        if let Some(stripe) = stripe {
            self.ends[side].handle_stripe_lost(self.now, stripe);
        }
        stripe.is_some()
    }

    /// Cuts a link after a random number of the bytes on the way in each direction.
    pub(super) fn cut(&mut self, i: usize) {
        for pipe in &mut self.links[i].towards {
            let len = pipe.on_the_way();
            pipe.cut(self.random.usize(..=len));
        }
    }

    /// Returns true if an end has sent something.
    fn transmit(&mut self, side: usize) -> bool {
        let mut is_busy = self.handle_events(side);
        for i in 0..self.links.len() {
            let Some(stripe) = self.links[i].stripes[side] else {
                continue;
            };
            while self.links[i].towards[1 - side].writable_at() <= self.now {
                let Some(bytes) = self.ends[side].poll_transmit(self.now, stripe) else {
                    break;
                };
                self.links[i].towards[1 - side].write(self.now, bytes);
                is_busy = true;
            }
        }
        self.handle_events(side) | is_busy
    }

    fn handle_events(&mut self, side: usize) -> bool {
        let mut is_busy = false;
        while let Some(event) = self.ends[side].poll_event() {
            is_busy = true;
            match event {
                Event::Open(id, destination) => self.dial(id, usize::from(destination.port)),
                Event::Opened(id) => assert!(self.apps[0][&id].is_open),
                Event::Failed(id, FailureClass::Refused, _) => {
                    self.failed.push(id);
                    self.app(side, id).is_open = false;
                }
                Event::Failed(id, class, text) => panic!("{id:?}: {class:?} {text}"),
                Event::Readable(id) => self.app(side, id).is_readable = true,
                Event::Writable(id) => self.app(side, id).is_writable = true,
                // It may follow the event of a flow that could not be connected.
                Event::Reset(id) => {
                    if let Some(app) = self.apps[side].get_mut(&id) {
                        app.is_reset = true;
                        app.is_open = false;
                    }
                }
                Event::StripesWanted(wanted) => assert!((1..=MAX_STRIPES).contains(&wanted)),
                Event::StripeClosed(stripe, end) => self.handle_stripe_closed(side, stripe, end),
                Event::Ended(end) => self.ended[side] = Some(end),
            }
        }
        is_busy
    }

    fn app(&mut self, side: usize, id: FlowId) -> &mut App {
        self.apps[side]
            .get_mut(&id)
            .expect("a flow of an event is known")
    }

    fn dial(&mut self, id: FlowId, index: usize) {
        if self.unreachable.contains(&index) {
            let text = "connection refused".into();
            return self.ends[1].handle_dial_failed(id, FailureClass::Refused, text);
        }
        self.apps[1].insert(id, App::new(self.now, 1, self.plans[index][1]));
        self.ends[1].handle_dialled(id);
    }

    /// The driver sends the last bytes and closes the byte stream.
    fn handle_stripe_closed(&mut self, side: usize, stripe: StripeId, end: StripeEnd) {
        self.closed_stripes.push(end);
        let with = |link: &&mut Link| link.stripes[side] == Some(stripe);
        let Some(link) = self.links.iter_mut().find(with) else {
            return;
        };
        link.stripes[side] = None;
        if let Some(bytes) = self.ends[side].poll_transmit(self.now, stripe) {
            link.towards[1 - side].write(self.now, bytes);
        }
        link.towards[1 - side].is_cut = true;
    }

    fn run_apps(&mut self, side: usize) {
        let ids: Vec<FlowId> = self.apps[side].keys().copied().collect();
        for id in ids {
            let app = self.apps[side].get_mut(&id).unwrap();
            app.run(self.now, id, &mut self.ends[side]);
            if app.has_read_end && app.plan.ends_last {
                app.is_writable = true;
                app.run(self.now, id, &mut self.ends[side]);
            }
        }
    }

    /// Returns true if all flows have ended at both ends and nothing is left of them.
    pub(super) fn is_drained(&self) -> bool {
        self.apps
            .iter()
            .flat_map(BTreeMap::values)
            .all(App::is_over)
            && self
                .ends
                .iter()
                .all(|end| end.flows.is_empty() && end.ledger.is_empty() && end.credit.is_full())
    }
}

fn is_quiet(link: &Link) -> bool {
    link.towards
        .iter()
        .all(|pipe| pipe.next_arrival().is_none())
}
