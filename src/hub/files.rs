//! Files that are the hub's own, whole or not there.

use std::fs::File;
use std::io::{self, Read, Write};
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

/// Writes `content` as JSON to a file that only its owner may read. Either the whole of it is there
/// afterwards, on stable storage, or what was there before.
pub(super) fn write_private(path: &Path, content: &impl Serialize) -> Result<(), HubStoreError> {
    let write = || {
        let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        let mut json = serde_json::to_vec_pretty(content)?;
        json.push(b'\n');
        // Temporary files are created with mode 0600.
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&json)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        sync_folder_of(path)
    };
    write().map_err(|source| HubStoreError::Io { path: path.to_owned(), source })
}

/// Makes it durable that `path` is in its folder.
pub(super) fn sync_folder_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}
