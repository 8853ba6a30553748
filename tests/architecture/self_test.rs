//! Each rule finds a violation of it, and valid sources have none.

use super::rules::{self, Rule};
use super::{Source, sources};

#[test]
fn valid_sources_have_no_violation() {
    let sources = [
        file(
            "src/lib.rs",
            "//! The modules.\npub mod proto;\npub mod wire;\n",
        ),
        file(
            "src/main.rs",
            "//! The binary.\nuse ssm_proxyd::cli;\nfn main() { cli::run() }\n",
        ),
        file(
            "src/proto/mod.rs",
            "//! The core, see `crate::tunnel`.\n\
             /// Not [`tokio::spawn`](crate::network).\n\
             use std::net::{IpAddr, SocketAddr};\n\
             use bytes::Bytes;\n\
             use tracing::debug;\n\
             pub use crate::wire::smux::StreamId;\n\
             use crate::proto::tunnel;\n\
             const TEXT: &str = \"crate::daemon::run and std::fs, Instant::now()\";\n\
             #[cfg(test)]\n\
             mod tests { use super::*; use crate::sim::agent; fn f() { Instant::now(); } }\n",
        ),
        file(
            "src/proto/channel/encoder.rs",
            "//! A sealer.\nuse super::Error;\nuse fastrand::Rng;\n",
        ),
        file(
            "src/clock.rs",
            "//! The clock.\n\
             #![expect(clippy::disallowed_methods, reason = \"the clock\")]\n\
             fn now() { tokio::time::Instant::now(); }\n",
        ),
        file(
            "src/tunnel/driver.rs",
            "//! The driver.\n\
             async fn drive() { crate::clock::now(); crate::session::end().await }\n",
        ),
        file("src/cli/tests.rs", "//! Sentences.\nuse super::*;\n"),
    ];

    assert_eq!(rules::inspect(&sources), []);
}

#[test]
fn a_violation_added_to_the_real_source_is_found() {
    let mut sources = sources();
    let smux = sources
        .iter_mut()
        .find(|file| file.path == "src/wire/smux.rs")
        .unwrap();
    let line = smux.text.lines().count() + 1;
    *smux = file(
        &smux.path,
        &format!("{}use crate::network::dial;\n", smux.text),
    );

    let faults = rules::modules(&sources);

    assert_eq!(faults.len(), 1, "{faults:?}");
    assert_eq!(
        (faults[0].path.as_str(), faults[0].line),
        ("src/wire/smux.rs", line)
    );
}

#[test]
fn an_import_that_is_not_in_the_table_is_found() {
    let text = "//! X.\nfn f() { crate::tunnel::open() }\n";

    for path in ["src/proto/a.rs", "src/wire/a.rs", "src/session/mod.rs"] {
        assert_found(rules::modules, path, text, 2, "`tunnel`");
    }
    assert_eq!(rules::modules(&[file("src/forward/a.rs", text)]), []);
}

#[test]
fn an_import_in_a_unit_test_is_found_unless_it_is_the_simulator() {
    let text =
        "//! X.\n#[cfg(test)]\nmod tests {\nuse crate::sim::link;\nuse crate::cli::run;\n}\n";

    assert_found(rules::modules, "src/proto/a.rs", text, 5, "`cli`");
}

#[test]
fn shipped_code_may_not_import_the_simulator() {
    let text = "//! X.\nuse crate::sim::link;\n";

    assert_found(rules::modules, "src/daemon/a.rs", text, 2, "`sim`");
}

#[test]
fn main_imports_the_cli_only() {
    let text = "//! X.\nfn main() { ssm_proxyd::daemon::run() }\n";

    assert_found(rules::modules, "src/main.rs", text, 2, "`daemon`");
}

#[test]
fn a_module_without_a_row_is_found() {
    assert_found(
        rules::modules,
        "src/attic/mod.rs",
        "//! X.\n",
        1,
        "`attic` is not in the table",
    );
    assert_found(
        rules::modules,
        "src/attic.rs",
        "//! X.\n",
        1,
        "`attic` is not in the table",
    );
}

#[test]
fn a_module_without_a_full_path_is_found() {
    for (path, line, what) in [
        ("src/proto/a.rs", "use crate::{wire::smux};", "one `use"),
        ("src/proto/a.rs", "use crate as all;", "name the module"),
        ("src/proto/a.rs", "use crate::*;", "name the module"),
        (
            "src/proto/a.rs",
            "use super::super::wire::smux;",
            "leaves the module",
        ),
        (
            "src/proto/mod.rs",
            "use super::wire::smux;",
            "leaves the module",
        ),
        (
            "src/proto/a.rs",
            "mod b { use super::super::super::wire; }",
            "leaves",
        ),
        ("src/proto/a.rs", "use super::*;", "outside tests"),
        (
            "src/proto/mux/a.rs",
            "use super::super::*;",
            "outside tests",
        ),
        (
            "src/tunnel/a.rs",
            "pub use crate::proto::Reason;",
            "`pub use`",
        ),
        (
            "src/tunnel/a.rs",
            "pub(crate) use crate::proto::Reason;",
            "`pub use`",
        ),
        ("src/lib.rs", "pub use wire::smux;", "imports nothing"),
    ] {
        let text = format!("//! X.\n{line}\n");

        assert_found(rules::full_names, path, &text, 2, what);
    }
}

#[test]
fn a_crate_outside_its_allowed_files_is_found() {
    for (path, line, what) in [
        (
            "src/forward/mod.rs",
            "use aws_sdk_ssm::Client;",
            "session/aws",
        ),
        (
            "src/session/sigv4.rs",
            "fn f() { ::aws_config::load() }",
            "session/aws",
        ),
        (
            "src/proto/tunnel.rs",
            "use {std::io, serde_json::Value};",
            "wire/payload",
        ),
        ("src/proto/mod.rs", "use tokio as async_io;", "network"),
        (
            "src/wire/smux.rs",
            "fn f() { tracing::info!(\"x\") }",
            "but wire",
        ),
        (
            "src/config/check.rs",
            "use toml::Spanned;",
            "config/document",
        ),
        (
            "src/config/file_name.rs",
            "use toml::Spanned;",
            "config/document",
        ),
        ("src/daemon/mod.rs", "use std::{env, io};", "cli"),
    ] {
        let text = format!("//! X.\n{line}\n");

        assert_found(rules::crates, path, &text, 2, what);
    }
}

#[test]
fn a_crate_may_be_used_in_its_file_its_folder_and_unit_tests() {
    let clean = [
        file("src/config/document.rs", "//! X.\nuse toml::Table;\n"),
        file(
            "src/config/document/spans.rs",
            "//! X.\nuse toml::Spanned;\n",
        ),
        file(
            "src/config/check.rs",
            "//! X.\n#[cfg(test)]\nuse toml::Table;\n",
        ),
        file(
            "src/config/check.rs",
            "//! X.\nfn f(toml: T) { toml.x(); a::toml::b() }\n",
        ),
    ];

    assert_eq!(rules::crates(&clean), []);
}

#[test]
fn a_dependency_without_a_row_is_found_and_so_is_a_row_without_a_dependency() {
    let names: Vec<_> = super::tables::CRATES
        .iter()
        .map(|(name, _)| *name)
        .collect();
    let crates = names.iter().filter(|name| !name.contains("::"));
    let all: String = crates.map(|name| format!("{name} = \"1\"\n")).collect();
    let manifest = |crates: &str| format!("[dependencies]\n{crates}[lints.rust]\nx = \"warn\"\n");

    let extra = manifest(&format!("left-pad = \"1\"\n{all}"));
    let fewer = manifest(&all.replace("toml = \"1\"\n", ""));

    assert_eq!(rules::manifest(&[file("Cargo.toml", &manifest(&all))]), []);
    assert_found(rules::manifest, "Cargo.toml", &extra, 2, "`left-pad`");
    assert_found(rules::manifest, "Cargo.toml", &fewer, 1, "`toml`");
}

#[test]
fn an_impure_name_in_a_pure_file_is_found() {
    for line in [
        "use tokio::time;",
        "async fn f() {}",
        "fn f() { x.await }",
        "use std::{fmt, fs};",
        "fn f() { std::env::args() }",
        "use std::{io, thread::sleep};",
        "fn f() { std::process::abort() }",
        "fn f() { Instant::now() }",
        "fn f() { <Instant>::now() }",
        "fn f() { x.map(Instant::now) }",
        "use std::net::{IpAddr, TcpStream};",
        "use std::net;",
        "use std::net::*;",
    ] {
        let text = format!("//! X.\n{line}\n");

        for path in [
            "src/wire/a.rs",
            "src/forward/pool.rs",
            "src/sim/agent_port.rs",
        ] {
            assert_found(rules::purity, path, &text, 2, "a pure file names");
        }
        assert_eq!(rules::purity(&[file("src/forward/mod.rs", &text)]), []);
    }
}

#[test]
fn a_pure_file_that_imports_an_impure_one_is_found() {
    for line in [
        "use crate::forward::relay::Relay;",
        "use super::relay::Relay;",
        "mod inner { use super::super::relay; }",
        "fn f() { super::relay::run() }",
    ] {
        let sources = [
            file("src/forward/pool.rs", &format!("//! X.\n{line}\n")),
            file("src/forward/relay.rs", "//! X.\n"),
        ];

        let faults = rules::pure_imports(&sources);

        assert_eq!(faults.len(), 1, "{line}: {faults:?}");
        assert_eq!(
            (faults[0].path.as_str(), faults[0].line),
            ("src/forward/pool.rs", 2)
        );
    }
}

#[test]
fn a_pure_file_may_import_its_parent_and_pure_files() {
    let sources = [
        file(
            "src/forward/pool.rs",
            "//! X.\nuse super::{Error, backoff::Backoff};\n",
        ),
        file("src/tunnel/backoff.rs", "//! X.\n"),
        file("src/forward/mod.rs", "//! X.\n"),
    ];

    assert_eq!(rules::pure_imports(&sources), []);
}

#[test]
fn a_file_without_a_header_is_found() {
    for text in ["use std::io;\n", "", "//!\n", "\n//! Late.\n", "// No.\n"] {
        assert_found(rules::headers, "src/wire/a.rs", text, 1, "begin with");
        assert_found(rules::headers, "tests/a.rs", text, 1, "begin with");
    }
}

#[test]
fn a_file_that_is_too_long_is_found() {
    let longest = "//\n".repeat(400);
    let longer = "//\n".repeat(401);

    assert_eq!(rules::lengths(&[file("src/wire/a.rs", &longest)]), []);
    assert_found(rules::lengths, "src/wire/a.rs", &longer, 401, "401 lines");
}

#[test]
fn a_vague_name_is_found() {
    let text = "//! X.\npub mod stream;\nmod util;\n";

    assert_found(rules::names, "src/tunnel/mod.rs", text, 3, "`util`");
}

#[test]
fn a_lint_exception_in_the_wrong_file_is_found() {
    let methods = "//! X.\n#![expect(clippy::disallowed_methods, reason = \"\")]\n";
    let types = "//! X.\n#[allow(clippy::disallowed_types)]\n";

    assert_found(
        rules::exceptions,
        "src/tunnel/stream.rs",
        methods,
        2,
        "no exception",
    );
    assert_found(
        rules::exceptions,
        "src/tunnel/driver.rs",
        types,
        2,
        "no exception",
    );
    assert_eq!(rules::exceptions(&[file("src/clock.rs", methods)]), []);
}

#[test]
fn a_string_in_a_displayed_type_is_found() {
    let text = "//! X.\nenum Reason { Closed(String) }\n";

    assert_found(rules::displayed, "src/proto/error.rs", text, 2, "Printable");
    assert_eq!(rules::displayed(&[file("src/proto/mux/mod.rs", text)]), []);
}

#[test]
fn a_violation_is_printed_with_place_rule_and_remedy() {
    let faults = rules::names(&[file("src/lib.rs", "//! X.\nmod misc;\n")]);

    let expected = "src/lib.rs:2: name: `misc` does not describe the module; name it for its \
                    content";
    assert_eq!(faults[0].to_string(), expected);
}

fn file(path: &str, text: &str) -> Source {
    Source::new(path, text)
}

/// Asserts that a rule finds one violation in a file with this text, at this line and with this
/// message.
#[track_caller]
fn assert_found(rule: Rule, path: &str, text: &str, line: usize, what: &str) {
    let faults = rule(&[file(path, text)]);

    let first = faults
        .first()
        .unwrap_or_else(|| panic!("no violation in {path}:\n{text}"));
    assert_eq!((first.path.as_str(), first.line), (path, line), "{first}");
    assert!(first.what.contains(what), "{what} is not in {first}");
    assert_eq!(faults.len(), 1, "{faults:?}");
}
