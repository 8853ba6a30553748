//! Tests of reading files and of the search for them.

use std::fs;

use tempfile::TempDir;

use super::*;

const GOOD: &str = r#"
[[forward]]
name = "db"
listen = 0
target = "i-01234567"
remote = 5432
"#;

fn file(content: impl AsRef<[u8]>) -> (TempDir, PathBuf) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("config.toml");
    fs::write(&path, content).unwrap();
    (directory, path)
}

fn variables(config: &str, config_home: &str, home: &str) -> Variables {
    Variables {
        config: Some(config.into()),
        config_home: Some(config_home.into()),
        home: Some(home.into()),
    }
}

#[test]
fn a_file_is_a_configuration_or_has_problems_that_name_it() {
    let (_directory, good) = file(GOOD);
    let (_directory, bad) = file("x = 1");

    assert_eq!(read(&good).unwrap(), parse(GOOD).unwrap());
    let error = read(&bad).unwrap_err().to_string();
    let place = format!("--> {}:1:1\n", bad.display());
    assert!(
        error.starts_with("error: ") && error.contains(&place),
        "{error}"
    );
}

#[test]
fn a_file_that_cannot_be_read_has_a_reason_and_a_hint() {
    let directory = TempDir::new().unwrap();
    let path = |name| directory.path().join(name);
    fs::write(path("latin"), b"a = 1\nb = \"\xff\"").unwrap();
    fs::write(path("long"), " ".repeat(MAX_LENGTH + 1)).unwrap();

    for (name, reason) in [
        ("missing", "\n hint: check the path"),
        (
            "",
            "\n hint: this is a directory; set the path of a file in it",
        ),
        (
            "latin",
            "line 2 is not UTF-8\n hint: save the file as UTF-8",
        ),
        ("long", "larger than 1048576 bytes"),
    ] {
        let error = read(&path(name)).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn the_option_precedes_the_variable_and_the_variable_the_default_locations() {
    let (directory, _path) = file(GOOD);
    let home = directory.path().join(".config/ssm-proxyd");
    fs::create_dir_all(&home).unwrap();
    fs::write(home.join("config.toml"), GOOD).unwrap();
    let at_home = variables("", "", directory.path().to_str().unwrap());
    let named = Variables {
        config: Some("/named".into()),
        ..at_home.clone()
    };

    assert_eq!(
        search(Some(Path::new("given")), &named).unwrap(),
        Path::new("given")
    );
    assert_eq!(search(None, &named).unwrap(), Path::new("/named"));
    assert_eq!(search(None, &at_home).unwrap(), home.join("config.toml"));
}

#[test]
fn the_default_places_follow_the_environment() {
    let machine = Path::new("/etc/ssm-proxyd/config.toml");
    let own = |variables: Variables| variables.places();

    assert_eq!(
        own(variables("", "/xdg", "/home/me")),
        [Path::new("/xdg/ssm-proxyd/config.toml"), machine]
    );
    assert_eq!(
        own(variables("", "relative", "/home/me")),
        [
            Path::new("/home/me/.config/ssm-proxyd/config.toml"),
            machine
        ]
    );
    assert_eq!(own(Variables::default()), [machine]);
}

#[test]
fn the_error_for_a_missing_file_lists_the_default_locations() {
    let error = Error::NotFound {
        places: variables("", "", "/home/me").places(),
    };

    assert_eq!(
        error.to_string(),
        "error: no configuration found\n  \
         $SSM_PROXYD_CONFIG is not set\n  \
         /home/me/.config/ssm-proxyd/config.toml does not exist\n  \
         /etc/ssm-proxyd/config.toml does not exist\n \
         hint: `ssm-proxyd init` writes a first one; or set `--config FILE`"
    );
}
