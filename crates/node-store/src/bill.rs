//! The state of a tenant's bill, as it is stored.

use serde::{Deserialize, Serialize};
use vectorizer_hivehub::rfc3339;
use vectorizer_log::{LogId, MeterTotal, RejectedLine, Seq, Timestamp};
use vectorizer_replay::{Billing, OpenWindow};

/// The state of a tenant's bill, for the time when the tenant sleeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredBill {
    /// The log that it is computed from.
    pub log_id: LogId,
    /// The newest close or correction.
    pub closed: Seq,
    /// Every close and correction through here is delivered.
    pub delivered: Seq,
    /// When that was.
    #[serde(with = "rfc3339")]
    pub delivered_at: Option<Timestamp>,
    /// The last window of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered_window: Option<DeliveredWindow>,
    /// Rejected lines that are not in the log yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parked: Vec<RejectedLine>,
    /// When the oldest undelivered close was made, if that is known.
    #[serde(with = "rfc3339")]
    pub behind_since: Option<Timestamp>,
    /// When the open window began.
    #[serde(with = "rfc3339")]
    pub window_since: Option<Timestamp>,
    /// Whether it has usage other than storage.
    #[serde(default = "unknown")]
    pub window_counts: bool,
    /// Whether the tenant was awake. If it is asleep now, the node has crashed, and its log may have more.
    pub awake: bool,
}

/// Looking into the log costs time only.
fn unknown() -> bool {
    true
}

impl StoredBill {
    /// As far as a log tells, of a tenant that is awake or not. What was delivered when is not in the log.
    pub fn of_log(log_id: LogId, billing: &Billing, awake: bool) -> Self {
        Self {
            log_id,
            closed: billing.last_entry(),
            delivered: billing.acknowledged(),
            delivered_at: None,
            delivered_window: None,
            parked: Vec::new(),
            behind_since: None,
            window_since: billing.window().map(OpenWindow::since),
            window_counts: billing.window().is_some_and(OpenWindow::has_counted),
            awake,
        }
    }

    /// Whether something is closed and not delivered.
    pub fn is_behind(&self) -> bool {
        self.delivered < self.closed
    }

    /// The last delivery.
    pub fn delivered(&self) -> Delivered {
        Delivered { seq: self.delivered, at: self.delivered_at, window: self.delivered_window.clone() }
    }
}

/// The last delivery of a tenant's bill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// Every close and correction through here.
    pub seq: Seq,
    /// When; `None` if that was not stored.
    pub at: Option<Timestamp>,
    /// The last window of it; `None` if that was not stored.
    pub window: Option<DeliveredWindow>,
}

/// A delivered window of the bill, without its rejected lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveredWindow {
    /// Its beginning.
    pub since: Timestamp,
    /// Its end, not included.
    pub through: Timestamp,
    /// Its first record.
    pub first_seq: Seq,
    /// Its last one, which closed it.
    pub last_seq: Seq,
    /// Its totals.
    pub totals: Vec<MeterTotal>,
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;
    use vectorizer_log::Meter;

    use super::*;

    #[test]
    fn what_is_stored_is_read_again_and_what_older_servers_stored_too() {
        let stored = StoredBill {
            log_id: LogId::new(Uuid::from_u128(7)),
            closed: Seq::new(9),
            delivered: Seq::new(8),
            delivered_at: Some(Timestamp::from_micros(5)),
            delivered_window: Some(DeliveredWindow {
                since: Timestamp::from_micros(1),
                through: Timestamp::from_micros(4),
                first_seq: Seq::new(3),
                last_seq: Seq::new(8),
                // Byte-seconds of a large tenant exceed 64 bits.
                totals: vec![MeterTotal { meter: Meter::StorageByteSeconds, value: 1 << 80 }],
            }),
            parked: Vec::new(),
            behind_since: None,
            window_since: Some(Timestamp::from_micros(4)),
            window_counts: true,
            awake: true,
        };
        let text = serde_json::to_vec(&stored).unwrap();
        assert_eq!(serde_json::from_slice::<StoredBill>(&text).unwrap(), stored);
        let mut older: serde_json::Value =
            serde_json::to_value(&StoredBill { delivered_window: None, ..stored.clone() }).unwrap();
        assert_eq!(older.as_object_mut().unwrap().remove("delivered_window"), None);
        let older: StoredBill = serde_json::from_value(older).unwrap();
        assert_eq!(older.delivered(), Delivered { window: None, ..stored.delivered() });
    }
}
