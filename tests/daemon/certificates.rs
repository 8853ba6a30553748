//! A reload reads the trusted certificates again.

use ssm_proxyd::sim::{Options, Simulator};

use super::reload::Fixture;
use crate::support::daemon_process::{assert_echo, assert_reset, connect, free_address};

#[tokio::test(flavor = "multi_thread")]
async fn replaced_certificates_apply_from_the_next_connection_on() {
    let options = || Options {
        tls: true,
        ..Options::default()
    };
    let mut fixture = Fixture::new().await;
    fixture.simulator = Simulator::start(options()).await.unwrap();
    let foreign = Simulator::start(options()).await.unwrap();
    let bundle = tempfile::NamedTempFile::new().unwrap();
    let trust = |simulator: &Simulator| {
        std::fs::write(bundle.path(), simulator.certificate_pem().unwrap()).unwrap();
    };
    let address = free_address();
    fixture.write(&[fixture.forward("f", address, "")]);
    let text = std::fs::read_to_string(fixture.file.path()).unwrap();
    let keys = format!("[aws]\nca_bundle = \"{}\"\n", bundle.path().display());
    std::fs::write(fixture.file.path(), text.replacen("[aws]\n", &keys, 1)).unwrap();
    trust(&foreign);
    fixture.start(address);
    assert_reset(connect(address));

    let unchanged = fixture.reload("reloaded");
    trust(&fixture.simulator);
    let changed = fixture.reload("reloaded");

    assert!(unchanged.contains("+0 −0 ~0 =1"), "{unchanged}");
    assert!(changed.contains("+0 −0 ~1 =0"), "{changed}");
    assert_echo(&mut connect(address), b"hello");
    fixture.ends();
}
