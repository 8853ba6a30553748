//! AWS settings, of the daemon and of a single forward.

use std::fmt;
use std::path::PathBuf;

/// How to connect to AWS. Absent values come from the standard AWS environment and files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Aws {
    /// Region of the targets.
    pub region: Option<String>,
    /// Profile in the AWS configuration files.
    pub profile: Option<String>,
    /// ARN of the role to assume.
    pub role_arn: Option<String>,
    /// URL of the SSM API instead of the default; without TLS only for a loopback address.
    pub ssm_endpoint: Option<String>,
    /// URL of the ECS API instead of the default; without TLS only for a loopback address.
    pub ecs_endpoint: Option<String>,
    /// URL of the API of EC2 Instance Connect instead of the default; without TLS only for a loopback
    /// address.
    pub ec2_instance_connect_endpoint: Option<String>,
    /// URL to which data channels are connected, instead of the host returned by Session Manager.
    /// Has no path; without TLS only for a loopback address.
    pub ssmmessages_endpoint: Option<String>,
    /// CA certificates to trust in addition to the platform's: absolute path of a PEM file, not
    /// opened yet.
    pub ca_bundle: Option<PathBuf>,
    /// Proxy for connections to AWS.
    pub proxy: Option<Proxy>,
    /// Client version to report.
    pub client_version: Option<ClientVersion>,
}

/// Version of the AWS client: four numbers, above 1.2.331.0. With an older one agents end idle
/// sessions, or have no mux (docs/protocol.md, section 5.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientVersion(pub [u32; 4]);

impl fmt::Display for ClientVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d] = self.0;
        write!(f, "{a}.{b}.{c}.{d}")
    }
}

/// A proxy, as written by the user. `Display` and `Debug` omit user and password.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    url: String,
    /// Hosts that are connected directly, in `NO_PROXY` format.
    pub exempt: String,
}

impl Proxy {
    /// Creates a proxy for all but the exempt hosts. Does not validate the URL: that is left to
    /// `check`, or to the code that uses the proxy.
    pub fn new(url: String, exempt: String) -> Self {
        Self { url, exempt }
    }

    /// Returns whether proxies are disabled, regardless of the environment.
    pub fn is_none(&self) -> bool {
        self.url == NO_PROXY
    }

    /// Returns the URL including user and password.
    pub fn expose(&self) -> &str {
        &self.url
    }
}

/// Value of `proxy` that disables proxies.
pub(in crate::config) const NO_PROXY: &str = "none";

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = self.url.split_once("://").unwrap_or(("http", &self.url));
        let address = rest.rsplit('@').next().unwrap_or_default();
        write!(f, "{scheme}://{address}")
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

/// AWS settings of one forward; absent ones are taken from [`Aws`]. Each key is independent: a
/// forward with its own profile still assumes the role of `[aws]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Account {
    /// Region of the target.
    pub region: Option<String>,
    /// Profile in the AWS configuration files. Its credentials take precedence over those of the
    /// environment.
    pub profile: Option<String>,
    /// ARN of the role to assume.
    pub role_arn: Option<String>,
}

impl Account {
    /// Returns whether the forward overrides nothing.
    pub fn is_default_account(&self) -> bool {
        *self == Self::default()
    }

    /// Returns `aws` with the overrides of this forward applied.
    pub fn merged_into(&self, aws: &Aws) -> Aws {
        let Self {
            region,
            profile,
            role_arn,
        } = self.clone();
        Aws {
            region: region.or_else(|| aws.region.clone()),
            profile: profile.or_else(|| aws.profile.clone()),
            role_arn: role_arn.or_else(|| aws.role_arn.clone()),
            ..aws.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_shows_no_password() {
        for (url, shown) in [
            (
                "http://me:s3/cr@et@proxy.corp:3128",
                "http://proxy.corp:3128",
            ),
            ("me:s3cret@proxy.corp", "http://proxy.corp"),
            ("proxy.corp", "http://proxy.corp"),
        ] {
            let proxy = Proxy::new(url.to_owned(), String::new());

            assert_eq!(proxy.to_string(), shown);
            assert_eq!(format!("{proxy:?}"), format!("Proxy({shown})"));
        }
    }

    #[test]
    fn each_key_of_a_forward_overrides_only_itself() {
        let aws = Aws {
            region: Some("eu-west-1".to_owned()),
            role_arn: Some("arn:aws:iam::111122223333:role/tunnel".to_owned()),
            ..Aws::default()
        };
        let account = Account {
            region: Some("us-east-1".to_owned()),
            profile: Some("other".to_owned()),
            role_arn: None,
        };

        let within = account.merged_into(&aws);

        assert_eq!(within.region.as_deref(), Some("us-east-1"));
        assert_eq!(within.profile.as_deref(), Some("other"));
        assert_eq!(within.role_arn, aws.role_arn);
        assert_eq!(Account::default().merged_into(&aws), aws);
    }
}
