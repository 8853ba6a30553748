//! `token` and `exec --db-user`: tokens of IAM authentication.

use std::process::Command;

use ssm_proxyd::sim::{Options, Simulator};

use super::{Fixture, forward_in_file};
use crate::cli::ended;
use crate::support::daemon_process::assert_clean;
use crate::support::in_process::TARGET;
use crate::support::process::ssm_proxyd;

const ENDPOINT: &str = "orders.abc.eu-central-1.rds.amazonaws.com";

fn forward(name: &str, listen: u16, remote: &str) -> String {
    forward_in_file(name, 0)
        .replace("listen = 1", &format!("listen = {listen}"))
        .replace("remote = 0", &format!("remote = \"{remote}\""))
}

/// `token` with keys in the environment, in the region us-east-1.
fn token(fixture: &Fixture, arguments: &[&str]) -> Command {
    let mut command = ssm_proxyd();
    command
        .arg("token")
        .args(arguments)
        .env("HOME", fixture.home.path())
        .env_remove("XDG_CONFIG_HOME")
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "s3cret");
    command
}

#[test]
fn stdout_gets_the_token_for_the_real_endpoint_alone() {
    let fixture = Fixture::new();
    let alias = forward("alias", 2, "db.internal:3306");
    fixture.configure(&(forward("orders", 1, &format!("{ENDPOINT}:5432")) + &alias));

    let mut command = token(&fixture, &["orders", "--user", "o'brien", "-vv"]);
    command.env("AWS_SESSION_TOKEN", "se/ssion");
    let (code, out, output) = ended(&mut command);

    assert_eq!(code, 0, "{output}");
    let head = format!("{ENDPOINT}:5432/?Action=connect&DBUser=o%27brien&X-Amz-");
    assert!(out.starts_with(&head), "{out}");
    assert!(out.ends_with('\n') && out.lines().count() == 1, "{out}");
    for part in [
        "X-Amz-Credential=AKIDEXAMPLE%2F",
        "%2Feu-central-1%2Frds-db%2Faws4_request",
        "&X-Amz-Expires=900&",
        "&X-Amz-Security-Token=se%2Fssion",
        "&X-Amz-SignedHeaders=host&",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
    let (_, signature) = out.split_once("X-Amz-Signature=").unwrap();
    let signature = signature.split(['&', '\n']).next().unwrap();
    assert_eq!(signature.len(), 64, "{out}");
    assert!(!output.contains(signature) && !output.contains("ssion"));

    // Another name of the database: the region is that of the forward.
    let (code, out, output) = ended(&mut token(&fixture, &["alias", "--user", "app"]));
    assert_eq!(code, 0, "{output}");
    assert!(out.starts_with("db.internal:3306/?"), "{out}");
    assert!(out.contains("%2Fus-east-1%2Frds-db%2F"), "{out}");
    assert!(
        output.starts_with("note: db.internal is not the name"),
        "{output}"
    );
    let own = format!("{ENDPOINT}:3306");
    let arguments = ["alias", "--user", "app", "--remote", &own];
    let (code, out, output) = ended(&mut token(&fixture, &arguments));
    assert_eq!((code, output.as_str()), (0, ""));
    assert!(out.starts_with(&own), "{out}");
}

#[test]
fn a_token_that_would_not_work_is_refused_with_a_reason() {
    let fixture = Fixture::new();
    let orders = forward("orders", 1, &format!("{ENDPOINT}:5432"));
    let own = forward("own", 2, "localhost:5432");
    fixture.configure(&(orders + &own));
    let refused = |arguments: &[&str]| {
        let (code, out, output) = ended(&mut token(&fixture, arguments));
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}: {output}");
        output
    };

    let output = refused(&["order", "--user", "app"]);
    assert!(output.contains("has no forward \"order\""), "{output}");
    assert!(output.contains("did you mean \"orders\"?"), "{output}");
    let output = refused(&["own", "--user", "app"]);
    assert!(
        output.contains("port 5432 of the target itself"),
        "{output}"
    );
    refused(&["orders", "--user", "app", "--remote", "5432"]);
    refused(&["orders", "--user", ""]);
    refused(&["orders"]);

    let mut command = token(&fixture, &["orders", "--user", "app"]);
    command
        .env_remove("AWS_ACCESS_KEY_ID")
        .env_remove("AWS_SECRET_ACCESS_KEY")
        .env("AWS_EC2_METADATA_DISABLED", "true");
    let (code, out, output) = ended(&mut command);
    assert_eq!((code, out.as_str()), (77, ""), "{output}");
    assert!(output.contains("[NoCredentials]"), "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_gets_the_token_of_its_database_in_the_environment() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let fixture = Fixture::new();
    let cache = forward("cache", 1, "cache.internal:6379");
    let orders = forward("orders", 2, &format!("{ENDPOINT}:5432"));
    let shop = forward("shop", 3, &format!("shop-{ENDPOINT}:3306"));
    fixture.configure(&(cache + &orders + &shop));
    let run = |arguments: &[&str], mode: Option<&str>| {
        let arguments = [&["exec", "-vv"], arguments, &["--", "env"]].concat();
        let mut command = fixture.command(&simulator, &arguments);
        command.env_remove("PGSSLMODE");
        if let Some(mode) = mode {
            command.env("PGSSLMODE", mode);
        }
        let (code, out, output) = ended(&mut command);
        assert!(!output.contains("X-Amz-Signature"), "{output}");
        (code, out, output)
    };

    let all = ["cache", "shop", "orders", "--db-user", "app"];
    let (code, out, output) = run(&all, None);
    assert_eq!(code, 0, "{output}");
    for line in [
        format!("PGPASSWORD={ENDPOINT}:5432/?Action=connect&DBUser=app&"),
        format!("PGHOST={ENDPOINT}\n"),
        "PGUSER=app\n".to_owned(),
        "PGSSLMODE=require\n".to_owned(),
        format!("MYSQL_PWD=shop-{ENDPOINT}:3306/?Action=connect&DBUser=app&"),
    ] {
        assert!(out.contains(&line), "{line}: {out}");
    }

    // A port that says nothing: both, for the only remote host.
    let local = format!("0:{ENDPOINT}:5433");
    let (code, out, output) = run(
        &[TARGET, "-L", &local, "--db-user", "app"],
        Some("verify-full"),
    );
    assert_eq!(code, 0, "{output}");
    for line in [
        "PGPASSWORD=",
        "MYSQL_PWD=",
        "PGHOST=",
        "PGSSLMODE=verify-full\n",
    ] {
        assert!(
            out.contains(&format!("\n{line}")) || out.starts_with(line),
            "{line}: {out}"
        );
    }

    let (code, out, output) = run(
        &[TARGET, "-L", "0:localhost:5432", "--db-user", "app"],
        None,
    );
    assert_eq!((code, out.as_str()), (2, ""), "{output}");
    assert!(output.contains("--db-user: forward"), "{output}");
    assert_clean(&simulator);
}
