//! The graphs of a tenant on disk: one file for each collection that has one.
//!
//! A file saves the work of linking and nothing else. It is checksummed, written beside the old one and
//! renamed over it; one that is damaged, missing or of another time costs time only.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::PathBuf;

use tokio_util::sync::CancellationToken;
use vectorizer_index::Snapshot;
use vectorizer_log::{CollectionId, TenantFolder};

use super::replaced_file::replace;

/// The folder `graphs` of one tenant.
#[derive(Clone, Debug)]
pub(super) struct GraphFiles(PathBuf);

impl GraphFiles {
    pub(super) fn new(folder: &TenantFolder) -> Self {
        Self(folder.path().join("graphs"))
    }

    /// Whether anything was written for this collection.
    pub(super) fn has(&self, id: CollectionId) -> bool {
        self.file(id).exists()
    }

    /// The bytes written last for this collection, if any were. Reads no file of more than `bytes_max`.
    pub(super) fn read(&self, id: CollectionId, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
        let mut file = match File::open(self.file(id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let size = file.metadata()?.len();
        if size > bytes_max {
            let reason = format!("it has {size} bytes, and {bytes_max} would be enough");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        // It may have grown since.
        file.by_ref().take(bytes_max).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// Writes the snapshot's graph in the place of an older one; says how many bytes. Fails when `stop` is
    /// cancelled meanwhile, and leaves the older one.
    pub(super) fn write(
        &self,
        id: CollectionId,
        snapshot: &Snapshot,
        stop: &CancellationToken,
    ) -> io::Result<u64> {
        fs::create_dir_all(&self.0)?;
        replace(&self.file(id), stop, |file| snapshot.write_graph(file))
    }

    /// Erases the files of collections that are not among `kept`.
    pub(super) fn erase_others(&self, kept: &[CollectionId]) -> io::Result<()> {
        let kept: Vec<PathBuf> = kept.iter().map(|id| self.file(*id)).collect();
        let entries = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let path = entry?.path();
            if !kept.contains(&path) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// The collections for which something was written.
    #[cfg(test)]
    pub(super) fn ids(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }

    fn file(&self, id: CollectionId) -> PathBuf {
        self.0.join(id.seq().to_string())
    }
}
