//! The log: its writer and its readers.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::damage::{Damage, DamageKind};
use crate::envelope::{self, BODY_BYTES_MAX};
use crate::error::Error;
use crate::head::{self, Slot};
use crate::part::{Mark, PartKey, split};
use crate::position::{ChainHash, Head, LogId, Seq, Timestamp};
use crate::record::{Draft, Record};
use crate::storage::{Storage, StorageError};
use crate::verifier::{Verifier, WalkEnd, walk};

/// A tenant's log, recovered and ready. There is one per log and process, and whoever has it is the
/// writer; [`LogReader`]s read beside it.
#[derive(Debug)]
pub struct TenantLog {
    shared: Arc<Shared>,
    head: Head,
    /// Of all records, as they are stored.
    bytes: u64,
    /// The slot of the head file that holds `head`.
    slot: Slot,
    last_at: Timestamp,
    /// Whether the head's file says what `head` says after a loss of power too.
    head_is_durable: bool,
    poison: Option<StorageError>,
    last_commit: CommitTimes,
}

/// How long a commit took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommitTimes {
    /// To hand its records to the storage.
    pub append: Duration,
    /// To make them durable.
    pub sync: Duration,
}

#[derive(Debug)]
struct Shared {
    /// `None` once the log is closed: whoever still has a reader must not keep the files open, or the
    /// log could not be opened again.
    storage: Mutex<Option<Arc<dyn Storage>>>,
    log_id: LogId,
    /// The last durable commit: how far readers see.
    durable: Mutex<Head>,
}

impl Shared {
    fn storage(&self) -> Result<Arc<dyn Storage>, Error> {
        self.storage.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or(Error::Closed)
    }
}

/// Closes the files, as soon as nobody is reading from them any more.
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

    /// The stored bytes of all its records: what the log itself weighs, whatever its storage adds.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How long the last commit of this opening took.
    pub fn last_commit(&self) -> CommitTimes {
        self.last_commit
    }

    /// A reader of everything durable, now and later.
    pub fn reader(&self) -> LogReader {
        LogReader { shared: Arc::clone(&self.shared) }
    }

    /// Lets whoever reads by this `reader` of an earlier opening of the log read this one.
    #[must_use]
    pub fn read_by(mut self, reader: &LogReader) -> Self {
        debug_assert_eq!(self.log_id(), reader.log_id(), "a reader of another log");
        let storage = self.shared.storage.lock().unwrap_or_else(PoisonError::into_inner).take();
        *reader.shared.durable.lock().unwrap_or_else(PoisonError::into_inner) = self.head;
        *reader.shared.storage.lock().unwrap_or_else(PoisonError::into_inner) = storage;
        self.shared = Arc::clone(&reader.shared);
        self
    }

    /// Starts a commit; fails if an earlier one has failed.
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

    /// Whether the head has moved since it was last made durable.
    pub fn head_is_durable(&self) -> bool {
        self.head_is_durable
    }

    /// Makes the head durable too. A commit needs it to survive the end of the process only; after a loss
    /// of power a head that lags behind hides what is missing behind it. So this is called soon after a
    /// commit, but not by each.
    pub fn sync_head(&mut self) -> Result<(), Error> {
        if !self.head_is_durable {
            self.shared.storage()?.sync_head()?;
            self.head_is_durable = true;
        }
        Ok(())
    }

    /// Makes the head durable and closes the log. For one that falls asleep.
    pub fn close(mut self) -> Result<(), Error> {
        self.sync_head()
    }
}

/// Records that become durable together, or not at all. Staging gives them their places and touches
/// nothing; a commit that is dropped never was.
#[derive(Debug)]
pub struct Commit<'log> {
    log: &'log mut TenantLog,
    sealed: Vec<(Record, Vec<u8>)>,
    head: Head,
    bytes: u64,
    last_at: Timestamp,
}

impl Commit<'_> {
    /// Gives `draft` the next place in the log and a time that does not run backwards.
    pub fn stage(&mut self, draft: Draft, now: Timestamp) -> Result<&Record, Error> {
        self.stage_within(draft, now, u64::MAX)
    }

    /// Like [`Commit::stage`], unless the log would then hold more than `bytes_max`: then nothing is staged.
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

    /// The records staged so far, in order.
    pub fn staged(&self) -> impl Iterator<Item = &Record> {
        self.sealed.iter().map(|(record, _)| record)
    }

    /// The last place given out: that of the last staged record, or the log's head.
    pub fn last_seq(&self) -> Seq {
        self.head.seq
    }

    /// Writes the staged records and returns them once they are durable: they survive the end of the
    /// process and of power.
    ///
    /// After an error the log takes no more writes, and whether these records are in it is open until
    /// it has been recovered.
    pub fn commit(self) -> Result<Vec<Record>, Error> {
        if self.sealed.is_empty() {
            return Ok(Vec::new());
        }
        let slot = self.log.slot.other();
        let storage = self.log.shared.storage()?;
        match write(storage.as_ref(), &self.sealed, self.head, slot) {
            Ok(times) => self.log.last_commit = times,
            Err(cause) => {
                storage.condemn();
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

/// IMPORTANT, the order: parts, sync, head. The last part of the last record carries the commit mark,
/// so whatever prefix of this survives is either the whole commit or nothing of it, and the head never
/// claims what is not durable.
fn write(
    storage: &dyn Storage,
    sealed: &[(Record, Vec<u8>)],
    head: Head,
    slot: Slot,
) -> Result<CommitTimes, StorageError> {
    let started = Instant::now();
    for (at, (record, stored)) in sealed.iter().enumerate() {
        let last = if at + 1 == sealed.len() { Mark::EndsCommit } else { Mark::EndsRecord };
        for (part, value) in (0..).zip(split(stored, storage.part_bytes_max(), last)) {
            storage.put(PartKey { seq: record.seq, part }, &value)?;
        }
    }
    let appended = Instant::now();
    storage.sync()?;
    storage.write_head(slot, &head::encode(&head))?;
    Ok(CommitTimes { append: appended - started, sync: appended.elapsed() })
}

/// Reads what is durable in a log, beside its writer.
#[derive(Clone, Debug)]
pub struct LogReader {
    shared: Arc<Shared>,
}

/// A record and the bytes it is stored as.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredRecord {
    /// The record.
    pub record: Record,
    /// The history up to and with it.
    pub chain: ChainHash,
    /// Its envelope: what [`Verifier::push`] takes.
    pub stored: Box<[u8]>,
}

impl LogReader {
    /// A reader of a log that is closed, until one that is open is [read by](TenantLog::read_by) it.
    pub fn closed(log_id: LogId, head: Head) -> Self {
        let (storage, durable) = (Mutex::new(None), Mutex::new(head));
        Self { shared: Arc::new(Shared { storage, log_id, durable }) }
    }

    /// The log's identity.
    pub fn log_id(&self) -> LogId {
        self.shared.log_id
    }

    /// How far the log is durable.
    pub fn head(&self) -> Head {
        *self.shared.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first record at or after the moment `at`; the one behind the head if there is none yet. Reads a
    /// few records, however long the log is: times never run backwards.
    pub fn first_since(&self, at: Timestamp) -> Result<Seq, Error> {
        // The first that may be it, and the first that is known to be it or behind it.
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

    /// Reads records from `from` on: at most `records_max`, and no more once `bytes_max` of stored
    /// bytes are exceeded, but at least one if there is one. Empty behind the head.
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
