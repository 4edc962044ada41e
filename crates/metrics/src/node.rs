//! Gauges of the node.

use prometheus::core::Collector;
use prometheus::{Gauge, IntCounter, IntGauge, IntGaugeVec, Opts};
use vectorizer_replay::Progress;

use super::history::TierReading;
use super::tenants::TenantReading;
use super::{counter, gauge};

/// The values that are read when the metrics are.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// Tenants in memory.
    pub awake_tenants: usize,
    /// Their unlinked vectors, which searches compare one by one.
    pub unlinked_vectors: usize,
    /// The sizes of each.
    pub tenants: Vec<TenantReading>,
    /// The node's shared memory.
    pub rooms: Vec<Room>,
    /// The tiers of open logs.
    pub tiers: TierReading,
}

/// A budget of memory, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Its use, as a label.
    pub name: &'static str,
    /// Its size.
    pub bytes: usize,
    /// How much of it is in use.
    pub used_bytes: usize,
}

#[derive(Debug)]
pub(super) struct NodeSeries {
    awake_tenants: IntGauge,
    unlinked_vectors: IntGauge,
    room_bytes: IntGaugeVec,
    room_used_bytes: IntGaugeVec,
    pub(super) oldest_unreported_usage: Gauge,
    pub(super) parked_lines: IntCounter,
    pub(super) notes_in_memory: IntGauge,
}

impl Default for NodeSeries {
    fn default() -> Self {
        let room = |name: &str, help: &str| {
            IntGaugeVec::new(Opts::new(name, help), &["room"]).expect("name and labels are well-formed")
        };
        Self {
            awake_tenants: gauge("vectorizer_awake_tenants", "Tenants in memory."),
            unlinked_vectors: gauge(
                "vectorizer_unlinked_vectors",
                "Vectors that are not linked into a graph yet and compared one by one.",
            ),
            room_bytes: room("vectorizer_room_bytes", "Room for bodies and answers of all tenants."),
            room_used_bytes: room("vectorizer_room_used_bytes", "How much of that room is taken."),
            oldest_unreported_usage: Gauge::new(
                "vectorizer_oldest_unreported_usage_seconds",
                "Age of the oldest usage that HiveHub has not been told of; 0 if there is none.",
            )
            .expect("the name is well-formed"),
            parked_lines: counter(
                "vectorizer_parked_usage_lines_total",
                "Lines of bills that HiveHub has rejected: each is in its tenant's log with the reason.",
            ),
            notes_in_memory: gauge(
                "vectorizer_notes_in_memory",
                "1 while the data folder does not take what the node notes down, and a crash would lose it.",
            ),
        }
    }
}

impl NodeSeries {
    pub(super) fn set(&self, reading: &Reading) {
        self.awake_tenants.set(signed(reading.awake_tenants));
        self.unlinked_vectors.set(signed(reading.unlinked_vectors));
        for room in &reading.rooms {
            self.room_bytes.with_label_values(&[room.name]).set(signed(room.bytes));
            self.room_used_bytes.with_label_values(&[room.name]).set(signed(room.used_bytes));
        }
    }

    pub(super) fn collectors(&self) -> [Box<dyn Collector>; 7] {
        [
            Box::new(self.awake_tenants.clone()),
            Box::new(self.unlinked_vectors.clone()),
            Box::new(self.room_bytes.clone()),
            Box::new(self.room_used_bytes.clone()),
            Box::new(self.oldest_unreported_usage.clone()),
            Box::new(self.parked_lines.clone()),
            Box::new(self.notes_in_memory.clone()),
        ]
    }
}

/// The progress of waking tenants.
#[derive(Clone, Debug)]
pub(super) struct WakingSeries {
    wakings: IntCounter,
    tenants: IntGauge,
    vectors: IntGauge,
    records: IntCounter,
}

impl Default for WakingSeries {
    fn default() -> Self {
        Self {
            wakings: counter("vectorizer_wakings_total", "How often a tenant was read from disk."),
            tenants: gauge("vectorizer_waking_tenants", "Tenants that are being read from disk."),
            vectors: gauge("vectorizer_waking_vectors", "Vectors that those tenants have back so far."),
            records: counter("vectorizer_recovered_records_total", "Records read to wake tenants."),
        }
    }
}

impl WakingSeries {
    pub(super) fn begin(&self) -> Waking {
        self.wakings.inc();
        self.tenants.inc();
        Waking { series: self.clone(), records: 0, vectors: 0 }
    }

    pub(super) fn collectors(&self) -> [Box<dyn Collector>; 4] {
        [
            Box::new(self.wakings.clone()),
            Box::new(self.tenants.clone()),
            Box::new(self.vectors.clone()),
            Box::new(self.records.clone()),
        ]
    }
}

/// A waking tenant, until this is dropped.
#[derive(Debug)]
pub struct Waking {
    series: WakingSeries,
    records: u64,
    vectors: i64,
}

impl Waking {
    /// Reports its progress.
    pub fn progressed(&mut self, progress: &Progress) {
        let (records, vectors) =
            (progress.applied.get(), i64::try_from(progress.vectors).unwrap_or(i64::MAX));
        self.series.records.inc_by(records.saturating_sub(self.records));
        self.series.vectors.add(vectors - self.vectors);
        (self.records, self.vectors) = (records, vectors);
    }
}

impl Drop for Waking {
    fn drop(&mut self) {
        self.series.tenants.dec();
        self.series.vectors.sub(self.vectors);
    }
}

fn signed(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use vectorizer_log::Seq;

    use super::*;

    #[test]
    fn a_waking_that_ends_leaves_only_what_it_has_read() {
        let series = WakingSeries::default();
        let mut waking = series.begin();
        for (applied, vectors) in [(256, 1_000), (512, 400)] {
            let (applied, through) = (Seq::new(applied), Seq::new(600));
            waking.progressed(&Progress { applied, through, vectors });
        }
        assert_eq!((series.tenants.get(), series.vectors.get(), series.records.get()), (1, 400, 512));
        drop(waking);
        assert_eq!((series.tenants.get(), series.vectors.get(), series.records.get()), (0, 0, 512));
    }
}
