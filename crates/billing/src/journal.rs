//! The node's journal of requests: what tenants have asked for since their logs last said.
//!
//! ```text
//! data/_node/usage/{number:08}-{journal}.journal    one entry a line, one group a second
//! ```
//!
//! The journal keeps its id for as long as its folder is there. Its file is begun anew at every start and
//! when it has grown large: the new one begins with everything that no log has yet, and once that is durable
//! the older ones are erased. So the newest file says all, and its size does not depend on what happened
//! long ago. Places in the journal rise with the number of the file.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use tracing::{error, warn};
use uuid::Uuid;
use vectorizer_journal::{Journal, JournalError};
use vectorizer_log::storage::StorageFailure;

use super::meter::Entry;

/// The folder, within the node's.
const FOLDER: &str = "usage";
/// How large a file grows before the next is begun.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// How many places a file has, as bits. More than anybody can count in.
const PLACE_BITS: u32 = 40;

/// The open journal. One writer.
#[derive(Debug)]
pub(crate) struct UsageJournal {
    folder: PathBuf,
    id: Uuid,
    number: u32,
    /// `None` after a failure: then a new file has to say everything.
    file: Option<Journal>,
    /// How large the file may grow.
    bytes_max: u64,
    /// How large it was when it said everything.
    bytes_least: u64,
}

impl UsageJournal {
    /// The journal in the `node` folder. What its files say goes to `read`, the oldest first; a new file has
    /// to be [begun](Self::begin).
    pub(crate) fn open(node: &Path, read: &mut dyn FnMut(Entry)) -> io::Result<Self> {
        let folder = node.join(FOLDER);
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        File::open(node)?.sync_all()?;
        let files = files(&folder)?;
        for (_, _, path) in &files {
            let opened = Journal::open(path, 1, &mut |line, _| {
                read(serde_json::from_str(line.text).map_err(|error| error.to_string())?);
                Ok(())
            });
            if let Err(error) = opened {
                // What cannot be read for now is not begun anew.
                if let JournalError::Io { source, .. } = &error
                    && StorageFailure::of(source).is_unavailable()
                {
                    return Err(io::Error::new(source.kind(), error));
                }
                // What was read of it stands; reads that nobody can read are not billed.
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

    /// The first place in a file that is begun next.
    pub(crate) fn first_place(&self) -> u64 {
        (u64::from(self.number) + 1) << PLACE_BITS
    }

    /// Whether a new file has to be begun before anything is written.
    pub(crate) fn is_full(&self) -> bool {
        // Where what waits is as much as that, at least twice as large: else nothing else would be done.
        let bytes_max = self.bytes_max.max(2 * self.bytes_least);
        self.file.as_ref().is_none_or(|file| file.bytes() >= bytes_max)
    }

    /// Begins a new file with these entries, which have to be all, and erases the older ones.
    pub(crate) fn begin(&mut self, entries: &[Entry]) -> Result<(), JournalError> {
        let number = self.number + 1;
        let path = self.folder.join(format!("{number:08}-{}.journal", self.id));
        let mut file = Journal::open(&path, 1, &mut |_, _| Err("it was there before".to_owned()))?;
        // Whatever becomes of it, its places are given out once.
        self.number = number;
        append(&mut file, entries).inspect_err(|_| {
            // On a full disk there would be another one each second.
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

    /// Makes these entries durable, all at once. After a failure the next file has to be begun.
    pub(crate) fn write(&mut self, entries: &[Entry]) -> Result<(), JournalError> {
        let Some(mut file) = self.file.take() else { return Ok(()) };
        append(&mut file, entries)?;
        self.file = Some(file);
        Ok(())
    }

    /// With files of this size, and failing writes.
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
