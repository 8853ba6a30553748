//! Listeners on the loopback addresses of remote hosts.

use crate::config::check::address::HostAddress;
use crate::config::check::section::SectionKeys;
use crate::config::check::value::WrittenAddresses;
use crate::config::diagnostic::Findings;
use crate::config::document::{Value, ValueData};
use crate::config::model::{HostAddresses, Listen, Remote};

/// Returns the addresses of the remote hosts of all forwards.
pub(super) fn host_addresses(forwards: &[Value]) -> HostAddresses {
    let remote = |value: &Value| {
        let ValueData::Table(table) = &value.data else {
            return None;
        };
        let entry = table.entries.iter().find(|entry| entry.key == "remote")?;
        let ValueData::Text(text) = &entry.value.data else {
            return None;
        };
        text.parse::<Remote>().ok()
    };
    let remotes: Vec<_> = forwards.iter().filter_map(remote).collect();
    HostAddresses::new(remotes.iter())
}

/// Returns the address of the host in `remote` of a table, if that is a name.
pub(super) fn host_address(
    section: &SectionKeys<'_>,
    addresses: &HostAddresses,
) -> Option<HostAddress> {
    let remote: Remote = section.get("remote")?;
    Some(HostAddress {
        address: addresses.get(&remote)?,
        port: remote.port()?,
    })
}

/// Returns the addresses that a table listens on; `None` if there is none.
pub(super) fn listen(section: &SectionKeys<'_>) -> Option<Vec<Listen>> {
    let addresses = section.addresses().into_iter();
    let listen: Vec<_> = addresses.map(|(listen, _)| listen).collect();
    Some(listen).filter(|listen| !listen.is_empty())
}

/// Reports `hosts` in a table without a remote host that has a name.
pub(super) fn check_host(section: &SectionKeys<'_>, findings: &mut Findings) {
    if section.host_address.is_some() {
        return;
    }
    let written: WrittenAddresses = section.get("listen").unwrap_or_default();
    for (listen, span) in written {
        if listen.resolve(None).is_none() {
            let what =
                "`listen`: \"hosts\" stands for the name of the remote host, and there is none";
            let hint = "write an address, such as \"localhost:5432\"";
            findings.add(section.finding(span, what, hint));
        }
    }
}
