//! PgBouncer, a pool of libpq-like connections, in front of the daemon.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::{Offline, Session};
use crate::support::daemon_process::free_address;
use crate::support::postgres::{Owner, installed, psql};
use crate::support::process::Process;

#[tokio::test(flavor = "multi_thread")]
async fn pgbouncer_passes_the_cause_on() {
    let offline = Offline::new().await;
    let orders = offline.address("orders");
    let address = free_address();
    let directory = tempfile::tempdir().unwrap();
    let owner = Owner::find();
    owner.take(directory.path());
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let file = directory.path().join("pgbouncer.ini");
    fs::write(
        &file,
        format!(
            "[databases]\npostgres = host=127.0.0.1 port={} user=postgres\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {}\nunix_socket_dir =\n\
             auth_type = any\n",
            orders.port(),
            address.port()
        ),
    )
    .unwrap();
    let program = installed("pgbouncer", "pgbouncer");
    let mut pool = Process::start(owner.command(&program).arg(&file));
    pool.stderr.wait_for("listening on");
    let mut session = Session::default();

    session.run("psql, through PgBouncer", &mut psql(address, &[]));

    let line = pool.stderr.wait_for("login failed");
    session.0 += &format!("pgbouncer: {}\n", line.split_once("WARNING ").unwrap().1);
    let logged = session.0.clone();
    pool.end("TERM");
    session.assert_as("pgbouncer", &[orders, address]);
    assert!(logged.contains("forward orders"), "{logged}");
    offline.0.end().await;
}
