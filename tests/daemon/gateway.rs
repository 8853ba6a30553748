//! `ssmmessages_endpoint`: sessions are dialled there, whatever URL the service returns.
//! `client_version`: the version that the daemon sends on every data channel.

use ssm_proxyd::sim::{Options, ServerKind, Simulator};

use crate::support::daemon_process::{
    DaemonProcess, assert_echo, assert_names, assert_reset, caller, connect, forward_to,
    free_address,
};
use crate::support::in_process::destination;

#[tokio::test(flavor = "multi_thread")]
async fn the_websocket_is_dialled_and_signed_for_the_configured_gateway() {
    let echo = destination(ServerKind::Echo).await;
    let nowhere = free_address();
    let options = Options {
        require_signature: true,
        advertised: Some(nowhere),
        ..Options::default()
    };
    let simulator = Simulator::start(options).await.unwrap();
    let here = format!("http://{}", simulator.address());
    let start = |keys: &str| {
        let aws = format!("[aws]\nregion = \"us-east-1\"\nssm_endpoint = \"{here}\"\n{keys}");
        DaemonProcess::of_file(
            caller(&simulator),
            &(aws + &forward_to(echo.address()) + "connect_timeout = \"1s\"\n"),
        )
    };

    let mut without_endpoint = start("");
    assert_reset(connect(without_endpoint.address()));
    assert_names(
        &without_endpoint.process.stderr.wait_for("WARN"),
        &[&nowhere.to_string()],
    );
    without_endpoint.stop(&simulator);

    let with_endpoint = start(&format!("ssmmessages_endpoint = \"{here}\"\n"));
    assert_echo(&mut connect(with_endpoint.address()), b"hello");
    with_endpoint.stop(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configured_client_version_is_sent_in_both_places() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = Simulator::start(Options::default()).await.unwrap();
    for version in ["1.2.764.0", "1.2.9999.1"] {
        let endpoint = simulator.endpoint();
        let aws = format!(
            "[aws]\nregion = \"us-east-1\"\nssm_endpoint = \"{endpoint}\"\n\
             client_version = \"{version}\"\n"
        );
        let text = aws + &forward_to(echo.address());
        let daemon = DaemonProcess::of_file(caller(&simulator), &text);
        assert_echo(&mut connect(daemon.address()), b"hello");
        daemon.stop(&simulator);

        let sessions = simulator.ledger().sessions;
        let last = sessions.last().unwrap();
        assert_eq!(last.opening_version, version);
        assert_eq!(last.handshake_version, version);
    }
}
