//! Options of a pair.

use std::collections::BTreeMap;
use std::time::Duration;

use ssm_proxyd::proto::{ClientVersion, Options};
use ssm_proxyd::sim::agent::{self, Digests, Job, Version};
use ssm_proxyd::sim::link::LinkConditions;

use super::pair::Pair;

/// The options that a test chooses.
pub(crate) struct PairOptions {
    pub(crate) seed: u64,
    pub(crate) options: Options,
    pub(crate) agent: agent::Options,
    pub(crate) job: Job,
    pub(crate) up: LinkConditions,
    pub(crate) down: LinkConditions,
    /// Bytes in transit, in each direction, from which the sender waits.
    pub(crate) capacity: usize,
    /// True if the pair keeps a journal.
    pub(crate) records: bool,
}

impl PairOptions {
    /// An agent of this version.
    pub(crate) fn of_version(version: &str) -> Self {
        let mut setup = Self::default();
        setup.agent.version = Version::parse(version);
        setup
    }

    /// A session without a mux: the properties of `AWS-StartSSHSession`.
    pub(crate) fn single() -> Self {
        let mut setup = Self::default();
        setup.job.properties.remove("type");
        setup.options.shared = false;
        setup
    }

    /// A pair that is ready for streams.
    pub(crate) fn established(self) -> Pair {
        let mut pair = Pair::new(self);
        pair.connect("token");
        pair.run_until(|pair| pair.ready.is_some());
        pair.run_for(Duration::from_millis(100));
        pair
    }
}

impl Default for PairOptions {
    /// The defaults of a forward, a current agent, and a path without faults of 10 ms each way.
    fn default() -> Self {
        let properties = [("portNumber", "80"), ("type", "LocalPortForwarding")];
        let properties = properties.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let path = LinkConditions::delayed(Duration::from_millis(10));
        Self {
            seed: 7,
            options: Options {
                upload_rate: 900,
                upload_payload: 1024,
                upload_window: 256 * 1024,
                keep_alive: false,
                shared: true,
                client_version: ClientVersion::DEFAULT,
            },
            agent: agent::Options {
                digests: Digests::Recorded,
                process_start: Duration::ZERO..Duration::ZERO,
                ..agent::Options::default()
            },
            job: Job {
                properties: BTreeMap::from(properties),
                refusal: None,
            },
            up: path,
            down: path,
            capacity: 1 << 20,
            records: true,
        }
    }
}
