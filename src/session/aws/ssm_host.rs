//! The host of the SSM API in a region, by the rules of the SDK.

use aws_config::{Region, SdkConfig};
use aws_sdk_ssm::config::endpoint::{DefaultResolver, Params, ResolveEndpoint};
use futures_util::FutureExt;

/// Returns the host of the endpoint of this kind.
pub(super) fn ssm_host(
    config: &SdkConfig,
    use_fips: Option<bool>,
    use_dual_stack: Option<bool>,
) -> Option<String> {
    let params = Params::builder()
        .set_region(config.region().map(Region::to_string))
        .set_use_fips(use_fips)
        .set_use_dual_stack(use_dual_stack);
    let resolver = DefaultResolver::new();
    let params = params.build().ok()?;
    let endpoint = resolver.resolve_endpoint(&params).now_or_never()?.ok()?;
    let host = endpoint.url().strip_prefix("https://")?;
    Some(host.to_owned())
}
