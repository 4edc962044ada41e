//! What a tenant uses, and what it may use.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;
use vectorizer_log::{MeterTotal, Seq};

use super::schema;
use crate::hivehub::integer;
use crate::limits::Limits;
use crate::node_store::StoredSize;
use crate::service::TenantUsage;
use crate::tenancy::{BillFacts, WindowFacts};

/// What a tenant uses.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(crate) struct UsageNow {
    /// Logical bytes of its vectors: for each 4 × dimension + id + payload + 32.
    storage_bytes: u64,
    /// Stored bytes of its log.
    log_bytes: u64,
    /// Vectors.
    vectors: u64,
    /// Collections.
    collections: u64,
    /// The last record of its log that this counts.
    seq: u64,
}

/// What a tenant may use; null is no limit.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct QuotaNow {
    /// Logical bytes of its vectors.
    storage_bytes: Option<u64>,
    /// Stored bytes of its log.
    log_bytes: Option<u64>,
    /// Vectors.
    vectors: Option<u64>,
    /// Collections.
    collections: Option<u64>,
    /// Requests within a minute.
    #[schema(value_type = Option<u64>)]
    requests_per_minute: Option<u32>,
    /// Requests within an hour.
    #[schema(value_type = Option<u64>)]
    requests_per_hour: Option<u32>,
}

/// What a tenant uses of what it may use.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UsageAnswer {
    /// The tenant.
    tenant: String,
    /// What it uses.
    usage: UsageNow,
    /// What it may use; null while that is not known.
    quota: Option<QuotaNow>,
    /// The window of the bill that is open; null for one that sleeps, and in single-tenant mode.
    window: Option<WindowNow>,
    /// What of the bill HiveHub has; null before it has anything.
    last_delivered: Option<DeliveredNow>,
}

/// The window of the bill that is open.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WindowNow {
    /// When it began; null before the first record of the log.
    #[schema(format = DateTime)]
    since: Option<String>,
    /// Its first record.
    first_seq: Option<u64>,
    /// What it comes to now, by meter: `vectors_upserted`, `vectors_deleted`, `searches`, `requests`,
    /// `storage_byte_seconds` and `storage_bytes`. As text above 2^53.
    #[schema(value_type = BTreeMap<String, schema::WholeNumber>)]
    totals: BTreeMap<&'static str, MeterValue>,
}

/// A whole number, as a text above 2^53.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct MeterValue(#[serde(serialize_with = "integer::serialize")] u128);

/// What of the bill HiveHub has.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeliveredNow {
    /// Every window closed at this record of the log or before.
    seq: u64,
    /// When that was; null if it was in an earlier life of the server that noted nothing down.
    #[schema(format = DateTime)]
    at: Option<String>,
    /// The last window of it; null while that is not known.
    window: Option<DeliveredWindowNow>,
}

/// A window of the bill that HiveHub has.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeliveredWindowNow {
    /// Its lines are known to HiveHub by this, a colon and the meter.
    id: String,
    /// When it began.
    #[schema(format = DateTime)]
    since: String,
    /// When it ended.
    #[schema(format = DateTime)]
    until: String,
    /// Its first record.
    first_seq: u64,
    /// Its last record, which closed it.
    last_seq: u64,
    /// What it came to, by meter, as in the window that is open. What is zero is no line, except for
    /// `storage_bytes` where vectors were deleted.
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
        }
    }
}

/// A bill as it is shown.
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
            window,
            last_delivered,
        }
    }
}
