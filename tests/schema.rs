//! `schema`: the JSON schema accepts the same configurations as the daemon.

use std::fs;

use jsonschema::Validator;
use serde_json::Value;

use crate::cli::ended;
use crate::support::process::ssm_proxyd;

#[test]
fn the_shipped_schema_equals_the_printed_one() {
    let shipped = fs::read_to_string("config/schema.json").unwrap();

    assert_eq!(
        printed(),
        shipped,
        "regenerate it: ssm-proxyd schema > config/schema.json"
    );
}

#[test]
fn shipped_and_good_files_match_the_schema() {
    let validator = validator();
    let mut files = vec![
        "config/minimal.toml".into(),
        "config/ssm-proxyd.toml".into(),
    ];
    let good = fs::read_dir("tests/config/good").unwrap();
    let good = good.map(|entry| entry.unwrap().path());
    files.extend(good.filter(|path| path.extension().is_some_and(|ending| ending == "toml")));

    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let problems: Vec<_> = validator
            .iter_errors(&value(&text))
            .map(|error| error.to_string())
            .collect();

        assert!(problems.is_empty(), "{}: {problems:#?}", file.display());
    }
}

#[test]
fn the_shipped_files_reference_the_schema_for_editors() {
    for file in ["config/minimal.toml", "config/ssm-proxyd.toml"] {
        let text = fs::read_to_string(file).unwrap();

        assert!(text.starts_with("#:schema ./schema.json\n"), "{file}");
    }
}

#[test]
fn the_schema_rejects_typos() {
    let validator = validator();
    let good = fs::read_to_string("tests/config/good/minimal.toml").unwrap();
    let typos = [
        ("", "colour = \"red\"\n"),
        ("", "connect_timeout = 30\n"),
        ("", "connect_timeout = \"30\"\n"),
        ("", "upload_rate = -1\n"),
        ("", "sessions = \"warm\"\n"),
        ("", "mode = \"rw\"\n"),
        ("", "role_arn = \"tunnel\"\n"),
        ("[aws]\nproxy = \"socks5://proxy.corp\"\n", ""),
        ("[aws]\nssmmessages_endpoint = \"https://h/path\"\n", ""),
        ("[aws]\nregion = \"Ireland\"\n", ""),
        (
            "",
            "[[forward]]\nname = \"t\"\nlisten = 1\nremote = 1\ntarget = \"i-xyz\"\n",
        ),
        (
            "",
            "[[forward]]\nname = \"t\"\nlisten = 1\nremote = 1\ntarget = \"Name=x\"\n",
        ),
        (
            "[aws]\necs_endpoint = \"ecs.eu-west-1.amazonaws.com\"\n",
            "",
        ),
        (
            "",
            "[[forward]]\nname = \"t\"\nlisten = 1\nremote = 1\ntarget = { ecs = { cluster = \"prod\" } }\n",
        ),
        ("[log]\nlevel = \"loud\"\n", ""),
        ("[defaults]\nname = \"all\"\n", ""),
    ];
    assert!(validator.is_valid(&value(&good)));
    for (before, after) in typos {
        let text = format!("{before}{good}{after}");

        assert!(!validator.is_valid(&value(&text)), "{before}{after}");
    }
}

fn printed() -> String {
    let (code, out, sent) = ended(ssm_proxyd().arg("schema"));
    assert_eq!((code, sent.as_str()), (0, ""));
    out
}

fn validator() -> Validator {
    jsonschema::validator_for(&serde_json::from_str(&printed()).unwrap()).unwrap()
}

fn value(text: &str) -> Value {
    toml::from_str(text).unwrap()
}
