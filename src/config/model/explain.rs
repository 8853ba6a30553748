//! The protocol of error messages for clients whose connection is not served.

use std::str::FromStr;

use super::{Forward, Remote};

/// Value of `explain`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Explain {
    /// By the port of `remote`.
    Auto,
    /// Clients get no message: they are reset.
    Off,
    /// In this protocol.
    As(ClientProtocol),
}

/// Protocol of the clients of a forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientProtocol {
    /// PostgreSQL, version 3 of its protocol.
    Postgres,
    /// MySQL and MariaDB.
    Mysql,
    /// Redis and Valkey.
    Redis,
    /// HTTP/1.
    Http,
    /// SSH 2.
    Ssh,
}

impl Explain {
    /// The values as written in the file.
    pub(in crate::config) const WORDS: &[&str] =
        &["auto", "off", "postgres", "mysql", "redis", "http", "ssh"];

    /// Returns the value as written in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Off => "off",
            Self::As(protocol) => protocol.name(),
        }
    }
}

impl FromStr for Explain {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        let all = ClientProtocol::ALL.map(Self::As);
        let mut all = all.into_iter().chain([Self::Auto, Self::Off]);
        all.find(|value| value.as_str() == word).ok_or(())
    }
}

impl ClientProtocol {
    /// All protocols.
    pub const ALL: [Self; 5] = [
        Self::Postgres,
        Self::Mysql,
        Self::Redis,
        Self::Http,
        Self::Ssh,
    ];

    /// Returns the name in the file and in logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Mysql => "mysql",
            Self::Redis => "redis",
            Self::Http => "http",
            Self::Ssh => "ssh",
        }
    }

    /// Returns the protocol that is usual at a port. SSH must be chosen explicitly.
    fn of_port(port: u16) -> Option<Self> {
        match port {
            5432 => Some(Self::Postgres),
            3306 => Some(Self::Mysql),
            6379 => Some(Self::Redis),
            80 => Some(Self::Http),
            _ => None,
        }
    }
}

impl Forward {
    /// Returns the protocol of the error messages for clients whose connection is not served;
    /// `None`: they are reset.
    pub fn client_protocol(&self) -> Option<ClientProtocol> {
        match (self.explain, &self.remote) {
            (Explain::Off, _) | (Explain::Auto, Remote::Document { .. } | Remote::Requested(_)) => {
                None
            }
            (Explain::As(protocol), _) => Some(protocol),
            (Explain::Auto, Remote::Port(port) | Remote::Host { port, .. }) => {
                ClientProtocol::of_port(*port)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_a_value() {
        for word in Explain::WORDS {
            let value: Explain = word.parse().unwrap();
            assert_eq!(value.as_str(), *word);
        }
        assert_eq!(Explain::WORDS.len(), ClientProtocol::ALL.len() + 2);
    }

    #[test]
    fn auto_goes_by_the_port_of_remote() {
        let protocol = |lines: &str| {
            let text =
                format!("[[forward]]\nname = \"a\"\nlisten = 1\ntarget = \"i-01234567\"\n{lines}");
            let config = crate::config::parse(&text).unwrap();
            config.forwards[0]
                .client_protocol()
                .map(ClientProtocol::name)
        };

        for (lines, expected) in [
            ("remote = 5432", Some("postgres")),
            ("remote = \"db:3306\"", Some("mysql")),
            ("remote = \"cache:6379\"", Some("redis")),
            ("remote = 80", Some("http")),
            ("remote = 22", None),
            ("remote = 443", None),
            ("remote = 8080\nexplain = \"http\"", Some("http")),
            ("remote = 22\nexplain = \"ssh\"", Some("ssh")),
            ("remote = 5432\nexplain = \"off\"", None),
            ("remote = 5432\nexplain = \"mysql\"", Some("mysql")),
            ("document = \"Orders\"", None),
            (
                "document = \"Orders\"\nexplain = \"postgres\"",
                Some("postgres"),
            ),
        ] {
            assert_eq!(protocol(lines), expected, "{lines}");
        }
    }
}
