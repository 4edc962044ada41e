//! Latencies of requests.

use std::sync::OnceLock;
use std::time::Duration;

use http::StatusCode;
use prometheus::core::Collector;
use prometheus::{Histogram, HistogramVec};
use vectorizer_access::Operation;

use super::latency;

/// The classes of statuses.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// By operation and class of status.
#[derive(Debug)]
pub(super) struct RequestSeries {
    family: HistogramVec,
    /// The series, looked up once.
    found: [[OnceLock<Histogram>; CLASSES.len()]; Operation::ALL.len()],
}

impl Default for RequestSeries {
    fn default() -> Self {
        let options = latency(
            "vectorizer_request_duration_seconds",
            "From a request's head to its answer's head, by operation and class of status.",
        );
        let family =
            HistogramVec::new(options, &["operation", "status"]).expect("name and labels are well-formed");
        Self { family, found: Default::default() }
    }
}

impl RequestSeries {
    pub(super) fn observe(&self, operation: Operation, status: StatusCode, latency: Duration) {
        let class = usize::from(status.as_u16() / 100).clamp(1, CLASSES.len()) - 1;
        let find = || self.family.with_label_values(&[operation.name(), CLASSES[class]]);
        self.found[operation as usize][class].get_or_init(find).observe(latency.as_secs_f64());
    }

    pub(super) fn collectors(&self) -> [Box<dyn Collector>; 1] {
        [Box::new(self.family.clone())]
    }
}
