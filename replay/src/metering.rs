//! The version of metering: of the size of a vector and of what a window of the bill counts.
//!
//! A window of the bill ([`Billing`](crate::Billing)) counts vectors written, each time anew; vectors deleted,
//! also with their collection; the requests and searches that were observed; and
//! [logical bytes](vectorizer_index::vector_logical_bytes) times the seconds they were held for, to the microsecond,
//! whole byte-seconds only, the rest in the next window.

/// The version of these rules. A close of the bill names the version it was computed with, so a change to any of
/// them, or to the logical size of a vector, is a new version.
///
/// Version 2 counts texts. Nothing of version 1 has any, so its closes come to the same by either.
pub const METERING_VERSION: u16 = 2;

/// The versions whose closes come to what these rules say.
pub(crate) const METERING_VERSIONS_KNOWN: std::ops::RangeInclusive<u16> = 1..=METERING_VERSION;
