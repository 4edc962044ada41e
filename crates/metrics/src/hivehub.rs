//! Calls of HiveHub.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{HistogramVec, IntCounterVec, Opts};
use vectorizer_hivehub::{Call, CallOutcome};

use super::latency;

#[derive(Debug)]
pub(super) struct HiveHubSeries {
    calls: IntCounterVec,
    latencies: HistogramVec,
    /// For each kind of call, whether the last one was answered.
    unanswered: [AtomicBool; Call::ALL.len()],
}

impl Default for HiveHubSeries {
    fn default() -> Self {
        let calls = Opts::new("vectorizer_hivehub_calls_total", "Calls of HiveHub, by how they ended.");
        let latencies =
            latency("vectorizer_hivehub_call_duration_seconds", "How long calls of HiveHub take.");
        Self {
            calls: IntCounterVec::new(calls, &["call", "outcome"]).expect("name and labels are well-formed"),
            latencies: HistogramVec::new(latencies, &["call"]).expect("name and labels are well-formed"),
            unanswered: Default::default(),
        }
    }
}

impl HiveHubSeries {
    pub(super) fn observe(&self, call: Call, outcome: CallOutcome, took: Duration) {
        self.calls.with_label_values(&[call.name(), outcome.name()]).inc();
        self.unanswered[call as usize].store(outcome != CallOutcome::Answered, Ordering::Relaxed);
        if outcome != CallOutcome::NotMade {
            self.latencies.with_label_values(&[call.name()]).observe(took.as_secs_f64());
        }
    }

    pub(super) fn answers(&self, call: Call) -> bool {
        !self.unanswered[call as usize].load(Ordering::Relaxed)
    }

    pub(super) fn collectors(&self) -> [Box<dyn Collector>; 2] {
        [Box::new(self.calls.clone()), Box::new(self.latencies.clone())]
    }
}
