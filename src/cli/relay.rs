//! `relay`: the end of relay mode on a target.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use tracing::info;

use super::exit::Exit;
use super::{startup, terminal};
use crate::config;
use crate::daemon::{SdNotify, Signal, Signals};
use crate::relay::{Relay, RelayError, RelayOptions, Reporter, Rule, Rules};
use crate::telemetry::{Log, Verbosity};

#[derive(Debug, Args)]
pub(super) struct RelayArgs {
    /// What daemons may connect to: HOST:PORT, with * for whole labels of a name or for all ports,
    /// a block of addresses such as 10.0.0.0/8:5432, a range of ports, or unix:/PATH. Repeatable;
    /// everything else is refused. A rule with a name matches no address, and the reverse
    #[arg(long, value_name = "HOST:PORT", required = true, num_args = 1..)]
    allow: Vec<Rule>,
    /// Loopback address to listen on
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7400")]
    listen: SocketAddr,
    /// Loopback address for /metrics, /status and /healthz over HTTP
    #[arg(long, value_name = "ADDR")]
    http: Option<SocketAddr>,
    /// How many daemons may use the relay at the same time; a forward with `relay` counts as one
    #[arg(long, value_name = "NUMBER", default_value = "32", value_parser = clap::value_parser!(u16).range(1..))]
    max_bundles: u16,
    /// How long connections are kept while their daemon cannot reach the relay
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = config::duration)]
    keep: Duration,
    /// Timeout of a connection to a destination, name resolution included
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = config::duration)]
    connect_timeout: Duration,
    /// How long open connections may continue after a stop was requested
    #[arg(long, value_name = "DURATION", default_value = "8s", value_parser = config::duration)]
    drain_timeout: Duration,
}

/// Runs until a stop signal.
pub(super) async fn relay(args: RelayArgs, log: Log) -> Exit {
    let mut signals = match startup::start(log, Verbosity::Info) {
        Ok(signals) => signals,
        Err(exit) => return exit,
    };
    let drain_timeout = args.drain_timeout;
    let options = RelayOptions {
        listen: args.listen,
        http: args.http,
        rules: Rules::new(args.allow),
        max_bundles: args.max_bundles.into(),
        keep: args.keep,
        connect_timeout: args.connect_timeout,
        drain_timeout,
    };
    let relay = match Relay::bind(options).await {
        Ok(relay) => relay,
        Err(error) => return fail(&error),
    };
    let address = relay.address();
    info!(%address, "relay ready");
    let reporter = relay.reporter();
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let (abort, aborted) = tokio::sync::oneshot::channel();
    let running = relay.run(received(stopped), received(aborted));
    let watching = async {
        let mut manager = SdNotify::new();
        manager.ready(summary(&reporter));
        wait_for_stop(&mut signals, &mut manager, &reporter).await;
        SdNotify::stopping(drain_timeout + STOP_TIME);
        // The relay may have ended already.
        let _ended = stop.send(());
        wait_for_stop(&mut signals, &mut manager, &reporter).await;
        let _ended = abort.send(());
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = running => {}
        () = watching => {}
    }
    info!("relay stopped");
    Exit::Done
}

async fn received(signal: tokio::sync::oneshot::Receiver<()>) {
    if signal.await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn wait_for_stop(signals: &mut Signals, manager: &mut SdNotify, reporter: &Reporter) {
    loop {
        tokio::select! {
            signal = signals.next() => match signal {
                Signal::Stop(name) => return info!(signal = name, "stop requested"),
                Signal::DumpConnections => log_report(reporter),
                Signal::RetryNow | Signal::Reload => {}
            },
            () = manager.tick() => {
                manager.watchdog(true);
                manager.status(summary(reporter));
            }
        }
    }
}

/// Text for `systemctl status`.
fn summary(reporter: &Reporter) -> String {
    let report = reporter.report();
    let flows: usize = report
        .bundles
        .iter()
        .map(|bundle| bundle.status.flows)
        .sum();
    let bundles = report.bundles.len();
    format!("daemons: {bundles}, connections: {flows}")
}

/// Logs a line for each bundle and stripe.
fn log_report(reporter: &Reporter) {
    let report = reporter.report();
    for bundle in &report.bundles {
        let (number, status) = (bundle.number, &bundle.status);
        info!(
            bundle = number,
            flows = status.flows,
            stripes = status.stripes.len(),
            "bundle"
        );
        for stripe in &status.stripes {
            let known = &stripe.report;
            info!(
                bundle = number,
                stripe = %known.id,
                phase = ?known.phase,
                rate = known.rate,
                round_trip = known.round_trip.map(tracing::field::debug),
                sent = stripe.sent,
                received = stripe.received,
                "stripe"
            );
        }
    }
}

fn fail(error: &RelayError) -> Exit {
    match error {
        RelayError::NotLoopback(_) => {
            let hint =
                "sessions connect to the target's own loopback address: --listen 127.0.0.1:7400";
            terminal::fail(Exit::Usage, error, hint)
        }
        RelayError::Listen { .. } => {
            let hint = "another program may use the port (`ss -ltnp`); choose another one with --listen, and the same in `relay` of the daemons";
            terminal::fail(Exit::CannotListen, error, hint)
        }
    }
}

/// Time to close the bundles after the connections have ended.
const STOP_TIME: Duration = Duration::from_secs(15);
