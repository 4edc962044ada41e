//! The JSON of a tenant's usage and limits.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;
use vectorizer_engine::tenancy::{BillFacts, Retention, ShortenedRetention, WindowFacts};
use vectorizer_hivehub::integer;
use vectorizer_limits::Limits;
use vectorizer_log::{MeterTotal, Seq};
use vectorizer_node_store::StoredSize;
use vectorizer_service::TenantUsage;

use super::schema;

/// A tenant's usage.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct UsageNow {
    /// The logical size of its vectors, in bytes: for each 4 × dimension + id + payload + 32.
    storage_bytes: u64,
    /// The stored size of its log, in bytes.
    log_bytes: u64,
    /// The number of vectors.
    vectors: u64,
    /// The number of collections.
    collections: u64,
    /// The last record of its log that this includes.
    seq: u64,
}

/// A tenant's limits; null means no limit.
#[derive(Debug, Serialize, ToSchema)]
pub struct QuotaNow {
    /// The logical size of its vectors, in bytes.
    storage_bytes: Option<u64>,
    /// The stored size of its log, in bytes.
    log_bytes: Option<u64>,
    /// The number of vectors.
    vectors: Option<u64>,
    /// The number of collections.
    collections: Option<u64>,
    /// The number of requests per minute.
    #[schema(value_type = Option<u64>)]
    requests_per_minute: Option<u32>,
    /// The number of requests per hour.
    #[schema(value_type = Option<u64>)]
    requests_per_hour: Option<u32>,
    /// How long records are kept that the state does not need, in seconds, by the plan; null is for ever.
    history_seconds: Option<u64>,
}

/// How long a tenant's history is kept.
#[derive(Debug, Serialize, ToSchema)]
pub struct HistoryNow {
    /// How long records are kept that the state does not need, in seconds; null is for ever. This is in effect now.
    keep_seconds: Option<u64>,
    /// A shorter time that takes effect later; null if there is none. A plan that keeps history longer revokes it.
    shortened: Option<ShortenedHistory>,
}

/// A shorter time for which history is kept, which takes effect later.
#[derive(Debug, Serialize, ToSchema)]
pub struct ShortenedHistory {
    /// How long records are kept then, in seconds.
    keep_seconds: u64,
    /// When it takes effect.
    #[schema(format = DateTime)]
    effective_at: String,
}

impl From<Retention> for HistoryNow {
    fn from(Retention { keep_seconds, shortened }: Retention) -> Self {
        let shortened = shortened.map(|ShortenedRetention { keep_seconds, effective_at }| ShortenedHistory {
            keep_seconds,
            effective_at: effective_at.to_string(),
        });
        Self { keep_seconds, shortened }
    }
}

/// A tenant's usage, limits and bill.
#[derive(Debug, Serialize, ToSchema)]
pub struct UsageAnswer {
    /// The tenant.
    tenant: String,
    /// Its usage.
    usage: UsageNow,
    /// Its limits; null while they are not known.
    quota: Option<QuotaNow>,
    /// How long its history is kept; null while it is not known.
    history: Option<HistoryNow>,
    /// The open billing window; null if the tenant is asleep, and in single-tenant mode.
    window: Option<WindowNow>,
    /// The part of the bill that HiveHub has; null before the first delivery.
    last_delivered: Option<DeliveredNow>,
}

/// The open billing window.
#[derive(Debug, Serialize, ToSchema)]
pub struct WindowNow {
    /// The start of the window; null before the first record of the log.
    #[schema(format = DateTime)]
    since: Option<String>,
    /// The seq of its first record.
    first_seq: Option<u64>,
    /// Its totals so far, by meter: `vectors_upserted`, `vectors_deleted`, `searches`, `requests`,
    /// `storage_byte_seconds` and `storage_bytes`. A number above 2^53 is a string.
    #[schema(value_type = BTreeMap<String, schema::WholeNumber>)]
    totals: BTreeMap<&'static str, MeterValue>,
}

/// A whole number, which is a string above 2^53.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct MeterValue(#[serde(serialize_with = "integer::serialize")] u128);

/// The part of the bill that HiveHub has.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeliveredNow {
    /// HiveHub has every window that was closed at this record or before.
    seq: u64,
    /// The time of the delivery; null if it is not known, because an earlier server process did not record it.
    #[schema(format = DateTime)]
    at: Option<String>,
    /// The last delivered window; null while it is not known.
    window: Option<DeliveredWindowNow>,
}

/// A delivered billing window.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeliveredWindowNow {
    /// The id of the window. HiveHub's id of a bill line is this id, a colon and the meter.
    id: String,
    /// The start of the window.
    #[schema(format = DateTime)]
    since: String,
    /// The end of the window.
    #[schema(format = DateTime)]
    until: String,
    /// The seq of its first record.
    first_seq: u64,
    /// The seq of its last record, which closed it.
    last_seq: u64,
    /// Its totals, by meter, as in the open window. A total of zero makes no bill line, except `storage_bytes` if
    /// vectors were deleted.
    #[schema(value_type = BTreeMap<String, schema::WholeNumber>)]
    totals: BTreeMap<&'static str, MeterValue>,
}

impl From<StoredSize> for UsageNow {
    fn from(size: StoredSize) -> Self {
        Self {
            storage_bytes: size.storage_bytes,
            log_bytes: size.log_bytes,
            vectors: size.vectors,
            collections: size.collections,
            seq: size.seq,
        }
    }
}

impl From<Limits> for QuotaNow {
    fn from(limits: Limits) -> Self {
        Self {
            storage_bytes: limits.storage_bytes,
            log_bytes: limits.log_bytes,
            vectors: limits.vectors,
            collections: limits.collections,
            requests_per_minute: limits.requests.map(|requests| requests.per_minute),
            requests_per_hour: limits.requests.map(|requests| requests.per_hour),
            history_seconds: limits.history.keep.map(|keep| keep.as_secs()),
        }
    }
}

/// The open and the last delivered window of a bill.
fn shown(bill: BillFacts) -> (Option<WindowNow>, Option<DeliveredNow>) {
    let BillFacts { log_id, window, delivered } = bill;
    let window = window.map(|WindowFacts { since, first_seq, totals }| WindowNow {
        since: since.map(|since| since.to_string()),
        first_seq: first_seq.map(Seq::get),
        totals: by_meter(totals),
    });
    let delivered = (delivered.seq > Seq::NONE).then(|| DeliveredNow {
        seq: delivered.seq.get(),
        at: delivered.at.map(|at| at.to_string()),
        window: delivered.window.map(|window| DeliveredWindowNow {
            id: format!("{log_id}:{}", window.last_seq),
            since: window.since.to_string(),
            until: window.through.to_string(),
            first_seq: window.first_seq.get(),
            last_seq: window.last_seq.get(),
            totals: by_meter(window.totals),
        }),
    });
    (window, delivered)
}

fn by_meter(totals: Vec<MeterTotal>) -> BTreeMap<&'static str, MeterValue> {
    totals.into_iter().map(|total| (total.meter.name(), MeterValue(total.value))).collect()
}

impl From<TenantUsage> for UsageAnswer {
    fn from(usage: TenantUsage) -> Self {
        let (window, last_delivered) = usage.bill.map_or((None, None), shown);
        Self {
            tenant: usage.tenant.to_string(),
            usage: usage.size.into(),
            quota: usage.limits.map(QuotaNow::from),
            history: usage.retention.map(HistoryNow::from),
            window,
            last_delivered,
        }
    }
}
