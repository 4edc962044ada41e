//! Meters: what is billed.

use serde::{Deserialize, Serialize};

/// What is measured. On disk a meter is its position in this list, so meters are only added at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Meter {
    /// Vectors written, new or in place of an older one.
    VectorsUpserted,
    /// Vectors deleted, by id, by filter or with their collection.
    VectorsDeleted,
    /// Searches.
    Searches,
    /// Requests of any kind.
    Requests,
    /// Storage over time, in byte-seconds.
    StorageByteSeconds,
    /// Storage at the end of the window in bytes: a reading, not a sum.
    StorageBytes,
}

impl Meter {
    /// Every meter, in the order of declaration.
    pub const ALL: [Self; 6] = [
        Self::VectorsUpserted,
        Self::VectorsDeleted,
        Self::Searches,
        Self::Requests,
        Self::StorageByteSeconds,
        Self::StorageBytes,
    ];

    /// The name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::VectorsUpserted => "vectors_upserted",
            Self::VectorsDeleted => "vectors_deleted",
            Self::Searches => "searches",
            Self::Requests => "requests",
            Self::StorageByteSeconds => "storage_byte_seconds",
            Self::StorageBytes => "storage_bytes",
        }
    }
}

/// The total of a meter in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeterTotal {
    /// The meter.
    pub meter: Meter,
    /// The total. The byte-seconds of a large tenant exceed 64 bits.
    pub value: u128,
}

/// The billed lines of a closed window: totals other than zero.
///
/// The only exception is the storage reading of a window that deleted vectors: there zero means that nothing is
/// stored any more, and replaces an earlier reading.
pub fn billed_lines(totals: &[MeterTotal]) -> impl Iterator<Item = MeterTotal> {
    let deleted = totals.iter().any(|total| total.meter == Meter::VectorsDeleted && total.value > 0);
    totals
        .iter()
        .filter(move |total| total.value > 0 || (total.meter == Meter::StorageBytes && deleted))
        .copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(values: [u128; 6]) -> Vec<Meter> {
        let totals: Vec<_> =
            Meter::ALL.into_iter().zip(values).map(|(meter, value)| MeterTotal { meter, value }).collect();
        billed_lines(&totals).map(|line| line.meter).collect()
    }

    #[test]
    fn a_meter_is_its_name_in_json_and_its_position_on_disk() {
        for (place, meter) in (0..).zip(Meter::ALL) {
            assert_eq!(serde_json::to_value(meter).unwrap(), meter.name());
            assert_eq!(postcard::to_stdvec(&meter).unwrap(), [place]);
        }
    }

    #[test]
    fn zero_is_a_line_only_for_the_reading_after_a_deletion() {
        assert_eq!(lines([0; 6]), []);
        assert_eq!(lines([0, 0, 2, 3, 0, 0]), [Meter::Searches, Meter::Requests]);
        assert_eq!(
            lines([0, 4, 0, 0, 9, 0]),
            [Meter::VectorsDeleted, Meter::StorageByteSeconds, Meter::StorageBytes]
        );
        assert_eq!(lines([0, 0, 0, 0, 0, 7]), [Meter::StorageBytes]);
    }
}
