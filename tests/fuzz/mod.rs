//! Decoders and cores with hostile input.
//!
//! Each target is a function of `targets.rs`, `proxy.rs`, `bundle.rs`, `compression.rs`, `tunnel.rs` or `agent.rs` and a folder
//! of `corpus`. A run replays the corpus, then some thousand mutations of it, the same ones each
//! time. To search further:
//!
//! ```text
//!   FUZZ_SEED=7 FUZZ_ROUNDS=1000000 cargo test --test all fuzz::
//! ```
//!
//! A failure prints its input; keep it as a file of the corpus. A new target is a function, a
//! folder and a test; one with state reads its steps from a `ByteSource`.

mod agent;
mod bundle;
mod byte_source;
mod compression;
mod mutate;
mod proxy;
mod targets;
mod tunnel;

use std::fs;
use std::path::Path;

use fastrand::Rng;

#[test]
fn decoding_messages_never_panics() {
    fuzz("message", targets::message);
}

#[test]
fn decoding_messages_with_a_valid_digest_never_panics() {
    fuzz("message_sealed", targets::message_sealed);
}

#[test]
fn decoding_open_data_channel_never_panics() {
    fuzz("open_data_channel", targets::open_data_channel);
}

#[test]
fn decoding_acknowledgements_never_panics() {
    fuzz("acknowledge", targets::acknowledge);
}

#[test]
fn decoding_handshake_requests_never_panics() {
    fuzz("handshake_request", targets::handshake_request);
}

#[test]
fn decoding_session_types_never_panics() {
    fuzz("session_type", targets::session_type);
}

#[test]
fn decoding_handshake_responses_never_panics() {
    fuzz("handshake_response", targets::handshake_response);
}

#[test]
fn decoding_handshake_complete_never_panics() {
    fuzz("handshake_complete", targets::handshake_complete);
}

#[test]
fn decoding_channel_closed_never_panics() {
    fuzz("channel_closed", targets::channel_closed);
}

#[test]
fn decoding_flags_never_panics() {
    fuzz("flag", targets::flag);
}

#[test]
fn decoding_frame_headers_never_panics() {
    fuzz("frame_header", targets::frame_header);
}

#[test]
fn frames_are_found_in_any_fragmentation() {
    fuzz("smux", targets::smux);
}

#[test]
fn a_tunnel_survives_every_agent() {
    fuzz_for(SCENARIOS, "tunnel", tunnel::tunnel);
}

#[test]
fn a_tunnel_without_a_mux_survives_every_agent() {
    fuzz_for(SCENARIOS, "single", tunnel::single);
}

#[test]
fn an_agent_survives_every_client() {
    fuzz_for(SCENARIOS, "agent", agent::agent);
}

#[test]
fn records_of_a_bundle_are_found_in_any_fragmentation() {
    fuzz("bundle_records", bundle::records);
}

#[test]
fn decoding_handshakes_of_stripes_never_panics() {
    fuzz("bundle_handshake", bundle::handshake);
}

#[test]
fn segments_of_a_compressed_flow_are_decoded_in_any_fragmentation() {
    fuzz("compression", compression::decoder);
}

#[test]
fn a_relay_survives_every_daemon() {
    fuzz_for(SCENARIOS, "bundle_relay", bundle::relay);
}

#[test]
fn a_daemon_survives_every_relay() {
    fuzz_for(SCENARIOS, "bundle_daemon", bundle::daemon);
}

#[test]
fn requests_to_a_proxy_are_found_in_any_fragmentation() {
    fuzz("proxy_handshake", proxy::proxy_handshake);
}

fn fuzz(target: &'static str, run: fn(&[u8])) {
    fuzz_for(ROUNDS, target, run);
}

/// Runs a target with its corpus and with mutations of it.
fn fuzz_for(rounds: u64, target: &'static str, run: fn(&[u8])) {
    let corpus = corpus(target);
    for (name, input) in &corpus {
        let _case = Case {
            target,
            name,
            input,
        };
        run(input);
    }
    let seeds: Vec<_> = corpus.into_iter().map(|(_, input)| input).collect();
    let (seed, rounds) = (number("FUZZ_SEED", 1), number("FUZZ_ROUNDS", rounds));
    let name = format!("FUZZ_SEED={seed} FUZZ_ROUNDS={rounds}");
    let mut rng = Rng::with_seed(seed);
    for _ in 0..rounds {
        let input = mutate::mutation(&mut rng, &seeds);
        let _case = Case {
            target,
            name: &name,
            input: &input,
        };
        run(&input);
    }
}

/// The files of a target's corpus, by name.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fuzz/corpus")
        .join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{folder:?} has no input");
    let name = |file: &Path| file.file_name().unwrap().to_string_lossy().into_owned();
    files
        .iter()
        .map(|file| (name(file), fs::read(file).unwrap()))
        .collect()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the search is chosen by the environment"
)]
fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{variable} is not a number: {text}")),
        Err(_) => default,
    }
}

/// The current input. If the target panics, prints the input.
struct Case<'a> {
    target: &'a str,
    name: &'a str,
    input: &'a [u8],
}

impl Drop for Case<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let hex: String = self
                .input
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            eprintln!("target {}, {}, input {hex}", self.target, self.name);
        }
    }
}

/// Rounds of a normal run; longer searches are manual.
const ROUNDS: u64 = 20_000;

/// Rounds for targets with state, whose inputs are whole scenarios.
const SCENARIOS: u64 = 3000;
