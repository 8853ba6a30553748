//! For unit tests: a client, and a session of it, whose credential provider never responds.

use tracing::Span;

use super::aws::{Identity, Settings, SsmClient};
use super::journal::Journal;
use super::stream_url::StreamUrl;
use super::{ChannelAccess, Session, Sessions, Token};

impl SsmClient {
    /// Creates a client whose calls and signatures wait for credentials without end.
    pub(super) async fn unanswered() -> Self {
        let settings = Settings {
            region: Some("eu-west-1".to_owned()),
            identity: Identity::Fixed {
                access_key: "AKIDEXAMPLE".to_owned(),
                secret_key: "secret".to_owned(),
            },
            ..Settings::default()
        };
        let ssm = Self::load(settings).await.unwrap();
        ssm.hang();
        ssm
    }
}

impl Session {
    /// Creates a session that can be neither connected nor resumed.
    pub(crate) async fn unanswered() -> Self {
        let ssm = SsmClient::unanswered().await;
        let (sessions, _) = Sessions::new(1, 1, Journal::none());
        let url = "wss://ssmmessages.eu-west-1.amazonaws.com/v1/data-channel/s-1";
        let access = ChannelAccess {
            url: StreamUrl::new(url, ssm.region()).unwrap(),
            token: Token("token".to_owned()),
        };
        Self {
            registration: sessions.register(&ssm, "s-1").await.unwrap(),
            access,
            target: "i-0123456789abcdef0".to_owned(),
            is_supplied: false,
            ssm,
            sessions,
            span: Span::none(),
        }
    }
}
