//! The limits of one tenant, as numbers.

use std::time::Duration;

use vectorizer_hivehub::QuotaNumbers;

/// The largest limit on requests; larger numbers are taken as this one. Above it, the time between two requests would
/// be too few nanoseconds.
const REQUESTS_MAX: u64 = 1_000_000_000;

const DAY_SECONDS: u64 = 24 * 60 * 60;

/// What a tenant may use. `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Logical bytes of all its vectors.
    pub storage_bytes: Option<u64>,
    /// Stored bytes of its log. Deletions and records of the server itself are allowed beyond it.
    pub log_bytes: Option<u64>,
    /// Vectors.
    pub vectors: Option<u64>,
    /// Collections.
    pub collections: Option<u64>,
    /// Requests; `None` in single-tenant mode only.
    pub requests: Option<RequestLimits>,
    /// How long its history is kept.
    pub history: HistoryLimits,
}

/// How long the records of a log are kept that its state does not need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HistoryLimits {
    /// For this long; `None` keeps them for ever.
    pub keep: Option<Duration>,
    /// What happens when the log is as large as its limit.
    pub on_full: OnFullLog,
}

/// What happens to a write when the log is as large as its limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFullLog {
    /// The oldest history is dropped. The write is refused only if that does not suffice.
    #[default]
    Drop,
    /// The write is refused.
    Refuse,
}

/// How often a tenant may call. 0 refuses all requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLimits {
    /// Within a minute, at most 10^9.
    pub per_minute: u32,
    /// Within an hour, at most 10^9.
    pub per_hour: u32,
}

/// The limits of tenants whose plan has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DefaultLimits {
    requests: RequestLimits,
    history: HistoryLimits,
}

impl DefaultLimits {
    /// These limits on requests and on history, and no others.
    pub const fn new(requests: RequestLimits, history: HistoryLimits) -> Self {
        Self { requests, history }
    }

    /// The limits of a tenant with this quota.
    pub fn complete(&self, quota: &QuotaNumbers) -> Limits {
        let QuotaNumbers { storage_bytes, log_bytes, vectors, collections, .. } = *quota;
        let requests = RequestLimits {
            per_minute: requests(quota.requests_per_minute, self.requests.per_minute),
            per_hour: requests(quota.requests_per_hour, self.requests.per_hour),
        };
        let keep = quota.history_days.map(|days| Duration::from_secs(days.saturating_mul(DAY_SECONDS)));
        let history = HistoryLimits { keep: keep.or(self.history.keep), ..self.history };
        Limits { storage_bytes, log_bytes, vectors, collections, requests: Some(requests), history }
    }
}

fn requests(planned: Option<u64>, default: u32) -> u32 {
    planned.map_or(default, |planned| planned.min(REQUESTS_MAX) as u32)
}
