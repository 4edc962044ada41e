//! The limits of one tenant, as numbers.

use vectorizer_node_store::StoredQuota;

/// No limit on requests is finer than this: above it the time between two requests would be too few
/// nanoseconds to count in. Larger numbers are taken for this one.
const REQUESTS_MAX: u64 = 1_000_000_000;

/// What a tenant may use. `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Logical bytes of all its vectors.
    pub storage_bytes: Option<u64>,
    /// Stored bytes of its log. What takes away or only records goes on beyond it.
    pub log_bytes: Option<u64>,
    /// Vectors.
    pub vectors: Option<u64>,
    /// Collections.
    pub collections: Option<u64>,
    /// Requests; `None` only where nobody is counted.
    pub requests: Option<RequestLimits>,
}

/// How often a tenant may ask. None at all is a number too: it closes the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLimits {
    /// Within a minute, at most 10^9.
    pub per_minute: u32,
    /// Within an hour, at most 10^9.
    pub per_hour: u32,
}

/// What holds where a plan names no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DefaultLimits {
    requests: RequestLimits,
}

impl DefaultLimits {
    /// These limits on requests, and no others.
    pub const fn new(requests: RequestLimits) -> Self {
        Self { requests }
    }

    /// The limits of a tenant of whose plan `HiveHub` says this.
    pub fn complete(&self, answer: &StoredQuota) -> Limits {
        Limits {
            storage_bytes: answer.storage_bytes,
            log_bytes: answer.log_bytes,
            vectors: answer.vectors,
            collections: answer.collections,
            requests: Some(RequestLimits {
                per_minute: requests(answer.requests_per_minute, self.requests.per_minute),
                per_hour: requests(answer.requests_per_hour, self.requests.per_hour),
            }),
        }
    }
}

fn requests(planned: Option<u64>, default: u32) -> u32 {
    planned.map_or(default, |planned| planned.min(REQUESTS_MAX) as u32)
}
