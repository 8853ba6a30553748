//! Converts the checked table of a forward or proxy to the model.

use std::time::Duration;

use crate::config::check::parameters;
use crate::config::check::remote_hosts::listen;
use crate::config::check::section::SectionKeys;
use crate::config::model::{Account, Explain, Forward, Relay, SHARED, SessionMode, Upload};
use crate::config::settings::PROXY;
use crate::config::source::SourceText;

/// Returns a forward or proxy, unless a setting is missing or invalid.
pub(super) fn forward(section: &SectionKeys<'_>, source: &SourceText<'_>) -> Option<Forward> {
    let (remote, document) = parameters::destination(section)?;
    Some(Forward {
        name: section.get("name")?,
        enabled: section.get("enabled")?,
        listen: listen(section)?,
        mode: u32::from_str_radix(&section.get::<String>("mode")?, 8).ok()?,
        target: section.get("target")?,
        remote,
        account: Account {
            region: section.get("region"),
            profile: section.get("profile"),
            role_arn: section.get("role_arn"),
        },
        document,
        reason: section.get("reason"),
        relay: relay(section),
        sessions: sessions(section)?,
        keep_alive: section.get("keep_alive")?,
        connect_timeout: section.get("connect_timeout")?,
        resume_timeout: section.get("resume_timeout")?,
        half_close_timeout: section.get("half_close_timeout")?,
        upload: Upload {
            rate: section.number("upload_rate")?,
            payload: section.number("upload_payload")?,
            window: section.number("upload_window")?,
        },
        max_connections: section.number("max_connections")?,
        allow_remote_clients: section.get("allow_remote_clients")?,
        explain: explain(section)?,
        line: source.line(section.span("listen")?.start),
    })
}

fn relay(section: &SectionKeys<'_>) -> Option<Relay> {
    if section.is_of(PROXY) {
        return None;
    }
    Some(Relay {
        port: section.number("relay")?,
        stripes: section.number("stripes")?,
        compress: section.get::<String>("compress")?.parse().ok()?,
    })
}

fn sessions(section: &SectionKeys<'_>) -> Option<SessionMode> {
    if section.is_of(PROXY) {
        return Some(SessionMode::PerConnection {
            warm: 0,
            warm_max_age: Duration::ZERO,
        });
    }
    Some(match section.get::<String>("sessions")?.as_str() {
        SHARED => SessionMode::Shared {
            max_streams: section.number("max_streams")?,
            max_age: Some(section.get::<Duration>("max_session_age")?).filter(|age| !age.is_zero()),
        },
        _ => SessionMode::PerConnection {
            warm: section.number("warm")?,
            warm_max_age: section.get("warm_max_age")?,
        },
    })
}

/// Clients of a proxy are answered in the protocol of the proxy.
fn explain(section: &SectionKeys<'_>) -> Option<Explain> {
    match section.is_of(PROXY) {
        true => Some(Explain::Off),
        false => section.get::<String>("explain")?.parse().ok(),
    }
}
