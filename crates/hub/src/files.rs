//! Small files, which are replaced atomically.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::Serialize;
use vectorizer_journal::sync_folder_of;

use super::error::HubStoreError;

/// The file's content, or `None` if there is no such file.
pub(super) fn read_bounded(path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>, HubStoreError> {
    let mut bytes = Vec::new();
    match File::open(path).and_then(|file| file.take(bytes_max + 1).read_to_end(&mut bytes)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(HubStoreError::Io { path: path.to_owned(), source }),
        Ok(_) if bytes.len() as u64 > bytes_max => {
            let reason = format!("it is larger than {bytes_max} bytes");
            Err(HubStoreError::Damaged { path: path.to_owned(), reason })
        }
        Ok(_) => Ok(Some(bytes)),
    }
}

/// Writes `content` as JSON to a file that only its owner may read. Afterwards the file has the new content, durably,
/// or the old one.
pub(super) fn write_private(path: &Path, content: &impl Serialize) -> Result<(), HubStoreError> {
    let write = || {
        let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        let mut json = serde_json::to_vec_pretty(content)?;
        json.push(b'\n');
        // Always the same name, so that a killed process leaves one file at most, which the next write replaces.
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let fresh = folder.join(format!(".{}.fresh", name.to_string_lossy()));
        absent_or(std::fs::remove_file(&fresh))?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
        file.write_all(&json)?;
        file.sync_all()?;
        std::fs::rename(&fresh, path)?;
        sync_folder_of(path)
    };
    write().map_err(|source| HubStoreError::Io { path: path.to_owned(), source })
}

fn absent_or(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
