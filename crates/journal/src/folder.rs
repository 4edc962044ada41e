//! Folders, whose entries are durable only once the folder is synced.

use std::fs::File;
use std::io;
use std::path::Path;

/// Makes it durable that `path` is in its folder.
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}
