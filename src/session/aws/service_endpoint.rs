//! Endpoints of the services that are called besides SSM.
//!
//! A loopback address as endpoint of SSM is that of a simulator or a test. Then no call may leave
//! this machine, so the other services are called there too.

use aws_config::SdkConfig;

use super::settings::sdk_endpoint;
use crate::session::stream_url::is_loopback_url;

/// A service, and its endpoint in our configuration.
pub(super) struct Service<'a> {
    /// Its id in the SDK.
    pub(super) id: &'static str,
    pub(super) endpoint: Option<&'a str>,
}

/// Returns the endpoint of a service; `None`: the SDK selects it. `of_ssm` is the endpoint of SSM in
/// our configuration.
///
/// # Errors
///
/// If the configured endpoint is another machine, but SSM is on this one.
pub(super) fn endpoint(
    config: &SdkConfig,
    of_ssm: Option<&str>,
    service: &Service<'_>,
) -> Result<Option<String>, LeavesLoopback> {
    let of_ssm = of_ssm.map(str::to_owned);
    let of_ssm = of_ssm.or_else(|| sdk_endpoint(config, "SSM"));
    let local = of_ssm.filter(|url| is_loopback_url(url));
    match (service.endpoint, local) {
        (Some(own), Some(_)) if !is_loopback_url(own) => Err(LeavesLoopback),
        (Some(own), _) => Ok(Some(own.to_owned())),
        (None, Some(local)) => {
            let of_sdk = sdk_endpoint(config, service.id).filter(|url| is_loopback_url(url));
            Ok(of_sdk.or(Some(local)))
        }
        (None, None) => Ok(None),
    }
}

/// The endpoint of a service is another machine, although that of SSM is this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the endpoint of SSM is a loopback address, so this one must be a loopback address too")]
pub(super) struct LeavesLoopback;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_call_leaves_the_machine_if_ssm_is_on_it() {
        let config = SdkConfig::builder().build();
        let (local, other) = ("http://127.0.0.1:1", "http://[::1]:2");
        let far = "https://vpce-1.ec2-instance-connect.eu-west-1.vpce.amazonaws.com";
        for (of_ssm, own, expected) in [
            (None, None, Ok(None)),
            (Some("https://ssm.example"), None, Ok(None)),
            (Some("https://ssm.example"), Some(far), Ok(Some(far))),
            (None, Some(other), Ok(Some(other))),
            (Some(local), None, Ok(Some(local))),
            (Some(local), Some(other), Ok(Some(other))),
            (Some(local), Some(far), Err(LeavesLoopback)),
        ] {
            let service = Service {
                id: "EC2 Instance Connect",
                endpoint: own,
            };

            let found = endpoint(&config, of_ssm, &service);

            assert_eq!(found, expected.map(|url| url.map(str::to_owned)), "{own:?}");
        }
    }
}
