//! What `exec` passes to its command: placeholders in the arguments, and environment variables.
//!
//! ```text
//!   {host}, {port}            SSM_PROXYD_HOST, SSM_PROXYD_PORT               the first forward
//!   {NAME.host}, {NAME.port}  SSM_PROXYD_<NAME>_HOST, SSM_PROXYD_<NAME>_PORT each named forward
//!                             PGHOST, PGHOSTADDR, PGPORT                     the first to port 5432
//! ```

use std::collections::BTreeMap;

use crate::config::Remote;

/// A running forward.
#[derive(Clone, Debug)]
pub(super) struct ForwardAddress {
    /// Its name in the configuration; `None` for `-L`.
    name: Option<String>,
    host: String,
    /// Empty for a Unix socket.
    port: String,
    remote: Remote,
}

impl ForwardAddress {
    /// Creates it from the first local address as reported. A Unix socket becomes a host without a
    /// port, as in PostgreSQL clients.
    pub(super) fn new(name: Option<String>, listen: &str, remote: Remote) -> Self {
        let (host, port) = match listen.strip_prefix("unix:") {
            Some(path) => (path, ""),
            None => listen.rsplit_once(':').unwrap_or((listen, "")),
        };
        Self {
            name,
            host: host.trim_matches(['[', ']']).to_owned(),
            port: port.to_owned(),
            remote,
        }
    }
}

/// The forwards of a command, in the order in which the user named them.
#[derive(Clone, Debug, Default)]
pub(super) struct ForwardVariables(Vec<ForwardAddress>);

impl ForwardVariables {
    pub(super) fn new(forwards: Vec<ForwardAddress>) -> Self {
        Self(forwards)
    }

    /// Replaces the placeholders in an argument. Other braces are left as they are.
    pub(super) fn fill(&self, argument: &str) -> String {
        let (mut filled, mut rest) = (String::new(), argument);
        while let Some(begin) = rest.find('{') {
            filled += &rest[..begin];
            rest = &rest[begin..];
            // Nested braces belong to the command.
            let end = rest[1..].find(['{', '}']).map(|end| end + 1);
            let value = end
                .filter(|end| rest[*end..].starts_with('}'))
                .and_then(|end| Some((self.value(&rest[1..end])?, end + 1)));
            let (text, length) = value.unwrap_or(("{", 1));
            filled += text;
            rest = &rest[length..];
        }
        filled + rest
    }

    fn value(&self, placeholder: &str) -> Option<&str> {
        let (name, part) = match placeholder.rsplit_once('.') {
            Some((name, part)) => (Some(name), part),
            None => (None, placeholder),
        };
        let mut forwards = self.0.iter();
        let forward = match name {
            Some(_) => forwards.find(|forward| forward.name.as_deref() == name),
            None => forwards.next(),
        };
        match part {
            HOST => Some(&forward?.host),
            PORT => Some(&forward?.port),
            _ => None,
        }
    }

    /// Returns the variables for the environment of the command.
    pub(super) fn environment(&self) -> BTreeMap<String, String> {
        let first = self.0.first().map(|first| (PREFIX.to_owned(), first));
        let named = self.0.iter().filter_map(|forward| {
            let name = forward.name.as_deref()?;
            Some((format!("{PREFIX}{}_", variable_part(name)), forward))
        });
        let mut variables = BTreeMap::new();
        for (prefix, forward) in first.into_iter().chain(named) {
            variables.insert(format!("{prefix}HOST"), forward.host.clone());
            variables.insert(format!("{prefix}PORT"), forward.port.clone());
        }
        variables.extend(self.of_postgres());
        variables
    }

    /// Returns the variables of libpq for the first forward to a PostgreSQL port.
    fn of_postgres(&self) -> Vec<(String, String)> {
        let found = self.postgres().and_then(|index| self.libpq(index));
        found.unwrap_or_default()
    }

    /// Returns the index of the first forward to a PostgreSQL port that has a local port.
    fn postgres(&self) -> Option<usize> {
        let is_postgres = |forward: &ForwardAddress| {
            forward.remote.port() == Some(POSTGRES) && !forward.port.is_empty()
        };
        self.0.iter().position(is_postgres)
    }

    /// Returns the variables of libpq for a forward. PGHOST is the real name, which certificates and
    /// password files contain; PGHOSTADDR is what libpq connects to. `None` if the forward has no
    /// known destination or no local port.
    pub(super) fn libpq(&self, index: usize) -> Option<Vec<(String, String)>> {
        let forward = self.0.get(index).filter(|f| !f.port.is_empty())?;
        let host = match &forward.remote {
            Remote::Host { host, .. } => host,
            Remote::Port(_) => TARGET_ITSELF,
            Remote::Document { .. } | Remote::Requested(_) => return None,
        };
        let variables = [
            ("PGHOST", host),
            ("PGHOSTADDR", &forward.host),
            ("PGPORT", &forward.port),
        ];
        let owned = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Some(owned.into())
    }

    /// Returns the forwards to databases by index, each with the clients that connect to it: for each
    /// port of a database the first with a remote host; the first one only if there is none.
    pub(super) fn databases(&self) -> Vec<(usize, DatabaseClients)> {
        let is_host = |index: usize| matches!(self.0[index].remote, Remote::Host { .. });
        let at_port = |port| {
            let remote_port = |index: &usize| self.0[*index].remote.port();
            let mut found = (0..self.0.len()).filter(move |index| remote_port(index) == Some(port));
            found.find(|index| is_host(*index))
        };
        let mysql = self.0.iter().position(|f| f.remote.port() == Some(MYSQL));
        let known = [
            (
                at_port(POSTGRES).or_else(|| self.postgres()),
                DatabaseClients::Postgres,
            ),
            (at_port(MYSQL).or(mysql), DatabaseClients::Mysql),
        ];
        let known = known.into_iter();
        let known: Vec<_> = known.filter_map(|(index, of)| Some((index?, of))).collect();
        let hosts: Vec<_> = known.iter().copied().filter(|(i, _)| is_host(*i)).collect();
        if !known.is_empty() {
            return if hosts.is_empty() { known } else { hosts };
        }
        let first = (0..self.0.len()).find(|index| is_host(*index));
        let first = first.map(|index| (index, DatabaseClients::Any));
        first.into_iter().collect()
    }
}

/// The clients of a database, by its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DatabaseClients {
    /// PostgreSQL: libpq.
    Postgres,
    /// MySQL and MariaDB.
    Mysql,
    /// Another port: any of them.
    Any,
}

/// Returns the part of a variable's name that stands for a forward.
pub(super) fn variable_part(name: &str) -> String {
    let of_letter = |c: char| match c.is_ascii_alphanumeric() {
        true => c.to_ascii_uppercase(),
        false => '_',
    };
    name.chars().map(of_letter).collect()
}

/// Returns the names in placeholders such as `{NAME.port}` of an argument.
pub(super) fn names_in(argument: &str) -> impl Iterator<Item = &str> {
    argument.split('{').skip(1).filter_map(|text| {
        let (placeholder, _) = text.split_once('}')?;
        let (name, part) = placeholder.rsplit_once('.')?;
        [HOST, PORT].contains(&part).then_some(name)
    })
}

const HOST: &str = "host";
const PORT: &str = "port";

const PREFIX: &str = "SSM_PROXYD_";

/// Port of PostgreSQL.
const POSTGRES: u16 = 5432;

/// Port of MySQL and MariaDB.
const MYSQL: u16 = 3306;

/// Host of a port of the target itself.
const TARGET_ITSELF: &str = "localhost";

#[cfg(test)]
mod tests {
    use super::*;

    fn forwards() -> ForwardVariables {
        let forward = |name: &str, listen: &str, remote: &str| {
            let remote = remote.parse().unwrap();
            ForwardAddress::new(Some(name.to_owned()), listen, remote)
        };
        ForwardVariables::new(vec![
            forward("cache.v2", "127.0.0.1:1001", "cache:6379"),
            forward("orders-db", "127.0.0.1:1002", "orders.internal:5432"),
        ])
    }

    #[test]
    fn placeholders_are_replaced_once_and_other_braces_are_kept() {
        for (argument, filled) in [
            ("{host}:{port}", "127.0.0.1:1001"),
            ("{cache.v2.port}", "1001"),
            ("a{orders-db.host}b{orders-db.port}c", "a127.0.0.1b1002c"),
            ("{other.port} {x} {} { {", "{other.port} {x} {} { {"),
            ("{{port}}", "{1001}"),
            (r#"{"port": {port}}"#, r#"{"port": 1001}"#),
            ("ä{port", "ä{port"),
        ] {
            assert_eq!(forwards().fill(argument), filled, "{argument}");
        }
        let remote = Remote::Port(1);
        let odd = ForwardAddress::new(None, "unix:/run/{port}", remote);
        assert_eq!(
            ForwardVariables::new(vec![odd]).fill("{host}"),
            "/run/{port}"
        );
        assert_eq!(ForwardVariables::default().fill("{host}"), "{host}");
    }

    #[test]
    fn each_forward_has_variables_and_the_first_one_those_without_a_name() {
        let variables = forwards().environment();

        let variables: Vec<_> = variables
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let expected = [
            "PGHOST=orders.internal",
            "PGHOSTADDR=127.0.0.1",
            "PGPORT=1002",
            "SSM_PROXYD_CACHE_V2_HOST=127.0.0.1",
            "SSM_PROXYD_CACHE_V2_PORT=1001",
            "SSM_PROXYD_HOST=127.0.0.1",
            "SSM_PROXYD_ORDERS_DB_HOST=127.0.0.1",
            "SSM_PROXYD_ORDERS_DB_PORT=1002",
            "SSM_PROXYD_PORT=1001",
        ];
        assert_eq!(variables, expected);
    }

    #[test]
    fn libpq_gets_variables_for_tcp_only() {
        let of = |listen, remote: &str| {
            let forward = ForwardAddress::new(None, listen, remote.parse().unwrap());
            ForwardVariables::new(vec![forward]).of_postgres()
        };

        assert_eq!(of("unix:/run/s", "db:5432"), []);
        assert_eq!(of("127.0.0.1:1", "db:5433"), []);
        assert_eq!(of("[::1]:1", "5432")[0].1, "localhost");
        assert_eq!(of("[::1]:1", "[2001:db8::1]:5432")[0].1, "2001:db8::1");
    }

    #[test]
    fn databases_are_known_by_their_port_or_else_the_first_remote_host() {
        use DatabaseClients::{Any, Mysql, Postgres};
        for (remotes, databases) in [
            (
                &["a:6379", "b:3306", "c:5432", "d:5432"][..],
                &[(2, Postgres), (1, Mysql)][..],
            ),
            (&["6379", "a:5433", "b:1433"], &[(1, Any)]),
            (&["5432", "a:3306"], &[(1, Mysql)]),
            (
                &["5432", "a:5432", "3306", "b:5432", "c:3306"],
                &[(1, Postgres), (4, Mysql)],
            ),
            (&["5432", "a:6379"], &[(0, Postgres)]),
            (&["6379"], &[]),
        ] {
            let forwards = remotes
                .iter()
                .map(|remote| ForwardAddress::new(None, "127.0.0.1:1", remote.parse().unwrap()));
            let variables = ForwardVariables::new(forwards.collect());

            assert_eq!(variables.databases(), databases, "{remotes:?}");
        }
    }

    #[test]
    fn names_are_found_in_placeholders() {
        let names: Vec<_> = names_in("{a.port}{b.c.host}{port}{x.y}{{d.port}} {e.port").collect();

        assert_eq!(names, ["a", "b.c", "d"]);
    }
}
