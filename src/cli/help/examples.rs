//! Examples of the commands, for `--help`, the manual pages and the reference.

/// A command line and what it is for.
pub(in crate::cli) struct Example {
    /// What it does, without a full stop.
    pub(in crate::cli) purpose: &'static str,
    /// The command line.
    pub(in crate::cli) line: &'static str,
}

/// Returns the examples of a command.
pub(in crate::cli) fn of(name: &str) -> &'static [Example] {
    let found = EXAMPLES.iter().find(|(command, _)| *command == name);
    found.map_or(&[], |(_, examples)| examples)
}

/// The examples of each command that has any.
pub(super) const EXAMPLES: &[(&str, &[Example])] = &[
    (
        "forward",
        &[
            Example {
                purpose: "A database that an instance can reach, on local port 5432",
                line: "ssm-proxyd forward i-0123456789abcdef0 -L 5432:orders.internal:5432",
            },
            Example {
                purpose: "A port of the node with the tag Name=bastion, on a free local port",
                line: "ssm-proxyd forward bastion -L 0:localhost:80",
            },
            Example {
                purpose: "A SOCKS and HTTP proxy into the network of the node",
                line: "ssm-proxyd forward bastion -D 1080",
            },
            Example {
                purpose: "A dump at the speed of 16 sessions, through `ssm-proxyd relay` on the target",
                line: "ssm-proxyd forward bastion -L 5432:orders.internal:5432 --relay 7400 --stripes 16",
            },
        ],
    ),
    (
        "exec",
        &[
            Example {
                purpose: "psql through a forward of the configuration",
                line: "ssm-proxyd exec orders-db -- psql -h {host} -p {port} orders",
            },
            Example {
                purpose: "A program with a forward of its own, without a configuration",
                line: "ssm-proxyd exec i-0123456789abcdef0 -L 0:orders.internal:5432 -- ./migrate",
            },
            Example {
                purpose: "A restore through `ssm-proxyd relay` on the target",
                line: "ssm-proxyd exec orders-db --relay 7400 -- pg_restore -h {host} -p {port} -d orders orders.dump",
            },
        ],
    ),
    (
        "connect",
        &[
            Example {
                purpose: "The ssh port of an instance, as the ProxyCommand of ssh",
                line: "ssm-proxyd connect i-0123456789abcdef0 22",
            },
            Example {
                purpose: "A destination that the instance can reach",
                line: "ssm-proxyd connect bastion --remote cache.internal:6379",
            },
            Example {
                purpose: "The ssh port through `ssm-proxyd relay` on the target, for fast scp and rsync",
                line: "ssm-proxyd connect i-0123456789abcdef0 22 --relay 7400",
            },
        ],
    ),
    (
        "ssh-config",
        &[Example {
            purpose: "Make `ssh ec2-user@i-…` work",
            line: "ssm-proxyd ssh-config --install --region eu-west-1",
        }],
    ),
    (
        "plugin",
        &[Example {
            purpose: "Use this program for `aws ssm start-session`",
            line: "ssm-proxyd plugin --install ~/.local/bin",
        }],
    ),
    (
        "targets",
        &[
            Example {
                purpose: "The instances on which a session can be started now",
                line: "ssm-proxyd targets --online",
            },
            Example {
                purpose: "The containers of the tasks of an ECS cluster",
                line: "ssm-proxyd targets --ecs prod",
            },
        ],
    ),
    (
        "init",
        &[Example {
            purpose: "A configuration with one forward",
            line: "ssm-proxyd init --target i-0123456789abcdef0 --remote orders.internal:5432",
        }],
    ),
    (
        "check",
        &[Example {
            purpose: "Validate a file before it is installed",
            line: "ssm-proxyd check --config ./config.toml",
        }],
    ),
    (
        "doctor",
        &[
            Example {
                purpose: "Check one forward of the configuration",
                line: "ssm-proxyd doctor orders-db",
            },
            Example {
                purpose: "Check a destination without a configuration",
                line: "ssm-proxyd doctor i-0123456789abcdef0 --remote orders.internal:5432",
            },
        ],
    ),
    (
        "iam-policy",
        &[
            Example {
                purpose: "The policy for one forward, and for ssh to its target",
                line: "ssm-proxyd iam-policy orders-db --ssh",
            },
            Example {
                purpose: "The same, and for the login of a user with a token",
                line: "ssm-proxyd iam-policy orders-db --db-user app",
            },
        ],
    ),
    (
        "hosts",
        &[Example {
            purpose: "Write the names of the forwards with `listen = \"hosts\"`",
            line: "sudo ssm-proxyd hosts --install --config ~/.config/ssm-proxyd/config.toml",
        }],
    ),
    (
        "token",
        &[Example {
            purpose: "A password for the user app, for 15 minutes",
            line: "ssm-proxyd token orders-db --user app",
        }],
    ),
    (
        "run",
        &[
            Example {
                purpose: "The configuration of this user",
                line: "ssm-proxyd run",
            },
            Example {
                purpose: "Another file, and fail if a forward cannot start",
                line: "ssm-proxyd run --config ./config.toml --strict",
            },
        ],
    ),
    (
        "status",
        &[
            Example {
                purpose: "All forwards, each second",
                line: "ssm-proxyd status --watch",
            },
            Example {
                purpose: "The sessions and connections of one forward, for a script",
                line: "ssm-proxyd status orders-db --json",
            },
        ],
    ),
    (
        "wait",
        &[Example {
            purpose: "Wait for a forward in a script",
            line: "ssm-proxyd wait orders-db --timeout 10s",
        }],
    ),
    (
        "log",
        &[Example {
            purpose: "Log decisions too, until the next restart",
            line: "ssm-proxyd log debug",
        }],
    ),
    (
        "completions",
        &[Example {
            purpose: "Completion in this bash",
            line: "source <(ssm-proxyd completions bash)",
        }],
    ),
    (
        "man",
        &[
            Example {
                purpose: "The page of a command",
                line: "ssm-proxyd man exec | man -l -",
            },
            Example {
                purpose: "The page of the configuration file",
                line: "ssm-proxyd man ssm-proxyd.toml | man -l -",
            },
        ],
    ),
    (
        "schema",
        &[Example {
            purpose: "Write the schema beside a configuration that begins with `#:schema ./schema.json`",
            line: "ssm-proxyd schema > schema.json",
        }],
    ),
    (
        "demo",
        &[Example {
            purpose: "Leave the tunnel running, to try it",
            line: "ssm-proxyd demo --keep",
        }],
    ),
];
