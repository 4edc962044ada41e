//! Files that save time and nothing else: written beside the old one, made durable and put in its place.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

use tokio_util::sync::CancellationToken;

/// Large enough that a write is no call for every piece.
const BUFFER_BYTES: usize = 1 << 20;

/// A file that takes no more bytes once `stop` is cancelled.
pub(super) struct UntilStopped<'a> {
    file: File,
    stop: &'a CancellationToken,
}

impl io::Write for UntilStopped<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.stop.is_cancelled() {
            return Err(io::Error::other("the server is stopping"));
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Puts what `write` writes in the place of `path`; says how many bytes. Fails when `stop` is cancelled
/// meanwhile, and leaves the older file. Not for two at the same time in one folder.
pub(super) fn replace(
    path: &Path,
    stop: &CancellationToken,
    write: impl FnOnce(&mut BufWriter<UntilStopped<'_>>) -> io::Result<()>,
) -> io::Result<u64> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidFilename)?;
    let unfinished = folder.join("unfinished");
    let written = write_durably(&unfinished, stop, write).inspect_err(|_| {
        // Half a file is of no use, least of all on the full disk that may be the cause.
        let _ = fs::remove_file(&unfinished);
    })?;
    fs::rename(&unfinished, path)?;
    File::open(folder)?.sync_all()?;
    Ok(written)
}

fn write_durably(
    path: &Path,
    stop: &CancellationToken,
    write: impl FnOnce(&mut BufWriter<UntilStopped<'_>>) -> io::Result<()>,
) -> io::Result<u64> {
    let file = UntilStopped { file: File::create(path)?, stop };
    let mut file = BufWriter::with_capacity(BUFFER_BYTES, file);
    write(&mut file)?;
    file.flush()?;
    let UntilStopped { file, .. } = file.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    Ok(file.metadata()?.len())
}
