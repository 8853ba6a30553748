//! Endpoints of the services that are called besides SSM, and the URLs that may be called at all.
//!
//! A loopback address as endpoint of SSM is that of a simulator or a test. Then no call may leave
//! this machine, so the other services are called there too, unless they have a loopback address of
//! their own.

use aws_config::SdkConfig;
use aws_sdk_ssm::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_ssm::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_ssm::error::BoxError;
use aws_types::service_config::ServiceConfigKey;

use crate::session::stream_url::is_loopback_url;

/// The endpoint of a service.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ServiceEndpoint {
    /// `None`: the SDK selects it.
    pub(super) url: Option<String>,
    pub(super) rule: UrlRule,
}

impl ServiceEndpoint {
    /// Selects the endpoint of the service with this id in the SDK. `of_ssm` and `configured` are
    /// the endpoints of SSM and of the service in our configuration.
    pub(super) fn new(
        config: &SdkConfig,
        of_ssm: Option<&str>,
        id: &'static str,
        configured: Option<&str>,
    ) -> Self {
        let configured = configured.map(str::to_owned);
        let ssm = of_ssm.map(str::to_owned);
        let ssm = ssm.or_else(|| sdk_endpoint(config, "SSM"));
        let Some(local) = ssm.filter(|url| is_loopback_url(url)) else {
            return Self {
                url: configured,
                rule: UrlRule::RequireTls,
            };
        };
        let of_sdk = || sdk_endpoint(config, id).filter(|url| is_loopback_url(url));
        Self {
            url: configured.or_else(of_sdk).or(Some(local)),
            rule: UrlRule::OnlyLoopback,
        }
    }
}

/// Returns the endpoint of one service in the environment or the profile, as the SDK does.
fn sdk_endpoint(config: &SdkConfig, service: &'static str) -> Option<String> {
    let key = ServiceConfigKey::builder()
        .service_id(service)
        .env("AWS_ENDPOINT_URL")
        .profile("endpoint_url")
        .build();
    config.service_config()?.load_config(key.ok()?)
}

/// Which URLs a client may call, whatever configured its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UrlRule {
    /// Other machines with TLS only: a response may contain a token.
    RequireTls,
    /// This machine only, as the SSM API is on it.
    OnlyLoopback,
}

impl UrlRule {
    fn check(self, url: &str) -> Result<(), UrlNotAllowed> {
        if is_loopback_url(url) {
            return Ok(());
        }
        let host = || url.split('/').take(3).collect::<Vec<_>>().join("/");
        match self {
            Self::OnlyLoopback => Err(UrlNotAllowed::LeavesLoopback { host: host() }),
            Self::RequireTls if url.starts_with("https://") => Ok(()),
            Self::RequireTls => Err(UrlNotAllowed::Unencrypted { host: host() }),
        }
    }
}

impl Intercept for UrlRule {
    fn name(&self) -> &'static str {
        "UrlRule"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        Ok(self.check(context.request().uri())?)
    }
}

/// The endpoint of a service is not allowed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum UrlNotAllowed {
    /// No TLS, and not a loopback address.
    #[error("the endpoint {host} is not allowed: without TLS, it must be a loopback address")]
    Unencrypted {
        /// Scheme and host.
        host: String,
    },
    /// Another machine, although SSM is on this one.
    #[error(
        "the endpoint {host} is not allowed: as that of SSM is a loopback address, this one must be one too"
    )]
    LeavesLoopback {
        /// Scheme and host.
        host: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_call_leaves_the_machine_if_ssm_is_on_it() {
        let config = SdkConfig::builder().build();
        let (local, other) = ("http://127.0.0.1:1", "http://[::1]:2");
        let far = "https://vpce-1.ec2-instance-connect.eu-west-1.vpce.amazonaws.com";
        let (any, only_loopback) = (UrlRule::RequireTls, UrlRule::OnlyLoopback);
        for (of_ssm, own, url, rule) in [
            (None, None, None, any),
            (Some("https://ssm.example"), None, None, any),
            (Some("https://ssm.example"), Some(far), Some(far), any),
            (None, Some(other), Some(other), any),
            (Some(local), None, Some(local), only_loopback),
            (Some(local), Some(other), Some(other), only_loopback),
            (Some(local), Some(far), Some(far), only_loopback),
        ] {
            let found = ServiceEndpoint::new(&config, of_ssm, "EC2 Instance Connect", own);

            let url = url.map(str::to_owned);
            assert_eq!(found, ServiceEndpoint { url, rule }, "{own:?}");
        }
    }

    #[test]
    fn calls_of_other_machines_need_tls_or_are_not_allowed() {
        let unencrypted = |host: &str| Err(UrlNotAllowed::Unencrypted { host: host.into() });
        let leaves = |host: &str| Err(UrlNotAllowed::LeavesLoopback { host: host.into() });
        for (rule, url, expected) in [
            (UrlRule::RequireTls, "https://ecs.example/", Ok(())),
            (UrlRule::RequireTls, "http://127.0.0.1:1/", Ok(())),
            (
                UrlRule::RequireTls,
                "http://ecs.example/a?b",
                unencrypted("http://ecs.example"),
            ),
            (UrlRule::OnlyLoopback, "http://[::1]:1/", Ok(())),
            (UrlRule::OnlyLoopback, "https://localhost:1/", Ok(())),
            (
                UrlRule::OnlyLoopback,
                "https://ecs.example/",
                leaves("https://ecs.example"),
            ),
        ] {
            assert_eq!(rule.check(url), expected, "{url}");
        }
    }
}
