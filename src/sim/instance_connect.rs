//! SendSSHPublicKey of EC2 Instance Connect: keys that the sshd of an instance accepts for 60 s.
//!
//! ```text
//!   SendSSHPublicKey ─▶ ledger, DIRECTORY/USER ─ 60 s ─▶ removed from DIRECTORY/USER
//! ```
//!
//! With a directory, a real sshd reads the keys of its users from there, for example by
//! `AuthorizedKeysFile DIRECTORY/%u`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};
use tokio::task::spawn_blocking;
use tracing::warn;

use super::pushed_keys::{KEY_LIFE, PushRequest, PushedKey};
use super::service::Service;
use crate::clock;

/// Handles one call.
pub(super) fn call(
    service: &Service,
    body: &[u8],
    signature: &str,
    arrived: Instant,
) -> Result<Value, (&'static str, String)> {
    let request: PushRequest = serde_json::from_slice(body)
        .map_err(|error| ("SerializationException", error.to_string()))?;
    let valid = request.check();
    valid.map_err(|problem| ("InvalidArgsException", problem.to_owned()))?;
    let PushRequest {
        instance,
        user,
        key,
    } = request;
    let key = PushedKey {
        instance,
        user,
        key,
        pushed_us: service.ledger.micros(arrived),
        signature: signature.to_owned(),
    };
    service.valid_keys.add(&key, clock::now());
    service.ledger.record_key(key);
    Ok(json!({ "RequestId": "simulator", "Success": true }))
}

/// Writes the keys of the user of a successful call to the directory of the options, if there is
/// one, and removes them when they have expired.
pub(super) async fn write_keys(service: &Arc<Service>, body: &[u8]) {
    let Some(directory) = service.options.authorized_keys.clone() else {
        return;
    };
    let Ok(PushRequest { user, .. }) = serde_json::from_slice(body) else {
        return;
    };
    write(service, &directory, &user).await;
    let later = Arc::clone(service);
    service.spawn(async move {
        tokio::time::sleep(KEY_LIFE).await;
        write(&later, &directory, &user).await;
    });
}

async fn write(service: &Arc<Service>, directory: &Path, user: &str) {
    let (path, user, writer) = (directory.join(user), user.to_owned(), Arc::clone(service));
    let written = spawn_blocking(move || {
        let now = clock::now();
        writer
            .valid_keys
            .write(&user, now, |keys| replace(&path, &keys))
    });
    if let Ok(Err(error)) = written.await {
        warn!(%error, directory = %directory.display(), "cannot write the pushed keys");
    }
}

/// Replaces a file, so that a reader sees the previous or the new content. Blocks.
fn replace(path: &Path, content: &str) -> io::Result<()> {
    let mut new = PathBuf::from(path).into_os_string();
    new.push(format!(".{:08x}", fastrand::u32(..)));
    fs::write(&new, content)?;
    fs::rename(&new, path)
}
