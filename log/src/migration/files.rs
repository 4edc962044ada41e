//! Copying of a tenant's files, in pieces, so that an interrupted copy can be resumed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use vectorizer_durable::{create_private_folder, sync_tree};

use super::error::{MigrationError, failed};

/// Each piece is durable before the next one begins. So if a file is longer than some number of pieces, all of these
/// are durable.
const PIECE_BYTES: u64 = 16 << 20;

/// Whether a file is copied: those of the log, also of an interrupted replacement, how long its history is kept, and
/// the graphs, which take time to build again. All others belong to the server that wrote them.
fn is_copied(name: &str) -> bool {
    let of_log = ["log", "head", "condemned"];
    ["manifest.json", "history.json", "segments", "tails", "retention.json", "graphs"].contains(&name)
        || of_log
            .iter()
            .any(|it| name.strip_prefix(it).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
}

/// The files of a tenant's folder that are copied.
#[derive(Debug)]
pub(super) struct CopiedFiles {
    from: PathBuf,
    /// Paths within the folder, and the sizes of the files.
    files: Vec<(PathBuf, u64)>,
    fingerprint: blake3::Hash,
}

impl CopiedFiles {
    pub(super) fn of(from: &Path) -> Result<Self, MigrationError> {
        let mut found = Vec::new();
        for entry in fs::read_dir(from).map_err(failed("read", from))? {
            let entry = entry.map_err(failed("read", from))?;
            if entry.file_name().to_str().is_some_and(is_copied) {
                list(&entry.path(), &mut found)?;
            }
        }
        found.sort();
        let mut fingerprint = blake3::Hasher::new();
        let mut files = Vec::new();
        for path in found {
            let metadata = fs::metadata(&path).map_err(failed("read", &path))?;
            let within = path.strip_prefix(from).unwrap_or(&path).to_owned();
            let line = format!(
                "{} {} {} {}\n",
                within.display(),
                metadata.len(),
                metadata.mtime(),
                metadata.mtime_nsec()
            );
            fingerprint.update(line.as_bytes());
            files.push((within, metadata.len()));
        }
        Ok(Self { from: from.to_owned(), files, fingerprint: fingerprint.finalize() })
    }

    pub(super) fn fingerprint(&self) -> String {
        self.fingerprint.to_string()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.files.iter().map(|(_, bytes)| bytes).sum()
    }

    /// How many bytes of them are at `to` already.
    pub(super) fn copied_to(&self, to: &Path) -> u64 {
        let there =
            |path: &PathBuf, bytes: u64| fs::metadata(to.join(path)).map_or(0, |it| it.len().min(bytes));
        self.files.iter().map(|(path, bytes)| there(path, *bytes)).sum()
    }

    /// Copies the missing bytes. Everything is durable afterwards, unless `report` breaks.
    pub(super) fn copy(
        &self,
        to: &Path,
        report: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, MigrationError> {
        let all = self.bytes();
        let mut before = 0;
        for (path, bytes) in &self.files {
            let target = to.join(path);
            if let Some(folder) = target.parent() {
                create_private_folder(folder).map_err(failed("create", folder))?;
            }
            let mut report = |done| report(before + done, all);
            let copied = copy_file(&self.from.join(path), &target, *bytes, &mut report);
            if copied.map_err(failed("copy to", &target))?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            before += bytes;
        }
        sync_tree(to).map_err(failed("sync", to))?;
        Ok(ControlFlow::Continue(()))
    }
}

fn list(path: &Path, found: &mut Vec<PathBuf>) -> Result<(), MigrationError> {
    if path.is_dir() {
        for entry in fs::read_dir(path).map_err(failed("read", path))? {
            list(&entry.map_err(failed("read", path))?.path(), found)?;
        }
    } else {
        found.push(path.to_owned());
    }
    Ok(())
}

fn copy_file(
    from: &Path,
    to: &Path,
    bytes: u64,
    report: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> io::Result<ControlFlow<()>> {
    let mut source = File::open(from)?;
    let mut target = OpenOptions::new().create(true).truncate(false).write(true).open(to)?;
    let there = target.metadata()?.len().min(bytes);
    let mut done = there.saturating_sub(1) / PIECE_BYTES * PIECE_BYTES;
    target.set_len(done)?;
    source.seek(SeekFrom::Start(done))?;
    target.seek(SeekFrom::Start(done))?;
    loop {
        let copied = io::copy(&mut (&mut source).take(PIECE_BYTES), &mut target)?;
        target.sync_data()?;
        done += copied;
        if report(done).is_break() {
            return Ok(ControlFlow::Break(()));
        }
        if copied < PIECE_BYTES {
            target.sync_all()?;
            return Ok(ControlFlow::Continue(()));
        }
    }
}
