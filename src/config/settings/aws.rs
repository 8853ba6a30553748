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
        doc: "Another address of the SSM API, such as a VPC endpoint; http:// only to loopback",
    },
    Setting {
        key: "ssmmessages_endpoint",
        kind: Kind::Gateway,
        absent: Absent::Nothing,
        example: "\"https://vpce-0123-abcd.ssmmessages.eu-west-1.vpce.amazonaws.com\"",
        doc: "Where the data channel of every session is dialled; absent: where StartSession says",
    },
    Setting {
        key: "ca_bundle",
        kind: Kind::File,
        absent: Absent::Nothing,
        example: "\"/etc/ssl/company.pem\"",
        doc: "Certificates in PEM to trust besides the platform's",
    },
    Setting {
        key: "proxy",
        kind: Kind::Proxy,
        absent: Absent::Nothing,
        example: "\"http://proxy.corp:3128\"",
        doc: "The HTTP proxy through which AWS is reached, or \"none\"; absent: HTTPS_PROXY, and NO_PROXY",
    },
    Setting {
        key: "client_version",
        kind: Kind::ClientVersion,
        absent: Absent::Nothing,
        example: "\"1.2.835.0\"",
        doc: "The version of AWS's client that the program claims to be; absent: 1.2.764.0, the oldest one that AWS supports",
    },
];

/// Also accepted in a forward.
pub(super) const REGION: Setting = Setting {
    key: "region",
    kind: Kind::Region,
    absent: Absent::Nothing,
    example: "\"eu-west-1\"",
    doc: "The region of the targets; absent: as for every AWS program",
};

/// Also accepted in a forward.
pub(super) const PROFILE: Setting = Setting {
    key: "profile",
    kind: Kind::Profile,
    absent: Absent::Nothing,
    example: "\"prod\"",
    doc: "The profile in ~/.aws/config; absent: as for every AWS program",
};

/// Also accepted in a forward.
pub(super) const ROLE: Setting = Setting {
    key: "role_arn",
    kind: Kind::Role,
    absent: Absent::Nothing,
    example: "\"arn:aws:iam::111122223333:role/tunnel\"",
    doc: "The ARN of a role to assume with these credentials; absent: they are used themselves",
};
