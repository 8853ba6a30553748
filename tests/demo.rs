//! The demo, with a reader that stays and one that disconnects.

use crate::cli::ended;
use crate::support::process::{Process, behind, ssm_proxyd};

#[test]
fn the_demo_shows_the_progress_of_every_transfer_and_ends_cleanly() {
    let mut demo = Process::start(ssm_proxyd().arg("demo"));

    let code = demo.exit_code();
    let (stdout, stderr) = (demo.stdout.all(), demo.stderr.all());

    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    assert!(stdout.contains("still active: 0."), "{stdout}");
    for (step, total) in [("\n5. ", 3.0), ("\n6. ", 3.0), ("\n7. ", 24.0)] {
        let (_, from) = stdout.split_once(step).unwrap();
        let (transfer, _) = from.split_once("hashes equal").unwrap();
        let intermediate =
            arrived(transfer, total).filter(|done| (0.0..total).contains(done) && *done > 0.0);
        assert!(
            intermediate.count() > 0,
            "{step}: no progress in\n{transfer}"
        );
    }
}

#[test]
fn a_closed_stdout_ends_the_demo_without_an_error() {
    for last in ["^2", "^4", "^5", " of "] {
        let script = format!("{{ \"$0\" demo; echo $? >&2; }} | sed '/{last}/q'");

        let mut piped = Process::start(&mut behind("sh", &["-c", &script]));

        let stderr = piped.stderr.all();
        // A daemon that is stopped may warn about a connection that it reset.
        let own = stderr.lines().filter(|line| !line.contains(" WARN "));
        let stdout = piped.stdout.all();
        assert_eq!(own.collect::<Vec<_>>(), ["0"], "{last}: {stderr}{stdout}");
    }
}

#[test]
fn a_closed_terminal_ends_the_demo() {
    // The test process may ignore this signal, and children inherit that.
    let mut command = behind("env", &["--default-signal=HUP"]);
    let mut demo = Process::start(command.args(["demo", "--keep"]));
    demo.stdout.wait_for("5. ");

    demo.signal("HUP");

    assert_eq!(demo.exit_code(), 0);
    let stdout = demo.stdout.all();
    assert!(stdout.contains("still active: 0."), "{stdout}");
}

#[test]
fn the_kept_demo_prints_a_command_that_finds_its_daemon() {
    let mut demo = Process::start(ssm_proxyd().args(["demo", "--keep"]));
    let line = demo.stdout.wait_for("ssm-proxyd top --socket");
    let socket = line.split_whitespace().last().unwrap().to_owned();

    let (code, text, output) = ended(ssm_proxyd().args(["status", "--socket", &socket]));
    demo.signal("TERM");

    assert_eq!(code, 0, "{output}");
    assert!(text.contains("source.internal:80"), "{text}");
    assert_eq!(demo.exit_code(), 0);
    assert!(!std::path::Path::new(&socket).exists());
}

/// How much had arrived, in MiB, in every progress line.
fn arrived(transfer: &str, total: f64) -> impl Iterator<Item = f64> {
    let of_total = format!(" MiB of {total:.1} MiB, ");
    transfer.lines().filter_map(move |line| {
        let (done, _) = line.split_once(&of_total)?;
        done.trim().parse().ok()
    })
}

#[test]
fn with_a_relay_the_demo_shows_one_download_over_one_session_and_over_several() {
    let mut demo = Process::start(ssm_proxyd().args(["demo", "--relay"]));

    let code = demo.exit_code();
    let (stdout, stderr) = (demo.stdout.all(), demo.stderr.all());

    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    for (step, total) in [("\n8. ", 3.0), ("\n9. ", 24.0)] {
        let (_, from) = stdout.split_once(step).unwrap();
        let (transfer, after) = from.split_once("hashes equal").unwrap();
        let intermediate =
            arrived(transfer, total).filter(|done| (0.0..total).contains(done) && *done > 0.0);
        assert!(
            intermediate.count() > 0,
            "{step}: no progress in\n{transfer}"
        );
        // The summary repeats what was measured.
        let (_, rate) = transfer.rsplit_once(": ").unwrap();
        let rate = rate.trim_end_matches(", ");
        assert!(after.contains(&format!("{rate} over ")), "{rate}: {after}");
    }
    assert!(stdout.contains("\n10. The daemon has stopped"), "{stdout}");
    assert!(stdout.contains("still active: 0."), "{stdout}");
}

#[test]
fn the_demo_with_a_relay_ends_cleanly_wherever_it_is_interrupted() {
    for step in ["4. ", "8. ", "9. "] {
        let mut demo = Process::start(ssm_proxyd().args(["demo", "--relay"]));
        demo.stdout.wait_for(step);

        demo.signal("INT");

        assert_eq!(demo.exit_code(), 0, "{step}");
        let stdout = demo.stdout.all();
        assert!(stdout.contains("still active: 0."), "{step}: {stdout}");
    }
}

#[test]
fn the_kept_demo_with_a_relay_prints_commands_that_show_it() {
    let mut demo = Process::start(ssm_proxyd().args(["demo", "--keep", "--relay"]));
    let line = demo.stdout.wait_for("ssm-proxyd status relay-8 --socket");
    let arguments: Vec<_> = line.split_whitespace().skip(1).collect();

    let (code, text, output) = ended(ssm_proxyd().args(&arguments));
    demo.signal("INT");

    assert_eq!(code, 0, "{output}");
    assert!(text.contains("relay-8: relay on port "), "{text}");
    assert_eq!(demo.exit_code(), 0);
}
