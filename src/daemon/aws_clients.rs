//! AWS clients: one [`SsmClient`] per region, profile and role named by forwards.

use std::collections::BTreeMap;
use std::path::PathBuf;

use tracing::warn;

use super::StartError;
use super::off_runtime::off_runtime;
use crate::config::{self, Account};
use crate::forward::Context;
use crate::network::{Network, Proxy};
use crate::proto::ClientVersion;
use crate::session::{self, Identity, Origin, ProfileBundle, Settings, SsmClient};

/// The AWS clients of a configuration, and the settings they were loaded from.
#[derive(Clone, Debug)]
pub(super) struct AwsClients {
    aws: config::Aws,
    identity: Identity,
    proxy: Option<Proxy>,
    /// Trusts the platform's certificates and those of `[aws]`.
    network: Network,
    /// Forwards with the same account settings share a client.
    accounts: BTreeMap<Account, LoadedAccount>,
    /// Errors of the clients that could not be loaded.
    failed: BTreeMap<Account, session::Error>,
}

/// The client and network of an account.
#[derive(Clone, Debug)]
pub(super) struct LoadedAccount {
    pub(super) ssm: SsmClient,
    /// Trusts the same certificates as the client.
    pub(super) network: Network,
}

impl AwsClients {
    /// Loads the clients of the forwards, on a thread that may block.
    ///
    /// # Errors
    ///
    /// Invalid certificates or proxy, or files that are not read in time. Those of a client are not
    /// errors here but of [`AwsClients::context`].
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
        let network = Network::new(aws.ca_bundle.as_deref())?.with_proxy(proxy.clone());
        let mut aws = Self {
            aws,
            identity,
            proxy,
            network,
            accounts: BTreeMap::new(),
            failed: BTreeMap::new(),
        };
        aws.load(forwards).await;
        Ok(aws)
    }

    /// Reloads; unchanged clients are kept. Also returns whether something common has changed.
    ///
    /// # Errors
    ///
    /// Same as [`AwsClients::new`].
    pub(super) async fn updated(
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
        // The certificates may have changed although their path has not.
        let network = Network::new(aws.ca_bundle.as_deref())?;
        if aws != self.aws || !network.trusts_the_same(&self.network) {
            let updated = Self::read(aws, self.identity, forwards).await?;
            return Ok((updated, true));
        }
        let mut updated = self;
        let is_named = |account: &Account| forwards.iter().any(|f| f.accounts().contains(account));
        updated.accounts.retain(|account, _| is_named(account));
        let changed = updated.with_other_certificates();
        for account in &changed {
            updated.accounts.remove(account);
        }
        updated.load(forwards).await;
        Ok((updated, !changed.is_empty()))
    }

    /// Returns the accounts whose certificates have changed, if they can be read again. Blocks.
    fn with_other_certificates(&self) -> Vec<Account> {
        let mut changed = Vec::new();
        for (account, loaded) in &self.accounts {
            match self.trust(account.merged_into(&self.aws).profile.as_deref()) {
                Ok((_, network)) if network.trusts_the_same(&loaded.network) => {}
                Ok(_) => changed.push(account.clone()),
                Err(error) => {
                    let hint = error.hint();
                    warn!(%error, hint, "cannot reload the certificates; keeping the previous ones");
                }
            }
        }
        changed
    }

    /// Returns the CA bundle for calls with this profile, and the network that trusts it. As in the
    /// AWS CLI, the profile's own bundle is used if nothing else names one. Blocks.
    fn trust(&self, profile: Option<&str>) -> Result<(Option<PathBuf>, Network), session::Error> {
        let of_profile = match (&self.aws.ca_bundle, &self.identity) {
            (None, Identity::Chain) => ProfileBundle::read(profile)?,
            (Some(_), _) | (None, Identity::Fixed { .. }) => None,
        };
        Ok(match of_profile {
            Some(ProfileBundle { path, network }) => {
                (Some(path), network.with_proxy(self.proxy.clone()))
            }
            None => (self.aws.ca_bundle.clone(), self.network.clone()),
        })
    }

    /// Tries again to load the clients of these forwards that could not be loaded.
    ///
    /// # Errors
    ///
    /// If files are not read in time.
    pub(super) async fn retried(self, forwards: Vec<config::Forward>) -> Result<Self, StartError> {
        if self.failed.is_empty() {
            return Ok(self);
        }
        let mut retried = self;
        let loading = async move {
            retried.load(&forwards).await;
            Ok(retried)
        };
        off_runtime(SETTINGS, loading).await
    }

    async fn load(&mut self, forwards: &[config::Forward]) {
        self.failed.clear();
        for forward in forwards.iter().filter(|forward| forward.enabled) {
            for account in forward.accounts() {
                self.load_one(&account).await;
            }
        }
        if self.accounts.is_empty() && self.failed.is_empty() {
            self.load_one(&Account::default()).await;
        }
    }

    async fn load_one(&mut self, account: &Account) {
        if self.accounts.contains_key(account) || self.failed.contains_key(account) {
            return;
        }
        match self.loaded(account).await {
            Ok(loaded) => drop(self.accounts.insert(account.clone(), loaded)),
            Err(error) => drop(self.failed.insert(account.clone(), error)),
        }
    }

    async fn loaded(&self, account: &Account) -> Result<LoadedAccount, session::Error> {
        let aws = account.merged_into(&self.aws);
        let (ca_bundle, network) = self.trust(aws.profile.as_deref())?;
        let settings = Settings {
            profile_first: account.profile.is_some(),
            identity: self.identity.clone(),
            proxy: self.proxy.clone(),
            ca_bundle,
            ..settings(aws)
        };
        let others = || self.accounts.values();
        let similar = others().find(|other| other.network.trusts_the_same(&network));
        let ssm = match similar.or_else(|| others().next()) {
            Some(other) => other.ssm.with_settings(settings).await?,
            None => SsmClient::load(settings).await?,
        };
        Ok(LoadedAccount { ssm, network })
    }

    /// Returns the client of a forward, if it is loaded, and the settings it was loaded from.
    pub(super) fn client(&self, account: &Account) -> Option<(&SsmClient, config::Aws)> {
        let loaded = self.accounts.get(account)?;
        Some((&loaded.ssm, account.merged_into(&self.aws)))
    }

    /// Returns a client with the origin that started a session.
    pub(super) async fn client_of(self, origin: Origin) -> Result<SsmClient, StartError> {
        let finding = async move {
            let mut accounts = self.accounts.values().map(|loaded| &loaded.ssm);
            if let Some(same) = accounts.find(|ssm| ssm.origin() == origin) {
                return Ok(same.clone());
            }
            let found = async {
                let (ca_bundle, _) = self.trust(origin.profile.as_deref())?;
                self.any_client()?.for_origin(&origin, ca_bundle).await
            };
            found.await.map_err(StartError::Aws)
        };
        off_runtime(SETTINGS, finding).await
    }

    fn any_client(&self) -> Result<&SsmClient, session::Error> {
        match self.accounts.values().next() {
            Some(loaded) => Ok(&loaded.ssm),
            None => {
                let error = self.failed.values().next().cloned();
                Err(error.expect("each client was loaded or has failed"))
            }
        }
    }

    /// Returns the context of a forward.
    ///
    /// # Errors
    ///
    /// If the client of one of its targets could not be loaded.
    pub(super) fn context(
        &self,
        forward: &config::Forward,
        context: &Context,
    ) -> Result<Context, StartError> {
        if let Some(error) = self.error_of(forward) {
            return Err(error);
        }
        let targets = forward.target.iter().map(|target| {
            let loaded = self.accounts.get(&forward.account_for(target));
            loaded.map_or(&context.ssm, |loaded| &loaded.ssm).clone()
        });
        Ok(Context {
            target_clients: targets.collect(),
            network: self.network_of(forward),
            client_version: self.client_version(),
            ..context.clone()
        })
    }

    /// Returns the error of the first client of a forward that could not be loaded.
    fn error_of(&self, forward: &config::Forward) -> Option<StartError> {
        let mut accounts = forward.accounts().into_iter();
        accounts.find_map(|account| {
            let error = self.failed.get(&account)?.clone();
            if account.is_default_account() {
                // The shared settings belong to no forward.
                return Some(StartError::Aws(error));
            }
            Some(StartError::Forward {
                name: forward.name.clone(),
                line: forward.line,
                source: error,
            })
        })
    }

    /// Returns an account, or why it could not be loaded.
    pub(super) fn get(&self, account: &Account) -> Result<&LoadedAccount, &session::Error> {
        let loaded = self.accounts.get(account);
        loaded.ok_or_else(|| &self.failed[account])
    }

    /// Returns the client version that is sent to agents.
    pub(super) fn client_version(&self) -> ClientVersion {
        let claimed = self.aws.client_version;
        claimed.map_or(ClientVersion::DEFAULT, |version| ClientVersion(version.0))
    }

    /// Returns the network for websockets that belong to no forward.
    pub(super) fn network(&self) -> &Network {
        &self.network
    }

    /// Returns the network for the websockets of a forward.
    pub(super) fn network_of(&self, forward: &config::Forward) -> Network {
        // The accounts of a forward have the same profile, and with it the same certificates.
        let mut accounts = forward.accounts().into_iter();
        let loaded = accounts.find_map(|account| self.accounts.get(&account));
        loaded
            .map_or(&self.network, |loaded| &loaded.network)
            .clone()
    }

    /// Returns one of the clients, for calls that belong to no forward.
    ///
    /// # Errors
    ///
    /// If there is no client at all: the error of the first of these forwards.
    pub(super) fn default_client(
        &self,
        forwards: &[config::Forward],
    ) -> Result<SsmClient, StartError> {
        let error = match self.any_client() {
            Ok(ssm) => return Ok(ssm.clone()),
            Err(error) => error,
        };
        let mut failed = forwards.iter().filter_map(|forward| self.error_of(forward));
        Err(failed.next().unwrap_or(StartError::Aws(error)))
    }

    /// Returns the region, and the profile of `[aws]` or the environment.
    pub(super) fn region_and_profile(&self) -> (String, String) {
        let ssm = self.accounts.values().next().map(|loaded| &loaded.ssm);
        let region = self.aws.region.clone();
        let region = region.or_else(|| ssm.map(|ssm| ssm.region().to_owned()));
        let profile = self.aws.profile.as_deref().unwrap_or("default");
        (region.unwrap_or_default(), profile.to_owned())
    }

    /// Makes every client check at its next call whether the AWS files have changed.
    pub(super) fn invalidate_credential_files(&self) {
        for LoadedAccount { ssm, .. } in self.accounts.values() {
            ssm.invalidate_credential_files();
        }
    }

    /// Makes every client retry credentials now.
    pub(super) fn retry_now(&self) {
        for LoadedAccount { ssm, .. } in self.accounts.values() {
            ssm.retry_now();
        }
    }
}

fn settings(aws: config::Aws) -> Settings {
    let config::Aws {
        region,
        profile,
        role_arn,
        ssm_endpoint,
        ecs_endpoint,
        ec2_instance_connect_endpoint,
        ssmmessages_endpoint,
        ca_bundle: _,
        proxy: _,
        client_version: _,
    } = aws;
    Settings {
        region,
        profile,
        role: role_arn,
        ssm_endpoint,
        ecs_endpoint,
        ec2_instance_connect_endpoint,
        ssmmessages_endpoint,
        ..Settings::default()
    }
}

/// Name of the loaded files in errors.
const SETTINGS: &str = "AWS configuration files and CA certificates";
