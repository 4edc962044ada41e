//! An append-only file of numbered lines with checksums.
//!
//! A line is `<checksum> <number> <first> <text>`: the CRC32 of the rest as eight hexadecimal digits, the line's
//! number, the number of the first line of its group, and a text without line feeds. The lines of a group are written
//! together and synced once, so no line of a group is in the file before the previous group is durable. This tells a
//! torn end from damage: if a line cannot be read and a later group follows, a durable line is damaged, which is an
//! error that changes nothing. If no group follows, the line was never acknowledged, and the end is cut off.
//!
//! The crate knows files and lines, not their content. Metering, request limits and `vectorizer-hub` have journals.

mod error;
mod journal;

pub use self::error::JournalError;
pub use self::journal::{Journal, JournalReader, Line};
