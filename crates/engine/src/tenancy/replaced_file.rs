//! Files that save time and nothing else: written beside the old one, made durable and put in its place.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

use tokio_util::sync::CancellationToken;

/// Large enough that a write is no call for every piece.
const BUFFER_BYTES: usize = 1 << 20;

/// A file that takes no more bytes once `stop` is cancelled.
pub(super) struct UntilStopped<'a> {
    file: &'a mut File,
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
    let unfinished = path.with_file_name("unfinished");
    let mut bytes = 0;
    vectorizer_durable::replace(path, &unfinished, |file| {
        let mut buffered = BufWriter::with_capacity(BUFFER_BYTES, UntilStopped { file, stop });
        write(&mut buffered)?;
        buffered.flush()?;
        bytes = buffered.get_ref().file.metadata()?.len();
        Ok(())
    })?;
    Ok(bytes)
}
