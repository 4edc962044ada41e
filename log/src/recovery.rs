//! Recovery: from stored bytes to a log that accepts writes.

use std::ops::ControlFlow;

use crate::commits::{Commits, Committed, Found};
use crate::damage::Damage;
use crate::error::Error;
use crate::head::{self, Slot};
use crate::part::{Mark, PartKey};
use crate::position::{Head, LogId, Seq, Timestamp};
use crate::record::Record;
use crate::storage::{Storage, StorageError};
use crate::tenant_log::TenantLog;
use crate::verifier::{Verifier, WalkEnd, walk};

/// A log with an open storage and unverified records. It can only be recovered.
#[derive(Debug)]
pub struct UnverifiedLog {
    storage: Box<dyn Storage>,
    log_id: LogId,
    acknowledged: Head,
    slot: Slot,
}

/// A log that has all acknowledged records.
#[derive(Debug)]
pub struct Recovered {
    /// The log.
    pub log: TenantLog,
    /// The unfinished end above the acknowledged head that was removed, if there was one. The server should log it.
    pub removed: Option<RemovedTail>,
}

/// An unfinished end of a log that was never acknowledged and has been removed.
#[derive(Clone, Debug, PartialEq)]
pub struct RemovedTail {
    /// The first removed record.
    pub from: Seq,
    /// How many parts were removed.
    pub parts: usize,
    /// Why the end was not a whole commit.
    pub reason: Damage,
}

/// Prepares an empty storage for a new log.
pub fn initialize(storage: &dyn Storage, log_id: LogId) -> Result<(), StorageError> {
    storage.write_head(Slot::First, &head::encode(&Head::genesis(log_id)))?;
    storage.sync_head()
}

impl UnverifiedLog {
    /// Reads the head only.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] if neither slot of the head file is valid.
    pub fn new(storage: Box<dyn Storage>, log_id: LogId) -> Result<Self, Error> {
        let (acknowledged, slot) = head::acknowledged(&storage.read_head()?)?;
        Ok(Self { storage, log_id, acknowledged, slot })
    }

    /// The last acknowledged record, by the head file.
    pub fn acknowledged(&self) -> Head {
        self.acknowledged
    }

    /// The log id, if the first record belongs to this log, or the head if there are no records.
    pub(crate) fn proven_log_id(self) -> Result<LogId, Error> {
        let Self { storage, log_id, acknowledged, .. } = self;
        if acknowledged.seq == Seq::NONE {
            let genesis = Head::genesis(log_id);
            let is_proven = acknowledged == genesis;
            return if is_proven {
                Ok(log_id)
            } else {
                Err(Damage::other_history(genesis, acknowledged).into())
            };
        }
        let mut is_proven = false;
        let end = walk(storage.as_ref(), &mut Verifier::new(log_id), &mut |_| {
            is_proven = true;
            ControlFlow::Break(())
        })?;
        match end {
            WalkEnd::Damaged(damage) => Err(damage.into()),
            WalkEnd::Whole if is_proven => Ok(log_id),
            WalkEnd::Whole => Err(Damage::missing(Seq::OLDEST).into()),
        }
    }

    /// Verifies all records and calls `fold` with each. Removes an uncommitted tail.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] if an acknowledged record is missing or wrong, and errors of `fold`. Then nothing was
    /// changed.
    pub fn recover<E: From<Error>>(self, fold: impl FnMut(Record) -> Result<(), E>) -> Result<Recovered, E> {
        let genesis = Head::genesis(self.log_id);
        self.recover_after(genesis, fold)
    }

    /// Like [`recover`](Self::recover), for a caller that has folded the records up to `base`: all records are
    /// verified, but `fold` is called only with those after `base`. If the record at `base` is missing or another
    /// one, that is damage, so a wrong `base` is detected, and nothing was changed.
    pub fn recover_after<E: From<Error>>(
        self,
        base: Head,
        mut fold: impl FnMut(Record) -> Result<(), E>,
    ) -> Result<Recovered, E> {
        let Self { storage, log_id, acknowledged, slot } = self;
        let mut pass = Pass::new(log_id);
        Commits::new(storage.as_ref(), log_id, acknowledged).each::<E>(|found| {
            let committed = match found {
                Found::Record(committed) => committed,
                Found::Damage(damage) => return Err(Error::from(damage).into()),
                Found::Uncommitted(damage) => {
                    pass.uncommitted = Some(damage);
                    return Ok(ControlFlow::Continue(()));
                }
            };
            if committed.head.seq == base.seq && committed.head.chain != base.chain {
                return Err(Error::from(Damage::other_history(committed.head, base)).into());
            }
            let record = pass.take(committed);
            if record.seq > base.seq {
                fold(record)?;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        if pass.head.seq < base.seq {
            return Err(Error::from(Damage::missing(pass.head.seq.next())).into());
        }
        pass.finish(storage, log_id, acknowledged, slot).map_err(E::from)
    }
}

/// What a pass over the records has found.
struct Pass {
    /// The last committed record, its time, and the stored bytes up to it.
    head: Head,
    last_at: Timestamp,
    bytes: u64,
    uncommitted: Option<Damage>,
}

impl Pass {
    fn new(log_id: LogId) -> Self {
        Self { head: Head::genesis(log_id), last_at: Timestamp::default(), bytes: 0, uncommitted: None }
    }

    /// Counts a record and returns it.
    fn take(&mut self, committed: Committed<'_>) -> Record {
        self.head = committed.head;
        self.last_at = committed.record.at;
        self.bytes += committed.stored.len() as u64;
        committed.record
    }

    /// Removes the uncommitted tail, and acknowledges whole commits above the head.
    fn finish(
        self,
        storage: Box<dyn Storage>,
        log_id: LogId,
        acknowledged: Head,
        slot: Slot,
    ) -> Result<Recovered, Error> {
        let from = self.head.seq.next();
        let removed =
            self.uncommitted.map(|reason| remove_tail(storage.as_ref(), from, reason)).transpose()?;
        let mut slot = slot;
        if self.head != acknowledged {
            // These commits are whole and durable, though they were never acknowledged: from now on they are.
            slot = slot.other();
            storage.write_head(slot, &head::encode(&self.head))?;
        }
        let log = TenantLog::recovered(storage, log_id, self.head, self.bytes, slot, self.last_at);
        Ok(Recovered { log, removed })
    }
}

/// Removes everything from `from` on, durably, so that it cannot mix with later writes. From the end, so that an
/// interrupted removal leaves a shorter tail.
fn remove_tail(storage: &dyn Storage, from: Seq, reason: Damage) -> Result<RemovedTail, StorageError> {
    let mut keys = Vec::new();
    storage.scan_parts(PartKey::first(from), &mut |key, _| {
        keys.push(key.to_vec());
        ControlFlow::Continue(())
    })?;
    for key in keys.iter().rev() {
        storage.remove(key)?;
    }
    storage.sync()?;
    Ok(RemovedTail { from, parts: keys.len(), reason })
}

/// Calls `visit` with each acknowledged record. Returns the head and the stored bytes up to it.
///
/// # Errors
///
/// [`Error::Damaged`] if one of them is missing or wrong, and errors of `visit`.
pub(crate) fn each_acknowledged<E: From<Error>>(
    storage: &dyn Storage,
    log_id: LogId,
    acknowledged: Head,
    mut visit: impl FnMut(Committed<'_>) -> Result<(), E>,
) -> Result<(Head, u64), E> {
    let (mut reached, mut bytes) = (Head::genesis(log_id), 0);
    Commits::new(storage, log_id, acknowledged).each::<E>(|found| match found {
        Found::Record(committed) if committed.head.seq <= acknowledged.seq => {
            reached = committed.head;
            bytes += committed.stored.len() as u64;
            visit(committed)?;
            let is_last = reached.seq == acknowledged.seq;
            Ok(if is_last { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        }
        Found::Damage(damage) if damage.seq <= acknowledged.seq => Err(Error::from(damage).into()),
        Found::Record(_) | Found::Damage(_) | Found::Uncommitted(_) => Ok(ControlFlow::Break(())),
    })?;
    Ok((reached, bytes))
}

/// Copies the acknowledged records, each verified, to an empty storage, and makes them durable there. After a storage
/// has failed, its log accepts writes again only from such a copy: the page cache may show data that is not on disk,
/// so only verified records are trusted.
pub fn copy_acknowledged(from: &dyn Storage, to: &dyn Storage, log_id: LogId) -> Result<Head, Error> {
    let (acknowledged, _) = head::acknowledged(&from.read_head()?)?;
    let (copied, _) = each_acknowledged(from, log_id, acknowledged, |committed| {
        let Committed { head, stored, mark, .. } = committed;
        to.put_records(&[(head.seq, &stored)], mark == Mark::EndsCommit)?;
        Ok::<(), Error>(())
    })?;
    to.sync()?;
    to.write_head(Slot::First, &head::encode(&copied))?;
    to.sync_head()?;
    Ok(copied)
}
