//! Checks what all forwards of an account need: AWS settings, credentials, clock and network.

use std::time::{Duration, SystemTime};

use tokio::time::timeout;

use super::clock_skew::{self, Answer};
use super::finding::{Check, CheckOutcome, Failure, Finding};
use super::{Checked, Checks, Scope, no_result};
use crate::clock;
use crate::config;
use crate::daemon::aws_clients::{AwsClients, LoadedAccount};
use crate::error_class::ErrorClass;
use crate::network::{DialStep, Endpoint, Network, NetworkStream, ProbeError, Route};
use crate::printable::Printable;
use crate::quantity;
use crate::session::{Endpoints, ErrorKind, SsmClient};

/// The results of an account that its forwards depend on.
pub(super) struct CheckedAccount {
    /// The prerequisite of calls of the API that has failed.
    pub(super) blocked: Option<Check>,
    /// The prerequisite of data channels that has failed besides.
    pub(super) channel_blocked: Option<Check>,
}

impl CheckedAccount {
    /// Checks an account.
    pub(super) async fn check(
        checks: &mut Checks<impl FnMut(Finding)>,
        account: &config::Account,
        clients: Result<&AwsClients, &Failure>,
    ) -> Self {
        let subject = subject(account);
        let mut scope = Scope {
            subject: subject.as_ref(),
            blocked: None,
        };
        let settings = async { load(clients, account) };
        let loaded = checks.check(Check::AwsSettings, scope, settings).await;
        let Checked::Passed((ssm, network)) = loaded else {
            scope.blocked = Some(Check::AwsSettings);
            for check in [
                Check::Credentials,
                Check::Clock,
                Check::ApiEndpoint,
                Check::ChannelEndpoint,
            ] {
                let skipped = async { CheckOutcome::<()>::Skip(Printable::default()) };
                let _skipped = checks.check(check, scope, skipped).await;
            }
            return Self {
                blocked: scope.blocked,
                channel_blocked: None,
            };
        };
        let limit = checks.limits.check;
        // Of a connection, so that its own error is shown.
        let dial_limit = limit * 9 / 10;
        let credentials = checks.check(Check::Credentials, scope, credentials(&ssm, limit));
        let credentials = failed(&credentials.await, Check::Credentials);
        // Each has a place of its own in the list, but one connection answers both.
        let asked = checks.until_stopped(api(&ssm, &network, dial_limit)).await;
        let (probed, answer) = asked.unzip();
        let clock = async {
            match answer.flatten() {
                Some(answer) => clock_skew::judge(answer),
                None => CheckOutcome::Skip("the SSM API is not reached".into()),
            }
        };
        let clock = failed(
            &checks.check(Check::Clock, scope, clock).await,
            Check::Clock,
        );
        let probed = async {
            match probed {
                Some(probed) => probed,
                None => no_result().await,
            }
        };
        let checked = checks.check(Check::ApiEndpoint, scope, probed);
        let api = failed(&checked.await, Check::ApiEndpoint);
        let channel = channel(&ssm, &network, dial_limit);
        let channel = checks.check(Check::ChannelEndpoint, scope, channel).await;
        Self {
            blocked: credentials.or(clock).or(api),
            channel_blocked: failed(&channel, Check::ChannelEndpoint),
        }
    }
}

fn failed<T>(checked: &Checked<T>, check: Check) -> Option<Check> {
    match checked {
        Checked::Failed => Some(check),
        Checked::Passed(_) | Checked::Skipped => None,
    }
}

/// Returns the name of an account that differs from `[aws]`.
fn subject(account: &config::Account) -> Option<Printable> {
    let config::Account {
        region,
        profile,
        role_arn,
    } = account;
    let parts = [("profile", profile), ("region", region), ("role", role_arn)];
    let parts = parts.into_iter();
    let parts = parts.filter_map(|(name, value)| Some(format!("{name} {}", value.as_ref()?)));
    let parts: Vec<_> = parts.collect();
    (!parts.is_empty()).then(|| parts.join(", ").into())
}

fn load(
    clients: Result<&AwsClients, &Failure>,
    account: &config::Account,
) -> CheckOutcome<(SsmClient, Network)> {
    let clients = match clients {
        Ok(clients) => clients,
        Err(failure) => return failure.clone().into(),
    };
    let LoadedAccount { ssm, network } = match clients.get(account) {
        Ok(loaded) => loaded,
        Err(error) => return Failure::of_aws(error).into(),
    };
    let (profile, role_arn) = ssm.profile_and_role();
    let profile = profile.map_or_else(String::new, |profile| format!(", profile {profile:?}"));
    let role = role_arn.map_or_else(String::new, |role| format!(", role {role}"));
    let text = format!("region {}{profile}{role}", ssm.region());
    CheckOutcome::Pass((ssm.clone(), network.clone()), text.into())
}

async fn credentials(ssm: &SsmClient, limit: Duration) -> CheckOutcome<()> {
    let expiry = match ssm.credentials_expiry().await {
        Ok(expiry) => expiry.map_or_else(|| "they do not expire".to_owned(), remaining),
        Err(error) => return Failure::of_aws(&error).into(),
    };
    let text = "found, not verified, which is not needed:";
    match timeout(limit / 2, ssm.caller()).await {
        Ok(Ok(Some(arn))) => CheckOutcome::Pass((), format!("{arn}; {expiry}").into()),
        Ok(Ok(None)) => {
            let text = "found, not verified: the SSM API is on this machine, and STS is not";
            CheckOutcome::Pass((), format!("{text}; {expiry}").into())
        }
        Ok(Err(error)) if error.kind() == ErrorKind::Credentials => Failure::of_aws(&error).into(),
        Ok(Err(error)) => CheckOutcome::Skip(format!("{text} {error}; {expiry}").into()),
        Err(_) => CheckOutcome::Skip(format!("{text} STS does not answer; {expiry}").into()),
    }
}

fn remaining(expiry: SystemTime) -> String {
    let left = expiry.duration_since(clock::wall()).unwrap_or_default();
    format!("they expire in {}", quantity::time(left.as_secs()))
}

/// Connects to the SSM API, and asks it for the time, both within `limit`.
async fn api(
    ssm: &SsmClient,
    network: &Network,
    limit: Duration,
) -> (CheckOutcome<()>, Option<Answer>) {
    let Endpoints { ssm: endpoint, .. } = match ssm.endpoints().await {
        Ok(endpoints) => endpoints,
        Err(error) => return (Failure::of_aws(&error).into(), None),
    };
    let begin = clock::now();
    let (mut stream, text) = match reach(network, &endpoint, limit).await {
        Ok(reached) => reached,
        Err(failure) => return (failure.into(), None),
    };
    let left = limit.saturating_sub(clock::since(begin));
    let asked = timeout(left, clock_skew::ask(&mut stream, &endpoint)).await;
    let answer = asked.ok().and_then(Result::ok).unwrap_or_default();
    let probed = match answer.is_web_page {
        true => {
            let text = format!("{text}; it answers with a web page, as a captive portal does");
            Failure::new(ErrorClass::NotTheApi, text, "").into()
        }
        false => CheckOutcome::Pass((), text),
    };
    (probed, Some(answer))
}

/// Connects to Session Manager.
async fn channel(ssm: &SsmClient, network: &Network, limit: Duration) -> CheckOutcome<()> {
    let endpoints = match ssm.endpoints().await {
        Ok(endpoints) => endpoints,
        Err(error) => return Failure::of_aws(&error).into(),
    };
    let Some(endpoint) = endpoints.ssmmessages else {
        let text =
            "the SSM API is on this machine, and says with a session where its data channel is";
        return CheckOutcome::Skip(text.into());
    };
    match reach(network, &endpoint, limit).await {
        Ok((_stream, text)) => CheckOutcome::Pass((), text),
        Err(failure) => failure.into(),
    }
}

async fn reach(
    network: &Network,
    endpoint: &Endpoint,
    limit: Duration,
) -> Result<(NetworkStream, Printable), Failure> {
    let proxy = network.proxy_for(endpoint).map(ToString::to_string);
    match network.probe(endpoint, limit).await {
        Ok((stream, route)) => Ok((stream, described(endpoint, &route, proxy))),
        Err(error) => Err(explained(&error)),
    }
}

fn described(endpoint: &Endpoint, route: &Route, proxy: Option<String>) -> Printable {
    let peer = match (proxy, route.peer) {
        (Some(proxy), _) => format!(" through the proxy {proxy}"),
        (None, Some(peer)) if peer.to_string() != endpoint.to_string() => format!(" at {peer}"),
        (None, _) => String::new(),
    };
    let tls = match (&route.issuer, endpoint.tls) {
        (Some(issuer), _) => format!(", certificate issued by {issuer}"),
        (None, true) => ", with TLS".to_owned(),
        (None, false) => ", without TLS".to_owned(),
    };
    format!("connected to {endpoint}{peer}{tls}").into()
}

fn explained(error: &ProbeError) -> Failure {
    let ProbeError { route, source } = error;
    let class = source.class();
    let step = match route.step {
        DialStep::Dns => "DNS",
        DialStep::Tcp => "TCP",
        DialStep::Proxy => "proxy",
        DialStep::Tls => "TLS",
    };
    let issuer = route.issuer.as_ref();
    let issuer = issuer.map_or_else(String::new, |issuer| {
        format!("; the certificate was issued by {issuer}")
    });
    let text = format!("{step}: {}{issuer}", Printable::of_sources(source));
    let remedy = match (source.hint(), route.step) {
        (Some(hint), _) => hint,
        (None, DialStep::Tls) if class == ErrorClass::EndpointUnreachable => NO_TLS,
        (None, DialStep::Dns | DialStep::Tcp | DialStep::Proxy | DialStep::Tls) => class.remedy(),
    };
    Failure::new(class, text, remedy)
}

/// What to do if the handshake fails for another reason than an untrusted certificate.
const NO_TLS: &str = "something on the way answers without TLS, or ends the connection: check `ssm_endpoint`, `ssmmessages_endpoint`, the proxy and the firewall";
