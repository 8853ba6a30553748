//! EC2 Instance Connect: SendSSHPublicKey.

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_sdk_ec2instanceconnect::{Client, config::Builder};

use super::SsmClient;
use super::api_client::ApiClient;
use super::service_endpoint::ServiceEndpoint;
use super::settings::Settings;
use crate::session::error::{Error, ErrorKind, PUSH_KEY};
use crate::session::public_key::PushedKey;

impl SsmClient {
    /// Calls SendSSHPublicKey once. The instance then accepts the key for 60 s.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] if the node is not an EC2 instance; otherwise the error of the call.
    pub(in crate::session) async fn send_public_key(
        &self,
        node: &str,
        key: &PushedKey,
    ) -> Result<(), Error> {
        if !node.starts_with(INSTANCE) {
            let why = format!("{node} is not an EC2 instance");
            return Err(Error::new(PUSH_KEY, ErrorKind::Invalid, why));
        }
        let settings = &self.0.settings;
        let call = |api_client: &ApiClient| {
            let credentials = api_client.credentials.clone();
            let client = client(&api_client.source.config, settings, credentials);
            client
                .send_ssh_public_key()
                .instance_id(node)
                .instance_os_user(key.user.as_str())
                .ssh_public_key(key.key.as_str())
                .send()
        };
        let response = self.call_by(PUSH_KEY, call).await?;
        match response.success {
            true => Ok(()),
            false => {
                let why = "the response does not confirm the key";
                Err(Error::new(PUSH_KEY, ErrorKind::ServiceFault, why))
            }
        }
    }
}

/// Returns a client that signs with these credentials only.
fn client(config: &SdkConfig, settings: &Settings, credentials: Credentials) -> Client {
    let of_ssm = settings.ssm_endpoint.as_deref();
    let own = settings.ec2_instance_connect_endpoint.as_deref();
    let endpoint = ServiceEndpoint::new(config, of_ssm, "EC2 Instance Connect", own);
    let mut builder = Builder::from(config)
        .credentials_provider(credentials)
        .interceptor(endpoint.rule);
    if let Some(url) = endpoint.url {
        // The URL is complete: the SDK must not change it into a FIPS or dual-stack variant.
        builder = builder
            .endpoint_url(url)
            .use_fips(false)
            .use_dual_stack(false);
    }
    Client::from_conf(builder.build())
}

/// How the ids of EC2 instances begin.
const INSTANCE: &str = "i-";
