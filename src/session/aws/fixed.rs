//! Fixed credentials, for a local AWS simulator.

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;

/// Returns the provider of fixed keys. In virtual time, it can be slow or fail.
pub(super) fn provider(access_key: &str, secret_key: &str) -> SharedCredentialsProvider {
    let keys = Credentials::new(access_key, secret_key, None, None, "fixed");
    #[cfg(test)]
    if crate::virtual_net::is_active() {
        return SharedCredentialsProvider::new(super::virtual_provider::Provider { keys });
    }
    SharedCredentialsProvider::new(keys)
}
