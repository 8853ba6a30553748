//! How AWS is reached, by the daemon and by one forward.

use std::fmt;
use std::path::PathBuf;

/// How to reach AWS; what is absent comes from the usual environment and files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Aws {
    /// The region of the targets.
    pub region: Option<String>,
    /// The profile in AWS's own configuration files.
    pub profile: Option<String>,
    /// The ARN of a role to assume.
    pub role_arn: Option<String>,
    /// Another address of the SSM API; without TLS only to a loopback address.
    pub ssm_endpoint: Option<String>,
    /// Where data channels are dialled, in place of the host that the service names: a URL without
    /// a path, without TLS only of a loopback address.
    pub ssmmessages_endpoint: Option<String>,
    /// Certificates to trust besides the platform's: an absolute path to PEM, not yet opened.
    pub ca_bundle: Option<PathBuf>,
    /// The proxy through which AWS is reached.
    pub proxy: Option<Proxy>,
    /// What the program claims to be.
    pub client_version: Option<ClientVersion>,
}

/// A version of AWS's own client, of four numbers and above 1.2.331.0: with an older one agents end
/// idle sessions, or have no mux (protocol.md section 5.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientVersion(pub [u32; 4]);

impl fmt::Display for ClientVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d] = self.0;
        write!(f, "{a}.{b}.{c}.{d}")
    }
}

/// A proxy, as a person wrote it. It shows neither user nor password.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    url: String,
    /// The hosts that are reached without it, as in `NO_PROXY`.
    pub exempt: String,
}

impl Proxy {
    /// A proxy for all but the exempt hosts. Whether the URL is good is for whoever uses it to say,
    /// if `check` has not.
    pub fn new(url: String, exempt: String) -> Self {
        Self { url, exempt }
    }

    /// Whether it says that no proxy is used, whatever the environment says.
    pub fn is_none(&self) -> bool {
        self.url == NO_PROXY
    }

    /// The URL with user and password.
    pub fn expose(&self) -> &str {
        &self.url
    }
}

/// The value of `proxy` that stands for no proxy.
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

/// What one forward says about where and as whom AWS is called; what is absent is as in [`Aws`].
/// Each key by itself: a forward with a profile of its own still assumes the role of `[aws]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Account {
    /// The region of its target.
    pub region: Option<String>,
    /// The profile in AWS's own configuration files. Its credentials win over those of the
    /// environment.
    pub profile: Option<String>,
    /// The ARN of a role to assume.
    pub role_arn: Option<String>,
}

impl Account {
    /// Whether the forward leaves everything to `[aws]`.
    pub fn is_shared(&self) -> bool {
        *self == Self::default()
    }

    /// `aws` with what the forward says in place of what stands there.
    pub fn within(&self, aws: &Aws) -> Aws {
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
    fn a_forward_says_each_key_by_itself() {
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

        let within = account.within(&aws);

        assert_eq!(within.region.as_deref(), Some("us-east-1"));
        assert_eq!(within.profile.as_deref(), Some("other"));
        assert_eq!(within.role_arn, aws.role_arn);
        assert_eq!(Account::default().within(&aws), aws);
    }
}
