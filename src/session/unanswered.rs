//! For unit tests: a service, and a session of it, whose credential provider never responds.

use tracing::Span;

use super::aws::{Identity, Service, Settings};
use super::journal::Journal;
use super::stream_url::StreamUrl;
use super::{Access, Session, Sessions, Token};

impl Service {
    /// Creates a service whose calls and signatures wait for credentials without end.
    pub(super) async fn unanswered() -> Self {
        let settings = Settings {
            region: Some("eu-west-1".to_owned()),
            identity: Identity::Fixed {
                access_key: "AKIDEXAMPLE".to_owned(),
                secret_key: "secret".to_owned(),
            },
            ..Settings::default()
        };
        let service = Self::load(settings).await.unwrap();
        service.hang();
        service
    }
}

impl Session {
    /// Creates a session that can be neither connected nor resumed.
    pub(crate) async fn unanswered() -> Self {
        let service = Service::unanswered().await;
        let (sessions, _) = Sessions::new(1, 1, Journal::none());
        let url = "wss://ssmmessages.eu-west-1.amazonaws.com/v1/data-channel/s-1";
        let access = Access {
            url: StreamUrl::new(url, service.region()).unwrap(),
            token: Token("token".to_owned()),
        };
        Self {
            registration: sessions.register(&service, "s-1").await.unwrap(),
            access,
            service,
            sessions,
            span: Span::none(),
        }
    }
}
