//! Flows over bad stripes: each byte arrives exactly once and in order, or the flow is reset.
//!
//! A failure prints its seed. To run it alone, or to search further (the test is compiled again):
//!
//! ```text
//!   BUNDLE_FROM=7 BUNDLE_COUNT=1 cargo test --lib flows_survive_bad_stripes
//! ```

use std::time::{Duration, Instant};

use super::apps::Plan;
use super::link::Quality;
use super::world::World;
use crate::bundle::Options;
use crate::bundle::credit::CreditPool;
use crate::bundle::ids::FlowId;

#[test]
fn flows_survive_bad_stripes() {
    let number = |text: Option<&str>| text.and_then(|text| text.parse().ok());
    let from = number(option_env!("BUNDLE_FROM")).unwrap_or(0);
    let count = number(option_env!("BUNDLE_COUNT")).unwrap_or(10_000);
    for seed in from..from + count {
        let run = std::panic::catch_unwind(|| run(seed));
        assert!(run.is_ok(), "seed {seed}");
    }
}

fn run(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed ^ 0x5eed);
    let mut world = World::new(seed, &options(&mut random), qualities(&mut random));
    if random.bool() {
        // Flows wait for credit more often.
        for end in &mut world.ends {
            end.credit = CreditPool::of_size(random.u64(0..100_000));
        }
    }
    let flows = random.usize(1..8);
    let mut actions = actions(&mut random, flows);
    actions.sort_by_key(|(at, _)| *at);
    let mut last = Duration::ZERO;
    for (at, action) in actions {
        world.run_for(at.saturating_sub(last));
        last = at.max(last);
        act(&mut world, &mut random, action);
    }

    world.run_until(Duration::from_secs(900), World::is_drained);
    assert_eq!(world.ended, [None, None]);
    (1..).take(flows).for_each(|id| check(&world, FlowId(id)));

    let now = world.now;
    world.ends[0].close(now);
    world.run_until(Duration::from_secs(60), |world| world.ended[0].is_some());
}

#[derive(Clone, Copy, Debug)]
enum Action {
    Open,
    Cut,
    CutAll,
    Offline(Duration),
    Stall(Duration),
}

fn options(random: &mut fastrand::Rng) -> Options {
    Options {
        min_stripes: random.usize(1..4),
        max_stripes: random.usize(1..8),
        ..Options::DEFAULT
    }
}

/// Byte streams whose delays differ by up to a hundred times.
fn qualities(random: &mut fastrand::Rng) -> Vec<Quality> {
    let quality = |_| Quality {
        rate: 20_000 << random.u32(0..10),
        delay: Duration::from_micros(random.u64(500..2_000) * 10u64.pow(random.u32(0..3))),
    };
    (0..8).map(quality).collect()
}

fn actions(random: &mut fastrand::Rng, flows: usize) -> Vec<(Duration, Action)> {
    let mut actions = Vec::new();
    let mut at = |random: &mut fastrand::Rng, action| {
        let time = Duration::from_millis(random.u64(0..4_000) >> random.u32(0..4));
        actions.push((time, action));
    };
    for _ in 0..flows {
        at(random, Action::Open);
    }
    for _ in 0..random.usize(0..8) {
        let stall = Duration::from_millis(1 << random.u32(4..15));
        let action = match random.u32(0..8) {
            0 => Action::CutAll,
            1 => Action::Offline(Duration::from_secs(if random.bool() { 30 } else { 2 })),
            2..5 => Action::Stall(stall),
            _ => Action::Cut,
        };
        at(random, action);
    }
    actions
}

fn act(world: &mut World, random: &mut fastrand::Rng, action: Action) {
    match action {
        Action::Open => {
            let index = world.plans.len();
            if random.u32(0..12) == 0 {
                world.unreachable.push(index);
            }
            world.open(plan(random), plan(random));
        }
        Action::Cut => {
            if !world.links.is_empty() {
                world.cut(random.usize(..world.links.len()));
            }
        }
        Action::CutAll => (0..world.links.len()).for_each(|i| world.cut(i)),
        Action::Offline(time) => {
            (0..world.links.len()).for_each(|i| world.cut(i));
            world.offline_until = world.now + time;
        }
        Action::Stall(time) => {
            let until: Instant = world.now + time;
            if !world.links.is_empty() {
                let link = random.usize(..world.links.len());
                let side = random.usize(..2);
                world.links[link].towards[side].stalled_until = until;
            }
        }
    }
}

fn plan(random: &mut fastrand::Rng) -> Plan {
    let magnitude = random.u32(1..17);
    let total = random.u64(0..1 << magnitude);
    let is_large = random.u32(0..8) == 0;
    let pause = |random: &mut fastrand::Rng| match random.u32(0..4) {
        0 => Duration::from_millis(random.u64(1..300)),
        _ => Duration::ZERO,
    };
    Plan {
        total: if is_large { total * 8 } else { total },
        piece: random.usize(1_000..40_000),
        read_pause: pause(random),
        write_pause: pause(random),
        reset_after: (random.u32(0..8) == 0).then(|| random.u64(0..=total)),
        ends_last: false,
    }
}

/// Checks what both ends of a flow have seen.
fn check(world: &World, id: FlowId) {
    let daemon = &world.apps[0][&id];
    if world.failed.contains(&id) {
        assert!(!world.apps[1].contains_key(&id) && !daemon.has_read_end);
        return;
    }
    let Some(relay) = world.apps[1].get(&id) else {
        assert!(daemon.has_reset, "{id:?} was not opened");
        return;
    };
    for (one, other) in [(daemon, relay), (relay, daemon)] {
        if one.has_read_end {
            assert!(other.has_finished && one.read == other.plan.total, "{id:?}");
        }
        if one.is_reset {
            assert!(other.has_reset, "{id:?} was reset by nobody");
        }
        let is_whole = one.has_read_end && one.has_finished;
        assert!(is_whole || one.has_reset || one.is_reset, "{id:?}");
    }
}
