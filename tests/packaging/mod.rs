//! The files of `packaging`, the metadata of packages in `Cargo.toml`, and the workflows: what they name exists,
//! and what is shipped is in all packages.
//!
//! `tests/packages/run` builds the packages and the image.

mod references;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use toml::{Table, Value};

use crate::support::process::ssm_proxyd;

#[test]
fn both_packages_have_every_prepared_file_and_name_no_other() {
    let stage = Stage::new();
    let all = stage.files();

    for (name, assets) in [("deb", debian_assets()), ("rpm", rpm_assets())] {
        let mut packed = BTreeSet::new();
        for asset in assets {
            let Some(pattern) = asset.strip_prefix("target/package/") else {
                assert!(Path::new(&asset).is_file(), "{name}: no file {asset}");
                continue;
            };
            let found = matching(&all, pattern);
            assert!(!found.is_empty(), "{name}: nothing matches {asset}");
            packed.extend(found);
        }
        // An RPM package has CHANGELOG.md under its own name.
        let needed = all
            .iter()
            .filter(|file| name == "deb" || !file.starts_with("changelog/"));
        let missing: Vec<_> = needed.filter(|file| !packed.contains(*file)).collect();
        assert!(missing.is_empty(), "{name}: no asset for {missing:?}");
    }
}

#[test]
fn every_command_has_a_manual_page_and_every_shell_a_completion() {
    let stage = Stage::new();
    let files = stage.files();
    let help = ssm_proxyd().arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();

    for command in ["run", "connect", "iam-policy", "ssh-config", "simulate"] {
        assert!(help.contains(command), "{help}");
        let page = format!("man/ssm-proxyd-{command}.1.gz");
        assert!(files.contains(&page), "no {page} in {files:#?}");
    }
    assert!(files.contains("man/ssm-proxyd.1.gz"));
    assert!(files.contains("man5/ssm-proxyd.toml.5.gz"));
    let completions = ["_ssm-proxyd", "ssm-proxyd", "ssm-proxyd.fish"];
    for name in completions.map(|name| format!("completions/{name}")) {
        let text = stage.read(&name);
        assert!(text.contains("SSM_PROXYD_COMPLETE"), "{name}: {text}");
    }
}

#[test]
fn packaged_units_run_the_packaged_program() {
    let stage = Stage::new();
    let files = stage.files();
    let units = files
        .iter()
        .filter(|file| file.starts_with("systemd/") || file.starts_with("user/"));

    for unit in units {
        let text = stage.read(unit);
        assert!(text.starts_with("[Unit]"), "{unit}: {text}");
        for line in text.lines().filter(|line| line.starts_with("Exec")) {
            assert!(line.contains("=/usr/bin/ssm-proxyd "), "{unit}: {line}");
        }
    }
}

#[test]
fn scripts_of_packages_name_every_unit() {
    let entries = fs::read_dir("systemd").unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let units: Vec<_> = names
        .filter(|name| !name.ends_with("-user.service") && !name.ends_with(".conf"))
        .collect();
    assert!(units.len() >= 2, "{units:?}");

    for script in ["debian/postinst", "debian/prerm", "debian/postrm"]
        .iter()
        .chain(&["rpm/post", "rpm/preun"])
    {
        let text = read(&format!("packaging/{script}"));
        for unit in &units {
            assert!(text.contains(unit), "packaging/{script} has no {unit}");
        }
    }
}

#[test]
fn every_file_has_the_version_of_the_program() {
    let version = env!("CARGO_PKG_VERSION");
    let places = [
        ("packaging/debian/changelog", format!("({version}-1)")),
        ("packaging/arch/PKGBUILD", format!("pkgver={version}\n")),
        ("packaging/homebrew/ssm-proxyd.rb", format!("\"{version}\"")),
        (
            "packaging/kubernetes/sidecar.yaml",
            format!("ssm-proxyd:{version}\n"),
        ),
    ];

    for (path, text) in places {
        assert!(read(path).contains(&text), "{path} has no {text:?}");
    }
    let changes = read("CHANGELOG.md");
    let mut releases = changes.lines().filter(|line| line.starts_with("## ["));
    let latest = releases.find(|line| *line != "## [Unreleased]").unwrap();
    assert!(
        latest.starts_with(&format!("## [{version}] - ")),
        "{latest}"
    );
}

#[test]
fn the_configuration_of_the_kubernetes_example_is_valid_and_its_probes_exist() {
    let text = read("packaging/kubernetes/sidecar.yaml");
    let (_, rest) = text.split_once("  config.toml: |\n").unwrap();
    let (config, _) = rest.split_once("---\n").unwrap();
    let config: String = config
        .lines()
        .map(|line| format!("{}\n", line.strip_prefix("    ").unwrap_or_default()))
        .collect();
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("config.toml");
    fs::write(&path, config).unwrap();

    let checked = ssm_proxyd().args(["check", "--config"]).arg(&path).output();

    let checked = checked.unwrap();
    assert!(checked.status.success(), "{checked:?}");
    let probes: Vec<_> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("path: "))
        .collect();
    assert_eq!(probes, ["/startup", "/readiness", "/liveness"]);
}

#[test]
fn the_commands_above_the_containerfile_copy_what_it_needs() {
    let text = read("packaging/container/Containerfile");
    let copied = text.lines().filter_map(|line| line.strip_prefix("COPY "));
    let sources: Vec<_> = copied
        .map(|line| {
            line.split(' ')
                .find(|word| !word.starts_with("--"))
                .unwrap()
        })
        .collect();

    assert_eq!(sources, ["ssm-proxyd", "ca-certificates.crt"]);
    for source in sources {
        let line = format!("/{source} target/image/");
        assert!(text.contains(&line), "no command copies {source}");
    }
}

#[test]
fn the_agent_of_launchd_and_the_text_for_the_aur_can_be_parsed() {
    let program = "import plistlib, sys; print(plistlib.load(open(sys.argv[1], 'rb')))";
    let plist = Command::new("python3")
        .args(["-c", program, "packaging/macos/ssm-proxyd.plist"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&plist.stdout);
    assert!(text.contains("exec ssm-proxyd run"), "{plist:?}");

    let checked = Command::new("bash")
        .args(["-n", "packaging/arch/PKGBUILD"])
        .output()
        .unwrap();
    assert!(checked.status.success(), "{checked:?}");
}

/// The files that `packaging/stage` prepares.
struct Stage(TempDir);

impl Stage {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let target = directory.path().join("package");
        let prepared = Command::new("packaging/stage")
            .arg(env!("CARGO_BIN_EXE_ssm-proxyd"))
            .arg(target)
            .output()
            .unwrap();
        assert!(prepared.status.success(), "{prepared:?}");
        Self(directory)
    }

    /// The paths of all files, below the directory.
    fn files(&self) -> BTreeSet<String> {
        let root = self.0.path().join("package");
        let folders = fs::read_dir(&root).unwrap();
        let mut files = BTreeSet::new();
        for folder in folders.map(|entry| entry.unwrap()) {
            for file in fs::read_dir(folder.path()).unwrap() {
                let path = file.unwrap().path();
                let relative = path.strip_prefix(&root).unwrap();
                files.insert(relative.to_str().unwrap().to_owned());
            }
        }
        files
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.0.path().join("package").join(file)).unwrap()
    }
}

/// The files of a folder if the pattern ends with `*`, otherwise the file of this name.
fn matching(files: &BTreeSet<String>, pattern: &str) -> Vec<String> {
    let matches = |file: &str| match pattern.split_once('*') {
        Some((prefix, rest)) => file.starts_with(prefix) && file.ends_with(rest),
        None => file == pattern,
    };
    files.iter().filter(|file| matches(file)).cloned().collect()
}

fn debian_assets() -> Vec<String> {
    let assets = metadata("deb");
    let sources = assets.iter().map(|asset| asset[0].as_str().unwrap());
    sources.map(str::to_owned).collect()
}

fn rpm_assets() -> Vec<String> {
    let assets = metadata("generate-rpm");
    let sources = assets.iter().map(|asset| asset["source"].as_str().unwrap());
    sources.map(str::to_owned).collect()
}

fn metadata(kind: &str) -> Vec<Value> {
    let manifest: Table = read("Cargo.toml").parse().unwrap();
    let assets = &manifest["package"]["metadata"][kind]["assets"];
    assets.as_array().unwrap().clone()
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}
