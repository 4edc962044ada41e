//! The open log: its writer and its readers.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::damage::{Damage, DamageKind};
use crate::envelope::{self, BODY_BYTES_MAX};
use crate::error::Error;
use crate::head::{self, Slot};
use crate::position::{ChainHash, Head, LogId, Seq, Timestamp};
use crate::record::{Draft, Record};
use crate::storage::{Storage, StorageError};
use crate::verifier::{Verifier, WalkEnd, walk};

/// A tenant's log, recovered and ready to write. A process has one instance for each open log, and the owner of the
/// instance is the only writer. [`LogReader`]s read at the same time.
#[derive(Debug)]
pub struct TenantLog {
    shared: Arc<Shared>,
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
struct Shared {
    /// `None` once the log is closed. Readers that outlive the log must not keep its files open. Otherwise the log
    /// could not be opened again.
    storage: Mutex<Option<Arc<dyn Storage>>>,
    log_id: LogId,
    /// The last durable commit: readers see the log up to it.
    durable: Mutex<Head>,
}

impl Shared {
    fn storage(&self) -> Result<Arc<dyn Storage>, Error> {
        self.storage.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or(Error::Closed)
    }
}

/// Closes the files as soon as no read is in progress.
impl Drop for TenantLog {
    fn drop(&mut self) {
        let storage = self.shared.storage.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(storage);
    }
}

impl TenantLog {
    pub(crate) fn recovered(
        storage: Box<dyn Storage>,
        log_id: LogId,
        head: Head,
        bytes: u64,
        slot: Slot,
        last_at: Timestamp,
    ) -> Self {
        let storage = Mutex::new(Some(Arc::from(storage)));
        let shared = Shared { storage, log_id, durable: Mutex::new(head) };
        let (head_is_durable, poison, last_commit) = (false, None, CommitTimes::default());
        Self { shared: Arc::new(shared), head, bytes, slot, last_at, head_is_durable, poison, last_commit }
    }

    /// The log's identity.
    pub fn log_id(&self) -> LogId {
        self.shared.log_id
    }

    /// The last durable commit.
    pub fn head(&self) -> Head {
        self.head
    }

    /// The stored bytes of all records, without the overhead of the storage.
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
        let storage = self.shared.storage.lock().unwrap_or_else(PoisonError::into_inner).take();
        *reader.shared.durable.lock().unwrap_or_else(PoisonError::into_inner) = self.head;
        *reader.shared.storage.lock().unwrap_or_else(PoisonError::into_inner) = storage;
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

    /// Whether the head file would survive a loss of power.
    pub fn head_is_durable(&self) -> bool {
        self.head_is_durable
    }

    /// Makes the head durable. After a commit, the head survives the end of the process, but not yet a loss of power.
    /// If the head file lags behind after a loss of power, missing records after that head are not noticed. So this is
    /// called soon after a commit, but not by each commit.
    pub fn sync_head(&mut self) -> Result<(), Error> {
        if !self.head_is_durable {
            self.shared.storage()?.sync_head()?;
            self.head_is_durable = true;
        }
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
        let (stored, chain) = envelope::seal(&record, &self.head.chain)
            .ok_or(Error::RecordTooLarge { bytes_max: BODY_BYTES_MAX })?;
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
        let storage = self.log.shared.storage()?;
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
    shared: Arc<Shared>,
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
        let (storage, durable) = (Mutex::new(None), Mutex::new(head));
        Self { shared: Arc::new(Shared { storage, log_id, durable }) }
    }

    /// The log's identity.
    pub fn log_id(&self) -> LogId {
        self.shared.log_id
    }

    /// The last durable record.
    pub fn head(&self) -> Head {
        *self.shared.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first record at or after the moment `at`, or the number after the head if there is none. Uses a binary
    /// search, which reads only a few records: times never decrease in a log.
    pub fn first_since(&self, at: Timestamp) -> Result<Seq, Error> {
        // The first candidate, and the first number known to be at or after `at`.
        let (mut first, mut end) = (Seq::OLDEST, self.head().seq.next());
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
    pub fn read(&self, from: Seq, records_max: usize, bytes_max: usize) -> Result<Vec<StoredRecord>, Error> {
        let from = from.max(Seq::OLDEST);
        let head = self.head();
        let mut records = Vec::new();
        if from > head.seq || records_max == 0 {
            return Ok(records);
        }
        let mut bytes = 0;
        let mut verifier = Verifier::starting_at(self.shared.log_id, from);
        let storage = self.shared.storage()?;
        let end = walk(storage.as_ref(), &mut verifier, &mut |verified| {
            bytes += verified.stored.len();
            let seq = verified.head.seq;
            records.push(StoredRecord {
                record: verified.record,
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
            WalkEnd::Damaged(damage) => Err(damage.into()),
            WalkEnd::Whole if records.is_empty() => {
                Err(Damage { seq: from, kind: DamageKind::Missing { found: None } }.into())
            }
            WalkEnd::Whole => Ok(records),
        }
    }
}
