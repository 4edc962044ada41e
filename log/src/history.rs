//! The manifest of a log's history: its base and its segments.
//!
//! `history.json` is replaced atomically, so a reader sees the history
//! before a change or after it. Only files that it names belong to the log.

use std::io::{self, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};
use vectorizer_durable as durable;

use crate::base::BaseEntry;
use crate::blocks::FileHash;
use crate::envelope::{EnvelopeFormat, HandleKey, RecordSecrets};
use crate::error::Error;
use crate::hexadecimal;
use crate::manifest::read_checked;
use crate::position::{ChainHash, Generation, Head, LogId, Seq, Timestamp};
use crate::storage::{StorageError, StorageFailure};

/// The name of the file in the tenant's folder.
pub(crate) const FILE: &str = "history.json";
/// The name while it is written.
pub(crate) const FRESH: &str = "history.json.fresh";
/// The folder of segments and bases in the tenant's folder.
pub(crate) const SEGMENTS: &str = "segments";

const FORMAT: u32 = 1;
/// Merging keeps a history at this many segments. More are read nevertheless: a segment that cannot be merged must not
/// keep the others from being read.
#[cfg(test)]
pub(crate) const SEGMENTS_MAX: usize = 256;

/// The sealed part of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct History {
    format: u32,
    pub(crate) log_id: LogId,
    pub(crate) generation: Generation,
    /// The key of the handles of points; `None` before the folder has a manifest of the history.
    pub(crate) handle_key: Option<HandleKey>,
    /// The state that the history begins with; `None` if it begins with the first record.
    pub(crate) base: Option<BaseEntry>,
    /// Consecutive segments, oldest first.
    pub(crate) segments: Vec<SegmentEntry>,
    /// BLAKE3 of the file with an empty string here.
    checksum: String,
}

/// A segment in the manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SegmentEntry {
    /// The generation at which the file was written.
    pub(crate) generation: Generation,
    /// The first and the last record.
    pub(crate) first: Seq,
    pub(crate) last: Seq,
    /// Their times, in microseconds since 1970-01-01 UTC.
    pub(crate) since: Timestamp,
    pub(crate) until: Timestamp,
    /// The chain hash of the last record.
    #[serde(with = "hexadecimal")]
    pub(crate) chain: ChainHash,
    /// The stored bytes of the records, before they were compressed.
    pub(crate) bytes: u64,
    /// The size of the file.
    pub(crate) file_bytes: u64,
    #[serde(with = "hexadecimal")]
    pub(crate) hash: FileHash,
}

impl SegmentEntry {
    /// The log up to the last record.
    pub(crate) fn head(&self) -> Head {
        Head { seq: self.last, chain: self.chain }
    }

    /// The name of the file in the folder of segments.
    pub(crate) fn file_name(&self) -> String {
        format!("{:020}-{:020}.{}.segment", self.first.get(), self.last.get(), self.generation)
    }
}

impl History {
    /// The history of a log whose folder gets a manifest of it now.
    pub(crate) fn begun(log_id: LogId) -> Result<Self, Error> {
        let handle_key = Some(HandleKey::random().map_err(no_random_bytes)?);
        Ok(Self { handle_key, ..Self::empty(log_id) })
    }

    /// How the log writes envelopes: in version 1, which every program reads, until the folder has a manifest of the
    /// history, which older programs refuse.
    pub(crate) fn envelopes(&self) -> Result<EnvelopeFormat, Error> {
        Ok(match &self.handle_key {
            None => EnvelopeFormat::Version1,
            Some(handle_key) => EnvelopeFormat::Version2 {
                handle_key: handle_key.clone(),
                secrets: RecordSecrets::random().map_err(no_random_bytes)?,
            },
        })
    }

    /// The history of a log whose folder has no manifest of it.
    pub(crate) fn empty(log_id: LogId) -> Self {
        Self {
            format: FORMAT,
            log_id,
            generation: Generation::default(),
            handle_key: None,
            base: None,
            segments: Vec::new(),
            checksum: String::new(),
        }
    }

    /// The log in front of the first readable record.
    pub(crate) fn beginning(&self) -> Head {
        self.base.as_ref().map_or_else(|| Head::genesis(self.log_id), BaseEntry::head)
    }

    /// The last sealed record.
    pub(crate) fn end(&self) -> Head {
        self.segments.last().map_or_else(|| self.beginning(), SegmentEntry::head)
    }

    /// The stored bytes of the base and of all segments, before they were compressed.
    pub(crate) fn bytes(&self) -> u64 {
        let base = self.base.as_ref().map_or(0, |base| base.bytes);
        base + self.segments.iter().map(|entry| entry.bytes).sum::<u64>()
    }

    /// The sizes of the files.
    pub(crate) fn file_bytes(&self) -> u64 {
        let base = self.base.as_ref().map_or(0, |base| base.file_bytes);
        base + self.segments.iter().map(|entry| entry.file_bytes).sum::<u64>()
    }

    /// The names of the files in the folder of segments.
    pub(crate) fn file_names(&self) -> impl Iterator<Item = String> {
        let base = self.base.iter().map(BaseEntry::file_name);
        base.chain(self.segments.iter().map(SegmentEntry::file_name))
    }

    /// Replaces the manifest in `folder`, or creates it, durably.
    pub(crate) fn replace(&self, folder: &Path) -> io::Result<()> {
        let history = Self { checksum: self.expected_checksum()?, ..self.clone() };
        durable::replace(&folder.join(FILE), &folder.join(FRESH), |file| {
            file.write_all(&serde_json::to_vec_pretty(&history)?)
        })
    }

    /// Reads the manifest of the log with this id in `folder`.
    ///
    /// # Errors
    ///
    /// [`Error::Manifest`] if it is missing or not exactly as it was written.
    pub(crate) fn read(folder: &Path, log_id: LogId) -> Result<Self, Error> {
        read_checked(folder.join(FILE), |history: &Self| history.invalid(log_id))
    }

    /// What is wrong with it, if anything.
    fn invalid(&self, log_id: LogId) -> Option<String> {
        if self.format != FORMAT {
            return Some(format!("format {} is not known here, only {FORMAT}", self.format));
        }
        if self.expected_checksum().ok().as_ref() != Some(&self.checksum) {
            return Some("its checksum does not match".to_owned());
        }
        if self.log_id != log_id {
            return Some(format!("it is of log {}", self.log_id));
        }
        // IMPORTANT: there is a record after every one that the manifest names, so no reader counts past the last number.
        if self.end().seq.get() == u64::MAX {
            return Some("it has no room for another record".to_owned());
        }
        let mut end = self.beginning().seq;
        for entry in &self.segments {
            if entry.first.previous() != Some(end) || entry.last < entry.first {
                return Some(format!("the segment after record {end} is missing"));
            }
            end = entry.last;
        }
        None
    }

    fn expected_checksum(&self) -> io::Result<String> {
        let unsigned = Self { checksum: String::new(), ..self.clone() };
        Ok(blake3::hash(&serde_json::to_vec_pretty(&unsigned)?).to_hex().to_string())
    }
}

fn no_random_bytes(error: getrandom::Error) -> Error {
    let (doing, reason, kind) = ("read random bytes", error.to_string(), StorageFailure::Broken);
    StorageError { doing, reason, kind }.into()
}
