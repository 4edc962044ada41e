//! The last lines of deleted tenants, until they are delivered.
//!
//! ```text
//! data/_node/usage/deleted/{log_id}-{uuid}.ndjson    as they are sent
//! ```
//!
//! Each deletion has its own file: a log that is restored and deleted again must not erase undelivered lines. Lines
//! in both files are sent twice, and HiveHub recognises them by their ids.
//!
//! The lines are durable before the tenant's folder moves. After that they do not depend on the folder, so neither
//! the deletion nor the erasure waits for `HiveHub`.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tempfile::NamedTempFile;
use tokio::time::Instant;
use tracing::{info, warn};
use uuid::Uuid;
use vectorizer_durable::{create_private_folder, sync_folder};
use vectorizer_log::{LogId, Timestamp};

use super::account::TenantAccount;
use super::backoff::Backoff;
use super::lines;

/// Within the node's folder.
const FOLDER: &str = "usage/deleted";
const EXTENSION: &str = "ndjson";
/// How many lines of a file are in one report.
const LINES_MAX: usize = 512;

/// The lines of all deleted tenants. Files are delivered one after the other.
#[derive(Debug)]
pub(crate) struct Outbox {
    folder: PathBuf,
    files: Mutex<Vec<Waiting>>,
}

/// The lines of one deleted log.
#[derive(Clone, Debug)]
struct Waiting {
    path: PathBuf,
    since: Option<Timestamp>,
    /// How many bytes of it are delivered.
    delivered: u64,
    backoff: Backoff,
}

impl Waiting {
    fn at(path: PathBuf) -> Self {
        Self { path, since: None, delivered: 0, backoff: Backoff::default() }
    }
}

/// Some lines of a file.
pub(crate) struct Part {
    path: PathBuf,
    pub(crate) lines: Vec<Bytes>,
    /// The offset of their end in the file.
    end: u64,
    is_last: bool,
}

/// The prefix of the name of a file that is being written.
const TEMPORARY: &[u8] = b".tmp";

impl Outbox {
    /// Opens the outbox in the `node` folder.
    pub(crate) fn open(node: &Path) -> io::Result<Self> {
        let folder = node.join(FOLDER);
        create_private_folder(&folder)?;
        let mut files = Vec::new();
        for found in fs::read_dir(&folder)? {
            let found = found?;
            let path = found.path();
            // A killed process has left this temporary file behind.
            if found.file_name().as_encoded_bytes().starts_with(TEMPORARY) {
                fs::remove_file(&path)?;
            } else if path.extension().is_some_and(|extension| extension == EXTENSION) {
                files.push(Waiting { since: modified(&found.metadata()?), ..Waiting::at(path) });
            }
        }
        Ok(Self { folder, files: Mutex::new(files) })
    }

    /// Stores the undelivered lines of the account. They are durable when this returns.
    pub(crate) fn take_over(&self, account: &TenantAccount) -> Result<(), Box<dyn std::error::Error>> {
        if !account.is_behind() {
            return Ok(());
        }
        let (log, billing) = (account.log(), account.billing());
        let closes = lines::undelivered(log, &billing, account.delivered_seq())?;
        let mut file = NamedTempFile::new_in(&self.folder)?;
        for seq in closes {
            for (_, line) in lines::lines(account.tenant(), log, seq)?.lines {
                file.write_all(&line)?;
            }
        }
        file.as_file().sync_all()?;
        let path = self.path(log.log_id());
        file.persist(&path)?;
        sync_folder(&self.folder)?;
        self.files().push(Waiting { since: Some(Timestamp::now()), ..Waiting::at(path) });
        Ok(())
    }

    /// The number of files, and the time of the oldest one.
    pub(crate) fn waiting(&self) -> (usize, Option<Timestamp>) {
        let files = self.files();
        (files.len(), files.iter().filter_map(|waiting| waiting.since).min())
    }

    /// The next lines to deliver. Reads the disk.
    pub(crate) fn next(&self) -> Option<Part> {
        let now = Instant::now();
        let is_ready = |waiting: &&Waiting| waiting.backoff.until.is_none_or(|until| until <= now);
        let Waiting { path, delivered, .. } = self.files().iter().find(is_ready)?.clone();
        match Part::read(&path, delivered) {
            Ok(part) => Some(part),
            Err(error) => {
                warn!(path = %path.display(), %error, "the last lines of a deleted tenant cannot be read");
                // Other files do not wait for it. It is tried again after a restart.
                self.files().retain(|waiting| waiting.path != path);
                None
            }
        }
    }

    /// The earliest time at which a file may be sent again after a failure.
    pub(crate) fn next_try(&self) -> Option<Instant> {
        self.files().iter().filter_map(|waiting| waiting.backoff.until).min()
    }

    /// `HiveHub`'s receipts for the part cannot be understood: other files come first.
    pub(crate) fn back_off(&self, part: &Part) {
        let mut files = self.files();
        if let Some(place) = files.iter().position(|waiting| waiting.path == part.path) {
            let mut waiting = files.remove(place);
            waiting.backoff.extend();
            files.push(waiting);
        }
    }

    /// The part is delivered. A file that is delivered completely is removed.
    pub(crate) fn delivered(&self, part: &Part) {
        let mut files = self.files();
        if part.is_last {
            files.retain(|waiting| waiting.path != part.path);
            match fs::remove_file(&part.path) {
                Ok(()) => {
                    info!(path = %part.path.display(), "the last bill of a deleted tenant is delivered");
                }
                Err(error) => {
                    warn!(path = %part.path.display(), %error, "a delivered bill cannot be removed");
                }
            }
        } else if let Some(waiting) = files.iter_mut().find(|waiting| waiting.path == part.path) {
            waiting.delivered = part.end;
            waiting.backoff = Backoff::default();
        }
    }

    fn path(&self, log_id: LogId) -> PathBuf {
        self.folder.join(format!("{log_id}-{}.{EXTENSION}", Uuid::new_v4()))
    }

    fn files(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Part {
    fn read(path: &Path, from: u64) -> io::Result<Self> {
        let mut file = BufReader::new(File::open(path)?);
        file.seek(SeekFrom::Start(from))?;
        let (mut lines, mut end) = (Vec::new(), from);
        while lines.len() < LINES_MAX {
            let mut line = Vec::new();
            let length = file.read_until(b'\n', &mut line)?;
            if length == 0 {
                break;
            }
            end += length as u64;
            lines.push(line.into());
        }
        let is_last = file.fill_buf()?.is_empty();
        Ok(Self { path: path.to_owned(), lines, end, is_last })
    }
}

fn modified(metadata: &fs::Metadata) -> Option<Timestamp> {
    let since = metadata.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(Timestamp::from_micros(i64::try_from(since.as_micros()).ok()?))
}
