//! A disk that loses power, fills up and fails when a test says so: a file system of this process, mounted for real
//! programs to use.

mod file_system;
mod model;

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use fuser::{BackgroundSession, Config, MountOption};
use vectorizer_testing::Random;

use self::file_system::{FileSystem, Shared};
pub(crate) use self::model::Survival;

/// A fault of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DiskFault {
    /// It holds this much.
    Full {
        /// In bytes.
        bytes: u64,
    },
    /// Nothing on it may be changed.
    ReadOnly,
    /// No change comes about, and no sync.
    FailsToWrite,
    /// No sync comes about, and what it was for is never written, though it is read as if it were.
    FailsToSync,
    /// No file is opened, or none of this name: the system answers with this number, as where descriptors or
    /// permissions are missing.
    FailsToOpen {
        /// Of which name; of any, if nothing.
        name: Option<&'static str>,
        /// With what.
        error: i32,
    },
}

/// A sync that the disk leaves out, as if the server had not asked for it: both leave the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MissingSync {
    /// Files of this name are not synced.
    SkipsFile(&'static str),
    /// No folder is synced.
    SkipsFolders,
    /// A sync is answered before it is done.
    SyncsLate(Duration),
}

/// A mounted disk. Programs that use it have to end before it is dropped.
pub(crate) struct Disk {
    shared: Shared,
    _session: BackgroundSession,
}

impl Disk {
    /// Mounts an empty disk at this folder. Without `/dev/fuse`, prints that the test is skipped.
    pub(crate) fn mount(folder: &Path) -> Option<Self> {
        std::fs::create_dir_all(folder).unwrap();
        let file_system = FileSystem::default();
        let shared = file_system.shared.clone();
        shared.lock().has_power = true;
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("vectorizer-test".to_owned())];
        match fuser::spawn_mount(file_system, folder, &config) {
            Ok(session) => Some(Self { shared, _session: session }),
            Err(error) => {
                // Past the capture of a test's output: it has not shown what it is for.
                let word = "SKIPPED: no file system of a test's own can be mounted here, which takes /dev/fuse and root";
                let _ = writeln!(std::io::stderr(), "{word} ({error})");
                None
            }
        }
    }

    /// Turns the power off. Unsynced writes survive as `survival` says; nothing is read or written until
    /// [`Disk::power_on`].
    pub(crate) fn power_off(&self, survival: Survival, random: &mut Random) {
        let mut platter = self.shared.lock();
        platter.has_power = false;
        platter.model = std::mem::take(&mut platter.model).survivor(survival, random);
    }

    pub(crate) fn power_on(&self) {
        self.shared.lock().has_power = true;
    }

    pub(crate) fn set_fault(&self, fault: Option<DiskFault>) {
        self.shared.lock().fault = fault;
    }

    pub(crate) fn neglects(&self, missing_sync: Option<MissingSync>) {
        self.shared.lock().missing_sync = missing_sync;
    }

    /// How many bytes are in use.
    pub(crate) fn bytes(&self) -> u64 {
        self.shared.lock().model.bytes()
    }
}
