//! Sessions that a former process did not terminate.

use std::collections::BTreeMap;

use tracing::{debug, warn};

use super::aws_clients::AwsClients;
use crate::session::{JournalEntry, Origin, Sessions, SsmClient, TerminatePolicy};

/// Terminates the sessions of former processes, each with the identity that started it.
pub(super) async fn terminate_orphans(
    aws: AwsClients,
    sessions: Sessions,
    orphans: Vec<JournalEntry>,
    effort: TerminatePolicy,
) {
    let mut clients: BTreeMap<Origin, SsmClient> = BTreeMap::new();
    for entry in orphans {
        let ssm = match clients.get(&entry.origin) {
            Some(known) => known.clone(),
            None => match aws.clone().client_of(entry.origin.clone()).await {
                Ok(ssm) => ssm,
                Err(error) => {
                    let session = &entry.session;
                    match effort {
                        TerminatePolicy::Required => {
                            warn!(session, %error, "cannot terminate a session of a former run");
                        }
                        TerminatePolicy::BestEffort => {
                            debug!(session, %error, "cannot terminate a session of a former run");
                        }
                    }
                    continue;
                }
            },
        };
        clients.insert(entry.origin.clone(), ssm.clone());
        sessions.terminate_orphan(ssm, entry, effort);
    }
}
