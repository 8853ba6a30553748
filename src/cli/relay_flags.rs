//! `--relay` and `--stripes` of commands that work without a daemon.

use clap::Args;
use clap::builder::RangedU64ValueParser;

use super::exit::Exit;
use super::terminal;
use crate::config::{Compress, Forward, Relay, Remote};

/// Whether connections go through a relay on the target. Flags win over the file.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct RelayFlags {
    /// Go through `ssm-proxyd relay` on this port of the target: one connection over several
    /// sessions at once [default: that of the forward, or none]
    #[arg(
        long,
        value_name = "PORT",
        conflicts_with_all = ["document", "parameter"],
        value_parser = clap::value_parser!(u16).range(1..),
    )]
    relay: Option<u16>,
    /// The maximum number of sessions to the relay [default: that of the forward, or 8]
    #[arg(
        long,
        value_name = "N",
        conflicts_with_all = ["document", "parameter"],
        value_parser = RangedU64ValueParser::<usize>::from(1..=MAX_STRIPES),
    )]
    stripes: Option<usize>,
}

/// Why the options cannot be used.
#[derive(Debug)]
pub(super) struct RelayFlagError {
    pub(super) what: String,
    pub(super) hint: &'static str,
}

impl RelayFlags {
    /// Returns whether one of them was given.
    pub(super) fn is_given(&self) -> bool {
        self.relay.is_some() || self.stripes.is_some()
    }

    /// Returns the forward with these options. `label` is how messages refer to it. A document of
    /// the command line, which `has_document` says, takes the place of a relay of the file.
    ///
    /// # Errors
    ///
    /// If the forward cannot use a relay, or has none for `--stripes`.
    pub(super) fn apply(
        &self,
        forward: Forward,
        label: &str,
        has_document: bool,
    ) -> Result<Forward, RelayFlagError> {
        let known = forward.relay.filter(|_| !has_document);
        let mut relay = known.unwrap_or(DEFAULT);
        relay.stripes = self.stripes.unwrap_or(relay.stripes);
        relay.port = match (self.relay, known, self.stripes) {
            (Some(port), ..) => port,
            (None, Some(known), _) => known.port,
            (None, None, None) => {
                let relay = None;
                return Ok(Forward { relay, ..forward });
            }
            (None, None, Some(_)) => {
                let why = "has no relay, so --stripes has no effect";
                return Err(RelayFlagError::new(label, why, NO_RELAY));
            }
        };
        match (&forward.remote, &forward.document) {
            (Remote::Port(_) | Remote::Host { .. }, None) => {
                let relay = Some(relay);
                Ok(Forward { relay, ..forward })
            }
            (Remote::Port(_) | Remote::Host { .. } | Remote::Document { .. }, _) => {
                let why = "has a document of its own, which does not lead to a relay";
                Err(RelayFlagError::new(label, why, OWN_DOCUMENT))
            }
            (Remote::Requested(_), _) => Err(RelayFlagError::of_proxy(label)),
        }
    }
}

impl RelayFlagError {
    fn new(label: &str, why: &str, hint: &'static str) -> Self {
        let what = format!("{label} {why}");
        Self { what, hint }
    }

    /// A proxy cannot use a relay.
    pub(super) fn of_proxy(label: &str) -> Self {
        let why = "is a proxy, whose connections do not go through a relay";
        Self::new(label, why, "remove --relay and --stripes")
    }

    /// Prints it.
    pub(super) fn fail(&self) -> Exit {
        terminal::fail(Exit::Usage, &self.what, self.hint)
    }
}

/// What the file has by default.
const DEFAULT: Relay = Relay {
    port: 7400,
    stripes: 8,
    compress: Compress::Auto,
};

/// What the file permits at most.
const MAX_STRIPES: u64 = 32;

const NO_RELAY: &str = "add the port of `ssm-proxyd relay` on the target: `--relay 7400`";
const OWN_DOCUMENT: &str = "remove --relay, or name the target and a destination instead";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn forward(keys: &str) -> Result<Forward, config::Diagnostics> {
        let text = format!(
            "[[forward]]\nname = \"f\"\nlisten = 1\ntarget = \"i-0123456789abcdef0\"\nremote = 1\n{keys}\n"
        );
        config::parse(&text).map(|mut config| config.forwards.remove(0))
    }

    #[test]
    fn the_limits_are_those_of_the_file() {
        let by_default = forward("relay = 7400").unwrap().relay;

        assert_eq!(by_default, Some(DEFAULT));
        let stripes = |count| forward(&format!("relay = 1\nstripes = {count}"));
        assert!(stripes(MAX_STRIPES).is_ok() && stripes(MAX_STRIPES + 1).is_err());
    }

    #[test]
    fn each_flag_takes_precedence_over_the_same_key() {
        let of = |relay, stripes, keys, has_document| {
            let options = RelayFlags { relay, stripes };
            let applied = options.apply(forward(keys).unwrap(), "f", has_document);
            let relay = applied.map(|forward| forward.relay);
            relay.map(|relay| relay.map(|relay| (relay.port, relay.stripes)))
        };
        let (none, both) = ("", "relay = 1\nstripes = 2");

        assert_eq!(of(None, None, none, false).unwrap(), None);
        assert_eq!(of(None, None, both, false).unwrap(), Some((1, 2)));
        assert_eq!(of(Some(9), None, none, false).unwrap(), Some((9, 8)));
        assert_eq!(of(Some(9), None, both, false).unwrap(), Some((9, 2)));
        assert_eq!(of(None, Some(7), both, false).unwrap(), Some((1, 7)));
        assert_eq!(of(None, None, both, true).unwrap(), None);
        of(None, Some(7), none, false).unwrap_err();
        of(Some(9), None, "document = \"Ours\"", false).unwrap_err();
    }
}
