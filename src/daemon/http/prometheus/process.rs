//! Metrics of the process, read from /proc. The names are those of the Prometheus client libraries.
//!
//! Only files of the process itself are read: a service may see no others (`ProcSubset=pid`).

use std::fs::{read_dir, read_to_string};
use std::io;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use prometheus_client::metrics::MetricType::{Counter, Gauge};
use rustix::param::{clock_ticks_per_second, page_size};
use tokio::time::timeout;

use super::family::{Family, Sample};
use crate::blocking;
use crate::clock;

/// All of them.
pub(super) const ALL: &[Family<ProcessStats>] = &[
    Family {
        name: "process_cpu_seconds_total",
        kind: Counter,
        help: "User and system CPU time of the process",
        samples: |p| Sample::only(p.cpu_seconds),
    },
    Family {
        name: "process_resident_memory_bytes",
        kind: Gauge,
        help: "Resident memory of the process",
        samples: |p| Sample::only(p.resident_bytes),
    },
    Family {
        name: "process_virtual_memory_bytes",
        kind: Gauge,
        help: "Virtual memory of the process",
        samples: |p| Sample::only(p.virtual_bytes),
    },
    Family {
        name: "process_start_time_seconds",
        kind: Gauge,
        help: "Time at which the process started, in seconds since 1970",
        samples: |p| Sample::only(p.started),
    },
    Family {
        name: "process_threads",
        kind: Gauge,
        help: "Threads of the process",
        samples: |p| Sample::only(p.threads),
    },
    Family {
        name: "process_open_fds",
        kind: Gauge,
        help: "Open file descriptors of the process",
        samples: |p| Sample::only(p.open_fds),
    },
    Family {
        name: "process_max_fds",
        kind: Gauge,
        help: "Limit of open file descriptors of the process; absent if there is none",
        samples: |p| p.max_fds.map(Sample::only).unwrap_or_default(),
    },
];

/// Resources that the process uses.
#[derive(Debug, PartialEq)]
pub(in crate::daemon::http) struct ProcessStats {
    cpu_seconds: f64,
    resident_bytes: u64,
    virtual_bytes: u64,
    started: SystemTime,
    threads: u64,
    open_fds: u64,
    /// `None`: unlimited.
    max_fds: Option<u64>,
}

impl ProcessStats {
    /// Reads them on a thread that may block. Returns `None` if the system does not provide them.
    pub(in crate::daemon::http) async fn read() -> Option<Self> {
        let reading = blocking::spawn(Self::read_now);
        timeout(TIMEOUT, reading).await.ok()?.ok()?
    }

    fn read_now() -> Option<Self> {
        let text = |path| read_to_string(path).ok();
        let system = System {
            ticks_per_second: clock_ticks_per_second(),
            page_size: page_size() as u64,
            booted: booted()?,
        };
        let (own, limits) = (text("/proc/self/stat")?, text("/proc/self/limits")?);
        let mut stats = Self::parse(&own, &limits, system)?;
        stats.open_fds = open_fds().ok()?;
        Some(stats)
    }

    /// Parses `/proc/self/stat` and `/proc/self/limits`.
    #[expect(
        clippy::cast_precision_loss,
        reason = "clock ticks have 53 bits for millions of years"
    )]
    fn parse(own: &str, limits: &str, system: System) -> Option<Self> {
        // The name of the program, in parentheses, may contain anything. The state follows.
        let fields: Vec<&str> = own.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        // Numbered from 1 as in proc(5), where the state is the third.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let seconds = |ticks: u64| ticks as f64 / system.ticks_per_second as f64;
        let after_boot = Duration::try_from_secs_f64(seconds(field(22)?)).ok()?;
        let max_fds = limits
            .lines()
            .find_map(|line| line.strip_prefix("Max open files"))?;
        Some(Self {
            cpu_seconds: seconds(field(14)? + field(15)?),
            threads: field(20)?,
            started: system.booted.checked_add(after_boot)?,
            virtual_bytes: field(23)?,
            resident_bytes: field(24)?.saturating_mul(system.page_size),
            open_fds: 0,
            max_fds: max_fds.split_ascii_whitespace().next()?.parse().ok(),
        })
    }
}

/// What the numbers of the kernel refer to.
#[derive(Clone, Copy, Debug)]
struct System {
    ticks_per_second: u64,
    page_size: u64,
    booted: SystemTime,
}

/// Returns when the system was booted, within a second; always the same time.
fn booted() -> Option<SystemTime> {
    static BOOTED: OnceLock<Option<SystemTime>> = OnceLock::new();
    *BOOTED.get_or_init(|| clock::wall().checked_sub(uptime()?))
}

#[cfg(target_os = "linux")]
fn uptime() -> Option<Duration> {
    let seconds = rustix::system::sysinfo().uptime;
    u64::try_from(seconds).ok().map(Duration::from_secs)
}

#[cfg(not(target_os = "linux"))]
fn uptime() -> Option<Duration> {
    None
}

/// Returns the number of open file descriptors, without the one that lists them.
fn open_fds() -> io::Result<u64> {
    let count = read_dir("/proc/self/fd")?.count();
    Ok((count as u64).saturating_sub(1))
}

/// Reading takes microseconds, unless the machine is overloaded.
const TIMEOUT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    const SYSTEM: System = System {
        ticks_per_second: 100,
        page_size: 4096,
        booted: UNIX_EPOCH,
    };
    const OWN: &str = "77 (a) b (c) S 1 77 77 0 -1 4194560 99 0 0 0 150 50 0 0 20 0 9 0 1250 8192 3 18446744073709551615";

    #[test]
    fn the_files_of_the_kernel_are_parsed() {
        let limits = "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 4096                 files\n";

        let stats = ProcessStats::parse(OWN, limits, SYSTEM);

        let expected = ProcessStats {
            cpu_seconds: 2.0,
            resident_bytes: 3 * 4096,
            virtual_bytes: 8192,
            started: UNIX_EPOCH + Duration::from_millis(12_500),
            threads: 9,
            open_fds: 0,
            max_fds: Some(1024),
        };
        assert_eq!(stats, Some(expected));
    }

    #[test]
    fn without_a_limit_there_is_no_maximum_and_damaged_files_are_not_guessed() {
        let limits = "Max open files            unlimited            unlimited            files";

        let stats = ProcessStats::parse(OWN, limits, SYSTEM).unwrap();

        assert_eq!(stats.max_fds, None);
        for (own, limits) in [("", limits), ("77 (x) S 1", limits), (OWN, "")] {
            assert_eq!(ProcessStats::parse(own, limits, SYSTEM), None);
        }
    }
}
