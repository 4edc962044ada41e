//! What tenants have used of their limits on requests, stored for the next run of the node.
//!
//! ```text
//! data/_node/requests.journal    one entry a line, one group a second
//! ```
//!
//! An entry has the time for which admitted requests still use a tenant's minute and hour, and the wall clock of that
//! moment. Tenants with new requests are written once a second, with one sync for all. The last entry of a tenant is
//! the valid one. A large file is replaced by one with the entries that still matter.
//!
//! The clock may be set while the node is down. If it was set back, used limits stay used; if it was set forward,
//! they become free as if the time had passed. No tenant waits longer than a window in either case.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tracing::{error, warn};
use vectorizer_journal::{Journal, JournalError};
use vectorizer_log::storage::StorageFailure;
use vectorizer_log::{Incarnation, TenantId, Timestamp};

use super::rate_limiter::Used;

/// The file in the node's folder, its replacement while it is written, and the name of a damaged one.
const FILE: &str = "requests.journal";
const FRESH: &str = "requests.fresh";
const DAMAGED: &str = "requests.damaged";
/// The size at which the file is replaced.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// What one tenant had used at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) tenant: TenantId,
    /// The tenant's incarnation, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) incarnation: Option<Incarnation>,
    /// In microseconds since 1970.
    at: i64,
    /// In nanoseconds.
    minute: u64,
    hour: u64,
}

impl Entry {
    pub(super) fn new(tenant: TenantId, incarnation: Option<Incarnation>, at: Timestamp, used: Used) -> Self {
        let nanoseconds = |span: Duration| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        let Used { minute, hour } = used;
        Self { tenant, incarnation, at: at.micros(), minute: nanoseconds(minute), hour: nanoseconds(hour) }
    }

    /// What is still used at `now`; `None` if nothing is.
    pub(super) fn used_at(&self, now: Timestamp) -> Option<Used> {
        let since = now.micros().saturating_sub(self.at);
        let since = Duration::from_micros(u64::try_from(since).unwrap_or(0));
        let left = |nanoseconds| Duration::from_nanos(nanoseconds).saturating_sub(since);
        let used = Used { minute: left(self.minute), hour: left(self.hour) };
        (used != Used::default()).then_some(used)
    }
}

/// The journal, and the tenants with requests since the last write. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct RequestJournal {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    node: PathBuf,
    /// Each tenant is in it at most once: its limits remember that it was added.
    changed: Mutex<Vec<TenantId>>,
    /// Entries of an earlier run, of tenants that have made no request in this one.
    before: Mutex<HashMap<TenantId, Entry>>,
    file: Mutex<File>,
}

#[derive(Debug)]
enum File {
    /// The file exists and could not be read yet.
    Unread,
    /// A new file has to be written.
    None,
    Open {
        journal: Journal,
        /// Its size when it was written as a whole.
        bytes_least: u64,
    },
}

/// Which entries to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Those of tenants with requests since the last write.
    Changed,
    /// Those of all tenants in memory.
    All,
}

impl RequestJournal {
    /// Opens the journal in the `node` folder, and reads what can be read.
    pub(super) fn open(node: &Path) -> Self {
        let shared = Shared {
            node: node.to_owned(),
            changed: Mutex::default(),
            before: Mutex::default(),
            file: Mutex::new(File::Unread),
        };
        let journal = Self { shared: Arc::new(shared) };
        journal.read();
        journal
    }

    /// Reads the file if it was not read yet. Returns its tenants.
    pub(super) fn read(&self) -> Vec<TenantId> {
        let mut file = self.file();
        if !matches!(*file, File::Unread) {
            return Vec::new();
        }
        let (path, now) = (self.shared.node.join(FILE), Timestamp::now());
        let mut entries = HashMap::new();
        let opened = Journal::open(&path, 1, &mut |line, _| {
            let entry: Entry = serde_json::from_str(line.text).map_err(|error| error.to_string())?;
            entries.insert(entry.tenant.clone(), entry);
            Ok(())
        });
        *file = match opened {
            Ok(journal) => File::Open { bytes_least: 0, journal },
            Err(JournalError::Io { source, .. }) if StorageFailure::of(&source).is_unavailable() => {
                warn!(error = %source, "used limits cannot be read yet");
                return Vec::new();
            }
            Err(error) => {
                // The entries before the damage are used; the others are lost, so their limits are free.
                error!(%error, "the journal of used limits is damaged and is renamed");
                if let Err(error) = fs::rename(&path, self.shared.node.join(DAMAGED)) {
                    warn!(%error, "it cannot be renamed");
                }
                File::None
            }
        };
        drop(file);
        entries.retain(|_, entry| entry.used_at(now).is_some());
        let tenants = entries.keys().cloned().collect();
        *self.before() = entries;
        tenants
    }

    /// Takes what the tenant had used in an earlier run of the node. An entry of another incarnation is ignored.
    pub(super) fn take_before(&self, tenant: &TenantId, incarnation: Option<Incarnation>) -> Option<Used> {
        let entry = self.before().remove(tenant)?;
        let is_another =
            incarnation.is_some() && entry.incarnation.is_some() && incarnation != entry.incarnation;
        if is_another { None } else { entry.used_at(Timestamp::now()) }
    }

    /// The tenant has made a request. Called once at most before the next write.
    pub(super) fn changed(&self, tenant: TenantId) {
        self.shared.changed.lock().unwrap_or_else(PoisonError::into_inner).push(tenant);
    }

    /// Takes the tenants with requests since the last call.
    pub(super) fn take_changed(&self) -> Vec<TenantId> {
        std::mem::take(&mut *self.shared.changed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Which entries the next write needs.
    pub(super) fn wanted(&self) -> Wanted {
        match &*self.file() {
            File::Open { journal, bytes_least } if journal.bytes() < FILE_BYTES_MAX.max(2 * bytes_least) => {
                Wanted::Changed
            }
            File::Open { .. } | File::None | File::Unread => Wanted::All,
        }
    }

    /// Makes these entries durable together. After a failure the next write needs all.
    pub(super) fn write(&self, wanted: Wanted, entries: &[Entry]) -> Result<(), JournalError> {
        let mut file = self.file();
        match (std::mem::replace(&mut *file, File::None), wanted) {
            // IMPORTANT: a file that was not read is never replaced.
            (File::Unread, _) => *file = File::Unread,
            (File::Open { mut journal, bytes_least }, Wanted::Changed) => {
                append(&mut journal, entries)?;
                *file = File::Open { journal, bytes_least };
            }
            (File::None, Wanted::Changed) => {}
            (File::Open { .. } | File::None, Wanted::All) => {
                let now = Timestamp::now();
                let before: Vec<Entry> =
                    self.before().values().filter(|entry| entry.used_at(now).is_some()).cloned().collect();
                let journal = self.begin(&[entries, &before].concat())?;
                *file = File::Open { bytes_least: journal.bytes(), journal };
            }
        }
        Ok(())
    }

    fn begin(&self, entries: &[Entry]) -> Result<Journal, JournalError> {
        let [fresh, path] = [FRESH, FILE].map(|name| self.shared.node.join(name));
        let failed = |source| JournalError::Io { path: fresh.clone(), source };
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let begin = || {
            let mut journal = Journal::open(&fresh, 1, &mut |_, _| Err("it was there before".to_owned()))?;
            append(&mut journal, entries)?;
            fs::rename(&fresh, &path).map_err(failed)?;
            Ok(journal)
        };
        begin().inspect_err(|_| {
            // A partial file would take space on a disk that may be full.
            let _ = fs::remove_file(&fresh);
        })
    }

    fn before(&self) -> MutexGuard<'_, HashMap<TenantId, Entry>> {
        self.shared.before.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self) -> MutexGuard<'_, File> {
        self.shared.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn append(journal: &mut Journal, entries: &[Entry]) -> Result<(), JournalError> {
    for entry in entries {
        let line = serde_json::to_string(entry).map_err(|error| journal.damage(journal.bytes(), error))?;
        journal.stage(&line);
    }
    journal.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> TenantId {
        name.parse().unwrap()
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    fn used(minute: u64, hour: u64) -> Used {
        Used { minute: seconds(minute), hour: seconds(hour) }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn what_was_used_becomes_less_with_time_and_no_clock_makes_it_more() {
        let entry = Entry::new(tenant("acme"), None, at(10_000), used(30, 1_000));
        assert_eq!(entry.used_at(at(10_000)), Some(used(30, 1_000)));
        assert_eq!(entry.used_at(at(10_100)), Some(used(0, 900)));
        assert_eq!(entry.used_at(at(11_000)), None);
        assert_eq!(entry.used_at(at(99_000)), None, "a clock that was set forward");
        assert_eq!(entry.used_at(at(1)), Some(used(30, 1_000)), "a clock that was set back");
    }

    #[test]
    fn the_last_entry_of_a_tenant_counts_in_the_next_life_and_once() {
        let node = tempfile::tempdir().unwrap();
        let now = Timestamp::now();
        let lives = [Incarnation::at_millis(1, &[0; 10]), Incarnation::at_millis(2, &[0; 10])];
        let entry = |name, incarnation, hour| Entry::new(tenant(name), incarnation, now, used(0, hour));
        let journal = RequestJournal::open(node.path());
        assert_eq!(journal.wanted(), Wanted::Changed);
        journal
            .write(Wanted::Changed, &[entry("acme", None, 1_000), entry("globex", Some(lives[0]), 9)])
            .unwrap();
        journal.write(Wanted::Changed, &[entry("acme", None, 2_000)]).unwrap();
        drop(journal);
        // Replacing the file before any request loses nothing.
        let journal = RequestJournal::open(node.path());
        journal.write(Wanted::All, &[entry("initech", None, 500)]).unwrap();
        drop(journal);
        let journal = RequestJournal::open(node.path());
        let hour = |used: Option<Used>| used.map(|used| used.hour.as_secs().div_ceil(100) * 100);
        assert_eq!(hour(journal.take_before(&tenant("acme"), None)), Some(2_000));
        assert_eq!(journal.take_before(&tenant("acme"), None), None);
        assert_eq!(hour(journal.take_before(&tenant("initech"), Some(lives[0]))), Some(500));
        assert_eq!(journal.take_before(&tenant("globex"), Some(lives[1])), None, "another one of this id");
    }

    #[test]
    fn a_damaged_file_costs_what_is_in_it_and_one_that_cannot_be_read_is_left_as_it_is() {
        let node = tempfile::tempdir().unwrap();
        let path = node.path().join(FILE);
        let entry = Entry::new(tenant("acme"), None, Timestamp::now(), used(0, 1_000));
        let journal = RequestJournal::open(node.path());
        journal.write(Wanted::Changed, std::slice::from_ref(&entry)).unwrap();
        journal
            .write(Wanted::Changed, &[Entry::new(tenant("globex"), None, Timestamp::now(), used(0, 1_000))])
            .unwrap();
        drop(journal);
        let mut bytes = fs::read(&path).unwrap();
        bytes[3] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let journal = RequestJournal::open(node.path());
        assert_eq!(journal.wanted(), Wanted::All);
        journal.write(Wanted::All, std::slice::from_ref(&entry)).unwrap();
        drop(journal);
        assert!(node.path().join(DAMAGED).exists());
        assert!(RequestJournal::open(node.path()).take_before(&tenant("acme"), None).is_some());

        // A circular link cannot be opened, and is no damage of the file.
        let kept = node.path().join("kept");
        fs::rename(&path, &kept).unwrap();
        std::os::unix::fs::symlink(FILE, &path).unwrap();
        let journal = RequestJournal::open(node.path());
        journal.write(Wanted::All, &[]).unwrap();
        assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
        fs::remove_file(&path).unwrap();
        fs::rename(&kept, &path).unwrap();
        assert_eq!(journal.read(), [tenant("acme")]);
        assert!(journal.take_before(&tenant("acme"), None).is_some());
    }
}
