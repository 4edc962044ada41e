//! The node's journal of requests: counts that are not in the tenants' logs yet.
//!
//! ```text
//! data/_node/usage/{number:08}-{journal}.journal    one entry a line, one group a second
//! ```
//!
//! The journal has one id as long as its folder exists. A new file is begun at every start and when the file is
//! large: it begins with all counts that no log has yet, and when these are durable the older files are erased. So
//! the newest file has everything, and its size does not depend on the past. Places in the journal increase with the
//! number of the file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tracing::{error, warn};
use uuid::Uuid;
use vectorizer_durable::{create_private_folder, sync_folder};
use vectorizer_journal::{Journal, JournalError};
use vectorizer_log::storage::StorageFailure;

use super::meter::Entry;

/// The folder, within the node's.
const FOLDER: &str = "usage";
/// The size at which the next file is begun.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// The number of places in a file, in bits. No file has as many entries.
const PLACE_BITS: u32 = 40;

/// The open journal. One writer.
#[derive(Debug)]
pub(crate) struct UsageJournal {
    folder: PathBuf,
    id: Uuid,
    number: u32,
    /// `None` after a failure: the next write begins a new file.
    file: Option<Journal>,
    /// The size at which a new file is begun.
    bytes_max: u64,
    /// Its size when it was begun.
    bytes_least: u64,
}

impl UsageJournal {
    /// Opens the journal in the `node` folder, and calls `read` with the entries of its files, the oldest first. A
    /// new file must be [begun](Self::begin) before writing.
    pub(crate) fn open(node: &Path, read: &mut dyn FnMut(Entry)) -> io::Result<Self> {
        let folder = node.join(FOLDER);
        create_private_folder(&folder)?;
        sync_folder(node)?;
        let files = files(&folder)?;
        for (_, _, path) in &files {
            let opened = Journal::open(path, 1, &mut |line, _| {
                read(serde_json::from_str(line.text).map_err(|error| error.to_string())?);
                Ok(())
            });
            if let Err(error) = opened {
                // A file that cannot be read for now is not replaced.
                if let JournalError::Io { source, .. } = &error
                    && StorageFailure::of(source).is_unavailable()
                {
                    return Err(io::Error::new(source.kind(), error));
                }
                // The entries before the damage are used; the requests in the others are not billed.
                error!(%error, "the journal of requests is damaged: some requests will not be billed");
                fs::rename(path, path.with_extension("damaged"))?;
            }
        }
        let (number, id) = files.last().map_or_else(|| (0, Uuid::new_v4()), |(number, id, _)| (*number, *id));
        Ok(Self { folder, id, number, file: None, bytes_max: FILE_BYTES_MAX, bytes_least: 0 })
    }

    /// The journal's id.
    pub(crate) fn id(&self) -> Uuid {
        self.id
    }

    /// The first place of the next file.
    pub(crate) fn first_place(&self) -> u64 {
        (u64::from(self.number) + 1) << PLACE_BITS
    }

    /// Whether a new file must be begun before writing.
    pub(crate) fn is_full(&self) -> bool {
        // If the waiting counts alone are that large, a file may be twice as large, or every write would begin a new
        // one.
        let bytes_max = self.bytes_max.max(2 * self.bytes_least);
        self.file.as_ref().is_none_or(|file| file.bytes() >= bytes_max)
    }

    /// Begins a new file with all entries, and erases the older ones.
    pub(crate) fn begin(&mut self, entries: &[Entry]) -> Result<(), JournalError> {
        let number = self.number + 1;
        let path = self.folder.join(format!("{number:08}-{}.journal", self.id));
        let mut file = Journal::open(&path, 1, &mut |_, _| Err("it was there before".to_owned()))?;
        // Even if this fails, its places are not given out again.
        self.number = number;
        append(&mut file, entries).inspect_err(|_| {
            // On a full disk each second would leave another file.
            let _ = fs::remove_file(&path);
        })?;
        self.bytes_least = file.bytes();
        self.file = Some(file);
        for (_, _, old) in files(&self.folder).unwrap_or_default() {
            if old != path
                && let Err(error) = fs::remove_file(&old)
            {
                warn!(path = %old.display(), %error, "an old journal of requests cannot be erased yet");
            }
        }
        Ok(())
    }

    /// Makes these entries durable together. After a failure a new file must be begun.
    pub(crate) fn write(&mut self, entries: &[Entry]) -> Result<(), JournalError> {
        let Some(mut file) = self.file.take() else { return Ok(()) };
        append(&mut file, entries)?;
        self.file = Some(file);
        Ok(())
    }

    /// The same journal with files of this size.
    #[cfg(test)]
    pub(crate) fn with_bytes_max(mut self, bytes_max: u64) -> Self {
        self.bytes_max = bytes_max;
        self
    }
}

fn append(file: &mut Journal, entries: &[Entry]) -> Result<(), JournalError> {
    for entry in entries {
        let line = serde_json::to_string(entry).map_err(|error| file.damage(file.bytes(), error))?;
        file.stage(&line);
    }
    file.commit()
}

/// The journal's files, the oldest first: number, journal and path.
fn files(folder: &Path) -> io::Result<Vec<(u32, Uuid, PathBuf)>> {
    let mut files = Vec::new();
    for found in fs::read_dir(folder)? {
        let path = found?.path();
        let named = path.file_name().and_then(|name| name.to_str()).and_then(|name| {
            let (number, id) = name.strip_suffix(".journal")?.split_once('-')?;
            Some((number.parse().ok()?, id.parse().ok()?))
        });
        if let Some((number, id)) = named {
            files.push((number, id, path));
        }
    }
    files.sort_unstable();
    Ok(files)
}
