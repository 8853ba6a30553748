//! `exec` with psql and a real server.

use ssm_proxyd::sim::{Options, Simulator};

use super::{Fixture, forward_in_file};
use crate::cli::ended;
use crate::support::daemon_process::assert_clean;
use crate::support::postgres::Server;

#[tokio::test(flavor = "multi_thread")]
async fn psql_queries_through_a_forward_that_lives_as_long_as_psql() {
    let server = Server::start();
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let fixture = Fixture::new();
    fixture.configure(&forward_in_file("orders-db", server.address().port()));
    let psql = |statement| {
        let arguments = [
            "exec",
            "orders-db",
            "--",
            "psql",
            "-h",
            "{host}",
            "-p",
            "{port}",
            "-U",
            "postgres",
            "--no-psqlrc",
            "-Atc",
            statement,
            "postgres",
        ];
        ended(&mut fixture.command(&simulator, &arguments))
    };

    let (code, out, output) = psql("SELECT sum(n) FROM generate_series(1, 1000) n");
    assert_eq!((code, out.as_str()), (0, "500500\n"), "{output}");

    let (code, _, output) = psql("SELECT 1/0");
    assert_eq!(code, 1, "the exit code of psql");
    assert!(output.contains("division by zero"), "{output}");
    assert_clean(&simulator);
}
