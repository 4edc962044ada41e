//! The history of logs: what is sealed, merged, dropped and verified again.

use prometheus::core::Collector;
use prometheus::{IntCounter, IntGauge};

use super::{counter, gauge};

/// A change of a log's history, by stored bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistoryWork {
    /// Tails were sealed.
    Sealed,
    /// Segments were merged.
    Merged,
    /// Old records were dropped.
    Dropped,
    /// Files were verified again.
    Scrubbed,
}

/// The sizes of the tiers of all logs that are open.
#[derive(Clone, Copy, Debug, Default)]
pub struct TierReading {
    /// Stored bytes in tails that take writes.
    pub hot_bytes: u64,
    /// Tails that wait to be sealed.
    pub frozen_tails: u64,
    /// The sizes of the files of segments and bases.
    pub sealed_file_bytes: u64,
}

#[derive(Debug)]
pub(super) struct HistorySeries {
    sealed: IntCounter,
    merged: IntCounter,
    dropped: IntCounter,
    scrubbed: IntCounter,
    damaged_files: IntGauge,
    hot_bytes: IntGauge,
    frozen_tails: IntGauge,
    sealed_file_bytes: IntGauge,
}

impl Default for HistorySeries {
    fn default() -> Self {
        Self {
            sealed: counter(
                "vectorizer_history_sealed_bytes_total",
                "Stored bytes of records that were sealed into segments.",
            ),
            merged: counter(
                "vectorizer_history_merged_bytes_total",
                "Stored bytes of records whose segments were merged.",
            ),
            dropped: counter(
                "vectorizer_history_dropped_bytes_total",
                "Stored bytes by which logs became smaller because old records were dropped.",
            ),
            scrubbed: counter(
                "vectorizer_history_scrubbed_bytes_total",
                "Bytes of segments and bases that were verified again.",
            ),
            damaged_files: gauge(
                "vectorizer_history_damaged_files",
                "Segments and bases that the last verification found damaged. Each is named in a log line.",
            ),
            hot_bytes: gauge(
                "vectorizer_history_hot_bytes",
                "Stored bytes of open logs in tails that take writes.",
            ),
            frozen_tails: gauge(
                "vectorizer_history_frozen_tails",
                "Tails of open logs that wait to be sealed.",
            ),
            sealed_file_bytes: gauge(
                "vectorizer_history_sealed_file_bytes",
                "Sizes of the segments and bases of open logs.",
            ),
        }
    }
}

impl HistorySeries {
    pub(super) fn collectors(&self) -> Vec<Box<dyn Collector>> {
        let counters = [&self.sealed, &self.merged, &self.dropped, &self.scrubbed];
        let gauges = [&self.damaged_files, &self.hot_bytes, &self.frozen_tails, &self.sealed_file_bytes];
        let counters = counters.into_iter().map(|counter| Box::new(counter.clone()) as Box<dyn Collector>);
        counters.chain(gauges.into_iter().map(|gauge| Box::new(gauge.clone()) as _)).collect()
    }

    pub(super) fn worked(&self, work: HistoryWork, bytes: u64) {
        match work {
            HistoryWork::Sealed => &self.sealed,
            HistoryWork::Merged => &self.merged,
            HistoryWork::Dropped => &self.dropped,
            HistoryWork::Scrubbed => &self.scrubbed,
        }
        .inc_by(bytes);
    }

    pub(super) fn found_damaged(&self, files: usize) {
        self.damaged_files.set(i64::try_from(files).unwrap_or(i64::MAX));
    }

    pub(super) fn set(&self, reading: TierReading) {
        let TierReading { hot_bytes, frozen_tails, sealed_file_bytes } = reading;
        for (gauge, number) in [
            (&self.hot_bytes, hot_bytes),
            (&self.frozen_tails, frozen_tails),
            (&self.sealed_file_bytes, sealed_file_bytes),
        ] {
            gauge.set(i64::try_from(number).unwrap_or(i64::MAX));
        }
    }
}
