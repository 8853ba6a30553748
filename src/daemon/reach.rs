//! What AWS is reached by: one service for each region, profile and role that forwards name.

use std::collections::BTreeMap;

use tracing::{debug, warn};

use super::StartError;
use super::off_runtime::off_runtime;
use crate::config::{self, Account};
use crate::forward::World;
use crate::network::{Network, Proxy};
use crate::session::{self, Effort, Entry, Identity, Origin, Service, Sessions, Settings};

/// The services of a configuration, and what they were made of.
#[derive(Clone, Debug)]
pub(super) struct Reach {
    aws: config::Aws,
    identity: Identity,
    proxy: Option<Proxy>,
    network: Network,
    /// Forwards that say the same share a service.
    services: BTreeMap<Account, Service>,
}

impl Reach {
    /// Loads a service for each of the forwards, on a thread that may block.
    ///
    /// # Errors
    ///
    /// Bad certificates, a bad proxy, a forward without a region, or files that are not read in
    /// time.
    pub(super) async fn new(
        aws: config::Aws,
        identity: Identity,
        forwards: &[config::Forward],
    ) -> Result<Self, StartError> {
        let forwards = forwards.to_vec();
        let loading = async move { Self::read(aws, identity, &forwards).await };
        off_runtime(SETTINGS, loading).await
    }

    async fn read(
        aws: config::Aws,
        identity: Identity,
        forwards: &[config::Forward],
    ) -> Result<Self, StartError> {
        let proxy = match &aws.proxy {
            Some(proxy) => Proxy::new(proxy.expose(), &proxy.exempt)?,
            None => None,
        };
        let network = Network::new(aws.ca_bundle.as_deref())?.through(proxy.clone());
        let mut reach = Self {
            aws,
            identity,
            proxy,
            network,
            services: BTreeMap::new(),
        };
        reach.load(forwards).await?;
        Ok(reach)
    }

    /// The same for other forwards: what some of these already have stays as it is. Also tells
    /// whether what all of them have in common has changed.
    ///
    /// # Errors
    ///
    /// As [`Reach::new`].
    pub(super) async fn renewed(
        self,
        aws: config::Aws,
        forwards: &[config::Forward],
    ) -> Result<(Self, bool), StartError> {
        let forwards = forwards.to_vec();
        let loading = async move { self.reread(aws, &forwards).await };
        off_runtime(SETTINGS, loading).await
    }

    async fn reread(
        self,
        aws: config::Aws,
        forwards: &[config::Forward],
    ) -> Result<(Self, bool), StartError> {
        if aws != self.aws {
            let renewed = Self::read(aws, self.identity, forwards).await?;
            return Ok((renewed, true));
        }
        let mut renewed = self;
        let is_named = |account: &Account| forwards.iter().any(|f| f.account == *account);
        renewed.services.retain(|account, _| is_named(account));
        renewed.load(forwards).await?;
        Ok((renewed, false))
    }

    async fn load(&mut self, forwards: &[config::Forward]) -> Result<(), StartError> {
        for forward in forwards {
            let loaded = self.load_one(&forward.account).await;
            loaded.map_err(|error| refused(forward, error))?;
        }
        if self.services.is_empty() {
            let loaded = self.load_one(&Account::default()).await;
            loaded.map_err(StartError::Aws)?;
        }
        Ok(())
    }

    async fn load_one(&mut self, account: &Account) -> Result<(), session::Error> {
        if self.services.contains_key(account) {
            return Ok(());
        }
        let aws = account.within(&self.aws);
        let settings = Settings {
            profile_first: account.profile.is_some(),
            identity: self.identity.clone(),
            proxy: self.proxy.clone(),
            ..settings(aws)
        };
        let service = match self.services.values().next() {
            Some(other) => other.beside(settings).await?,
            None => Service::load(settings).await?,
        };
        self.services.insert(account.clone(), service);
        Ok(())
    }

    /// The world as a forward sees it.
    pub(super) fn world(&self, forward: &config::Forward, world: &World) -> World {
        let service = self.services.get(&forward.account);
        World {
            service: service.unwrap_or(&world.service).clone(),
            network: self.network.clone(),
            ..world.clone()
        }
    }

    /// What dials websockets.
    pub(super) fn network(&self) -> &Network {
        &self.network
    }

    /// One of the services, for what is not of a forward.
    pub(super) fn any(&self) -> Service {
        let mut services = self.services.values();
        services.next().expect("a service is loaded").clone()
    }

    /// Every service looks whether AWS's files have changed, at its next call.
    pub(super) fn doubt_files(&self) {
        for service in self.services.values() {
            service.doubt_files();
        }
    }

    /// Every service looks for credentials at once.
    pub(super) fn cut_short(&self) {
        for service in self.services.values() {
            service.cut_short();
        }
    }
}

/// Ends what former processes left behind, each by the caller that started it.
pub(super) async fn end_abandoned(
    service: Service,
    sessions: Sessions,
    abandoned: Vec<Entry>,
    effort: Effort,
) {
    let mut callers: BTreeMap<Origin, Service> = BTreeMap::new();
    for entry in abandoned {
        let service = match callers.get(&entry.origin) {
            Some(known) => known.clone(),
            None => match service.of(&entry.origin).await {
                Ok(service) => service,
                Err(error) => {
                    let session = &entry.session;
                    match effort {
                        Effort::Full => warn!(session, %error, "cannot end it"),
                        Effort::Casual => debug!(session, %error, "cannot end it"),
                    }
                    continue;
                }
            },
        };
        callers.insert(entry.origin.clone(), service.clone());
        sessions.end_abandoned(service, entry, effort);
    }
}

fn settings(aws: config::Aws) -> Settings {
    let config::Aws {
        region,
        profile,
        role_arn,
        ssm_endpoint,
        ssmmessages_endpoint,
        ca_bundle,
        proxy: _,
    } = aws;
    Settings {
        region,
        profile,
        role: role_arn,
        ssm_endpoint,
        ssmmessages_endpoint,
        ca_bundle,
        ..Settings::default()
    }
}

/// What is read to reach AWS.
const SETTINGS: &str = "AWS's files and the certificates to trust";

/// Who says nothing of its own is no more to blame than the others.
fn refused(forward: &config::Forward, source: session::Error) -> StartError {
    if forward.account.is_shared() {
        return StartError::Aws(source);
    }
    let (name, line) = (forward.name.clone(), forward.line);
    StartError::Forward { name, line, source }
}
