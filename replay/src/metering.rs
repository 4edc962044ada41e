//! The version of metering: the rules for the size of a vector and for a billing window.
//!
//! A billing window ([`Billing`](crate::Billing)) counts vectors written, including replacements; vectors deleted,
//! also with their collection; requests and searches; and [logical bytes](vectorizer_log::vector_logical_bytes)
//! times the seconds that they were stored, to the microsecond. Only whole byte-seconds count; the remainder carries
//! over to the next window.

/// The current version of the rules. A close records the version that it was computed with, so a change of any rule,
/// or of the logical size of a vector, is a new version.
///
/// Version 2 counts texts. Logs of version 1 have none, so their closes are the same by both.
pub const METERING_VERSION: u16 = 2;

/// The versions whose closes are the same by the current rules.
pub(crate) const METERING_VERSIONS_KNOWN: std::ops::RangeInclusive<u16> = 1..=METERING_VERSION;
