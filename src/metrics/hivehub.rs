//! What HiveHub was asked.

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{HistogramVec, IntCounterVec, Opts};

use super::latency;
use crate::hivehub::HubError;

/// How a call of HiveHub ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallOutcome {
    /// It answered, whatever it said.
    Answered,
    /// It could not be reached or was too late.
    Unreachable,
    /// It failed, or had no time.
    Failing,
    /// It does not accept this server's own key.
    ServiceKeyRejected,
    /// Its answer is not what the contract says.
    Garbage,
}

impl CallOutcome {
    /// How a call with this result ended.
    pub const fn of<T>(result: &Result<T, HubError>) -> Self {
        match result {
            Ok(_) => Self::Answered,
            Err(HubError::Unreachable(_)) => Self::Unreachable,
            Err(HubError::Failing { .. }) => Self::Failing,
            Err(HubError::ServiceKeyRejected { .. }) => Self::ServiceKeyRejected,
            Err(HubError::Garbage(_)) => Self::Garbage,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Unreachable => "unreachable",
            Self::Failing => "failing",
            Self::ServiceKeyRejected => "service_key_rejected",
            Self::Garbage => "garbage",
        }
    }
}

#[derive(Debug)]
pub(super) struct HiveHubSeries {
    calls: IntCounterVec,
    latencies: HistogramVec,
}

impl Default for HiveHubSeries {
    fn default() -> Self {
        let calls = Opts::new("vectorizer_hivehub_calls_total", "Calls of HiveHub, by how they ended.");
        let latencies =
            latency("vectorizer_hivehub_call_duration_seconds", "How long calls of HiveHub take.");
        Self {
            calls: IntCounterVec::new(calls, &["call", "outcome"]).expect("name and labels are well-formed"),
            latencies: HistogramVec::new(latencies, &["call"]).expect("name and labels are well-formed"),
        }
    }
}

impl HiveHubSeries {
    pub(super) fn observe(&self, call: &'static str, outcome: CallOutcome, latency: Duration) {
        self.calls.with_label_values(&[call, outcome.name()]).inc();
        self.latencies.with_label_values(&[call]).observe(latency.as_secs_f64());
    }

    pub(super) fn collectors(&self) -> [Box<dyn Collector>; 2] {
        [Box::new(self.calls.clone()), Box::new(self.latencies.clone())]
    }
}
