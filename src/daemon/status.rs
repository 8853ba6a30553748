//! Status of the daemon: a line for the service manager, and a report for admin and HTTP clients.
//!
//! A forward that a reload changed is shown with its predecessors: their connections and sessions
//! are those of the forward, until they have ended.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime};

use super::StartError;
use super::gauges::Gauges;
use super::observation::Observation;
use crate::clock;
use crate::config::{self, Listen, SessionMode};
use crate::forward::ConnectionTable;
use crate::panics;
use crate::printable::Printable;
use crate::telemetry::{
    DrainingForward, FailingServer, FailureReport, FailureStatus, ForwardMetrics, ForwardReport,
    ForwardState, StatusReport, dropped_log_lines,
};

/// Data of a forward for reports.
#[derive(Debug)]
pub(super) struct ForwardInfo {
    pub(super) settings: config::Forward,
    pub(super) addresses: Vec<Listen>,
    pub(super) metrics: Arc<ForwardMetrics>,
    /// `None` unless it listens.
    pub(super) connections: Option<Arc<ConnectionTable>>,
    pub(super) observation: Arc<Observation>,
}

/// All forwards at one moment. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct ForwardSnapshot {
    pub(super) running: Vec<Arc<ForwardInfo>>,
    /// Those that a reload replaced or removed, and that only finish their connections.
    pub(super) finishing: Vec<Arc<ForwardInfo>>,
}

impl ForwardSnapshot {
    /// Returns the number of connections that have a session.
    pub(super) fn connections(&self) -> usize {
        self.all().map(|info| info.metrics.open.get()).sum()
    }

    /// Returns every forward; those that finish first, as their connections are older.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<ForwardInfo>> {
        self.finishing.iter().chain(&self.running)
    }

    /// Returns the last forward of each name that a reload removed and whose connections have not
    /// ended.
    pub(super) fn removed(&self) -> Vec<&Arc<ForwardInfo>> {
        let is = |one: &Arc<ForwardInfo>, other: &Arc<ForwardInfo>| one.name() == other.name();
        let mut removed = Vec::<&Arc<ForwardInfo>>::new();
        for info in self.finishing.iter().rev() {
            if !self
                .running
                .iter()
                .chain(removed.iter().copied())
                .any(|known| is(known, info))
            {
                removed.push(info);
            }
        }
        removed
    }

    /// Returns what the forwards of this name have now.
    pub(super) fn gauges(&self, name: &str) -> Gauges {
        let of_name = |info: &&Arc<ForwardInfo>| info.name() == name;
        let running = self.running.iter().filter(of_name);
        let finishing = self.finishing.iter().filter(of_name);
        Gauges::sum(
            running.map(|info| &*info.metrics),
            finishing.map(|info| &*info.metrics),
        )
    }

    fn enabled(&self) -> usize {
        let running = self.running.iter();
        running.filter(|info| info.settings.enabled).count()
    }

    /// Returns the log message for the end of the start.
    pub(super) fn ready(&self) -> String {
        let (count, plural) = match self.enabled() {
            1 => (1, ""),
            count => (count, "s"),
        };
        let failing = self.running.iter().filter_map(|f| f.failing()).count();
        match failing {
            0 => format!("ready: {count} forward{plural}"),
            failing => format!("ready: {count} forward{plural}, {failing} failing"),
        }
    }

    /// Returns the current report of every forward.
    pub(super) fn reports(&self) -> Vec<ForwardReport> {
        self.reports_at(clock::now(), false)
    }

    fn reports_at(&self, now: Instant, stopping: bool) -> Vec<ForwardReport> {
        let report = |f: &Arc<ForwardInfo>| f.report(now, stopping, self.gauges(f.name()));
        self.running.iter().map(report).collect()
    }

    /// Returns the report of a forward that a reload removed and whose connections have not ended.
    pub(super) fn report_of_removed(&self, name: &str) -> Option<ForwardReport> {
        let removed = self
            .removed()
            .into_iter()
            .find(|info| info.name() == name)?;
        let report = removed.report(clock::now(), true, self.gauges(name));
        // It no longer listens.
        let listen = Vec::new();
        Some(ForwardReport { listen, ..report })
    }

    /// Returns a summary in one line.
    pub(super) fn line(&self) -> String {
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        let (forwards, connections) = (self.enabled(), self.connections());
        let mut line = format!(
            "{forwards} forward{}, {connections} connection{}",
            plural(forwards),
            plural(connections)
        );
        let failing: Vec<String> = self.running.iter().filter_map(|f| f.failing()).collect();
        if !failing.is_empty() {
            let named = failing[..failing.len().min(MAX_NAMED)].join(", ");
            let more = if failing.len() > MAX_NAMED {
                ", …"
            } else {
                ""
            };
            line += &format!(", {} failing: {named}{more}", failing.len());
        }
        line
    }
}

impl ForwardInfo {
    pub(super) fn name(&self) -> &str {
        &self.settings.name
    }

    /// Records a start error.
    pub(super) fn handle_failure(&self, error: &StartError) {
        let now = clock::now();
        self.metrics.record_failure(FailureStatus {
            class: error.class(),
            error: Printable::of(error),
            hint: error.hint().as_ref().into(),
            since: now,
            seen: now,
        });
    }

    /// Observes rates.
    pub(super) fn observe_bytes(&self, now: Instant) {
        let totals = &self.metrics.totals;
        let (sent, received) = (totals.sent.load(Relaxed), totals.received.load(Relaxed));
        self.observation.record_bytes(now, sent, received);
        self.observe_stripes(now);
    }

    /// Observes state and rates.
    pub(super) fn observe(&self, now: Instant) {
        self.observe_bytes(now);
        if self.settings.enabled {
            self.observation.record_state(now, self.state());
        }
    }

    fn failing(&self) -> Option<String> {
        let failure = self.metrics.failure()?;
        Some(format!("{} {}", self.settings.name, failure.class))
    }

    /// Returns the number of warm sessions to keep.
    fn warm(&self) -> usize {
        match self.settings.sessions {
            SessionMode::PerConnection { warm, .. } => warm,
            SessionMode::Shared { .. } => 0,
        }
    }

    /// Returns true if the daemon itself tries again, without a connection: to bind the addresses,
    /// or to start a missing warm session.
    fn is_retried(&self) -> bool {
        let misses_warm = self.metrics.ready.load(Relaxed) < self.warm();
        self.connections.is_none() || (misses_warm && self.metrics.cannot_start())
    }

    fn state(&self) -> ForwardState {
        match (self.metrics.failure(), self.metrics.was_ready()) {
            (Some(_), _) => ForwardState::Failing,
            (None, false) if self.warm() > 0 => ForwardState::Warming,
            (None, _) => ForwardState::Ready,
        }
    }

    fn report(&self, now: Instant, stopping: bool, gauges: Gauges) -> ForwardReport {
        let Self {
            settings,
            addresses,
            metrics,
            ..
        } = self;
        let state = match (settings.enabled, stopping) {
            (false, _) => ForwardState::Disabled,
            (true, true) => ForwardState::Stopping,
            (true, false) => self.state(),
        };
        let since = self.observation.record_state(now, state);
        let totals = &metrics.totals;
        let (sent_per_second, received_per_second) = self.observation.rates(now);
        ForwardReport {
            name: settings.name.as_str().into(),
            listen: addresses.iter().map(Printable::of).collect(),
            target: Printable::of(&settings.target),
            remote: Printable::of(&settings.remote),
            destination: metrics.destination(),
            state,
            state_seconds: now.saturating_duration_since(since).as_secs(),
            connections: gauges.connections,
            waiting: gauges.waiting,
            accepted: totals.accepted.load(Relaxed),
            sent: totals.sent.load(Relaxed),
            received: totals.received.load(Relaxed),
            sent_per_second,
            received_per_second,
            sessions: gauges.sessions,
            sessions_ready: gauges.sessions_ready,
            sessions_started: totals.started.load(Relaxed),
            sessions_failed: totals.failed.load(Relaxed),
            resumes: totals.resumed.load(Relaxed),
            failures: totals
                .failures()
                .into_iter()
                .map(|(class, count)| (class.name().into(), count))
                .collect(),
            credentials: None,
            relay: self.relay_report(now),
            failure: metrics
                .failure()
                .map(|failure| failure_report(failure, now, self.is_retried())),
        }
    }
}

fn failure_report(failure: FailureStatus, now: Instant, retried: bool) -> FailureReport {
    let ago = |at| now.saturating_duration_since(at).as_secs();
    FailureReport {
        code: failure.class.name().into(),
        since_seconds: ago(failure.since),
        seen_seconds: ago(failure.seen),
        retried,
        error: failure.error,
        hint: failure.hint,
    }
}

/// State of the daemon for reports, besides the forwards.
#[derive(Clone, Debug)]
pub(super) struct DaemonStats {
    began: Instant,
    /// The time since which an accept loop has not answered; `None`: all do.
    silent: Option<Instant>,
    /// Wall clock at its begin.
    pub(super) started: SystemTime,
    /// Number of reloads applied, and of those that failed.
    reloads: u64,
    failed_reloads: u64,
    pub(super) last_reload: LastReload,
    /// Servers that cannot be bound now.
    pub(super) failing_servers: Vec<FailingServer>,
}

/// The last reload; at first the start of the daemon.
#[derive(Clone, Copy, Debug)]
pub(super) struct LastReload {
    pub(super) succeeded: bool,
    /// When the configuration in use was applied.
    pub(super) applied: SystemTime,
}

impl DaemonStats {
    /// Starts at the current time.
    pub(super) fn new() -> Self {
        let started = clock::wall();
        Self {
            began: clock::now(),
            silent: None,
            started,
            reloads: 0,
            failed_reloads: 0,
            last_reload: LastReload {
                succeeded: true,
                applied: started,
            },
            failing_servers: Vec::new(),
        }
    }

    /// Records a reload: applied, or failed without a change.
    pub(super) fn record_reload(&mut self, succeeded: bool) {
        self.last_reload.succeeded = succeeded;
        match succeeded {
            true => {
                self.reloads += 1;
                self.last_reload.applied = clock::wall();
            }
            false => self.failed_reloads += 1,
        }
    }

    /// Records whether the accept loops have answered the last probe. Returns `answered`.
    pub(super) fn record_liveness(&mut self, answered: bool) -> bool {
        match answered {
            true => self.silent = None,
            false => self.silent = self.silent.or_else(|| Some(clock::now())),
        }
        answered
    }

    /// Returns true unless an accept loop has been unresponsive for [`TIMEOUT`]. A loop that
    /// pauses after a failed accept answers a little late.
    fn is_alive(&self, now: Instant) -> bool {
        let silence = self
            .silent
            .map(|since| now.saturating_duration_since(since));
        silence.is_none_or(|silence| silence < TIMEOUT)
    }

    /// Returns the current report.
    pub(super) fn report(
        &self,
        snapshot: &ForwardSnapshot,
        log: String,
        stopping: bool,
    ) -> StatusReport {
        let now = clock::now();
        let finishing = snapshot.finishing.iter().map(|finishing| DrainingForward {
            name: finishing.name().into(),
            connections: finishing.metrics.open.get(),
        });
        StatusReport {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            uptime_seconds: now.saturating_duration_since(self.began).as_secs(),
            stopping,
            // While stopping, the accept loops have ended on purpose.
            alive: stopping || self.is_alive(now),
            reloads: self.reloads,
            failed_reloads: self.failed_reloads,
            internal_errors: panics::internal_errors(),
            log: log.into(),
            log_lines_dropped: dropped_log_lines(),
            connections: snapshot.connections(),
            failing_servers: self.failing_servers.clone(),
            forwards: snapshot.reports_at(now, stopping),
            finishing: finishing.collect(),
        }
    }
}

/// Maximum number of failing forwards named in the summary.
const MAX_NAMED: usize = 3;

/// Time after which an unresponsive accept loop counts as dead.
const TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loops_that_do_not_answer_for_long_are_dead_until_they_answer() {
        let mut stats = DaemonStats::new();
        let alive_in = |stats: &DaemonStats, seconds| {
            stats.is_alive(clock::now() + Duration::from_secs(seconds))
        };
        assert!(alive_in(&stats, 3600), "no probe was sent");

        assert!(!stats.record_liveness(false));
        assert!(!stats.record_liveness(false));

        assert!(alive_in(&stats, 1));
        assert!(!alive_in(&stats, 5));
        let report = |stopping| stats.report(&ForwardSnapshot::default(), String::new(), stopping);
        assert!(report(false).alive && report(true).alive);
        assert!(stats.record_liveness(true));
        assert!(alive_in(&stats, 3600));
    }
}
