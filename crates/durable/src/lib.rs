//! Durable changes of files and folders: once a function here has returned `Ok`, its effect survives a loss of power.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Replaces the file at `path`, or creates it. After a crash or a loss of power it has its old content or the new one,
/// whole. Only the file's owner may read it.
///
/// `write` writes the new content to a file at `unfinished`, a path in the same folder. A killed process may leave that
/// file behind. The next replacement under the same name overwrites it, so names should not be random.
///
/// # Errors
///
/// After an error the file has its old content, or the new one if only the folder could not be synced. The unfinished
/// file is removed: it takes space, perhaps on the full disk that is the cause.
pub fn replace(
    path: &Path,
    unfinished: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let replace = || {
        let mut options = OpenOptions::new();
        let mut file = options.create(true).truncate(true).write(true).mode(0o600).open(unfinished)?;
        write(&mut file)?;
        file.sync_all()?;
        fs::rename(unfinished, path)
    };
    replace().inspect_err(|_| {
        let _ = fs::remove_file(unfinished);
    })?;
    sync_folder_of(path)
}

/// Renames a file or folder, and syncs both parent folders.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    // The new name first: if only one of the two is durable, the file is not lost.
    sync_folder_of(to)?;
    if parent(from) == parent(to) { Ok(()) } else { sync_folder_of(from) }
}

/// Removes a file, if there is one.
pub fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.and_then(|()| sync_folder_of(path)),
    }
}

/// Creates a folder and its missing parents, which only their owner may read. Does not sync them.
pub fn create_private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Makes the entries of a folder durable.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Makes all files and folders below `folder` durable, and `folder` itself.
pub fn sync_tree(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { sync_tree(&path)? } else { File::open(&path)?.sync_all()? }
    }
    sync_folder(folder)
}

/// Copies a folder with all files and folders below it. Does not sync the copy.
pub fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

/// Removes a folder with everything below it, if it exists. Does not sync its parent.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes it durable that `path` is in its folder.
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    sync_folder(parent(path))
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_replacement_that_fails_leaves_the_old_content_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let [path, unfinished] = ["file", "file.unfinished"].map(|name| folder.path().join(name));
        // An unfinished file of a killed process is longer than the next one.
        fs::write(&unfinished, "left behind").unwrap();
        replace(&path, &unfinished, |file| file.write_all(b"old")).unwrap();
        let failed = replace(&path, &unfinished, |file| {
            file.write_all(b"new")?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert!(!unfinished.exists());
        replace(&path, &unfinished, |file| file.write_all(b"new")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert!(!unfinished.exists());
    }

    #[test]
    fn a_file_that_is_absent_is_removed_without_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let [one, other] = ["one", "other"].map(|name| folder.path().join(name));
        fs::write(&one, "").unwrap();
        rename(&one, &other).unwrap();
        assert!(!one.exists() && other.exists());
        for _ in 0..2 {
            remove_file(&other).unwrap();
            remove_tree(&other).unwrap();
            assert!(!other.exists());
        }
    }

    #[test]
    fn a_copied_tree_has_the_same_files() {
        let folder = tempfile::tempdir().unwrap();
        let [from, to] = ["from", "to"].map(|name| folder.path().join(name));
        fs::create_dir_all(from.join("inner")).unwrap();
        fs::write(from.join("inner/file"), "content").unwrap();
        copy_tree(&from, &to).unwrap();
        sync_tree(&to).unwrap();
        assert_eq!(fs::read(to.join("inner/file")).unwrap(), b"content");
    }
}
