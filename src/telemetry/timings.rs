//! Histograms of one forward: how long its connections take to connect and last, and how long
//! their sessions stall.
//!
//! Each is created with the forward, and updated once per connection or outage, never per byte.

use std::time::Duration;

use prometheus_client::metrics::histogram::Histogram;

use super::connection::{ConnectionRecord, Phase, Stage, StageTimes};

/// Histograms of one forward, in seconds.
#[derive(Debug)]
pub struct Timings {
    /// From accept to the open stream.
    pub connect: Histogram,
    /// From accept to the end of the connection.
    pub connection: Histogram,
    /// From the break of a websocket until another one carries its session.
    pub stall: Histogram,
    /// Of each stage between accept and the first byte.
    stages: [Histogram; Stage::ALL.len()],
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            connect: Histogram::new(CONNECT),
            connection: Histogram::new(CONNECTION),
            stall: Histogram::new(STALL),
            stages: std::array::from_fn(|_| Histogram::new(CONNECT)),
        }
    }
}

impl Timings {
    /// Returns the histogram of a stage.
    pub fn of_stage(&self, stage: Stage) -> &Histogram {
        &self.stages[stage as usize]
    }

    pub(super) fn record_stage(&self, stage: Stage, time: Duration) {
        self.of_stage(stage).observe(time.as_secs_f64());
    }

    fn record_stages(&self, stages: &StageTimes) {
        for (stage, time) in stages.iter() {
            self.record_stage(stage, time);
        }
    }

    /// Records a connection whose stream is open.
    pub(super) fn record_opened(&self, stages: &StageTimes) {
        self.record_stages(stages);
        let total: Duration = stages.iter().map(|(_, time)| time).sum();
        self.connect.observe(total.as_secs_f64());
    }

    /// Records a connection that has ended. The stages of one that was open are recorded already.
    pub(super) fn record_end(&self, record: &ConnectionRecord) {
        if let Phase::Connecting(_) = record.phase {
            self.record_stages(&record.stages);
        }
        self.connection.observe(record.duration.as_secs_f64());
    }

    /// Records the time that a session was without a working websocket.
    pub fn record_stall(&self, time: Duration) {
        self.stall.observe(time.as_secs_f64());
    }
}

/// Upper bounds of the buckets of connect times and their stages: StartSession takes about half a
/// second, and `connect_timeout` is 30 s by default.
const CONNECT: [f64; 11] = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// Of stalls: a resumed websocket takes about a second, and `resume_timeout` is 5 min by default.
const STALL: [f64; 10] = [0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];

/// Of durations of connections: from a health check to a day.
const CONNECTION: [f64; 11] = [
    0.1, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 28800.0, 86400.0,
];
