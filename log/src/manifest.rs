//! The manifest: what a log is, in its folder.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::position::LogId;

const FORMAT: u32 = 1;

/// Written once, when the log is created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    format: u32,
    /// The log's identity.
    pub(crate) log_id: LogId,
    /// sled's segment size, which a database keeps for life.
    pub(crate) segment_bytes: usize,
    checksum: u32,
}

impl Manifest {
    pub(crate) fn new(log_id: LogId, segment_bytes: usize) -> Self {
        let mut manifest = Self { format: FORMAT, log_id, segment_bytes, checksum: 0 };
        manifest.checksum = manifest.expected_checksum();
        manifest
    }

    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        let mut file = File::create_new(path)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        file.sync_all()
    }

    pub(crate) fn read(path: PathBuf) -> Result<Self, Error> {
        let refused = |path: PathBuf, reason: String| Err(Error::Manifest { path, reason });
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(source) => return refused(path, source.to_string()),
        };
        match serde_json::from_slice::<Self>(&bytes) {
            Ok(manifest) if manifest.format != FORMAT => {
                refused(path, format!("format {} is not known here, only {FORMAT}", manifest.format))
            }
            Ok(manifest) if manifest.checksum != manifest.expected_checksum() => {
                refused(path, "its checksum does not match".to_owned())
            }
            Ok(manifest) => Ok(manifest),
            Err(source) => refused(path, source.to_string()),
        }
    }

    fn expected_checksum(&self) -> u32 {
        crc32fast::hash(format!("{} {} {}", self.format, self.log_id, self.segment_bytes).as_bytes())
    }
}
