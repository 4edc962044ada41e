//! The folders of tails: the records that are not sealed yet.
//!
//! A tail is a sled database. The first one is `log`, and each later one is `tails/{first}`, named by its first record.
//! The last tail takes the writes. The others are frozen, and wait to be sealed.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use vectorizer_durable::{self as durable, create_private_folder, remove_tree, sync_folder, sync_tree};

use crate::error::Error;
use crate::position::Seq;
use crate::storage::{BodyPlacement, SledPaths, SledStorage};

/// The folder of the tails after the first one.
pub(crate) const TAILS: &str = "tails";
/// The first tail.
const FIRST: &str = "log";
/// The tail that is being created.
const CREATING: &str = "creating";

/// The paths of the tail whose first record is `first`.
pub(crate) fn paths(folder: &Path, first: Seq) -> SledPaths {
    let log = match first {
        Seq::OLDEST => folder.join(FIRST),
        later => folder.join(TAILS).join(format!("{:020}", later.get())),
    };
    SledPaths { log, head: folder.join("head"), poison_mark: folder.join("condemned") }
}

/// The first records of all tails in `folder`, oldest first. A tail that is being replaced counts, wherever its files
/// are at the moment.
pub(crate) fn firsts(folder: &Path) -> io::Result<Vec<Seq>> {
    let is_there = |suffix: &str| folder.join(format!("{FIRST}{suffix}")).try_exists();
    let mut firsts = BTreeSet::new();
    if is_there("")? || is_there(".fresh")? || is_there(".retired")? {
        firsts.insert(Seq::OLDEST);
    }
    let tails = match fs::read_dir(folder.join(TAILS)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(firsts.into_iter().collect()),
        tails => tails?,
    };
    for entry in tails {
        let name = entry?.file_name();
        let digits = name.to_str().and_then(|name| name.split('.').next()).filter(|name| name.len() == 20);
        if let Some(first) = digits.and_then(|digits| digits.parse().ok()) {
            firsts.insert(Seq::new(first));
        }
    }
    Ok(firsts.into_iter().collect())
}

/// Creates an empty tail durably, and opens it.
///
/// # Errors
///
/// After [`CreateError::Nothing`] no tail exists, and writes go on in the previous one. After
/// [`CreateError::Unopened`] the new tail may exist, so nothing may be written to the previous one any more.
pub(crate) fn create(folder: &Path, first: Seq, segment_bytes: usize) -> Result<SledStorage, CreateError> {
    let paths = paths(folder, first);
    let building = folder.join(TAILS).join(CREATING);
    let build = || -> Result<(), Error> {
        let failed = |source| Error::File { doing: "create", path: building.clone(), source };
        let tails = folder.join(TAILS);
        create_private_folder(&tails).and_then(|()| sync_folder(folder)).map_err(failed)?;
        remove_tree(&building).map_err(failed)?;
        create_private_folder(&building).map_err(failed)?;
        let unnamed = SledPaths { log: building.clone(), ..paths.clone() };
        drop(SledStorage::create_tail(&unnamed, segment_bytes, BodyPlacement::STANDARD)?);
        sync_tree(&building).map_err(failed)
    };
    build().map_err(|error| {
        // An incomplete tail takes space, and a full disk may be the cause of the error.
        let _ = remove_tree(&building);
        CreateError::Nothing(error)
    })?;
    let publish = || -> Result<SledStorage, Error> {
        durable::rename(&building, &paths.log).map_err(|source| Error::File {
            doing: "publish",
            path: paths.log.clone(),
            source,
        })?;
        Ok(SledStorage::open(&paths, segment_bytes, BodyPlacement::STANDARD)?)
    };
    publish().map_err(CreateError::Unopened)
}

/// A tail could not be created.
#[derive(Debug)]
pub(crate) enum CreateError {
    /// Nothing has changed.
    Nothing(Error),
    /// The tail may exist.
    Unopened(Error),
}

/// Removes the folder of a sealed tail. An interrupted removal leaves a folder that the next opening removes.
pub(crate) fn remove(folder: &Path, first: Seq) -> io::Result<()> {
    let log = paths(folder, first).log;
    for suffix in ["", ".fresh", ".retired"] {
        let mut path = log.clone().into_os_string();
        path.push(suffix);
        remove_tree(&PathBuf::from(path))?;
    }
    durable::sync_folder_of(&log)
}

/// Removes a tail whose creation was interrupted.
pub(crate) fn remove_unfinished(folder: &Path) -> io::Result<()> {
    remove_tree(&folder.join(TAILS).join(CREATING))
}
