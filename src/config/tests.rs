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
fn a_good_file_is_read() {
    let (_directory, path) = file(GOOD);

    let config = read(&path).unwrap();

    assert_eq!(config, parse(GOOD).unwrap());
}

#[test]
fn the_problems_of_a_file_name_it() {
    let (_directory, path) = file("x = 1");

    let error = read(&path).unwrap_err().to_string();

    assert!(error.starts_with("error: "), "{error}");
    assert!(
        error.contains(&format!("--> {}:1:1\n", path.display())),
        "{error}"
    );
}

#[test]
fn a_file_that_cannot_be_read_says_so() {
    let (directory, path) = file("");
    let latin = directory.path().join("latin.toml");
    fs::write(&latin, b"a = 1\nb = \"\xff\"").unwrap();
    fs::write(&path, " ".repeat(MAX_LENGTH + 1)).unwrap();

    let missing = read(&directory.path().join("missing.toml"))
        .unwrap_err()
        .to_string();
    let folder = read(directory.path()).unwrap_err().to_string();
    let latin = read(&latin).unwrap_err().to_string();
    let long = read(&path).unwrap_err().to_string();

    assert!(missing.ends_with("\n hint: check the path"), "{missing}");
    assert!(
        folder.ends_with("\n hint: this is a directory; set the path of a file in it"),
        "{folder}"
    );
    assert!(
        latin.contains("line 2 is not UTF-8\n hint: save the file as UTF-8"),
        "{latin}"
    );
    assert!(long.contains("larger than 1048576 bytes"), "{long}");
}

#[test]
fn the_option_comes_before_the_variable_before_the_places() {
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
fn no_file_anywhere_lists_the_places() {
    let error = Error::NotFound {
        places: variables("", "", "/home/me").places(),
    };

    assert_eq!(
        error.to_string(),
        "error: no configuration found\n  \
         $SSM_PROXYD_CONFIG is not set\n  \
         /home/me/.config/ssm-proxyd/config.toml does not exist\n  \
         /etc/ssm-proxyd/config.toml does not exist\n \
         hint: create one of these files, or set `--config FILE`"
    );
}
