//! The catalogue of error classes: name, sentence, remedy and exit code of each.
//!
//! Logs, status, metrics, messages for users and exit codes name a failure by its class. The names
//! are stable. `docs/errors.md` has a section for each class; a test compares it with this file.

use std::fmt;

/// Defines [`ErrorClass`] from rows of name, exit code, sentence and remedy.
macro_rules! classes {
    ($($name:ident $exit:literal $summary:literal $remedy:literal;)+) => {
        /// Class of a failure.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum ErrorClass {
            $(#[doc = $summary] $name,)+
        }

        impl ErrorClass {
            /// All classes, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// Returns the name in logs, status, metrics and messages.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                }
            }

            /// Returns a sentence that says what the class means.
            pub fn summary(self) -> &'static str {
                match self {
                    $(Self::$name => $summary,)+
                }
            }

            /// Returns what the user can do about it, if nothing more specific is known.
            pub const fn remedy(self) -> &'static str {
                match self {
                    $(Self::$name => $remedy,)+
                }
            }

            /// Returns the exit code of a command that fails for this reason
            /// (docs/interfaces.md, section 5).
            pub fn exit_code(self) -> u8 {
                match self {
                    $(Self::$name => $exit,)+
                }
            }
        }
    };
}

classes! {
    // The target.
    TargetNotConnected 69
        "The target is unknown to Session Manager, offline, or in another account or region."
        "check that the target is running, that its SSM agent is online, and that region and account are correct (`connect i-….REGION` uses another region)";
    TargetNotFound 69
        "No managed node or task matches the name or the tags of the target."
        "check the tags, the region and the account; `ssm-proxyd targets` lists the managed nodes";
    TargetAmbiguous 78
        "Several containers or nodes match the target, and one must be chosen."
        "name one of those listed in the message";
    TaskNotRunning 69
        "The ECS service or family has no running task, or its cluster or service does not exist."
        "check cluster, service and region, and the desired count of the service";
    ExecuteCommandDisabled 69
        "The ECS task was started without `enableExecuteCommand`, so it has no SSM agent."
        "enable it and start new tasks: `aws ecs update-service --enable-execute-command --force-new-deployment`";
    ExecuteCommandAgentStopped 69
        "The SSM agent in the container of an ECS task is not running."
        "the task role needs ssmmessages:CreateControlChannel, CreateDataChannel, OpenControlChannel and OpenDataChannel; the container must reach the ssmmessages endpoint, and its root file system must be writable; a task that has just started needs a moment";
    AgentTooOld 78
        "The SSM agent on the target is too old for this kind of session."
        "update the SSM agent on the target";

    // The document.
    DocumentNotFound 78
        "The document does not exist in this region and account, or cannot start sessions."
        "check `document`: it must exist in this region and account, and be a session document";
    DocumentParameters 78
        "The document does not take these parameters."
        "check `document`, `remote` and `parameters`: the document must accept these parameters";
    HandshakeFailed 78
        "The agent and this program could not agree on a session: usually the document opens another kind of session."
        "choose a `document` for port forwarding, such as AWS-StartPortForwardingSession";
    KmsUnsupported 78
        "The session must be encrypted with a KMS key, which port forwarding does not support."
        "choose a `document` of another kind, or remove the KMS key from the Session Manager preferences of this region and account";

    // The destination.
    DestinationNotFound 69
        "The target cannot resolve the host name of the destination."
        "check `remote`, or what `document` leads to: the host name is resolved on the target";
    DestinationRefused 69
        "The destination refused the connection from the target, or closed it at once."
        "check `remote`, or what `document` leads to: the destination must be listening and reachable from the target";
    DestinationTimedOut 69
        "The destination did not answer the target: it is down, or packets are dropped on the way."
        "check host and port, and the security groups, routes and firewalls between the target and the destination";
    RelayUnavailable 69
        "The port of `relay` on the target does not belong to a relay that this program can use."
        "install ssm-proxyd on the target and run `ssm-proxyd relay` there, or correct `relay`";
    DestinationForbidden 69
        "The agent does not connect to this address: loopback, metadata and credential services are forbidden."
        "for a port of the target itself write only the port: `remote = 5432`; other forbidden addresses cannot be reached";

    // The client of a proxy.
    DestinationDenied 77
        "The client of a proxy requested a destination that no rule of `allow` permits."
        "if this destination is intended, add it to `allow` of the proxy";
    RequestInvalid 1
        "The client of a proxy sent no valid request of SOCKS or HTTP CONNECT, or none in time."
        "set this proxy as SOCKS5, SOCKS4a or HTTP proxy of the client, without TLS and without a password";

    // Permissions and credentials.
    AccessDenied 77
        "AWS denied the call: the caller lacks a permission."
        "the caller needs ssm:StartSession on the target and on the document, ssm:TerminateSession and ssm:ResumeSession on its own sessions, and ssmmessages:OpenDataChannel; `ssm-proxyd iam-policy` prints a policy";
    NoCredentials 77
        "No AWS credentials were found, or the source of the credentials failed."
        "log in (`aws sso login`, `aws login`), set credentials, or choose another `profile`; they are read again";
    CredentialsExpired 77
        "The AWS credentials have expired."
        "log in again (`aws sso login`, `aws login`), set new credentials, or choose another `profile`; they are read again";
    CredentialsRejected 77
        "AWS does not know the access key, or its secret or session token does not belong to it."
        "check access key, secret and session token, and that they belong to this partition; they are read again";
    SsoLoginRequired 77
        "The login of the profile is missing or has expired."
        "log in (`aws sso login`, `aws login`); the login is read again";
    ClockSkew 77
        "AWS rejected the signature because the clock of this machine is wrong."
        "correct the clock of this machine (`timedatectl`); it must be within five minutes of the actual time";
    RoleNotAssumed 77
        "The role could not be assumed."
        "the caller needs sts:AssumeRole on `role_arn`, and the role's trust policy must name the caller; with SSO, the permission set must be assigned";
    BadProfile 77
        "The profile does not exist, or the AWS files lack what it needs."
        "choose a `profile` that exists (`aws configure list-profiles`), or correct the AWS files; they are read again at the next connection";

    // The AWS API.
    Throttled 75
        "AWS limits the rate of this call."
        "AWS limits the rate of this call; try again in a moment, and open fewer connections at once";
    SessionQuota 75
        "The account has reached a quota of Session Manager."
        "terminate sessions that are not needed (`aws ssm describe-sessions --state Active`), use `sessions = \"shared\"`, or request a higher quota";
    ServiceFault 69
        "AWS reported an internal error, or its response is invalid."
        "internal error of the AWS service; try again";
    InvalidRequest 78
        "AWS rejected the request as invalid."
        "check `target`, `remote`, `document` and `parameters` of this forward";
    NoRegion 78
        "No region is configured."
        "set `region` in [aws] or in the forward, set AWS_REGION, or choose a `profile` that has one";
    BadEndpoint 78
        "The endpoint is unencrypted, not one of this region, or another machine although that of SSM is a loopback address."
        "check `region`, `ssm_endpoint`, `ssmmessages_endpoint`, `ecs_endpoint` and `ec2_instance_connect_endpoint`, AWS_ENDPOINT_URL_SSM and the profile's `endpoint_url`: each must be an endpoint of this region with TLS, or a loopback address";
    NotTheApi 69
        "The response did not come from AWS, but from something on the way."
        "the response is not from AWS: check for an intercepting proxy, a captive portal, or a wrong `ssm_endpoint`";

    // The network.
    EndpointNotResolved 69
        "The host name of an AWS endpoint does not resolve."
        "check the network, DNS, `region` and `ssm_endpoint`";
    EndpointUnreachable 69
        "An AWS endpoint was not reached: no route, connection refused or reset, or no answer in time."
        "check the network, DNS and `ssm_endpoint`; if TLS is intercepted, set `ca_bundle`";
    TlsUntrusted 69
        "The certificate of an AWS endpoint is not trusted."
        "if TLS is intercepted, set `ca_bundle` to the certificate of your organisation; otherwise check the endpoint and the clock of this machine";
    ProxyRefused 69
        "The proxy was not reached, or did not open the connection."
        "check `proxy` in [aws], or HTTPS_PROXY: host, port, user and password; the proxy must allow CONNECT to AWS, and NO_PROXY lists the hosts that bypass it";
    WebsocketRefused 69
        "Session Manager rejected the websocket upgrade."
        "check the network, proxy and TLS on the path to ssmmessages.<region>.amazonaws.com, or to `ssmmessages_endpoint`";
    WebsocketBroke 69
        "The websocket to Session Manager broke before the session was ready."
        "check the network, proxy and TLS on the path to ssmmessages.<region>.amazonaws.com, or to `ssmmessages_endpoint`";

    // The session.
    SessionEnded 69
        "The session was ended by a user, a timeout, Session Manager or the target."
        "`aws ssm describe-sessions --state History` shows how it ended; a new connection starts a new session";
    SessionLost 75
        "The websocket broke and the session could not be resumed within `resume_timeout`."
        "check the network on the path to ssmmessages.<region>.amazonaws.com; a new connection starts a new session";
    AgentFailed 69
        "The agent on the target could not start or keep the session."
        "this is the agent's message; check `remote`, or what `document` leads to, and the agent's log on the target";
    ProtocolError 69
        "Session Manager or the agent sent something that is not valid in the protocol."
        "update the SSM agent on the target; please report it with the preceding log lines if it persists";
    TimedOut 75
        "A step did not complete in time."
        "raise `connect_timeout` if this step is only slow";

    // This machine.
    ListenAddressInUse 71
        "A local address is in use."
        "choose another `listen`, or find the program that uses it with `ss -ltnp`";
    CannotListen 71
        "A local address cannot be listened on."
        "choose another `listen`, or correct what the message names: the path, its directory, or a missing privilege";
    OutOfResources 75
        "This process or machine has no file descriptor or memory left."
        "raise the limit of open files (`ulimit -n`, `LimitNOFILE=` in a systemd unit) or of memory, or lower `max_connections`";
    BadConfiguration 78
        "The configuration is missing or invalid."
        "correct the configuration; `ssm-proxyd check` validates it";
    DaemonNotRunning 69
        "No daemon was found at the admin socket, or it does not respond."
        "start the daemon with `ssm-proxyd run`, or name its socket with `--socket`";
    StdioFailed 1
        "stdin or stdout failed."
        "use pipes, sockets, terminals or regular files";
    UploadIncomplete 1
        "The connection ended before the destination had acknowledged everything that was read from stdin."
        "some of it may not have been delivered; keep stdout open until the destination closes";
    ResponseTimedOut 75
        "stdin ended, and no byte moved for `half_close_timeout`."
        "raise `half_close_timeout` in [defaults] if the response takes longer";
    Stopping 1
        "The program is stopping."
        "start it again";
    InternalError 1
        "A panic in this program or in a library: a bug."
        "this is a bug: please report it with the preceding log lines";
}

impl ErrorClass {
    /// Returns the class of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        let mut all = Self::ALL.iter().copied();
        all.find(|class| class.name() == name)
    }
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_found_by_its_name() {
        for class in ErrorClass::ALL {
            assert_eq!(ErrorClass::from_name(class.name()), Some(*class));
        }
        assert_eq!(ErrorClass::from_name("targetnotconnected"), None);
    }

    #[test]
    fn each_class_has_one_sentence_and_one_remedy() {
        for class in ErrorClass::ALL {
            let (summary, remedy) = (class.summary(), class.remedy());

            assert!(summary.ends_with('.'), "{class}: {summary}");
            assert!(!remedy.is_empty() && !remedy.ends_with('.'), "{class}");
        }
    }
}
