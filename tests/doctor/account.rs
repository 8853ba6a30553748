//! Faults of the AWS settings, the credentials and the clock.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use ssm_proxyd::sim::ServerKind;

use super::*;
use crate::support::fake_api::Api;
use crate::support::in_process::destination;
use crate::support::process::take_environment;
use crate::support::tmux::Tmux;

/// A file of AWS with this content.
fn profiles(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

/// The binary with this file of AWS and without other credentials.
fn with_profiles(file: &tempfile::NamedTempFile) -> Command {
    let mut command = ssm_proxyd();
    command.env_remove("AWS_ACCESS_KEY_ID");
    command.env_remove("AWS_SECRET_ACCESS_KEY");
    command.env("AWS_CONFIG_FILE", file.path());
    command
}

/// An STS that answers GetCallerIdentity.
fn sts(status: u16, body: &str) -> Api {
    let body = body.to_owned();
    Api::by(move |operation, _| match operation {
        "GetCallerIdentity" => (status, body.clone()),
        _ => (500, String::new()),
    })
}

/// An error response of STS.
fn sts_error(code: &str, message: &str) -> String {
    format!(
        "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error>\
         <Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_profile_does_not_exist() {
    let simulator = simulator(|_| {}).await;
    let file = profiles("[profile other]\nregion = us-east-1\n");
    let text = with_endpoint(&simulator, &forward(1)).replace("[aws]", "[aws]\nprofile = \"prod\"");

    examine_by(with_profiles(&file), &text, &[]).assert_as("no-profile");
}

#[test]
fn there_is_no_region() {
    let text = forward(1);

    examine_by(ssm_proxyd(), &text, &[]).assert_as("no-region");
}

#[test]
fn the_ca_bundle_does_not_exist() {
    let text = format!(
        "[aws]\nregion = \"us-east-1\"\nca_bundle = \"/nowhere/of/doctor/ca.pem\"\n{}",
        forward(1)
    );

    examine_by(ssm_proxyd(), &text, &[]).assert_as("no-ca-bundle");
}

#[test]
fn a_variable_of_the_environment_is_invalid() {
    let mut command = ssm_proxyd();
    command.env("AWS_REGION", "eu-west-1a");

    examine_by(command, &forward(1), &[]).assert_as("bad-variable");
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_no_credentials() {
    let simulator = simulator(|_| {}).await;
    let file = profiles("");

    let text = with_endpoint(&simulator, &forward(1));

    examine_by(with_profiles(&file), &text, &[]).assert_as("no-credentials");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_credentials_have_expired() {
    let simulator = simulator(|_| {}).await;
    let message = "The security token included in the request is expired";
    let sts = sts(403, &sts_error("ExpiredToken", message));
    let mut command = caller(&simulator);
    command.env("AWS_ENDPOINT_URL_STS", sts.endpoint());
    command.env("AWS_SESSION_TOKEN", "expired");

    let text = with_endpoint(&simulator, &forward(1));

    examine_by(command, &text, &[]).assert_as("expired-credentials");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_credentials_are_of_nobody() {
    let simulator = simulator(|options| options.require_signature = true).await;
    let mut command = caller(&simulator);
    command.env("AWS_ACCESS_KEY_ID", "AKIDOTHER");

    let text = with_endpoint(&simulator, &forward(1));

    examine_by(command, &text, &[]).assert_as("unknown-key-id");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_process_hangs() {
    let simulator = simulator(|_| {}).await;
    let file = profiles("[default]\ncredential_process = sleep 600\n");

    let text = with_endpoint(&simulator, &forward(1));
    let examined = examine_by(with_profiles(&file), &text, &["--check-timeout", "2s"]);

    examined.assert_as("hung-credential-process");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_shows_the_check_in_progress() {
    let simulator = simulator(|_| {}).await;
    let profiles = profiles("[default]\ncredential_process = sleep 600\n");
    let file = File::new(&with_endpoint(&simulator, &forward(1)));
    let command = with_profiles(&profiles);
    let mut tmux = Command::new("tmux");
    take_environment(&mut tmux, &command);

    let program = command.get_program().display();
    let doctor = format!("{program} doctor --check-timeout 3s --config");
    let screen = Tmux::start(tmux, &format!("{doctor} {}", file.path().display()));

    screen.until("checking credentials").await;
    screen.until("75-ended").await;
    let text = screen.text();
    assert!(!text.contains("checking"), "{text}");
    assert!(text.contains("no result within 3s"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_region_is_another_one() {
    let simulator = simulator(|options| options.require_signature = true).await;

    let text = with_endpoint(&simulator, &forward(1)).replace("us-east-1", "eu-west-1");

    examine_by(caller(&simulator), &text, &[]).assert_as("wrong-region");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_identity_and_its_expiry_are_shown() {
    let simulator = simulator(|options| options.require_signature = true).await;
    let echo = destination(ServerKind::Echo).await;
    let credentials = &simulator.options().credentials;
    let keys = format!(
        "{{\"Version\":1,\"AccessKeyId\":\"{}\",\"SecretAccessKey\":\"{}\",\"SessionToken\":\"t\",\"Expiration\":\"2100-01-01T00:00:00Z\"}}",
        credentials.access_key_id, credentials.secret_access_key
    );
    let printed = profiles(&keys);
    let process = format!("cat {}", printed.path().display());
    let file = profiles(&format!("[profile prod]\ncredential_process = {process}\n"));
    let sts = sts(
        200,
        "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
         <GetCallerIdentityResult><Arn>arn:aws:sts::111122223333:assumed-role/tunnel/me</Arn>\
         <UserId>AROA:me</UserId><Account>111122223333</Account></GetCallerIdentityResult>\
         </GetCallerIdentityResponse>",
    );
    let mut command = with_profiles(&file);
    command.env("AWS_ENDPOINT_URL_STS", sts.endpoint());

    let forward = forward(echo.address().port());
    let text = with_endpoint(&simulator, &forward).replace("[aws]", "[aws]\nprofile = \"prod\"");
    // The simulator expects no session token.
    let examined = examine_by(command, &text, &[]);

    examined.assert_says("PASS", "aws-settings", "profile \"prod\"");
    examined.assert_says(
        "PASS",
        "credentials",
        "assumed-role/tunnel/me; they expire in",
    );
    assert_eq!(sts.calls("GetCallerIdentity").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_identity_does_not_matter() {
    let simulator = simulator(|_| {}).await;
    let echo = destination(ServerKind::Echo).await;
    let sts = sts(403, &sts_error("AccessDenied", "an explicit deny"));
    let mut command = caller(&simulator);
    command.env("AWS_ENDPOINT_URL_STS", sts.endpoint());

    let text = with_endpoint(&simulator, &forward(echo.address().port()));

    examine_by(command, &text, &[]).assert_as("identity-denied");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clock_is_wrong() {
    let simulator = simulator(|_| {}).await;
    let endpoint = format!("http://{}", in_the_past(simulator.address()));

    let text = file(&endpoint, &forward(1));
    let mut examined = examine_by(caller(&simulator), &text, &[]);

    examined.stdout = cut(
        &examined.stdout,
        "the clock of this machine is ",
        |c| c.is_ascii_digit() || " dhms".contains(c),
        "N ",
    );
    examined.assert_as("clock-skew");
    assert_eq!(simulator.ledger().started, 0);
}

/// A server that answers unsigned requests with a date of 1994, and passes on all others.
fn in_the_past(real: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || answer(client, real));
        }
    });
    address
}

fn answer(mut client: TcpStream, real: SocketAddr) {
    let mut begin = [0; 6];
    if client.read_exact(&mut begin).is_err() {
        return;
    }
    if &begin == b"GET / " {
        let head = "HTTP/1.1 404 Not Found\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
        let _gone = client.write_all(format!("{head}Content-Length: 0\r\n\r\n").as_bytes());
        return;
    }
    let mut server = TcpStream::connect(real).unwrap();
    server.write_all(&begin).unwrap();
    let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    thread::spawn(move || std::io::copy(&mut from, &mut to));
    let _ended = std::io::copy(&mut server, &mut client);
}
