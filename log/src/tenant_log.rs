//! The open log: its writer and its readers.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::base::Base;
use crate::damage::{Damage, DamageKind};
use crate::envelope::{BODY_BYTES_MAX, EnvelopeFormat};
use crate::error::Error;
use crate::head::{self, Slot};
use crate::position::{ChainHash, Head, LogId, Seq, Timestamp};
use crate::record::{Draft, Record};
use crate::storage::{Storage, StorageError, StorageFailure};
use crate::tails::{self, CreateError};
use crate::tiers::{Tail, Tiers};
use crate::upgrade::begin_history;
use crate::verifier::{Verifier, WalkEnd, walk};

/// A tenant's log, recovered and ready to write. A process has one instance for each open log, and the owner of the
/// instance is the only writer. [`LogReader`]s read at the same time.
#[derive(Debug)]
pub struct TenantLog {
    pub(crate) shared: Arc<Shared>,
    head: Head,
    /// The stored bytes of all records.
    bytes: u64,
    /// The slot of the head file that holds `head`.
    slot: Slot,
    last_at: Timestamp,
    /// Whether the head file would hold `head` after a loss of power.
    head_is_durable: bool,
    poison: Option<StorageError>,
    last_commit: CommitTimes,
    tail: ActiveTail,
    format: EnvelopeFormat,
}

/// The end of a recovered log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogEnd {
    pub(crate) log_id: LogId,
    pub(crate) head: Head,
    /// The stored bytes of all records and of the base.
    pub(crate) bytes: u64,
    /// The slot of the head file that holds `head`.
    pub(crate) slot: Slot,
    /// The time of the last record.
    pub(crate) last_at: Timestamp,
    pub(crate) tail: ActiveTail,
}

/// The size and the age of the tail that takes writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ActiveTail {
    first: Seq,
    bytes: u64,
    since: Option<Timestamp>,
}

impl ActiveTail {
    /// A tail whose first record is `first`, without records.
    pub(crate) fn new(first: Seq) -> Self {
        Self { first, bytes: 0, since: None }
    }

    /// Counts a record with this many stored bytes, if it is in the tail.
    pub(crate) fn count(&mut self, record: &Record, bytes: u64) {
        if record.seq >= self.first {
            self.bytes += bytes;
            self.since.get_or_insert(record.at);
        }
    }
}

/// How long a commit took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommitTimes {
    /// The time to hand the records to the storage. Includes the sync of bodies, if the commit is large.
    pub append: Duration,
    /// The time to make them durable.
    pub sync: Duration,
}

#[derive(Debug)]
pub(crate) struct Shared {
    /// `None` once the log is closed. Readers that outlive the log must not keep its files open. Otherwise the log
    /// could not be opened again.
    tiers: Mutex<Option<Arc<Tiers>>>,
    pub(crate) log_id: LogId,
    /// The last durable commit: readers see the log up to it.
    durable: Mutex<Head>,
    /// Held while the history is changed: one change at a time, and none after the log was closed.
    changing: ChangeLock,
    /// The first records of segments that were found damaged when they were to be merged.
    unmergeable: Mutex<BTreeSet<Seq>>,
    /// Set while the log is being closed, so that a change of the history ends early.
    is_closing: AtomicBool,
}

impl Shared {
    pub(crate) fn new(log_id: LogId, tiers: Option<Tiers>, head: Head) -> Self {
        Self {
            tiers: Mutex::new(tiers.map(Arc::new)),
            log_id,
            durable: Mutex::new(head),
            changing: ChangeLock::default(),
            unmergeable: Mutex::default(),
            is_closing: AtomicBool::new(false),
        }
    }

    pub(crate) fn tiers(&self) -> Result<Arc<Tiers>, Error> {
        self.locked_tiers().clone().ok_or(Error::Closed)
    }

    fn locked_tiers(&self) -> MutexGuard<'_, Option<Arc<Tiers>>> {
        self.tiers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the tiers of an open log by what `change` makes of them.
    pub(crate) fn change_tiers(&self, change: impl FnOnce(&Tiers) -> Tiers) {
        let mut tiers = self.locked_tiers();
        let changed = tiers.as_deref().map(change);
        *tiers = changed.map(Arc::new);
    }

    /// Prevents other changes of the history until the guard is dropped.
    pub(crate) fn begin_change(&self) -> ChangeGuard {
        self.changing.lock()
    }

    pub(crate) fn unmergeable(&self) -> MutexGuard<'_, BTreeSet<Seq>> {
        self.unmergeable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Like [`begin_change`](Self::begin_change); `None` while another change is made.
    pub(crate) fn try_begin_change(&self) -> Option<ChangeGuard> {
        self.changing.try_lock()
    }

    /// The last durable commit.
    pub(crate) fn head(&self) -> Head {
        *self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::SeqCst)
    }

    /// Closes the files as soon as no read is in progress. Waits for a change of the history, which ends early.
    fn close(&self) {
        self.is_closing.store(true, Ordering::SeqCst);
        let _changing = self.begin_change();
        let tiers = self.locked_tiers().take();
        self.is_closing.store(false, Ordering::SeqCst);
        drop(tiers);
    }
}

/// A lock whose guard borrows nothing, so that the writer can commit while it holds it.
#[derive(Clone, Debug, Default)]
struct ChangeLock(Arc<(Mutex<bool>, Condvar)>);

/// Prevents other changes of a log's history until it is dropped.
#[derive(Debug)]
pub(crate) struct ChangeGuard(ChangeLock);

impl ChangeLock {
    fn lock(&self) -> ChangeGuard {
        let (is_held, released) = &*self.0;
        let mut held = is_held.lock().unwrap_or_else(PoisonError::into_inner);
        while *held {
            held = released.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
        *held = true;
        drop(held);
        ChangeGuard(self.clone())
    }

    fn try_lock(&self) -> Option<ChangeGuard> {
        let mut held = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        (!std::mem::replace(&mut *held, true)).then(|| ChangeGuard(self.clone()))
    }
}

impl Drop for ChangeGuard {
    fn drop(&mut self) {
        let (is_held, released) = &*self.0.0;
        *is_held.lock().unwrap_or_else(PoisonError::into_inner) = false;
        released.notify_one();
    }
}

impl Drop for TenantLog {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl TenantLog {
    /// A log with these tiers and this end.
    pub(crate) fn recovered(tiers: Tiers, end: LogEnd, format: EnvelopeFormat) -> Self {
        let LogEnd { log_id, head, bytes, slot, last_at, tail } = end;
        let shared = Arc::new(Shared::new(log_id, Some(tiers), head));
        let (head_is_durable, poison, last_commit) = (false, None, CommitTimes::default());
        Self { shared, head, bytes, slot, last_at, head_is_durable, poison, last_commit, tail, format }
    }

    /// Sets the version of the envelopes of all records to come.
    #[must_use]
    pub fn writing(mut self, format: EnvelopeFormat) -> Self {
        self.format = format;
        self
    }

    /// The log's identity.
    pub fn log_id(&self) -> LogId {
        self.shared.log_id
    }

    /// The last durable commit.
    pub fn head(&self) -> Head {
        self.head
    }

    /// The stored bytes of all records and of the base, without the overhead of the storage and before compression.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How long the last commit since opening took.
    pub fn last_commit(&self) -> CommitTimes {
        self.last_commit
    }

    /// A reader of all durable records, including future ones.
    pub fn reader(&self) -> LogReader {
        LogReader { shared: Arc::clone(&self.shared) }
    }

    /// Connects `reader`, which was created before the log was opened this time, to this open log.
    #[must_use]
    pub fn with_reader(mut self, reader: &LogReader) -> Self {
        debug_assert_eq!(self.log_id(), reader.log_id(), "a reader of another log");
        let tiers = self.shared.locked_tiers().take();
        *reader.shared.durable.lock().unwrap_or_else(PoisonError::into_inner) = self.head;
        *reader.shared.locked_tiers() = tiers;
        self.shared = Arc::clone(&reader.shared);
        self
    }

    /// Begins a commit.
    ///
    /// # Errors
    ///
    /// [`Error::Poisoned`] if an earlier commit has failed.
    pub fn begin(&mut self) -> Result<Commit<'_>, Error> {
        match &self.poison {
            Some(cause) => Err(Error::Poisoned(cause.clone())),
            None => Ok(Commit {
                head: self.head,
                bytes: self.bytes,
                last_at: self.last_at,
                log: self,
                sealed: Vec::new(),
            }),
        }
    }

    /// Whether the log takes no more writes, since one has failed.
    pub fn is_poisoned(&self) -> bool {
        self.poison.is_some()
    }

    /// Whether the head file would survive a loss of power.
    pub fn head_is_durable(&self) -> bool {
        self.head_is_durable
    }

    /// Makes the head durable. After a commit, the head survives the end of the process, but not yet a loss of power.
    /// If the head file lags behind after a loss of power, missing records after that head are not noticed. So this is
    /// called soon after a commit, but not by each commit.
    pub fn sync_head(&mut self) -> Result<(), Error> {
        if !self.head_is_durable {
            self.shared.tiers()?.active.storage.sync_head()?;
            self.head_is_durable = true;
        }
        Ok(())
    }

    /// Counts the sealed part of the log anew after it was changed.
    pub(crate) fn replace_sealed_bytes(&mut self, before: u64, after: u64) {
        self.bytes = self.bytes.saturating_sub(before) + after;
    }

    /// The stored bytes of the records in the tail that takes writes.
    pub fn tail_bytes(&self) -> u64 {
        self.tail.bytes
    }

    /// The time of the first record in that tail; `None` if it is empty.
    pub fn tail_since(&self) -> Option<Timestamp> {
        self.tail.since
    }

    /// Begins a new tail, durably. The previous one is frozen, and can be [sealed](LogReader::seal). Does nothing if
    /// the tail is empty, or if the log has no folder.
    ///
    /// # Errors
    ///
    /// After an error of a full disk, for example, writes go on in the previous tail. If the new tail may exist
    /// nevertheless, the log refuses further writes.
    pub fn rotate(&mut self) -> Result<(), Error> {
        if let Some(cause) = &self.poison {
            return Err(Error::Poisoned(cause.clone()));
        }
        let tiers = self.shared.tiers()?;
        let Some(folder) = tiers.folder().filter(|_| self.tail.bytes > 0) else { return Ok(()) };
        // IMPORTANT: before the new tail exists. The head names the end of the frozen tail, so a record that is missing
        // there later is detected.
        if let Err(error) = self.sync_head() {
            // A later sync that succeeds proves nothing.
            let (reason, kind) = (error.to_string(), error.failure().unwrap_or(StorageFailure::Broken));
            tiers.active.storage.mark_poisoned();
            self.poison = Some(StorageError { doing: "sync the head", reason, kind });
            return Err(error);
        }
        if let Some(history) = begin_history(&folder.path, self.shared.log_id)? {
            self.format = history.envelopes()?;
            self.shared.change_tiers(|tiers| tiers.with_history(folder, history));
        }
        let first = self.head.seq.next();
        let storage = tails::create(&folder.path, first, folder.segment_bytes);
        let storage = storage.map_err(|error| match error {
            CreateError::Nothing(error) => error,
            CreateError::Unopened(error) => {
                let reason = error.to_string();
                let kind = error.failure().unwrap_or(StorageFailure::Broken);
                tiers.active.storage.mark_poisoned();
                self.poison = Some(StorageError { doing: "begin a new tail", reason, kind });
                error
            }
        })?;
        let active = Tail { first, storage: Arc::new(storage) };
        self.shared.change_tiers(|tiers| tiers.rotated(active));
        self.tail = ActiveTail::new(first);
        Ok(())
    }

    /// Makes the head durable and closes the log.
    pub fn close(mut self) -> Result<(), Error> {
        self.sync_head()
    }
}

/// Records that become durable together or not at all. Staging assigns their numbers and writes nothing. Dropping a
/// commit discards it.
#[derive(Debug)]
pub struct Commit<'log> {
    log: &'log mut TenantLog,
    sealed: Vec<(Record, Vec<u8>)>,
    head: Head,
    bytes: u64,
    last_at: Timestamp,
}

impl Commit<'_> {
    /// Stages a record with the next number, at a time that is not before that of the previous record.
    pub fn stage(&mut self, draft: Draft, now: Timestamp) -> Result<&Record, Error> {
        self.stage_within(draft, now, u64::MAX)
    }

    /// Like [`Commit::stage`], but fails and stages nothing if the log would then hold more than `bytes_max` bytes.
    ///
    /// # Errors
    ///
    /// [`Error::LogFull`] beyond `bytes_max`, and [`Error::RecordTooLarge`] for a record larger than readers accept.
    pub fn stage_within(&mut self, draft: Draft, now: Timestamp, bytes_max: u64) -> Result<&Record, Error> {
        let Draft { actor, request_id, idempotency, event } = draft;
        let seq = self.head.seq.next();
        let at = now.max(self.last_at);
        let record = Record { log_id: self.log.log_id(), seq, at, actor, request_id, idempotency, event };
        let sealed = self.log.format.seal(&record, &self.head.chain);
        let (stored, chain) = sealed.ok_or(Error::RecordTooLarge { bytes_max: BODY_BYTES_MAX })?;
        let bytes = self.bytes + stored.len() as u64;
        if bytes > bytes_max {
            return Err(Error::LogFull { bytes: self.bytes, more: stored.len() as u64, bytes_max });
        }
        self.bytes = bytes;
        self.head = Head { seq, chain };
        self.last_at = at;
        self.sealed.push((record, stored));
        Ok(&self.sealed.last().expect("just pushed").0)
    }

    /// The staged records, in order.
    pub fn staged(&self) -> impl Iterator<Item = &Record> {
        self.sealed.iter().map(|(record, _)| record)
    }

    /// The number of the last staged record, or of the log's head.
    pub fn last_seq(&self) -> Seq {
        self.head.seq
    }

    /// Writes the staged records. Returns them once they are durable, that is, once they survive the end of the process
    /// and a loss of power.
    ///
    /// # Errors
    ///
    /// After an error the log refuses further writes. Only a recovery determines whether the log contains these
    /// records.
    pub fn commit(self) -> Result<Vec<Record>, Error> {
        if self.sealed.is_empty() {
            return Ok(Vec::new());
        }
        let slot = self.log.slot.other();
        let tiers = self.log.shared.tiers()?;
        let storage = &tiers.active.storage;
        match write(storage.as_ref(), &self.sealed, self.head, slot) {
            Ok(times) => self.log.last_commit = times,
            Err(cause) => {
                storage.mark_poisoned();
                self.log.poison = Some(cause.clone());
                return Err(cause.into());
            }
        }
        self.log.head_is_durable = false;
        self.log.head = self.head;
        self.log.bytes = self.bytes;
        self.log.slot = slot;
        self.log.last_at = self.last_at;
        for (record, stored) in &self.sealed {
            self.log.tail.count(record, stored.len() as u64);
        }
        *self.log.shared.durable.lock().unwrap_or_else(PoisonError::into_inner) = self.head;
        Ok(self.sealed.into_iter().map(|(record, _)| record).collect())
    }
}

/// IMPORTANT: the order is records, sync, head. The last part of the last record has the commit mark, so any prefix that
/// survives contains the whole commit or none of it, and the head never names a record that is not durable.
fn write(
    storage: &dyn Storage,
    sealed: &[(Record, Vec<u8>)],
    head: Head,
    slot: Slot,
) -> Result<CommitTimes, StorageError> {
    let started = Instant::now();
    let records: Vec<_> = sealed.iter().map(|(record, stored)| (record.seq, stored.as_slice())).collect();
    storage.put_records(&records, true)?;
    let appended = Instant::now();
    storage.sync()?;
    storage.write_head(slot, &head::encode(&head))?;
    Ok(CommitTimes { append: appended - started, sync: appended.elapsed() })
}

/// Reads the durable records of a log while its writer appends.
#[derive(Clone, Debug)]
pub struct LogReader {
    pub(crate) shared: Arc<Shared>,
}

/// A record and its stored bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredRecord {
    /// The record.
    pub record: Record,
    /// The chain hash of the record.
    pub chain: ChainHash,
    /// The record's envelope, as [`Verifier::push`] takes it.
    pub stored: Box<[u8]>,
}

impl LogReader {
    /// A reader of a closed log. Reads fail until [`with_reader`](TenantLog::with_reader) connects the reader to an
    /// open log.
    pub fn closed(log_id: LogId, head: Head) -> Self {
        Self { shared: Arc::new(Shared::new(log_id, None, head)) }
    }

    /// The log's identity.
    pub fn log_id(&self) -> LogId {
        self.shared.log_id
    }

    /// The last durable record.
    pub fn head(&self) -> Head {
        self.shared.head()
    }

    /// The record after which the log can be read: that of the base if older records were dropped, else
    /// [`Seq::NONE`]. Fails if the log is closed.
    pub fn beginning(&self) -> Result<Head, Error> {
        Ok(self.shared.tiers()?.beginning())
    }

    /// The state that the log begins with, if older records were dropped. Fails if the log is closed.
    pub fn base(&self) -> Result<Option<Base>, Error> {
        Ok(self.shared.tiers()?.base())
    }

    /// The first readable record at or after the moment `at`, or the number after the head if there is none. Uses a
    /// binary search, which reads only a few records: times never decrease in a log.
    pub fn first_since(&self, at: Timestamp) -> Result<Seq, Error> {
        // The first candidate, and the first number known to be at or after `at`.
        let (mut first, mut end) = (self.beginning()?.seq.next(), self.head().seq.next());
        while first < end {
            let middle = Seq::new(first.get().midpoint(end.get()));
            match self.read(middle, 1, 0)?.first() {
                Some(stored) if stored.record.at < at => first = middle.next(),
                Some(_) | None => end = middle,
            }
        }
        Ok(first)
    }

    /// Reads at most `records_max` records from `from` on. Stops after the record that exceeds `bytes_max` stored
    /// bytes, so the result has at least one record if there is one. The result is empty if `from` is after the head.
    ///
    /// # Errors
    ///
    /// [`Error::HistoryDropped`] if the record at `from` was dropped.
    pub fn read(&self, from: Seq, records_max: usize, bytes_max: usize) -> Result<Vec<StoredRecord>, Error> {
        let from = from.max(Seq::OLDEST);
        let head = self.head();
        if from > head.seq || records_max == 0 {
            return Ok(Vec::new());
        }
        loop {
            let tiers = self.shared.tiers()?;
            let oldest = tiers.beginning().seq.next();
            if from < oldest {
                return Err(Error::HistoryDropped { oldest });
            }
            match read_page(&tiers, self.shared.log_id, from, head, records_max, bytes_max)? {
                Page::Records(records) => return Ok(records),
                // A change of the history has replaced the file since.
                Page::Absent(_) if !Arc::ptr_eq(&tiers, &self.shared.tiers()?) => {}
                Page::Absent(damage) => return Err(damage.into()),
            }
        }
    }
}

/// The result of reading a page.
enum Page {
    Records(Vec<StoredRecord>),
    /// A segment does not exist.
    Absent(Damage),
}

fn read_page(
    tiers: &Tiers,
    log_id: LogId,
    from: Seq,
    head: Head,
    records_max: usize,
    bytes_max: usize,
) -> Result<Page, Error> {
    let (mut records, mut bytes) = (Vec::new(), 0);
    let mut verifier = Verifier::starting_at(log_id, from);
    let end = walk(tiers, &mut verifier, &mut |verified| {
        bytes += verified.stored.len();
        let seq = verified.head.seq;
        records.push(StoredRecord {
            record: verified.content,
            chain: verified.head.chain,
            stored: verified.stored.into(),
        });
        if seq == head.seq || records.len() == records_max || bytes > bytes_max {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    match end {
        WalkEnd::Unreadable { damage, .. } if tiers.is_absent(&damage) => Ok(Page::Absent(damage)),
        WalkEnd::Damaged(damage) | WalkEnd::Unreadable { damage, .. } => Err(damage.into()),
        WalkEnd::Whole if records.is_empty() => {
            Err(Damage { seq: from, kind: DamageKind::Missing { found: None } }.into())
        }
        WalkEnd::Whole => Ok(Page::Records(records)),
    }
}
