//! What a log that was closed cleanly leaves beside it, so that it can be read without being opened.
//!
//! Opening sled costs milliseconds and megabytes, and writes. Whoever only reads needs what the log adds up
//! to: what was folded up to some record before, and the records behind it, which are kept here.
//!
//! The file is durable only while the log is closed. It is moved aside, and that made durable, before the log is
//! opened, and moved back if the log does not open. If the file exists and matches the head's file, the log has not
//! changed since, also after a loss of power that took the head back.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use crate::durable;
use crate::position::{ChainHash, Head, LogId, Seq};
use crate::record::Record;
use crate::tenant_log::StoredRecord;
use crate::verifier::Verifier;

/// The file, within the tenant's folder.
pub(crate) const FILE: &str = "closed";
/// The file while it is written. Always the same, so that a killed process leaves at most one.
pub(crate) const FRESH: &str = "closed.fresh";
/// The file while the log is being opened.
pub(crate) const ASIDE: &str = "closed.aside";
const MAGIC: &[u8; 8] = b"VZCLOSE1";
const HASH_BYTES: usize = 32;
/// No closed log leaves as much.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// A log that is closed: where it ends, and its last records.
#[derive(Clone, Debug, PartialEq)]
pub struct ClosedLog {
    /// The log.
    pub log_id: LogId,
    /// The record in front of the first that is kept here.
    pub base: Head,
    /// The last one.
    pub head: Head,
    /// The stored bytes of all records up to there.
    pub bytes: u64,
    /// Those behind `base`, verified: they lead from there to `head`.
    pub records: Vec<Record>,
}

/// The file as it is, to be put back if opening the log has come to nothing.
#[derive(Debug)]
pub struct ClosedFile(Vec<u8>);

/// Writes the file, durably, in the folder of a log that was closed at `head`, with the records behind `base`.
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

/// The file as it is, if there is one.
pub(crate) fn file(folder: &Path) -> io::Result<Option<ClosedFile>> {
    let path = folder.join(FILE);
    match fs::metadata(&path) {
        Ok(metadata) if metadata.len() > FILE_BYTES_MAX => Ok(None),
        Ok(_) => fs::read(path).map(ClosedFile).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Takes the file away, durably, and keeps it aside until it is known whether the log opens.
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
    /// What it says of this log; `None` if it is not exactly what was written.
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
        let mut records = Vec::new();
        while let Some((length, behind)) = rest.split_first_chunk() {
            let (stored, behind) = behind.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            records.push(verifier.push(stored).ok()?);
            rest = behind;
        }
        let leads_to_head = rest.is_empty() && verifier.head() == Some(head);
        leads_to_head.then_some(ClosedLog { log_id, base, head, bytes, records })
    }
}

fn read_head(bytes: &[u8]) -> Option<(Head, &[u8])> {
    let (seq, rest) = bytes.split_first_chunk()?;
    let (chain, rest) = rest.split_first_chunk()?;
    Some((Head { seq: Seq::new(u64::from_le_bytes(*seq)), chain: ChainHash::from_bytes(*chain) }, rest))
}
