//! The closed file of a log: enough to read its state without opening it.
//!
//! Opening sled costs milliseconds and megabytes, and writes. A caller that only reads needs the state of the log: a
//! checkpoint of it, and the records after that, which are in the closed file.
//!
//! The file exists only while the log is closed. Before the log is opened it is set aside, durably; if the log does not
//! open, it is restored. So if it exists and matches the head file, the log has not changed since, even if a loss of
//! power has undone the last write of the head.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use vectorizer_durable as durable;

use crate::position::{ChainHash, Head, LogId, Seq};
use crate::record::Record;
use crate::tenant_log::StoredRecord;
use crate::verifier::Verifier;

/// The name of the file in the tenant's folder.
pub(crate) const FILE: &str = "closed";
/// The name while it is written. Always the same, so that a killed process leaves at most one.
pub(crate) const FRESH: &str = "closed.fresh";
/// The name while the log is being opened.
pub(crate) const ASIDE: &str = "closed.aside";
const MAGIC: &[u8; 8] = b"VZCLOSE1";
const HASH_BYTES: usize = 32;
/// No closed file is larger.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// A closed log: its end, and its last records.
#[derive(Clone, Debug, PartialEq)]
pub struct ClosedLog {
    /// The log.
    pub log_id: LogId,
    /// The record before the first of `records`.
    pub base: Head,
    /// The last record.
    pub head: Head,
    /// The stored bytes of all records up to `head`.
    pub bytes: u64,
    /// The records after `base` up to `head`, verified.
    pub records: Vec<Record>,
    /// Their stored bytes.
    pub records_bytes: u64,
}

/// The content of the file, to restore it if the log was opened and not written to.
#[derive(Debug)]
pub struct ClosedFile(Vec<u8>);

/// Writes the file durably, for a log that was closed at `head`, with the records after `base`.
pub(crate) fn write(
    folder: &Path,
    log_id: LogId,
    [base, head]: [Head; 2],
    bytes: u64,
    records: &[StoredRecord],
) -> io::Result<()> {
    let mut file = MAGIC.to_vec();
    file.extend_from_slice(log_id.as_bytes());
    for Head { seq, chain } in [base, head] {
        file.extend_from_slice(&seq.get().to_le_bytes());
        file.extend_from_slice(chain.as_bytes());
    }
    file.extend_from_slice(&bytes.to_le_bytes());
    for StoredRecord { stored, .. } in records {
        let length = u32::try_from(stored.len()).map_err(io::Error::other)?;
        file.extend_from_slice(&length.to_le_bytes());
        file.extend_from_slice(stored);
    }
    let hash = blake3::hash(&file);
    file.extend_from_slice(hash.as_bytes());
    restore(folder, &ClosedFile(file))
}

pub(crate) fn restore(folder: &Path, file: &ClosedFile) -> io::Result<()> {
    // Renaming takes no space, so it succeeds on a full disk, which may be why the log could not be opened.
    match durable::rename(&folder.join(ASIDE), &folder.join(FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        renamed => return renamed,
    }
    durable::replace(&folder.join(FILE), &folder.join(FRESH), |unfinished| unfinished.write_all(&file.0))
}

/// The content of the file, if it exists.
pub(crate) fn file(folder: &Path) -> io::Result<Option<ClosedFile>> {
    let path = folder.join(FILE);
    match fs::metadata(&path) {
        Ok(metadata) if metadata.len() > FILE_BYTES_MAX => Ok(None),
        Ok(_) => fs::read(path).map(ClosedFile).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Sets the file aside, durably, until it is known whether the log opens.
pub(crate) fn set_aside(folder: &Path) -> io::Result<()> {
    match durable::rename(&folder.join(FILE), &folder.join(ASIDE)) {
        // A file that is already aside is of an opening in another process, and perhaps older than a write.
        Err(error) if error.kind() == io::ErrorKind::NotFound => discard(folder),
        renamed => renamed,
    }
}

/// Removes the file that was set aside.
pub(crate) fn discard(folder: &Path) -> io::Result<()> {
    durable::remove_file(&folder.join(ASIDE))
}

impl ClosedFile {
    /// The state of the log with this id; `None` if the file is not exactly as it was written for it.
    pub(crate) fn read(&self, log_id: LogId) -> Option<ClosedLog> {
        let (body, hash) = self.0.split_last_chunk::<HASH_BYTES>()?;
        if blake3::hash(body) != *hash {
            return None;
        }
        let rest = body.strip_prefix(MAGIC)?.strip_prefix(log_id.as_bytes())?;
        let (base, rest) = read_head(rest)?;
        let (head, rest) = read_head(rest)?;
        let (bytes, mut rest) = rest.split_first_chunk()?;
        let bytes = u64::from_le_bytes(*bytes);
        let mut verifier = Verifier::continuing(log_id, base);
        let (mut records, mut records_bytes) = (Vec::new(), 0);
        while let Some((length, following)) = rest.split_first_chunk() {
            let (stored, following) = following.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            records.push(verifier.push(stored).ok()?);
            records_bytes += stored.len() as u64;
            rest = following;
        }
        let leads_to_head = rest.is_empty() && verifier.head() == Some(head);
        leads_to_head.then_some(ClosedLog { log_id, base, head, bytes, records, records_bytes })
    }
}

fn read_head(bytes: &[u8]) -> Option<(Head, &[u8])> {
    let (seq, rest) = bytes.split_first_chunk()?;
    let (chain, rest) = rest.split_first_chunk()?;
    Some((Head { seq: Seq::new(u64::from_le_bytes(*seq)), chain: ChainHash::from_bytes(*chain) }, rest))
}
