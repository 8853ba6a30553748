//! The `ca_bundle` of a profile concerns the forwards with this profile alone.

use ssm_proxyd::sim::{Options, Simulator};

use super::fixture::Scene;
use crate::support::daemon_process::{
    assert_echo, assert_names, assert_reset, connect, free_address,
};

#[tokio::test(flavor = "multi_thread")]
async fn each_profile_is_called_with_its_own_certificates() {
    let mut scene = tls_scene().await;
    let bundle = scene.file.directory().join("company.pem");
    std::fs::write(&bundle, scene.simulator.certificate_pem().unwrap()).unwrap();
    write_profiles(&scene, &format!("ca_bundle = {}", bundle.display()));
    let (with, without) = (free_address(), free_address());
    let forwards = scene.forward("with", &with.to_string(), "profile = \"with\"")
        + &scene.forward("without", &without.to_string(), "profile = \"without\"");
    scene.write(&forwards);

    scene.start();
    scene.logged("ready: 2 forwards");

    assert_echo(&mut connect(with), b"hello");
    assert_reset(connect(without));
    let line = scene.logged("WARN");
    assert_names(
        &line,
        &["forward=\"without\"", "certificate", "`ca_bundle`"],
    );
    scene.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_bundle_of_a_profile_stops_only_its_own_forwards_until_it_exists() {
    let mut scene = tls_scene().await;
    let trusted = scene.file.directory().join("trusted.pem");
    let missing = scene.file.directory().join("missing.pem");
    std::fs::write(&trusted, scene.simulator.certificate_pem().unwrap()).unwrap();
    write_profiles(&scene, &format!("ca_bundle = {}", missing.display()));
    let mut profiles = std::fs::read_to_string(scene.profiles()).unwrap();
    profiles += &format!("ca_bundle = {}\n", trusted.display());
    std::fs::write(scene.profiles(), profiles).unwrap();
    let (good, bad) = (free_address(), free_address());
    let forwards = scene.forward("bad", &bad.to_string(), "profile = \"with\"")
        + &scene.forward("good", &good.to_string(), "profile = \"without\"");
    scene.write(&forwards);

    scene.start();
    let line = scene.logged("cannot start");

    let path = missing.display().to_string();
    let cause = "No such file";
    assert_names(
        &line,
        &["WARN", "\"bad\"", "profile \"with\"", &path, cause, "hint="],
    );
    scene.logged("listening");
    assert_echo(&mut connect(good), b"hello");
    assert_eq!(scene.states(), ["bad failing", "good ready"]);

    std::fs::copy(&trusted, &missing).unwrap();
    while !scene.logged("listening").contains("\"bad\"") {}
    assert_echo(&mut connect(bad), b"hello");
    std::fs::remove_file(&missing).unwrap();
    let line = scene.reload("reloaded");
    assert_names(&line, &["+0 −0 ~0 =2"]);
    assert_echo(&mut connect(bad), b"hello");
    scene.ends();
}

async fn tls_scene() -> Scene {
    let mut scene = Scene::new().await;
    let options = Options {
        tls: true,
        ..Options::default()
    };
    scene.simulator = Simulator::start(options).await.unwrap();
    scene
}

/// Writes the profiles `with`, which has these keys too, and `without`.
fn write_profiles(scene: &Scene, keys: &str) {
    let of_simulator = &scene.simulator.options().credentials;
    let (id, secret) = (&of_simulator.access_key_id, &of_simulator.secret_access_key);
    let profile = |name: &str| {
        format!("[profile {name}]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n")
    };
    let text = format!("{}{keys}\n{}", profile("with"), profile("without"));
    std::fs::write(scene.profiles(), text).unwrap();
}
