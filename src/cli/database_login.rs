//! Users of databases with IAM authentication, for `token` and `exec`.

use std::net::IpAddr;
use std::str::FromStr;

use super::exit::Exit;
use super::forward_variables::{DatabaseClients, ForwardVariables};
use super::{run, terminal};
use crate::config::{Forward, Remote};
use crate::daemon::{Daemon, TokenError};
use crate::session::DatabaseLogin;

/// The user of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct User(String);

impl FromStr for User {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_valid = !text.is_empty()
            && text.chars().count() <= MAX_USER
            && !text.contains(char::is_control);
        match is_valid {
            true => Ok(Self(text.to_owned())),
            false => Err(format!(
                "a user has 1 to {MAX_USER} characters, none of them a control character"
            )),
        }
    }
}

/// Returns the login at a destination.
///
/// # Errors
///
/// If the destination has no host; returns why.
pub(super) fn destination(remote: &Remote, user: User) -> Result<DatabaseLogin, String> {
    match remote {
        Remote::Host { host, port } => Ok(DatabaseLogin {
            host: host.clone(),
            port: *port,
            user: user.0,
        }),
        Remote::Port(port) => Err(format!(
            "the destination is port {port} of the target itself, not the endpoint of a database"
        )),
        Remote::Document { name, .. } => Err(format!(
            "the destination is that of the document {name}, which is not known here"
        )),
        Remote::Requested(_) => Err("a proxy has no destination of its own".to_owned()),
    }
}

/// Prints a note if a database does not have the name of an endpoint of RDS.
pub(super) fn note_unknown(login: &DatabaseLogin) {
    if login.region().is_some() {
        return;
    }
    let host = &login.host;
    let what = match host.parse::<IpAddr>() {
        Ok(_) => "is an address",
        Err(_) => "is not the name of an endpoint of RDS",
    };
    terminal::send(&format!(
        "note: {host} {what}; a database accepts tokens for its own endpoint only, not for an \
         alias, and the region is that of the forward"
    ));
}

/// Prints a note if the region of a database is not the given one.
pub(super) fn note_other_region(login: &DatabaseLogin, given: Option<&str>) {
    let (Some(own), Some(given)) = (login.region(), given) else {
        return;
    };
    if own != given {
        let host = &login.host;
        terminal::send(&format!(
            "note: the token is for {own}, the region of {host}, not for {given}"
        ));
    }
}

/// Reports why there is no token.
pub(super) fn report(error: &TokenError) -> Exit {
    match error {
        TokenError::Settings(error) => {
            terminal::fail_with_class(error.class(), error, &run::hint(error))
        }
        TokenError::Credentials(error) => {
            terminal::fail_with_class(error.class(), error, error.hint())
        }
    }
}

/// Returns the variables with which clients log in as `user`. `forwards` are those of the daemon and
/// of `addresses`, in their order. Reports an error.
///
/// The tokens are secrets: the variables are only for the environment of the command.
pub(super) async fn login_variables(
    daemon: &Daemon,
    forwards: &[Forward],
    addresses: &ForwardVariables,
    user: &User,
) -> Result<Vec<(String, String)>, Exit> {
    let databases = addresses.databases();
    if databases.is_empty() {
        let error =
            "--db-user: none of the forwards has a remote host, which the database would be";
        return Err(terminal::fail(Exit::Usage, &error, HINT));
    }
    let mut variables = Vec::new();
    for (index, clients) in databases {
        let forward = forwards.get(index).ok_or(Exit::Failed)?;
        let login = destination(&forward.remote, user.clone()).map_err(|why| {
            let error = format!("--db-user: forward {:?}: {why}", forward.name);
            terminal::fail(Exit::Usage, &error, HINT)
        })?;
        note_unknown(&login);
        let signed = daemon.database_token(forward, &login).await;
        let token = signed.map_err(|error| report(&error))?;
        let (postgres, mysql) = match clients {
            DatabaseClients::Postgres => (true, false),
            DatabaseClients::Mysql => (false, true),
            DatabaseClients::Any => (true, true),
        };
        let mut set = |name: &str, value: &str| variables.push((name.to_owned(), value.to_owned()));
        if postgres {
            set("PGUSER", &user.0);
            set("PGPASSWORD", token.expose());
            if terminal::environment(SSL_MODE).is_none() {
                // The default may send the token without encryption.
                set(SSL_MODE, "require");
            }
        }
        if mysql {
            set("MYSQL_PWD", token.expose());
        }
        // The variables of an earlier forward on the same port would lead elsewhere.
        if clients != DatabaseClients::Mysql {
            variables.extend(addresses.libpq(index).unwrap_or_default());
        }
    }
    Ok(variables)
}

const SSL_MODE: &str = "PGSSLMODE";

const HINT: &str = "name the forward whose `remote` is the endpoint of the database";

/// Maximum characters of a user; PostgreSQL allows 63 bytes, MySQL 32 characters.
const MAX_USER: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_some_characters_that_are_no_controls() {
        let long = "x".repeat(MAX_USER + 1);
        for (text, is_valid) in [
            ("app", true),
            ("o'brien@example.org", true),
            ("", false),
            ("a\nb", false),
            (long.as_str(), false),
        ] {
            assert_eq!(text.parse::<User>().is_ok(), is_valid, "{text:?}");
        }
    }

    #[test]
    fn only_a_remote_host_is_the_endpoint_of_a_database() {
        let user = || "app".parse::<User>().unwrap();
        let of = |remote: &str| destination(&remote.parse().unwrap(), user());

        assert_eq!(of("db.internal:5432").unwrap().host, "db.internal");
        assert!(of("5432").unwrap_err().contains("port 5432 of the target"));
        assert!(of("localhost:5432").is_err());
    }
}
