//! Random valid-looking messages in any order, with random destinations.

use super::*;

/// A random step of the client, a destination or the clock.
fn step(bench: &mut Bench, rng: &mut fastrand::Rng, ids: &mut Vec<ConnectionId>) {
    let id = rng.choice(ids.iter().copied());
    match (rng.u8(..12), id) {
        (0, Some(id)) => bench.agent.handle_dialled(bench.now, id),
        (1, Some(id)) => bench.agent.handle_dial_failed(bench.now, id),
        (2, Some(id)) => {
            let len = rng.usize(..100_000);
            bench.agent.handle_written(bench.now, id, len);
        }
        (3, Some(id)) => bench
            .agent
            .handle_read(id, vec![1; rng.usize(..50_000)].into()),
        (4, Some(id)) => bench
            .agent
            .handle_ended(bench.now, id, DestinationEnd::Broken),
        (5, _) => bench.wait(Duration::from_millis(rng.u64(1..50))),
        (6, _) if rng.u8(..20) == 0 => bench.agent.handle_disconnected(bench.now),
        (7, _) => bench.agent.handle_connected(bench.now),
        (0..=7, _) => {}
        (8.., _) => {
            let frame = frame(rng, bench.next);
            bench.next += u64::from(rng.bool());
            bench.agent.handle_message(bench.now, frame);
        }
    }
    bench.settle();
    ids.extend(bench.events.drain(..).filter_map(|event| match event {
        Event::Dial(id) => Some(id),
        Event::Write(..) | Event::Close(_) | Event::Ended(_) => None,
    }));
}

fn frame(rng: &mut fastrand::Rng, next: u64) -> Bytes {
    let kinds = [
        MessageType::Input,
        MessageType::Input,
        MessageType::Input,
        MessageType::Acknowledge,
        MessageType::PausePublication,
    ];
    let kind = rng.choice(kinds).unwrap();
    let types = [
        PayloadType::Output,
        PayloadType::Output,
        PayloadType::Output,
        PayloadType::Size,
        PayloadType::Flag,
        PayloadType::HandshakeResponse,
        PayloadType::EncChallengeResponse,
        PayloadType::Other(99),
    ];
    let payload_type = rng.choice(types).unwrap();
    let mut payload = Vec::new();
    for _ in 0..rng.u8(..6) {
        let stream = 3 + 2 * rng.u8(..4);
        let header = [1, rng.u8(..4), rng.u8(..9), 0, stream, 0, 0, 0];
        payload.extend_from_slice(&header);
        payload.resize(payload.len() + usize::from(header[2]), b'x');
    }
    let seq = next.saturating_add(rng.u64(..4)).saturating_sub(1);
    let mut bytes = message(kind, seq, payload_type, &payload).encode().to_vec();
    if rng.u8(..50) == 0 {
        let place = rng.usize(..bytes.len());
        bytes[place] = rng.u8(..);
    }
    bytes.into()
}

#[test]
fn an_agent_survives_every_order_of_messages_and_responses() {
    for seed in 0..300 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let properties = [("portNumber", "80"), ("type", "LocalPortForwarding")];
        let port = rng.bool();
        let mut bench = Bench::new(Options::default(), &properties[..1 + usize::from(port)]);
        if rng.u8(..10) > 0 {
            bench = bench.after_handshake(if rng.bool() { "1.2.764.0" } else { "1.1.69" });
        }
        let mut ids: Vec<_> = bench
            .events
            .drain(..)
            .filter_map(|event| match event {
                Event::Dial(id) => Some(id),
                Event::Write(..) | Event::Close(_) | Event::Ended(_) => None,
            })
            .collect();

        for _ in 0..300 {
            step(&mut bench, &mut rng, &mut ids);
        }
        bench.agent.handle_channel_closed(bench.now);
        bench.wait(Duration::from_secs(70));

        assert!(bench.agent.has_ended(), "seed {seed}");
    }
}
