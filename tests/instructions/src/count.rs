//! Runs the workloads under valgrind, and compares the counts with the baseline.

use std::process::{Command, ExitCode};

use crate::workload::{ALL, MESSAGES, Workload};

/// Prints a table; fails if a count exceeds its bound.
pub(crate) fn compare() -> ExitCode {
    let baseline = std::fs::read_to_string(BASELINE).unwrap_or_default();
    let before = |name: &str| {
        let lines = baseline.lines();
        let mut fields = lines.filter_map(|line| line.split_once(' '));
        let (_, count) = fields.find(|(found, _)| *found == name)?;
        count.trim().parse::<u64>().ok()
    };
    println!("path            instructions   baseline   ratio");
    let mut is_within = true;
    for workload in &ALL {
        let count = count(workload);
        let Some(before) = before(workload.name) else {
            println!("{:14} {count:13}   (not in the baseline)", workload.name);
            is_within = false;
            continue;
        };
        let ratio = count as f64 / before as f64;
        println!("{:14} {count:13} {before:10} {ratio:7.2}", workload.name);
        is_within &= ratio <= MAX_RATIO;
    }
    if is_within {
        return ExitCode::SUCCESS;
    }
    println!(
        "a path exceeds {MAX_RATIO} times its baseline, or has none; find the cause, or explain it and\n\
         write the counts to the baseline: tests/instructions/run --write"
    );
    ExitCode::FAILURE
}

/// Writes the baseline.
pub(crate) fn write() -> ExitCode {
    let lines = ALL.iter().map(|w| format!("{} {}\n", w.name, count(w)));
    match std::fs::write(BASELINE, lines.collect::<String>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot write {BASELINE}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Instructions for each message, without the digests.
fn count(workload: &Workload) -> u64 {
    let digests = workload.digests.iter().map(|name| collected(name));
    let digests: u64 = digests.sum();
    collected(workload.name).saturating_sub(digests) / MESSAGES
}

/// Instructions of all that a workload calls `measured`.
fn collected(workload: &str) -> u64 {
    let program = std::env::current_exe().expect("this program has a path");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .args(["--collect-atstart=no", "--toggle-collect=*measured*"])
        .arg(program)
        .arg(workload)
        .output()
        .expect("valgrind is installed");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{workload}: {text}");
    let line = text
        .lines()
        .find_map(|line| line.split_once("Collected : "));
    let (_, count) = line.unwrap_or_else(|| panic!("no count of {workload}: {text}"));
    let count = count.trim().parse().expect("a count is a number");
    assert!(count > 0, "nothing of {workload} was counted");
    count
}

/// Relative to the working directory, the root of the repository.
const BASELINE: &str = "tests/instructions/baseline.txt";

/// Other compilers give other counts.
const MAX_RATIO: f64 = 1.25;
