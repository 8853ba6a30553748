//! An agent that acknowledges and discards messages before its handshake is complete.

use std::time::Duration;

use ssm_proxyd::proto::StreamId;
use ssm_proxyd::sim::agent::Race;
use ssm_proxyd::sim::link::LinkConditions;

use crate::support::agent_destination::Destination;
use crate::support::client::End;
use crate::support::pair::Pair;
use crate::support::pair_options::PairOptions;

/// A session with a mux or without, on a path with this delay each way.
fn setup(seed: u64, delay: Duration, is_single: bool) -> PairOptions {
    let mut setup = match is_single {
        true => PairOptions::single(),
        false => PairOptions::default(),
    };
    setup.seed = seed;
    setup.up = LinkConditions::delayed(delay);
    setup.down = LinkConditions::delayed(delay);
    setup.agent.readiness = Duration::from_micros(200)..Duration::from_micros(2100);
    setup
}

/// Runs until the tunnel is ready. Returns the pair, and the delay after the agent was ready.
fn ready(setup: PairOptions) -> (Pair, Duration) {
    let mut pair = Pair::new(setup);
    pair.set_destination(Destination::echo());
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
        // The time that a tunnel waits if its probe was not discarded.
        let longest = match is_single {
            _ if micros < 500 => 22,
            true => 8,
            false => 5,
        };
        setup.agent.handshake_race = Race {
            probability: 1.0,
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
fn first_bytes_that_an_agent_discards_are_reported_as_lost() {
    let delays = [50, 300, 2000, 10_000, 40_000].into_iter().cycle();
    for (seed, micros) in (0..400).zip(delays) {
        let delay = Duration::from_micros(micros);
        let mut setup = setup(seed, delay, false);
        // Longer than any tunnel waits.
        setup.agent.handshake_race = Race {
            probability: 1.0,
            delay: Duration::from_millis(30)..Duration::from_millis(1800),
        };

        let (mut pair, _) = ready(setup);
        let stream = pair.open(Destination::echo());
        // The stream that reports the discarded first bytes.
        pair.expect_stream(StreamId(1), Destination::echo());
        let mut written = Vec::new();
        // Enough for every position within the interval, at different times.
        for letter in 0..seed % 12 + 1 {
            pair.write(stream, &[b'a' + u8::try_from(letter).unwrap(); 40]);
            written.extend([b'a' + u8::try_from(letter).unwrap(); 40]);
            pair.run_for(Duration::from_millis(seed % 7));
        }
        pair.run_for(Duration::from_secs(15));

        let local = pair.local_of(stream);
        let received = local.received();
        let is_lost = matches!(local.end(), Some(End::Lost(_)));
        assert!(
            received == written || (received.is_empty() && is_lost),
            "seed {seed}, delay {delay:?}: {} of {} bytes, {:?}",
            received.len(),
            written.len(),
            local.end()
        );
    }
}

#[test]
fn the_readiness_probe_takes_a_few_milliseconds_in_the_median() {
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
        // HandshakeComplete, a probe and its acknowledgement, and the maximum time of a probe; or
        // the time after which an agent discards nothing any more.
        let is_near = delay < Duration::from_micros(500);
        let probed = 3 * delay + Duration::from_millis(3);
        let settled = 3 * delay + Duration::from_millis(if is_near { 26 } else { 4 });
        assert!(late[50] <= probed);
        assert!(late[100] <= settled + Duration::from_millis(4));
    }
}
