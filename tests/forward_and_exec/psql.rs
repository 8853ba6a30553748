//! `exec` with psql and a real server.

use ssm_proxyd::sim::{Options, Simulator};

use super::{Fixture, forward_in_file};
use crate::cli::ended;
use crate::support::daemon_process::assert_clean;
use crate::support::in_process::TARGET;
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

/// The certificate has the name of the real server, and nothing in the arguments says where it is.
#[tokio::test(flavor = "multi_thread")]
async fn psql_verifies_the_name_of_the_real_server() {
    let server = Server::start_with_tls("orders.internal");
    let mut options = Options::default();
    let (name, port) = ("orders.internal", Some(5432));
    let (resolver, address) = (&mut options.resolver, server.address());
    resolver.insert(name, port, address).unwrap();
    let simulator = Simulator::start(options).await.unwrap();
    let fixture = Fixture::new();
    let cache = forward_in_file("cache", 6379).replace("listen = 1", "listen = 2");
    let orders = forward_in_file("orders", 0).replace("= 0", "= \"orders.internal:5432\"");
    fixture.configure(&(cache + &orders));
    let psql = |head: &[&str], names: &[&str]| {
        let statement = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        let client = ["psql", "-U", "postgres", "--no-psqlrc", "-Atc", statement];
        let arguments = [&["exec"], head, &["--"], names, &client, &["postgres"]].concat();
        let mut command = fixture.command(&simulator, &arguments);
        command
            .env("PGSSLMODE", "verify-full")
            .env("PGSSLROOTCERT", server.certificate().unwrap())
            .env("PGHOST", "elsewhere")
            .env("PGPORT", "1");
        ended(&mut command)
    };

    let named = psql(&["cache", "orders"], &[]);
    let local = psql(&[TARGET, "-L", "0:orders.internal:5432"], &[]);
    let other = psql(&["orders"], &["env", "PGHOST=other.internal"]);

    assert_eq!((named.0, named.1.as_str()), (0, "t\n"), "{}", named.2);
    assert_eq!((local.0, local.1.as_str()), (0, "t\n"), "{}", local.2);
    assert_eq!(other.0, 2, "{}", other.2);
    let words = "does not match host name \"other.internal\"";
    assert!(other.2.contains(words), "{}", other.2);
    assert_clean(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_prints_why_a_forward_of_the_command_line_is_not_served() {
    let mut options = Options::default();
    options.offline.insert(TARGET.to_owned());
    let simulator = Simulator::start(options).await.unwrap();
    let fixture = Fixture::new();
    let client = ["psql", "-U", "postgres", "--no-psqlrc", "-Atc", "SELECT 1"];
    let head = ["exec", TARGET, "-L", "0:orders.internal:5432", "--"];
    let arguments = [&head[..], &client].concat();

    let (code, _, output) = ended(&mut fixture.command(&simulator, &arguments));

    assert_eq!(code, 2, "{output}");
    let text = format!("StartSession: TargetNotConnected: {TARGET} is not connected");
    assert!(output.contains("FATAL:  ssm-proxyd: forward "), "{output}");
    assert!(output.contains(&text), "{output}");
    assert!(
        output.contains("HINT:  check that the target is running"),
        "{output}"
    );
}
