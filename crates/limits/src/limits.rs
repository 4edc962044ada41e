//! The limits of one tenant, as numbers.

use vectorizer_hivehub::QuotaNumbers;

/// The largest limit on requests; larger numbers are taken as this one. Above it, the time between two requests would
/// be too few nanoseconds.
const REQUESTS_MAX: u64 = 1_000_000_000;

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
}

impl DefaultLimits {
    /// These limits on requests, and no others.
    pub const fn new(requests: RequestLimits) -> Self {
        Self { requests }
    }

    /// The limits of a tenant with this quota.
    pub fn complete(&self, quota: &QuotaNumbers) -> Limits {
        let QuotaNumbers { storage_bytes, log_bytes, vectors, collections, .. } = *quota;
        let requests = RequestLimits {
            per_minute: requests(quota.requests_per_minute, self.requests.per_minute),
            per_hour: requests(quota.requests_per_hour, self.requests.per_hour),
        };
        Limits { storage_bytes, log_bytes, vectors, collections, requests: Some(requests) }
    }
}

fn requests(planned: Option<u64>, default: u32) -> u32 {
    planned.map_or(default, |planned| planned.min(REQUESTS_MAX) as u32)
}
