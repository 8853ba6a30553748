//! Domains of the services of AWS.

/// Returns what is before the domain of AWS in a name without a dot at its end: `ssm.eu-west-1` of
/// `ssm.eu-west-1.amazonaws.com`. `None` for other names.
pub fn before_aws_domain(name: &str) -> Option<&str> {
    AWS_DOMAINS.iter().find_map(|domain| {
        let at = name.len().checked_sub(domain.len())?;
        let (rest, end) = name.split_at_checked(at)?;
        rest.strip_suffix('.')
            .filter(|_| end.eq_ignore_ascii_case(domain))
    })
}

/// DNS and dual-stack suffixes of the partitions in the SDK's partition data.
pub(super) const AWS_DOMAINS: &[&str] = &[
    "amazonaws.com",
    "api.aws",
    "amazonaws.com.cn",
    "api.amazonwebservices.com.cn",
    "amazonaws.eu",
    "api.amazonwebservices.eu",
    "c2s.ic.gov",
    "api.aws.ic.gov",
    "sc2s.sgov.gov",
    "api.aws.scloud",
    "cloud.adc-e.uk",
    "api.cloud-aws.adc-e.uk",
    "csp.hci.ic.gov",
    "api.aws.hci.ic.gov",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_cut_before_the_domain_of_its_partition() {
        for (name, rest) in [
            ("ssm.eu-west-1.amazonaws.com", Some("ssm.eu-west-1")),
            ("ssm.cn-north-1.AMAZONAWS.com.cn", Some("ssm.cn-north-1")),
            ("sts.eu-west-1.api.aws", Some("sts.eu-west-1")),
            ("notamazonaws.com", None),
            ("amazonaws.com", None),
            ("amazonaws.com.example.org", None),
            ("", None),
        ] {
            assert_eq!(before_aws_domain(name), rest, "{name}");
        }
    }
}
