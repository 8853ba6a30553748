//! The endpoint of ECS: configured, of the environment, or that of a simulator.

use ssm_proxyd::sim::{ServerKind, Simulator};

use super::{WEB, calls, forward, options, simulator};
use crate::support::daemon_process::{
    DaemonProcess, assert_echo, assert_names, assert_reset, caller, connect, free_address,
};
use crate::support::in_process::destination;

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_of_its_own_is_used_wherever_it_is_set() {
    let echo = destination(ServerKind::Echo).await;
    let remote = format!("remote = {}", echo.address().port());
    let ssm = Simulator::start(options(&["app"], 1)).await.unwrap();
    let ecs = simulator(&["app"], 1).await;
    let key = format!("ecs_endpoint = \"{}\"\n", ecs.endpoint());
    let elsewhere = format!("ecs_endpoint = \"http://{}\"\n", free_address());
    let cases = [(&key[..], false), ("", true), (&elsewhere, true)];
    for (number, (keys, has_variable)) in (1..).zip(cases) {
        let mut command = caller(&ssm);
        if has_variable {
            command.env("AWS_ENDPOINT_URL_ECS", ecs.endpoint());
        }
        let text = format!(
            "[aws]\nregion = \"us-east-1\"\nssm_endpoint = \"{}\"\n{keys}\
             [shutdown]\ndrain_timeout = \"0s\"\n{}",
            ssm.endpoint(),
            forward(WEB, &remote)
        );
        let daemon = DaemonProcess::of_file(command, &text);

        assert_echo(&mut connect(daemon.address()), b"hello");

        daemon.stop(&ssm);
        assert_eq!((calls(&ecs), calls(&ssm)), ((number, number), (0, 0)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_endpoint_of_its_own_a_loopback_endpoint_of_ssm_is_used() {
    let echo = destination(ServerKind::Echo).await;
    let remote = format!("remote = {}", echo.address().port());
    for (number, variable) in (1..).zip(["AWS_ENDPOINT_URL_SSM", "AWS_ENDPOINT_URL"]) {
        let simulator = simulator(&["app"], 1).await;
        let mut command = caller(&simulator);
        command.env(variable, simulator.endpoint());
        let daemon = DaemonProcess::without_endpoint(command, &forward(WEB, &remote));

        assert_echo(&mut connect(daemon.address()), b"hello");

        daemon.stop(&simulator);
        assert_eq!(calls(&simulator), (1, 1), "{number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_leaves_this_machine_if_the_endpoint_of_ssm_is_on_it() {
    let simulator = simulator(&["app"], 1).await;
    let text = format!(
        "[aws]\nregion = \"us-east-1\"\nssm_endpoint = \"{}\"\n\
         ecs_endpoint = \"https://192.0.2.1\"\n{}",
        simulator.endpoint(),
        forward(WEB, "remote = 9")
    );
    let mut daemon = DaemonProcess::of_file(caller(&simulator), &text);

    assert_reset(connect(daemon.address()));

    let line = daemon.process.stderr.wait_for("WARN");
    let expected = ["class=BadEndpoint", "https://192.0.2.1 is not allowed"];
    assert_names(&line, &expected);
    daemon.stop(&simulator);
    assert_eq!(calls(&simulator), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loopback_endpoint_of_ssm_in_a_profile_is_used_too() {
    let echo = destination(ServerKind::Echo).await;
    let remote = format!("remote = {}", echo.address().port());
    let simulator = simulator(&["app"], 1).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config");
    let endpoint = simulator.endpoint();
    let profile = format!(
        "[default]\nservices = local\n[services local]\nssm =\n  endpoint_url = {endpoint}\n"
    );
    std::fs::write(&file, profile).unwrap();
    let mut command = caller(&simulator);
    command.env("AWS_CONFIG_FILE", &file);
    let daemon = DaemonProcess::without_endpoint(command, &forward(WEB, &remote));

    assert_echo(&mut connect(daemon.address()), b"hello");

    daemon.stop(&simulator);
    assert_eq!(calls(&simulator), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_cannot_be_reached_is_reported() {
    let simulator = simulator(&["app"], 1).await;
    let text = format!(
        "[aws]\nregion = \"us-east-1\"\nssm_endpoint = \"{}\"\necs_endpoint = \"http://{}\"\n\
         [shutdown]\ndrain_timeout = \"0s\"\n{}",
        simulator.endpoint(),
        free_address(),
        forward(WEB, "remote = 9\nconnect_timeout = \"3s\"")
    );
    let mut daemon = DaemonProcess::of_file(caller(&simulator), &text);

    assert_reset(connect(daemon.address()));

    let line = daemon.process.stderr.wait_for("WARN");
    let expected = [
        "class=EndpointUnreachable",
        "cannot reach the ECS API",
        "`ecs_endpoint`",
    ];
    assert_names(&line, &expected);
    daemon.stop(&simulator);
    assert_eq!(calls(&simulator), (0, 0));
}
