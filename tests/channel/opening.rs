//! An agent that acknowledges and discards what comes before its handshake is complete.

use std::time::Duration;

use ssm_proxyd::sim::agent::Race;

use crate::support::destination::Destination;
use crate::support::link::Weather;
use crate::support::pair::Pair;
use crate::support::setup::Setup;

/// A session with a mux or without, on a path with this delay each way.
fn setup(seed: u64, delay: Duration, is_single: bool) -> Setup {
    let mut setup = match is_single {
        true => Setup::single(),
        false => Setup::default(),
    };
    setup.seed = seed;
    setup.up = Weather::fair(delay);
    setup.down = Weather::fair(delay);
    setup.agent.readiness = Duration::from_micros(200)..Duration::from_micros(2100);
    setup
}

/// Runs until the tunnel is ready. Returns the pair and how long after the agent that was.
fn ready(setup: Setup) -> (Pair, Duration) {
    let mut pair = Pair::new(setup);
    pair.lead_to(Destination::echo());
    pair.connect("token");
    pair.run_until(|pair| pair.ready.is_some());
    let since = pair.agent.timeline().ready;
    let late = since.map_or(Duration::ZERO, |since| pair.now - since);
    (pair, late)
}

#[test]
fn the_first_bytes_arrive_although_the_agent_discards_at_first() {
    let delays = [50, 300, 2000, 10_000].into_iter().cycle();
    for (seed, micros) in (0..400).zip(delays) {
        let delay = Duration::from_micros(micros);
        let is_single = seed % 8 > 3;
        let mut setup = setup(seed, delay, is_single);
        // As long as a tunnel waits that was shown no refusal.
        let longest = if micros < 500 { 22 } else { 8 };
        setup.agent.handshake_race = Race {
            chance: 1.0,
            delay: Duration::ZERO..Duration::from_millis(longest),
        };

        let (mut pair, _) = ready(setup);
        let stream = match is_single {
            true => pair.open_single(),
            false => pair.open(Destination::echo()),
        };
        pair.write(stream, b"first words");
        pair.run_for(Duration::from_secs(5));

        let received = pair.local(stream).received();
        assert_eq!(received, b"first words", "seed {seed}, delay {delay:?}");
    }
}

#[test]
fn proof_of_readiness_takes_a_few_milliseconds_in_the_median() {
    for micros in [50, 300, 2000, 10_000, 40_000] {
        let delay = Duration::from_micros(micros);
        let mut late: Vec<_> = (0..101)
            .map(|seed| ready(setup(seed, delay, false)).1)
            .collect();
        late.sort();

        println!(
            "delay {delay:?}: ready {:?} after the agent in the median, at most {:?}",
            late[50], late[100]
        );
        // HandshakeComplete, a probe and its acknowledgement, in steps of 3 ms; or the time after
        // which an agent discards no more.
        let is_near = delay < Duration::from_micros(500);
        let probed = 3 * delay + Duration::from_millis(4);
        let settled = 3 * delay + Duration::from_millis(if is_near { 26 } else { 11 });
        assert!(late[50] <= if is_near { probed } else { settled });
        assert!(late[100] <= settled + Duration::from_millis(4));
    }
}
