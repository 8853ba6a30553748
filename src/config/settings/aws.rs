//! Settings of `[aws]`, some of which are also accepted in a forward.

use crate::config::settings::{Absent, Kind, Setting};

/// Settings of `[aws]`.
pub(super) const AWS_SETTINGS: &[Setting] = &[
    REGION,
    PROFILE,
    ROLE,
    Setting {
        key: "ssm_endpoint",
        kind: Kind::Endpoint,
        absent: Absent::Nothing,
        example: "\"https://vpce-0123-abcd.ssm.eu-west-1.vpce.amazonaws.com\"",
        doc: "URL of the SSM API, for example a VPC endpoint; http:// only for loopback",
    },
    Setting {
        key: "ssmmessages_endpoint",
        kind: Kind::Gateway,
        absent: Absent::Nothing,
        example: "\"https://vpce-0123-abcd.ssmmessages.eu-west-1.vpce.amazonaws.com\"",
        doc: "URL for the data channels of all sessions; absent: the URL returned by StartSession",
    },
    Setting {
        key: "ca_bundle",
        kind: Kind::File,
        absent: Absent::Nothing,
        example: "\"/etc/ssl/company.pem\"",
        doc: "PEM file with additional CA certificates",
    },
    Setting {
        key: "proxy",
        kind: Kind::Proxy,
        absent: Absent::Nothing,
        example: "\"http://proxy.corp:3128\"",
        doc: "HTTP proxy for all connections to AWS, or \"none\"; absent: from HTTPS_PROXY or ALL_PROXY, with NO_PROXY",
    },
    Setting {
        key: "client_version",
        kind: Kind::ClientVersion,
        absent: Absent::Nothing,
        example: "\"1.2.835.0\"",
        doc: "Client version (session-manager-plugin) reported to AWS; absent: 1.2.764.0, the oldest version supported by AWS",
    },
];

/// Also accepted in a forward.
pub(super) const REGION: Setting = Setting {
    key: "region",
    kind: Kind::Region,
    absent: Absent::Nothing,
    example: "\"eu-west-1\"",
    doc: "Region of the targets; absent: from the AWS environment and configuration files",
};

/// Also accepted in a forward.
pub(super) const PROFILE: Setting = Setting {
    key: "profile",
    kind: Kind::Profile,
    absent: Absent::Nothing,
    example: "\"prod\"",
    doc: "Profile in ~/.aws/config; absent: from the AWS environment",
};

/// Also accepted in a forward.
pub(super) const ROLE: Setting = Setting {
    key: "role_arn",
    kind: Kind::Role,
    absent: Absent::Nothing,
    example: "\"arn:aws:iam::111122223333:role/tunnel\"",
    doc: "ARN of a role to assume with these credentials; absent: no role is assumed",
};
