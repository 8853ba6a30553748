//! The reasons that only connections of a proxy have.

use std::io::{Read, Write};

use ssm_proxyd::telemetry::EndReason;

use super::Fixture;
use super::reasons::assert_ends;
use crate::support::daemon_process::{connect, free_address};
use crate::support::in_process::{TARGET, unpaced};

#[tokio::test(flavor = "multi_thread")]
async fn the_client_of_a_proxy_makes_a_request_that_is_not_served() {
    let address = free_address();
    let keys = format!(
        "remote = 1\n[[proxy]]\nname = \"p\"\nlisten = \"{address}\"\ntarget = \"{TARGET}\"\n\
         allow = [\"db:1\"]\n"
    );
    let mut fixture = Fixture::new(unpaced(), &keys).await;
    let mut request = |bytes: &[u8]| {
        let mut client = connect(address);
        client.write_all(bytes).unwrap();
        let _reset = client.read_to_end(&mut Vec::new());
        fixture.record()
    };

    let denied = request(b"CONNECT db:2 HTTP/1.1\r\n\r\n");
    let invalid = request(b"\x16\x03\x01");

    assert_ends(&denied, "queued", EndReason::RequestDenied);
    assert_eq!(denied["destination"], "db:2");
    assert_ends(&invalid, "queued", EndReason::RequestInvalid);
    assert_eq!(invalid["destination"], "-");
}
