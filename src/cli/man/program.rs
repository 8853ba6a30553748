//! The sections of `ssm-proxyd(1)` that are not generated from the options.

use super::page::Page;
use crate::cli::help;

/// Writes the sections.
pub(super) fn put_sections(page: &mut Page) {
    for (heading, terms) in SECTIONS {
        page.heading(heading);
        terms.iter().for_each(|(term, text)| page.term(term, text));
    }
    page.heading("EXAMPLES");
    for command in ["forward", "exec", "init", "run", "doctor"] {
        help::of(command)
            .iter()
            .for_each(|example| page.example(example));
    }
    page.heading("SEE ALSO");
    page.paragraph("`ssm-proxyd.toml`(5), `ssh_config`(5), `systemd.service`(5)");
}

/// Terms and descriptions below a heading.
type Section = (&'static str, &'static [(&'static str, &'static str)]);

const SECTIONS: &[Section] = &[FILES, ENVIRONMENT, SIGNALS, EXIT_STATUS];

const FILES: Section = (
    "FILES",
    &[
        (
            "`~/.config/ssm-proxyd/config.toml`, `/etc/ssm-proxyd/config.toml`",
            "The configuration, `ssm-proxyd.toml`(5). The first of these is read: `--config` FILE, $SSM_PROXYD_CONFIG, the file of the user ($XDG_CONFIG_HOME), the file in /etc.",
        ),
        (
            "`~/.aws/config`, `~/.aws/credentials`, `~/.aws/sso/cache`",
            "Profiles, credentials and sign-ins of AWS programs. AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE name other files.",
        ),
        (
            "`$RUNTIME_DIRECTORY/admin.sock`, `$XDG_RUNTIME_DIR/ssm-proxyd/admin.sock`",
            "The admin socket of the daemon. In a container it is in /run/ssm-proxyd or /tmp/ssm-proxyd-UID.",
        ),
        (
            "`$STATE_DIRECTORY`, `~/.local/state/ssm-proxyd`",
            "The journal of active sessions: after a crash, the next start of the daemon terminates those that are left. It contains no secrets.",
        ),
        (
            "`/etc/hosts`, `~/.ssh/config`",
            "Changed only by `hosts --install` and `ssh-config --install`.",
        ),
    ],
);

const ENVIRONMENT: Section = (
    "ENVIRONMENT",
    &[
        ("`SSM_PROXYD_CONFIG`", "The configuration file."),
        (
            "`SSM_PROXYD_LOG`",
            "A log filter, such as info,ssm_proxyd::session=debug. It overrides `level` in [log]; `-v` and `-q` override it.",
        ),
        (
            "`AWS_REGION`, `AWS_PROFILE`, `AWS_ENDPOINT_URL_SSM`, `AWS_ENDPOINT_URL_ECS`, `AWS_ENDPOINT_URL_EC2_INSTANCE_CONNECT`, `AWS_CA_BUNDLE`",
            "Override the settings in [aws]. Settings of a forward override both.",
        ),
        (
            "`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN` and others",
            "Credentials, as for other AWS programs. A forward with its own `profile` does not use them.",
        ),
        (
            "`HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`",
            "The HTTP proxy, unless `proxy` in [aws] is set.",
        ),
        ("`NO_COLOR`", "No colours on terminals."),
        (
            "`SSM_PROXYD_HOST`, `SSM_PROXYD_PORT`, `SSM_PROXYD_NAME_HOST`, `SSM_PROXYD_NAME_PORT`, `PGHOST`, `PGHOSTADDR`, `PGPORT`, `PGPASSWORD`, `MYSQL_PWD`",
            "Set by `exec` for its command, for each forward NAME, and for destinations on the ports of PostgreSQL and MySQL.",
        ),
    ],
);

const SIGNALS: Section = (
    "SIGNALS",
    &[
        (
            "`SIGTERM`, `SIGINT`",
            "`run` accepts no new connections, lets the open ones finish within `drain_timeout`, terminates all sessions and exits with 0. A second signal does not wait for connections, a third one exits immediately.",
        ),
        ("`SIGHUP`", "`run` reloads the configuration."),
        (
            "`SIGUSR1`",
            "`run` and `forward` log one line for each open connection.",
        ),
        (
            "`SIGUSR2`",
            "`run` and `forward` retry everything immediately and test every websocket.",
        ),
    ],
);

const EXIT_STATUS: Section = (
    "EXIT STATUS",
    &[
        ("`0`", "Success, including a requested stop."),
        (
            "`1`",
            "A failure while running. `connect`: the connection was lost, or stdin may be incomplete at the destination. `stop` and `connect`: sessions may still be active.",
        ),
        ("`2`", "A usage error; an unknown forward or connection."),
        (
            "`69`",
            "The target, the destination or Session Manager is unavailable; no daemon was found.",
        ),
        ("`71`", "A local address cannot be bound."),
        ("`75`", "A timeout or throttling: retry later."),
        (
            "`77`",
            "AWS denied the request; no credentials; the profile does not exist or cannot be used.",
        ),
        (
            "`78`",
            "An invalid or missing configuration; an invalid document, endpoint or region.",
        ),
        (
            "`126`, `127`, `128` + N",
            "`exec`: the command cannot be run, does not exist, was ended by signal N. Other codes are those of the command. `connect`, `doctor`, `targets`, `init`: ended by signal N.",
        ),
    ],
);
