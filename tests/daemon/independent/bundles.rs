//! The `ca_bundle` of a profile affects only the forwards with this profile.

use ssm_proxyd::sim::{Options, Simulator};

use super::fixture::Fixture;
use crate::support::daemon_process::{
    assert_echo, assert_names, assert_reset, connect, free_address,
};

#[tokio::test(flavor = "multi_thread")]
async fn each_profile_is_called_with_its_own_certificates() {
    let mut fixture = tls_fixture().await;
    let bundle = fixture.file.directory().join("company.pem");
    std::fs::write(&bundle, fixture.simulator.certificate_pem().unwrap()).unwrap();
    write_profiles(&fixture, &format!("ca_bundle = {}", bundle.display()));
    let (with, without) = (free_address(), free_address());
    let forwards = fixture.forward("with", &with.to_string(), "profile = \"with\"")
        + &fixture.forward("without", &without.to_string(), "profile = \"without\"");
    fixture.write(&forwards);

    fixture.start();
    fixture.logged("ready: 2 forwards");

    assert_echo(&mut connect(with), b"hello");
    assert_reset(connect(without));
    let line = fixture.logged("WARN");
    assert_names(
        &line,
        &["forward=\"without\"", "certificate", "`ca_bundle`"],
    );
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_bundle_of_a_profile_stops_only_its_own_forwards_until_it_exists() {
    let mut fixture = tls_fixture().await;
    let trusted = fixture.file.directory().join("trusted.pem");
    let missing = fixture.file.directory().join("missing.pem");
    std::fs::write(&trusted, fixture.simulator.certificate_pem().unwrap()).unwrap();
    write_profiles(&fixture, &format!("ca_bundle = {}", missing.display()));
    let mut profiles = std::fs::read_to_string(fixture.profiles()).unwrap();
    profiles += &format!("ca_bundle = {}\n", trusted.display());
    std::fs::write(fixture.profiles(), profiles).unwrap();
    let (good, bad) = (free_address(), free_address());
    let forwards = fixture.forward("bad", &bad.to_string(), "profile = \"with\"")
        + &fixture.forward("good", &good.to_string(), "profile = \"without\"");
    fixture.write(&forwards);

    fixture.start();
    let line = fixture.logged("cannot start");

    let path = missing.display().to_string();
    let cause = "No such file";
    assert_names(
        &line,
        &[
            "WARN",
            "\"bad\"",
            r#"profile \"with\""#,
            &path,
            cause,
            "hint=",
        ],
    );
    fixture.logged("listening");
    assert_echo(&mut connect(good), b"hello");
    assert_eq!(fixture.states(), ["bad failing", "good ready"]);

    std::fs::copy(&trusted, &missing).unwrap();
    while !fixture.logged("listening").contains("\"bad\"") {}
    assert_echo(&mut connect(bad), b"hello");
    std::fs::remove_file(&missing).unwrap();
    let line = fixture.reload("reloaded");
    assert_names(&line, &["+0 −0 ~0 =2"]);
    assert_echo(&mut connect(bad), b"hello");
    fixture.ends();
}

async fn tls_fixture() -> Fixture {
    let mut fixture = Fixture::new().await;
    let options = Options {
        tls: true,
        ..Options::default()
    };
    fixture.simulator = Simulator::start(options).await.unwrap();
    fixture
}

/// Writes the profiles `with`, which has these keys too, and `without`.
fn write_profiles(fixture: &Fixture, keys: &str) {
    let of_simulator = &fixture.simulator.options().credentials;
    let (id, secret) = (&of_simulator.access_key_id, &of_simulator.secret_access_key);
    let profile = |name: &str| {
        format!("[profile {name}]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n")
    };
    let text = format!("{}{keys}\n{}", profile("with"), profile("without"));
    std::fs::write(fixture.profiles(), text).unwrap();
}
