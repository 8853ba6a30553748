//! Sources of credentials: the SDK's providers in the order of its own chain, configured by a
//! snapshot of AWS's environment variables and files. The files are read by [`Profiles`], never by
//! the SDK.

#![expect(
    deprecated,
    reason = "the other paths of these types are in a crate for generated code"
)]

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_config::ecs::EcsCredentialsProvider;
use aws_config::identity::IdentityCache;
use aws_config::imds;
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::meta::credentials::CredentialsProviderChain;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::profile::profile_file::{ProfileFileKind, ProfileFiles};
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, SharedCredentialsProvider};
use aws_types::os_shim_internal::Env;
use tracing::warn;

use super::assume_role::with_role;
use super::cause::SearchedPlace;
use super::code_prompt::can_ask;
use super::files::{DEFAULT, Profiles};
use super::fixed;
use super::guard::guarded;
use super::machine::{Machine, Named};
use super::mfa;
use super::profiles::ProfileChanges;
use super::settings::{Identity, Settings, Transport, timeouts};
use super::ssm_host::ssm_host;
use super::sso::SsoProvider;
use super::values::{Environment, OF_PROVIDER, checked};
use super::web_identity::WebIdentity;
use crate::blocking;
use crate::session::error::{Error, ErrorKind};

/// A configured credential provider.
#[derive(Debug)]
pub(super) struct ConfiguredProvider {
    /// The SDK configuration without credentials.
    pub(super) config: SdkConfig,
    provider: SharedCredentialsProvider,
    profiles: Profiles,
    /// The name of the selected profile.
    profile: String,
    /// Whether the region is not from the settings, but from the profile or the machine.
    is_region_found: bool,
}

impl ConfiguredProvider {
    /// Reads AWS's environment variables and files. Requests no credentials.
    ///
    /// # Errors
    ///
    /// Fails on timeout, if the SDK panics, or if a required profile does not exist.
    pub(super) async fn load(settings: &Settings, transport: &Transport) -> Result<Self, Error> {
        guarded("AWS settings", MAX_LOAD, Self::read(settings, transport)).await?
    }

    async fn read(settings: &Settings, transport: &Transport) -> Result<Self, Error> {
        let profiles = match settings.identity {
            Identity::Chain => read_profiles().await?,
            Identity::Fixed { .. } => Profiles::default(),
        };
        if matches!(settings.identity, Identity::Chain) {
            check(
                &profiles,
                settings.profile.as_deref(),
                settings.profile_first,
            )?;
        }
        let profile = settings.profile.as_deref().unwrap_or(DEFAULT);
        let changes = ProfileChanges::to(&profiles);
        let files = ProfileFiles::builder()
            .with_contents(ProfileFileKind::Config, profiles.for_sdk())
            .with_contents(ProfileFileKind::Config, changes.text.as_str())
            .build();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts())
            .identity_cache(IdentityCache::no_cache())
            .no_credentials()
            .profile_files(files.clone())
            .profile_name(Profiles::alias(profile))
            .http_client(transport.0.clone());
        let region = settings.region.clone();
        if let Some(region) = region.or_else(|| instead_of_blank(&profiles, profile)) {
            loader = loader.region(Region::new(region));
        }
        #[cfg(test)]
        if crate::virtual_net::is_active() {
            loader = loader.time_source(super::virtual_http::WallClock);
        }
        let config = loader.load().await;
        let provider = match &settings.identity {
            Identity::Fixed {
                access_key,
                secret_key,
            } => fixed::provider(access_key, secret_key),
            Identity::Chain => {
                let environment = ProviderConfig::without_region()
                    .with_region(config.region().cloned())
                    .with_use_fips(config.use_fips())
                    .with_use_dual_stack(config.use_dual_stack())
                    .with_retry_config(RetryConfig::standard())
                    .with_timeout_config(timeouts())
                    .with_http_client(transport.0.clone());
                let of_base = |name: &str| {
                    let provider = of_profile(&environment, files.clone(), &changes, &config, name);
                    SharedCredentialsProvider::new(provider)
                };
                let proxy = settings.proxy.as_ref();
                let of_profile =
                    mfa::provider(&profiles, profile, &config, proxy, &changes.bases, of_base)
                        .unwrap_or_else(|| of_base(profile));
                match settings.profile_first {
                    true => of_profile,
                    false => chain(&environment, of_profile, imds(&profiles, profile)),
                }
            }
        };
        let provider = match &settings.role {
            Some(role) => with_role(role, &config, settings.proxy.as_ref(), provider),
            None => provider,
        };
        Ok(Self {
            config,
            provider,
            profile: profile.to_owned(),
            profiles,
            is_region_found: settings.region.is_none(),
        })
    }

    /// Returns the region. Problems in the AWS configuration files that have not prevented it are
    /// logged, each once.
    pub(super) fn region(&self) -> Result<String, Error> {
        let (profile, profiles) = (&self.profile, &self.profiles);
        let region = self.config.region().map(Region::to_string);
        let Some(region) = region.filter(|region| !region.trim().is_empty()) else {
            let why = format!(
                "not set in the configuration file, the environment or the profile {profile:?}"
            );
            // If a file could not be read, it may contain the region: the profile is at fault, not
            // our configuration.
            let kind = match profiles.problems().is_empty() {
                true => ErrorKind::Region,
                false => ErrorKind::Profile,
            };
            let why = profiles.with_problems(why);
            return Err(Error::new("no region", kind, why));
        };
        if self.is_region_found && !is_region(&region) {
            let why = format!("the profile {profile:?} has an invalid region {region:?}");
            let zone = region.strip_suffix(|c: char| c.is_ascii_lowercase());
            let why = match zone.filter(|zone| is_region(zone)) {
                Some(zone) => format!("{why}; the region of that availability zone is {zone}"),
                None => why,
            };
            return Err(Error::new(
                "region",
                ErrorKind::Profile,
                profiles.with_problems(why),
            ));
        }
        log_problems(profiles);
        Ok(region)
    }

    /// Requests credentials, once.
    pub(super) async fn ask(&self) -> provider::Result {
        checked(&self.provider.provide_credentials().await?, OF_PROVIDER)
    }

    /// Returns the error with the cause of missing credentials.
    pub(super) fn explained(&self, error: &CredentialsError, settings: &Settings) -> Error {
        let place = SearchedPlace {
            profiles: &self.profiles,
            profile: &self.profile,
            settings,
        };
        place.explain(error)
    }

    /// Returns the host of the SSM endpoint and the setting that selects it, if it is of another
    /// kind than usual.
    pub(super) fn endpoint_setting(&self) -> Option<String> {
        let setting = match (self.config.use_fips(), self.config.use_dual_stack()) {
            (Some(true), _) => {
                "a FIPS endpoint, selected by AWS_USE_FIPS_ENDPOINT or `use_fips_endpoint` of the profile"
            }
            (_, Some(true)) => {
                "a dual-stack endpoint, selected by AWS_USE_DUALSTACK_ENDPOINT or `use_dualstack_endpoint` of the profile"
            }
            _ => return None,
        };
        let config = &self.config;
        let host = ssm_host(config, config.use_fips(), config.use_dual_stack());
        let host = host.unwrap_or_else(|| "this".to_owned());
        Some(format!("{host} is {setting}"))
    }

    /// Returns whether the AWS configuration files are the same as when this was read.
    pub(super) async fn is_current(&self) -> bool {
        read_profiles()
            .await
            .is_ok_and(|profiles| profiles == self.profiles)
    }
}

/// Returns the region of the profile if a variable of the environment has an empty region: the SDK
/// would use that.
fn instead_of_blank(profiles: &Profiles, profile: &str) -> Option<String> {
    let is_blank = |name| {
        let value = Env::real().get(name);
        value.is_ok_and(|value| value.trim().is_empty())
    };
    let is_any_blank = is_blank("AWS_REGION") || is_blank("AWS_DEFAULT_REGION");
    let region = profiles.get(profile, "region").filter(|_| is_any_blank);
    region.map(str::to_owned)
}

/// Looks up a profile in the AWS configuration files, without a call. Blocks. With `is_first`, only
/// the credentials of this profile are accepted.
///
/// # Errors
///
/// [`ErrorKind::Profile`], if the profile or one that it refers to does not exist.
pub fn check_profile(profile: Option<&str>, is_first: bool) -> Result<(), Error> {
    check(&Profiles::read(&Env::real()), profile, is_first)
}

fn check(profiles: &Profiles, profile: Option<&str>, is_first: bool) -> Result<(), Error> {
    let name = profile.unwrap_or(DEFAULT);
    if !profiles.contains(name) && name == DEFAULT {
        return Ok(());
    }
    let keys = Env::real().get("AWS_ACCESS_KEY_ID").unwrap_or_default();
    let has_keys = !is_first && !keys.trim().is_empty();
    match profiles.chain(name) {
        Ok(chain) if !has_keys => check_mfa(profiles, &chain.profiles),
        Err(error) if !has_keys || !profiles.contains(name) => {
            let why = profiles.with_problems(error);
            Err(Error::new("credentials", ErrorKind::Profile, why))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Fails if a role needs an MFA code and there is no terminal to ask for it.
fn check_mfa(profiles: &Profiles, chain: &[String]) -> Result<(), Error> {
    let Some(profile) = mfa::needing_code(profiles, chain).filter(|_| !can_ask()) else {
        return Ok(());
    };
    let used = chain.first().unwrap_or(&profile);
    let source = match *used == profile {
        true => String::new(),
        false => format!(", the credential source of {used:?},"),
    };
    let why = format!(
        "the profile {profile:?}{source} has an `mfa_serial`, and without a terminal this program \
         cannot prompt for its code; write `credential_process = aws configure export-credentials \
         --profile {used}` into another profile and use that, or get a session with \
         `aws configure mfa-login`"
    );
    Err(Error::new("credentials", ErrorKind::Profile, why))
}

async fn read_profiles() -> Result<Profiles, Error> {
    let reading = blocking::spawn(|| Profiles::read(&Env::real()));
    let read = reading.await;
    read.map_err(|error| Error::new("AWS settings", ErrorKind::Internal, error.to_string()))
}

/// Logs the problems in the AWS configuration files, each once per process, however many clients
/// are loaded.
fn log_problems(profiles: &Profiles) {
    static LOGGED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut logged = LOGGED.lock().unwrap_or_else(PoisonError::into_inner);
    for problem in profiles.problems() {
        let problem = problem.to_string();
        if logged.len() < MAX_LOGGED && logged.insert(problem.clone()) {
            warn!(%problem, "invalid content in the AWS files is ignored");
        }
    }
}

/// Returns the providers in the order of the SDK's own chain.
fn chain(
    environment: &ProviderConfig,
    of_profile: SharedCredentialsProvider,
    imds: imds::client::Builder,
) -> SharedCredentialsProvider {
    let ecs = EcsCredentialsProvider::builder().configure(environment);
    let imds = ImdsCredentialsProvider::builder()
        .configure(environment)
        .imds_client(imds.configure(environment).build());
    SharedCredentialsProvider::new(
        CredentialsProviderChain::first_try("Environment", Environment::default())
            .or_else("Profile", of_profile)
            .or_else(
                "WebIdentityToken",
                Named::new(Machine::WebIdentity, WebIdentity::new(environment)),
            )
            .or_else("EcsContainer", Named::new(Machine::Container, ecs.build()))
            .or_else(
                "Ec2InstanceMetadata",
                Named::new(Machine::Instance, imds.build()),
            ),
    )
}

/// Returns the client of the instance metadata service (IMDS). The SDK would read the AWS
/// configuration files itself for the address of the service, so the address is set here.
fn imds(profiles: &Profiles, profile: &str) -> imds::client::Builder {
    let builder = imds::Client::builder();
    let env = Env::real();
    let value = |variable, key| {
        let of_profile = || profiles.get(profile, key).map(str::to_owned);
        env.get(variable).ok().or_else(of_profile)
    };
    let named = value(
        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
        "ec2_metadata_service_endpoint",
    );
    let mode = value(
        "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
        "ec2_metadata_service_endpoint_mode",
    );
    let usual = match mode.is_some_and(|mode| mode.eq_ignore_ascii_case("ipv6")) {
        true => "http://[fd00:ec2::254]",
        false => "http://169.254.169.254",
    };
    // An invalid address is reported by the SDK.
    let endpoint = named.as_deref().unwrap_or(usual);
    builder.clone().endpoint(endpoint).unwrap_or(builder)
}

fn of_profile(
    environment: &ProviderConfig,
    files: ProfileFiles,
    changes: &ProfileChanges,
    config: &SdkConfig,
    profile: &str,
) -> ProfileFileCredentialsProvider {
    let mut provider = ProfileFileCredentialsProvider::builder()
        .configure(environment)
        .profile_files(files)
        .profile_name(Profiles::alias(profile))
        .with_custom_provider("Environment", Environment::default());
    for (name, process) in &changes.processes {
        provider = provider.with_custom_provider(name.clone(), process.clone());
    }
    for (name, login) in &changes.logins {
        let sso = SsoProvider::new(login.clone(), config);
        provider = provider.with_custom_provider(name.clone(), sso);
    }
    provider.build()
}

/// Returns whether this is a region and not, for example, an availability zone.
fn is_region(text: &str) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let number = text.rsplit_once('-').map(|(_, number)| number);
    text.chars().all(is_word)
        && number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// Timeout for reading the AWS configuration files and for asking the machine for its region.
const MAX_LOAD: Duration = Duration::from_secs(20);

/// Maximum number of problems in the AWS configuration files that are logged.
const MAX_LOGGED: usize = 20;
