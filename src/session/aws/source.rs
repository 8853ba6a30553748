//! Where credentials come from: the SDK's providers, in the order of its own chain, as AWS's
//! environment and files say at one time.

#![expect(
    deprecated,
    reason = "the other names of these types are in a crate that is for generated code"
)]

use std::time::Duration;

use aws_config::default_provider::region::DefaultRegionChain;
use aws_config::ecs::EcsCredentialsProvider;
use aws_config::identity::IdentityCache;
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::meta::credentials::CredentialsProviderChain;
use aws_config::profile::profile_file::{ProfileFileKind, ProfileFiles};
use aws_config::profile::{ProfileFileCredentialsProvider, ProfileSet};
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{self, ProvideCredentials, SharedCredentialsProvider};
use aws_types::os_shim_internal::{Env, Fs};

use super::guard::guarded;
use super::profiles::Changes;
use super::role::assuming;
use super::settings::{Identity, Settings, Transport, timeouts};
use super::values::{Environment, OF_PROVIDER, checked};
use super::web::WebIdentity;
use crate::session::error::{Error, Kind};

/// A way to credentials.
#[derive(Debug)]
pub(super) struct Source {
    /// Everything but the credentials.
    pub(super) config: SdkConfig,
    provider: SharedCredentialsProvider,
    /// The profiles that were read; none if they could not be.
    profiles: Option<ProfileSet>,
}

impl Source {
    /// Reads AWS's environment and files. No credentials are asked for.
    ///
    /// # Errors
    ///
    /// If that takes too long, or the SDK panics.
    pub(super) async fn load(settings: &Settings, transport: &Transport) -> Result<Self, Error> {
        guarded("AWS settings", MAX_LOAD, Self::read(settings, transport)).await
    }

    async fn read(settings: &Settings, transport: &Transport) -> Self {
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts())
            .identity_cache(IdentityCache::no_cache())
            .no_credentials()
            .http_client(transport.0.clone());
        if let Some(region) = &settings.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(profile) = &settings.profile {
            loader = loader.profile_name(profile);
        }
        let config = loader.load().await;
        let profiles = read_profiles().await;
        let provider = match &settings.identity {
            Identity::Fixed {
                access_key,
                secret_key,
            } => SharedCredentialsProvider::new(Credentials::new(
                access_key, secret_key, None, None, "fixed",
            )),
            Identity::Chain => chain(settings, &config, transport, profiles.as_ref()).await,
        };
        let provider = match &settings.role {
            Some(role) => assuming(role, &config, provider),
            None => provider,
        };
        Self {
            config,
            provider,
            profiles,
        }
    }

    /// Fails if the profile that must be used does not exist.
    pub(super) fn check_profile(&self, settings: &Settings) -> Result<(), Error> {
        let named = settings.profile.as_deref();
        let (Some(name), Some(profiles)) = (
            named.filter(|_| settings.profile_first),
            self.profiles.as_ref(),
        ) else {
            return Ok(());
        };
        if profiles.get_profile(name).is_some() {
            return Ok(());
        }
        let mut known: Vec<_> = profiles.profiles().collect();
        known.sort_unstable();
        let known = match known.is_empty() {
            true => "AWS's files have none".to_owned(),
            false => format!("AWS's files have {}", known.join(", ")),
        };
        let why = format!("the profile {name:?} does not exist; {known}");
        Err(Error::new("credentials", Kind::Credentials, why))
    }

    /// Asks for credentials, once.
    pub(super) async fn ask(&self) -> provider::Result {
        checked(&self.provider.provide_credentials().await?, OF_PROVIDER)
    }

    /// Whether AWS's files say the same as when this was read.
    pub(super) async fn is_current(&self) -> bool {
        self.profiles == read_profiles().await
    }
}

async fn read_profiles() -> Option<ProfileSet> {
    let (fs, env) = (Fs::real(), Env::real());
    let files = ProfileFiles::default();
    let profiles = aws_config::profile::load(&fs, &env, &files, None).await;
    profiles.ok()
}

/// The order of the SDK's own chain; only the profile if no other credentials will do.
async fn chain(
    settings: &Settings,
    config: &SdkConfig,
    transport: &Transport,
    profiles: Option<&ProfileSet>,
) -> SharedCredentialsProvider {
    let mut region = config.region().cloned();
    if region.is_none()
        && let Some(profile) = &settings.profile
    {
        let of_profile = DefaultRegionChain::builder().profile_name(profile).build();
        region = of_profile.region().await;
    }
    let environment = ProviderConfig::without_region()
        .with_region(region)
        .with_use_fips(config.use_fips())
        .with_use_dual_stack(config.use_dual_stack())
        .with_retry_config(RetryConfig::disabled())
        .with_timeout_config(timeouts())
        .with_http_client(transport.0.clone());
    let of_profile = of_profile(settings, &environment, profiles);
    if settings.profile_first {
        return SharedCredentialsProvider::new(of_profile);
    }
    let ecs = EcsCredentialsProvider::builder().configure(&environment);
    let imds = ImdsCredentialsProvider::builder().configure(&environment);
    SharedCredentialsProvider::new(
        CredentialsProviderChain::first_try("Environment", Environment::default())
            .or_else("Profile", of_profile)
            .or_else("WebIdentityToken", WebIdentity::new(&environment))
            .or_else("EcsContainer", ecs.build())
            .or_else("Ec2InstanceMetadata", imds.build()),
    )
}

fn of_profile(
    settings: &Settings,
    environment: &ProviderConfig,
    profiles: Option<&ProfileSet>,
) -> ProfileFileCredentialsProvider {
    let Changes { text, processes } = profiles.map(Changes::to).unwrap_or_default();
    let files = ProfileFiles::builder()
        .include_default_config_file(true)
        .include_default_credentials_file(true)
        .with_contents(ProfileFileKind::Config, text)
        .build();
    let mut provider = ProfileFileCredentialsProvider::builder()
        .configure(environment)
        .profile_files(files)
        .with_custom_provider("Environment", Environment::default());
    for (name, process) in processes {
        provider = provider.with_custom_provider(name, process);
    }
    if let Some(profile) = &settings.profile {
        provider = provider.profile_name(profile);
    }
    provider.build()
}

/// The name of a role session that the user has not named. It is the same for each call and each
/// process: a session may be resumed and terminated by the role session that started it only, as
/// AWS's example policies have it.
pub(super) const SESSION_NAME: &str = "ssm-proxyd";

/// Limit for reading AWS's files, and for asking the machine for its region.
const MAX_LOAD: Duration = Duration::from_secs(20);
