//! What `iam-policy` prints, to stdout and to stderr.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::cli::ended;
use crate::support::daemon_process::File;
use crate::support::process::ssm_proxyd;

const EXPECTED: &str = "tests/iam_policy/expected.json";

const TEXT: &str = r#"
[aws]
region = "cn-north-1"
profile = "prod"

[[forward]]
name = "db"
listen = 5432
target = "i-0123456789abcdef0"
remote = "db.internal:5432"

[[forward]]
name = "web"
listen = 8080
target = { tags = { Name = "web", Env = "${prod}" } }
remote = 80
region = "cn-northwest-1"

[[forward]]
name = "cache"
listen = 6379
target = ["mi-0123456789abcdef0", { tags = { Name = "cache" } }]
document = "Our-Cache"
enabled = false

[[forward]]
name = "orders"
listen = 5433
target = "i-0123456789abcdef0"
remote = "orders.internal:5432"
profile = "other"
role_arn = "arn:aws-cn:iam::111122223333:role/orders"
"#;

#[test]
fn the_policies_of_all_identities_are_as_expected() {
    let (code, out, err) = run(TEXT, "", &["--all", "--push-key"]);

    assert_eq!((code, err.as_str()), (0, ""));
    let expected = fs::read_to_string(EXPECTED).unwrap();
    assert_eq!(out, expected, "if this is intended, write it to {EXPECTED}");
}

#[test]
fn several_identities_are_listed_with_their_options() {
    for (arguments, error) in [
        (&[][..], "several identities"),
        (&["--profile", "unknown"], "do not use this identity"),
    ] {
        let (code, out, err) = run(TEXT, "", arguments);

        assert_eq!((code, out.as_str()), (2, ""), "{err}");
        for text in [
            error,
            "`--profile prod` (db, web)",
            "`--profile other` (orders)",
            "`--role-arn arn:aws-cn:iam::111122223333:role/orders` (orders)",
            "--all",
        ] {
            assert!(err.contains(text), "{text}: {err}");
        }
    }
}

#[test]
fn named_forwards_may_be_disabled_and_must_exist() {
    let (code, out, _) = run(TEXT, "", &["cache"]);
    assert_eq!(code, 0);
    assert!(out.contains("Our-Cache") && out.contains("managed-instance/mi-0123456789abcdef0"));

    let (code, _, err) = run(TEXT, "", &["cach"]);
    assert_eq!(code, 2);
    assert!(
        err.contains("no forward \"cach\"") && err.contains("did you mean"),
        "{err}"
    );
}

#[test]
fn what_is_wider_than_necessary_is_explained() {
    let (code, out, err) = run(TEXT, "", &["web"]);

    assert_eq!(code, 0, "{err}");
    assert!(
        out.starts_with("{\n  \"Version\": \"2012-10-17\",\n  \"Statement\": ["),
        "{out}"
    );
    for text in [
        "note: for the profile prod; forwards: web\n",
        "on \"*\", as AWS defines no resource for it: ssm:DescribeSessions, ssm:DescribeInstanceInformation",
        "the account is not known",
        "the documents of AWS allow every port",
    ] {
        assert!(err.contains(text), "{text}: {err}");
    }
    assert!(!err.contains("the region is not known"), "{err}");
}

#[test]
fn region_and_account_of_the_profile_are_used() {
    let text = "[[forward]]\nname = \"f\"\nlisten = 1024\ntarget = \"i-00000001\"\nremote = 1\n";
    let files = "[default]\nregion = eu-north-1\nsso_account_id = 444455556666\n";

    let (_, out, err) = run(text, files, &[]);

    let policy: Value = serde_json::from_str(&out).unwrap();
    let resource = &policy["Statement"][0]["Resource"][0];
    assert_eq!(
        resource,
        "arn:aws:ec2:eu-north-1:444455556666:instance/i-00000001"
    );
    assert!(!err.contains("not known"), "{err}");
    let (_, out, err) = run(text, "", &[]);
    assert!(out.contains("arn:aws:ec2:*:*:instance/i-00000001"), "{out}");
    assert!(err.contains("the region is not known"), "{err}");
}

#[test]
fn the_login_of_a_user_with_a_token_is_allowed_to_the_identity_that_signs_it() {
    let text = TEXT.replace(
        "orders.internal:5432",
        "o.abc.eu-south-1.rds.amazonaws.com:6000",
    );
    let users = ["--db-user", "app", "--db-user", "ro*"];
    let statements = |arguments: &[&str]| {
        let (code, out, err) = run(&text, "", &[arguments, &users].concat());
        assert_eq!(code, 0, "{err}");
        assert!(err.contains("replace `*` in `dbuser:*/…`"), "{err}");
        let policy: Value = serde_json::from_str(&out).unwrap();
        let statements = policy["Statement"].as_array().unwrap().iter();
        let logins = statements.filter(|statement| statement["Action"][0] == "rds-db:connect");
        logins
            .map(|login| login["Resource"].clone())
            .collect::<Vec<_>>()
    };

    let by_port = statements(&["--profile", "prod"]);
    let role = "arn:aws-cn:iam::111122223333:role/orders";
    let by_name = statements(&["--role-arn", role]);

    let arns = |place: &str| {
        json!([
            format!("arn:{place}:dbuser:*/app"),
            format!("arn:{place}:dbuser:*/ro${{*}}"),
        ])
    };
    assert_eq!(by_port, [arns("aws-cn:rds-db:cn-north-1:*")]);
    assert_eq!(by_name, [arns("aws:rds-db:eu-south-1:111122223333")]);
    let (_, out, _) = run(&text, "", &["--profile", "other", "--db-user", "app"]);
    assert!(!out.contains("rds-db"), "the role signs the token: {out}");
}

#[test]
fn a_login_without_a_database_is_an_error() {
    let (code, out, err) = run(TEXT, "", &["web", "--db-user", "app"]);

    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    assert!(err.contains("none of the forwards is a database"), "{err}");
}

/// The chain of roles of a profile is followed by this program too.
#[test]
fn what_the_sources_of_a_profile_need_is_explained() {
    let text = "[[forward]]\nname = \"f\"\nlisten = 1024\ntarget = \"i-00000001\"\nremote = 1\n\
        profile = \"top\"\n";
    let role = |name| format!("arn:aws:iam::111122223333:role/{name}");
    let profile = |name, source| {
        let role = role(name);
        format!("[profile {name}]\nrole_arn = {role}\nsource_profile = {source}\n")
    };
    let base = "[profile base]\naws_access_key_id = x\naws_secret_access_key = y\n";
    let files = profile("top", "mid") + &profile("mid", "base") + base;
    for arguments in [&[][..], &["--all"]] {
        let (code, _, err) = run(text, &files, arguments);

        assert_eq!(code, 0, "{err}");
        for (source, role) in [("mid", role("top")), ("base", role("mid"))] {
            let note = format!(
                "note: the credentials of the profile {source} need sts:AssumeRole on {role}\n"
            );
            assert!(err.contains(&note), "{err}");
        }
    }
}

#[test]
fn a_policy_that_is_too_long_for_iam_is_reported() {
    let text: String = (0..200)
        .map(|n| {
            format!(
                "[[forward]]\nname = \"f{n}\"\nlisten = {}\ntarget = \"i-{n:017x}\"\nremote = 1\n",
                1024 + n
            )
        })
        .collect();

    let (code, _, err) = run(&text, "", &[]);

    assert_eq!(code, 0, "{err}");
    assert!(err.contains("at most 6144"), "{err}");
}

/// Runs it with a configuration and AWS's own file.
fn run(text: &str, aws: &str, arguments: &[&str]) -> (i32, String, String) {
    let file = File::new(text);
    let files = file.directory().join("aws");
    fs::write(&files, aws).unwrap();
    let mut command: Command = ssm_proxyd();
    command
        .env_remove("AWS_ACCESS_KEY_ID")
        .env("AWS_CONFIG_FILE", files)
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
    command.arg("iam-policy").args(arguments);
    ended(command.arg("--config").arg(file.path()))
}
