//! Small files, which are replaced atomically.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use serde::Serialize;

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
        let mut json = serde_json::to_vec_pretty(content)?;
        json.push(b'\n');
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        // Always the same name, so that a killed process leaves one file at most, which the next write replaces.
        let unfinished = path.with_file_name(format!(".{}.fresh", name.to_string_lossy()));
        vectorizer_durable::replace(path, &unfinished, |file| file.write_all(&json))
    };
    write().map_err(|source| HubStoreError::Io { path: path.to_owned(), source })
}
