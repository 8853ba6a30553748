//! AWS configuration files as users have them. Each directory of `tests/aws` has a `config`, a
//! `credentials` file or both, and `expected` results.
//!
//! The API and STS are fakes on loopback. The API records the access key and the region of each
//! call and denies the call, so that `connect` ends.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ssm_proxyd::sim::Credentials;
use tempfile::TempDir;

use crate::cli::ended;
use crate::support::daemon_process::{File, forward};
use crate::support::fake_api::Api;
use crate::support::in_process::TARGET;
use crate::support::process::{ssm_proxyd, take_environment};
use crate::support::{credential_endpoints, login_services};

#[test]
fn each_pair_of_files_has_the_expected_caller_and_region_or_message() {
    let entries = fs::read_dir(directory()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names: Vec<_> = names.collect();
    assert!(names.len() >= 25, "{}", names.len());

    let failed = names.iter().filter(|name| {
        let checked = catch_unwind(AssertUnwindSafe(|| Fixture::new(name).check()));
        checked.is_err()
    });

    let failed: Vec<_> = failed.collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

/// The access key and the region of each call.
pub(crate) type Calls = Arc<Mutex<Vec<(String, String)>>>;

/// A directory, and the fakes that its files point to.
pub(crate) struct Fixture {
    name: String,
    /// `key = value` lines of `expected`; a key may have several values.
    expected: BTreeMap<String, Vec<String>>,
    files: TempDir,
    api: Api,
    pub(crate) calls: Calls,
    pub(crate) sts: Api,
    logins: Api,
    machine: Api,
}

impl Fixture {
    pub(crate) fn new(name: &str) -> Self {
        let path = &directory().join(name);
        let calls = Calls::default();
        let record = Arc::clone(&calls);
        let api = Api::new(move |_, _, text| {
            let caller = scope(text);
            let is_expired = caller.0.contains("EXPIRED");
            record.lock().unwrap().push(caller);
            let code = match is_expired {
                true => "ExpiredTokenException",
                false => "TargetNotConnected",
            };
            (400, format!("{{\"__type\":\"{code}\",\"message\":\"no\"}}"))
        });
        let files = tempfile::tempdir().unwrap();
        copy(path, files.path(), files.path(), &api.endpoint());
        let expected = fs::read_to_string(path.join("expected")).unwrap();
        let mut values = BTreeMap::<_, Vec<_>>::new();
        for line in expected.lines() {
            let (key, value) = line.split_once(" = ").unwrap();
            values
                .entry(key.to_owned())
                .or_default()
                .push(value.to_owned());
        }
        let behaviour = |key| {
            values
                .get(key)
                .map_or("good", |behaviours| behaviours[0].as_str())
        };
        let (sts, machine) = (
            sts(behaviour("sts").to_owned()),
            credential_endpoints::services(behaviour("machine")),
        );
        Self {
            name: name.to_owned(),
            expected: values,
            files,
            api,
            calls,
            sts,
            logins: login_services::services(),
            machine,
        }
    }

    fn check(&self) {
        let mut command = self.command();
        command.args(["connect", TARGET]);
        if let (Some(profile), Some(option)) = (self.value("profile"), self.value("option")) {
            command.args([option, profile]);
        }

        let (code, _, err) = ended(&mut command);

        let at = format!("{}: {err}", self.name);
        let expected = self.value("exit").map_or(69, |code| code.parse().unwrap());
        assert_eq!(code, expected, "{at}");
        for text in self.values("message") {
            assert!(err.contains(text), "{text:?} is not in {at}");
        }
        let caller = self.value("caller").map(|caller| {
            let region = self.value("region").unwrap();
            (caller.to_owned(), region.to_owned())
        });
        assert_eq!(self.calls.lock().unwrap().first().cloned(), caller, "{at}");
        let assumed = format!("{:?}", self.sts.calls("AssumeRole"));
        let assumed = assumed + &format!("{:?}", self.sts.calls("AssumeRoleWithWebIdentity"));
        for text in self.values("assumed") {
            assert!(assumed.contains(text), "{text:?} is not in {assumed}; {at}");
        }
        assert!(
            !err.contains("aws_config") && !err.contains("alias:"),
            "{at}"
        );
        assert!(!err.contains("secret/"), "{at}");
        // No Debug output of a Rust value is shown.
        for text in [" { ", "Some(", "Ok(", "Err(", "StatusCode", "Error("] {
            assert!(!err.contains(text), "{at}");
        }
        if let Some(code) = self.value("check") {
            self.check_daemon(code.parse().unwrap());
        }
    }

    /// `check` and `run` report the same as `connect`.
    fn check_daemon(&self, expected: i32) {
        let file = File::new(&forward("f", "remote = 1"));
        for subcommand in ["check", "run"] {
            let mut command = self.command();
            command
                .args([subcommand, "--config"])
                .arg(file.path())
                .env("AWS_REGION", "eu-west-1");

            let (code, _, err) = ended(&mut command);

            let at = format!("{} {subcommand}: {err}", self.name);
            assert_eq!(code, expected, "{at}");
            for text in self.values("message") {
                assert!(err.contains(text), "{text:?} is not in {at}");
            }
        }
    }

    /// The binary with these files and fakes.
    pub(crate) fn command(&self) -> Command {
        let at = |name| self.files.path().join(name);
        let mut command = ssm_proxyd();
        command
            .env_remove("AWS_ACCESS_KEY_ID")
            .env_remove("AWS_SECRET_ACCESS_KEY")
            .env("HOME", self.files.path())
            .env("AWS_CONFIG_FILE", at("config"))
            .env("AWS_SHARED_CREDENTIALS_FILE", at("credentials"))
            .env("AWS_ENDPOINT_URL_STS", self.sts.endpoint())
            .env("AWS_ENDPOINT_URL_SSO", self.logins.endpoint())
            .env("AWS_ENDPOINT_URL_SSO_OIDC", self.logins.endpoint())
            .env("AWS_ENDPOINT_URL_SIGNIN", self.logins.endpoint());
        if self.value("endpoint").is_none() {
            command.env("AWS_ENDPOINT_URL_SSM", self.api.endpoint());
        }
        if let (Some(profile), None) = (self.value("profile"), self.value("option")) {
            command.env("AWS_PROFILE", profile);
        }
        for variable in self.values("env") {
            let (name, value) = variable.split_once('=').unwrap();
            let value = value.replace("@MACHINE@", &self.machine.endpoint());
            command.env(
                name,
                value.replace("@DIR@", self.files.path().to_str().unwrap()),
            );
        }
        command
    }

    /// The path of the files.
    pub(crate) fn path(&self) -> &Path {
        self.files.path()
    }

    fn values(&self, key: &str) -> impl Iterator<Item = &str> {
        self.expected
            .get(key)
            .into_iter()
            .flatten()
            .map(String::as_str)
    }

    fn value(&self, key: &str) -> Option<&str> {
        self.values(key).next()
    }
}

#[test]
fn a_refreshed_sso_token_is_used_though_its_file_cannot_be_written() {
    let fixture = Fixture::new("sso-refreshed");
    let command = fixture.command();
    let mut unshared = Command::new("unshare");
    take_environment(&mut unshared, &command);
    let script = "mount --bind \"$HOME/.aws\" \"$HOME/.aws\" \
                  && mount -o remount,ro,bind \"$HOME/.aws\" || exit 99; exec \"$@\"";
    unshared.args(["--mount", "sh", "-c", script, "sh"]);
    unshared
        .arg(command.get_program())
        .args(["connect", TARGET]);

    let (code, _, err) = ended(&mut unshared);

    if code == 99 || err.contains("unshare:") {
        eprintln!("SKIPPED: unshare and mount are not permitted");
        return;
    }
    let token = fs::read_to_string(fixture.files.path().join(login_services::TOKEN_FILE)).unwrap();
    assert!(token.contains("\"old\""), "the file is not read-only");
    let calls = fixture.calls.lock().unwrap().clone();
    assert_eq!(
        calls.first().map(|call| call.0.as_str()),
        Some("ASIASSO"),
        "{err}"
    );
}

#[test]
fn a_custom_endpoint_that_does_not_resolve_is_reported_with_its_setting() {
    let (fips, dual) = ("AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT");
    for (host, variable) in [
        ("ssm-fips.eu-west-1.amazonaws.com", fips),
        ("ssm.eu-west-1.api.aws", dual),
    ] {
        let fixture = Fixture::new("static-keys");
        let settings = fixture.path().join("settings.toml");
        fs::write(&settings, "[defaults]\nconnect_timeout = \"1s\"\n").unwrap();
        let mut command = fixture.command();
        command
            .env_remove("AWS_ENDPOINT_URL_SSM")
            .env("SSM_PROXYD_CONFIG", settings)
            .env(variable, "true");
        // Without a network no name resolves.
        let mut unshared = Command::new("unshare");
        take_environment(&mut unshared, &command);
        unshared.arg("--net").arg(command.get_program());
        unshared.args(["connect", TARGET]);

        let (code, _, err) = ended(&mut unshared);

        if err.contains("unshare:") {
            eprintln!("SKIPPED: unshare is not permitted");
            return;
        }
        assert_eq!(code, 69, "{err}");
        for text in [host, variable, "[EndpointNotResolved]"] {
            assert!(err.contains(text), "{err}");
        }
    }
}

/// An STS that gives each role the access key `ASIA` followed by the role name, unless it `fails`,
/// `fails-once` or has `denied`.
fn sts(behaviour: String) -> Api {
    let sts = Api::sts_per_role(Duration::from_secs(3600), |role| Credentials {
        access_key_id: format!("ASIA{role}"),
        secret_access_key: format!("not-a-secret-{role}"),
        session_token: Some(format!("token-{role}")),
    });
    let error = |code: &str| {
        format!(
            "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code>\
             <Message>not you</Message></Error></ErrorResponse>"
        )
    };
    Api::before_with(sts.address(), move |number| match behaviour.as_str() {
        "denied" => Some((403, error("AccessDenied"))),
        "fails" => Some((503, error("ServiceUnavailable"))),
        "fails-once" if number == 0 => Some((503, error("ServiceUnavailable"))),
        "html" => Some((200, "<html>log in to the network</html>".to_owned())),
        _ => None,
    })
}

/// The access key and the region of a signature.
fn scope(text: &[u8]) -> (String, String) {
    let text = String::from_utf8_lossy(text);
    let (_, scope) = text.split_once("Credential=").unwrap();
    let mut parts = scope.split('/');
    let key = parts.next().unwrap();
    (key.to_owned(), parts.nth(1).unwrap().to_owned())
}

/// Copies a directory. `@DIR@` in a file is the copy, `@API@` the address of the API.
fn copy(from: &Path, to: &Path, root: &Path, api: &str) {
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let copied = to.join(path.file_name().unwrap());
        if path.is_dir() {
            fs::create_dir(&copied).unwrap();
            copy(&path, &copied, root, api);
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let text = text.replace("@DIR@", root.to_str().unwrap());
        fs::write(&copied, text.replace("@API@", api)).unwrap();
        fs::set_permissions(&copied, fs::metadata(&path).unwrap().permissions()).unwrap();
    }
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/aws")
}
