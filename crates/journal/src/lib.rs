//! A file that only grows: numbered lines with checksums.
//!
//! A line is `<checksum> <number> <first> <text>`: the CRC32 of all behind it as eight hexadecimal
//! digits, the line's number, the number of the first line of its group, and a text without line feeds.
//! A group is what is written together and synced once, so nothing of a group is in the file before all
//! of the one in front of it is on stable storage. That tells a torn end from damage: where a line does
//! not read and a later group begins behind it, it had been there and is gone, which is an error that
//! changes nothing. Where none does, its writing was never finished and nobody was told of it: that end
//! is cut off.
//!
//! The crate knows files and lines. What a line says is its users' business: the meters of a node, the limits on
//! requests, and the `HiveHub` to run yourself each keep journals.

mod error;
mod folder;
mod journal;

pub use self::error::JournalError;
pub use self::folder::sync_folder_of;
pub use self::journal::{Journal, JournalReader, Line};
