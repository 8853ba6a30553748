//! Makes the script of a life from its seed.

use fastrand::Rng;

use super::script::{
    AdminCommand, Break, Call, ClientSpec, Code, Event, FORWARDS, Point, Provider, Script, Stop,
    Temper, Timed,
};

impl Script {
    /// Makes the script of a life from its seed. Most lives are small; few are without any fault.
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let is_calm = rng.u8(..10) == 0;
        let (clients, faults) = match rng.u8(..12) {
            0 => (12..30, 6..20),
            1..3 => (6..12, 3..8),
            _ => (2..7, 1..6),
        };
        let mut events = Vec::new();
        for _ in 0..rng.usize(clients) {
            let at = rng.u64(..BUSY);
            // Often several at once, as browsers and connection pools do.
            let crowd = if rng.u8(..6) == 0 { rng.u64(2..5) } else { 1 };
            let forward = rng.u8(..FORWARDS);
            for _ in 0..crowd {
                let event = Event::Client(client(&mut rng, forward));
                events.push(Timed { at, event });
            }
        }
        let moments: Vec<_> = events.iter().map(|event| event.at).collect();
        for _ in 0..if is_calm { 0 } else { rng.usize(faults) } {
            // Most faults hit clients.
            let at = match rng.u8(..4) {
                0 => rng.u64(..BUSY),
                // Some while its session is being started, or its bytes move.
                1 => {
                    let late = rng.u64(..600);
                    moments[rng.usize(..moments.len())] + late * late / 600
                }
                _ => moments[rng.usize(..moments.len())] + rng.u64(..20_000),
            };
            let event = fault(&mut rng);
            events.push(Timed { at, event });
        }
        if !is_calm && rng.u8(..5) == 0 {
            crowd_in_the_dark(&mut rng, &mut events);
        }
        events.sort_by_key(|event| event.at);
        Self { seed, events }
    }
}

/// Many clients come while no session can be started.
fn crowd_in_the_dark(rng: &mut Rng, events: &mut Vec<Timed>) {
    let begin = rng.u64(..BUSY);
    let event = match rng.bool() {
        true => Event::NetworkSilent(rng.u64(25..90)),
        false => Event::Throttled(rng.u64(40..120)),
    };
    events.push(Timed { at: begin, event });
    let at = begin + rng.u64(..20_000);
    let forward = rng.u8(..FORWARDS);
    for _ in 0..rng.u32(8..20) {
        let temper = Temper::Request;
        let (up, down) = (rng.u32(..100), rng.u32(..100));
        let event = Event::Client(ClientSpec {
            forward,
            temper,
            up,
            down,
        });
        events.push(Timed { at, event });
    }
}

fn client(rng: &mut Rng, forward: u8) -> ClientSpec {
    let size = |rng: &mut Rng| match rng.u8(..40) {
        0 => rng.u32(100_000..400_000),
        1..6 => rng.u32(5_000..40_000),
        6..12 => 0,
        _ => rng.u32(1..5_000),
    };
    let temper = match rng.u8(..21) {
        0..4 => Temper::Request,
        4..6 => Temper::Bulk,
        6..9 => Temper::Idle,
        9..11 => Temper::HalfClose,
        11..13 => Temper::Vanish,
        13 => Temper::Reset,
        14 => Temper::SlowReader,
        15..17 => Temper::NeverReads,
        17 => Temper::OneByte,
        18 => Temper::Trickle,
        _ => Temper::Mute,
    };
    let (up, mut down) = (size(rng), size(rng));
    // More than the buffers on the way can hold.
    if temper == Temper::SlowReader && rng.bool() {
        down = rng.u32(150_000..300_000);
    }
    let most = match temper {
        Temper::OneByte => 200,
        Temper::SlowReader => 300_000,
        Temper::Request
        | Temper::Bulk
        | Temper::Idle
        | Temper::HalfClose
        | Temper::Vanish
        | Temper::Reset
        | Temper::NeverReads
        | Temper::Trickle
        | Temper::Mute => u32::MAX,
    };
    ClientSpec {
        forward,
        temper,
        up: up.min(most),
        down: down.min(most),
    }
}

fn fault(rng: &mut Rng) -> Event {
    // From a moment to longer than any timeout.
    let long = |rng: &mut Rng| match rng.u8(..4) {
        0 => rng.u64(1..5),
        1 => rng.u64(5..40),
        2 => rng.u64(40..120),
        _ => rng.u64(120..300),
    };
    match rng.u8(..45) {
        0..2 => Event::Websockets(Break::Close),
        2 => Event::Websockets(Break::Fin),
        3 => Event::Websockets(Break::Reset),
        4..6 => Event::Websockets(Break::BlackHole),
        6 => Event::NetworkCut,
        7..10 => Event::NetworkSilent(long(rng)),
        10 => Event::NetworkRefused(long(rng)),
        11..13 => Event::MachineSleeps(rng.u64(60..30_000)),
        13 => Event::AgentCrash,
        14 => Event::AgentAway(long(rng)),
        15 => Event::Offline(long(rng)),
        16 => Event::Pauses(rng.u32(1..15)),
        17..19 => Event::CallsFail(call(rng), code(rng), rng.u32(1..8)),
        19 => Event::Throttled(long(rng)),
        20 => Event::ResponsesLost(rng.u32(1..4)),
        21 => Event::UpgradesRefused([403, 404, 410, 429, 503][rng.usize(..5)], rng.u32(1..4)),
        22..24 => Event::Provider(provider(rng), long(rng)),
        24 => Event::CredentialsExpire(rng.u64(30..900)),
        25..27 => Event::DestinationSilent(long(rng)),
        27 => Event::DestinationRefused(long(rng)),
        28..30 => Event::Reload(rng.u8(..VARIANTS)),
        30 => Event::BadReload,
        31 => Event::DumpConnections,
        32 => Event::RetryNow,
        33..36 => Event::Panic(point(rng)),
        36 => Event::DiskFull(long(rng)),
        37 => Event::DiskSlow(rng.u64(1..60)),
        38 => Event::Kill,
        39 => Event::Restart(stop(rng)),
        40 => Event::WebsocketsUnstable(long(rng)),
        // Sessions are resumed after it.
        41..43 => Event::NetworkRefused(rng.u64(5..40)),
        _ => Event::Admin(admin_command(rng)),
    }
}

fn call(rng: &mut Rng) -> Call {
    [Call::Start, Call::Resume, Call::Terminate][rng.usize(..3)]
}

fn code(rng: &mut Rng) -> Code {
    [
        Code::Throttling,
        Code::Internal,
        Code::ExpiredToken,
        Code::AccessDenied,
    ][rng.usize(..4)]
}

fn provider(rng: &mut Rng) -> Provider {
    [Provider::Hangs, Provider::Fails, Provider::Slow][rng.usize(..3)]
}

fn stop(rng: &mut Rng) -> Stop {
    [Stop::Signal, Stop::Signals, Stop::Command, Stop::CommandNow][rng.usize(..4)]
}

fn admin_command(rng: &mut Rng) -> AdminCommand {
    [
        AdminCommand::Status,
        AdminCommand::Forward,
        AdminCommand::Close(rng.u64(1..10)),
        AdminCommand::Log,
        AdminCommand::Reload,
        AdminCommand::Invalid,
        AdminCommand::Silent,
    ][rng.usize(..7)]
}

fn point(rng: &mut Rng) -> Point {
    let points = [
        Point::Http,
        Point::Daemon,
        Point::Tunnel,
        Point::TunnelCore,
        Point::TerminateSession,
        Point::StartSession,
        Point::Dispatcher,
        Point::Dispatcher,
        Point::TerminateSession,
        Point::AcceptLoop,
        Point::Supplier,
        Point::Connection,
    ];
    points[rng.usize(..points.len())]
}

/// Time during which something happens, in milliseconds. The rest of the hour is quiet.
const BUSY: u64 = 2_400_000;

/// Number of variants of the configuration; see `world.rs`.
const VARIANTS: u8 = 6;
