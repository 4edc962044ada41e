//! Recovery: from stored bytes to a log that accepts writes.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::base::Base;
use crate::commits::{Commits, Committed, Found};
use crate::damage::Damage;
use crate::error::Error;
use crate::head::{self, Slot};
use crate::part::{Mark, PartKey};
use crate::position::{Head, LogId, Seq, Timestamp};
use crate::record::Record;
use crate::storage::{Storage, StorageError};
use crate::tenant_log::{ActiveTail, LogEnd, TenantLog};
use crate::tiers::Tiers;
use crate::verifier::{Verifier, WalkEnd, walk};

/// A log with open storages and unverified records. It can only be recovered.
#[derive(Debug)]
pub struct UnverifiedLog {
    tiers: Tiers,
    log_id: LogId,
    acknowledged: Head,
    slot: Slot,
}

/// A log that has all acknowledged records.
#[derive(Debug)]
pub struct Recovered {
    /// The log.
    pub log: TenantLog,
    /// The stored bytes of the records that were folded.
    pub folded_bytes: u64,
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
    /// A log without segments, in this storage. Reads the head only.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] if neither slot of the head file is valid.
    pub fn new(storage: Box<dyn Storage>, log_id: LogId) -> Result<Self, Error> {
        Self::of_tiers(Tiers::of_storage(log_id, Arc::from(storage)), log_id)
    }

    /// A log in these tiers. Reads the head only.
    pub(crate) fn of_tiers(tiers: Tiers, log_id: LogId) -> Result<Self, Error> {
        let (acknowledged, slot) = acknowledged(&tiers)?;
        Ok(Self { tiers, log_id, acknowledged, slot })
    }

    /// The last acknowledged record, by the head file and the sealed records.
    pub fn acknowledged(&self) -> Head {
        self.acknowledged
    }

    /// The state that the log begins with, if older records were dropped. A fold without a checkpoint begins with it.
    pub fn base(&self) -> Option<Base> {
        self.tiers.base()
    }

    /// The log in front of the first readable record.
    pub fn beginning(&self) -> Head {
        self.tiers.beginning()
    }

    /// The log id, if the first readable record belongs to this log, or the head if there are no records.
    pub(crate) fn proven_log_id(self) -> Result<LogId, Error> {
        let Self { tiers, log_id, acknowledged, .. } = self;
        if acknowledged.seq == Seq::NONE {
            let genesis = Head::genesis(log_id);
            let is_proven = acknowledged == genesis;
            return if is_proven {
                Ok(log_id)
            } else {
                Err(Damage::other_history(genesis, acknowledged).into())
            };
        }
        let beginning = tiers.beginning();
        if acknowledged == beginning {
            // The base names its log, and the manifest names the base by its hash.
            return Ok(log_id);
        }
        let mut is_proven = false;
        let end = walk(&tiers, &mut Verifier::continuing(log_id, beginning), &mut |_| {
            is_proven = true;
            ControlFlow::Break(())
        })?;
        match end {
            WalkEnd::Damaged(damage) | WalkEnd::Unreadable { damage, .. } => Err(damage.into()),
            WalkEnd::Whole if is_proven => Ok(log_id),
            WalkEnd::Whole => Err(Damage::missing(beginning.seq.next()).into()),
        }
    }

    /// Verifies all readable records and calls `fold` with each. Removes an uncommitted tail.
    ///
    /// If the log has a [`base`](Self::base), the caller folds that first.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] if an acknowledged record is missing or wrong, and errors of `fold`. Then nothing was
    /// changed.
    pub fn recover<E: From<Error>>(self, fold: impl FnMut(Record) -> Result<(), E>) -> Result<Recovered, E> {
        let beginning = self.tiers.beginning();
        self.recover_after(beginning, fold)
    }

    /// Like [`recover`](Self::recover), for a caller that has folded the records up to `base`. `fold` is called with
    /// those after it. Sealed records up to `base` are not read: they were verified when they were sealed, and are
    /// verified by [`TenantFolder::verify`](crate::TenantFolder::verify) and by scrubbing. If the record at `base` is
    /// missing or another one, that is damage, so a wrong `base` is detected, and nothing was changed.
    ///
    /// # Errors
    ///
    /// [`Error::HistoryDropped`] if records after `base` were dropped.
    pub fn recover_after<E: From<Error>>(
        self,
        base: Head,
        mut fold: impl FnMut(Record) -> Result<(), E>,
    ) -> Result<Recovered, E> {
        let Self { tiers, log_id, acknowledged, slot } = self;
        let start = start_after(&tiers, log_id, base)?;
        let mut pass = Pass::new(&tiers, start);
        Commits::after(&tiers, log_id, acknowledged, start).each::<E>(|found| {
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
            let stored_bytes = committed.stored.len() as u64;
            let record = pass.take(committed);
            if record.seq > base.seq {
                pass.folded_bytes += stored_bytes;
                fold(record)?;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        if pass.head.seq < base.seq {
            return Err(Error::from(Damage::missing(pass.head.seq.next())).into());
        }
        pass.finish(tiers, log_id, acknowledged, slot).map_err(E::from)
    }
}

/// The acknowledged head of the log in these tiers, and the slot that was written last. Sealed records are
/// acknowledged, even if a loss of power has undone later writes of the head.
pub(crate) fn acknowledged(tiers: &Tiers) -> Result<(Head, Slot), Error> {
    let (head, slot) = head::acknowledged(&tiers.active.storage.read_head()?)?;
    let sealed = tiers.sealed();
    Ok((if sealed.seq > head.seq { sealed } else { head }, slot))
}

/// The record to start a pass after, for a caller that has folded the records up to `base`.
fn start_after(tiers: &Tiers, log_id: LogId, base: Head) -> Result<Head, Error> {
    let (beginning, sealed) = (tiers.beginning(), tiers.sealed());
    if base.seq < beginning.seq {
        return Err(Error::HistoryDropped { oldest: beginning.seq.next() });
    }
    if base.seq >= sealed.seq {
        if base.seq == sealed.seq && base != sealed {
            return Err(Damage::other_history(sealed, base).into());
        }
        return Ok(sealed);
    }
    let found = if base.seq == beginning.seq { beginning } else { head_at(tiers, log_id, base.seq)? };
    if found == base { Ok(base) } else { Err(Damage::other_history(found, base).into()) }
}

/// The chain hash of the record at `seq`. The record is verified, but not its place in the chain.
fn head_at(tiers: &Tiers, log_id: LogId, seq: Seq) -> Result<Head, Error> {
    let mut found = None;
    let end = walk(tiers, &mut Verifier::starting_at(log_id, seq), &mut |verified| {
        found = Some(verified.head);
        ControlFlow::Break(())
    })?;
    match end {
        WalkEnd::Damaged(damage) | WalkEnd::Unreadable { damage, .. } => Err(damage.into()),
        WalkEnd::Whole => found.ok_or_else(|| Damage::missing(seq).into()),
    }
}

/// What a pass over the records has found.
struct Pass {
    /// The last committed record, its time, and the stored bytes up to it.
    head: Head,
    last_at: Timestamp,
    bytes: u64,
    /// The last sealed record. The bytes up to it are known.
    sealed: Seq,
    tail: ActiveTail,
    folded_bytes: u64,
    uncommitted: Option<Damage>,
}

impl Pass {
    fn new(tiers: &Tiers, start: Head) -> Self {
        let history = &tiers.history;
        let sealed_at = history.segments.last().map(|entry| entry.until);
        Self {
            head: start,
            last_at: sealed_at.or(history.base.map(|base| base.at)).unwrap_or_default(),
            bytes: history.bytes(),
            sealed: tiers.sealed().seq,
            tail: ActiveTail::new(tiers.active.first),
            folded_bytes: 0,
            uncommitted: None,
        }
    }

    /// Counts a record and returns it.
    fn take(&mut self, committed: Committed<'_>) -> Record {
        self.head = committed.head;
        if self.head.seq > self.sealed {
            self.last_at = committed.record.at;
            self.bytes += committed.stored.len() as u64;
            self.tail.count(&committed.record, committed.stored.len() as u64);
        }
        committed.record
    }

    /// Removes the uncommitted tail, and acknowledges whole commits above the head.
    fn finish(self, tiers: Tiers, log_id: LogId, acknowledged: Head, slot: Slot) -> Result<Recovered, Error> {
        let from = self.head.seq.next();
        // Frozen tails are durable and acknowledged, so an unfinished commit in one of them is damage.
        let storage = tiers.active.storage.as_ref();
        let removed = match self.uncommitted {
            Some(damage) if from < tiers.active.first => return Err(damage.into()),
            uncommitted => uncommitted.map(|reason| remove_tail(storage, from, reason)).transpose()?,
        };
        let mut slot = slot;
        if self.head != acknowledged {
            // These commits are whole and durable, though they were never acknowledged: from now on they are.
            slot = slot.other();
            storage.write_head(slot, &head::encode(&self.head))?;
        }
        let format = tiers.history.envelopes()?;
        let Self { head, bytes, last_at, tail, folded_bytes, .. } = self;
        let end = LogEnd { log_id, head, bytes, slot, last_at, tail };
        let log = TenantLog::recovered(tiers, end, format);
        Ok(Recovered { log, folded_bytes, removed })
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

/// Calls `visit` with each acknowledged record of a pass. Returns the head, and the stored bytes of the records.
///
/// # Errors
///
/// [`Error::Damaged`] if one of them is missing or wrong, and errors of `visit`.
pub(crate) fn each_acknowledged<E: From<Error>>(
    commits: &Commits<'_>,
    start: Head,
    acknowledged: Head,
    mut visit: impl FnMut(Committed<'_>) -> Result<(), E>,
) -> Result<(Head, u64), E> {
    let (mut reached, mut bytes) = (start, 0);
    commits.each::<E>(|found| match found {
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
pub fn copy_acknowledged(from: Arc<dyn Storage>, to: &dyn Storage, log_id: LogId) -> Result<Head, Error> {
    let copied = copy_tail(from, to, log_id, Seq::OLDEST)?;
    to.write_head(Slot::First, &head::encode(&copied))?;
    to.sync_head()?;
    Ok(copied)
}

/// Copies the acknowledged records of a tail whose first record is `first`, and makes them durable. Returns the
/// acknowledged head. The place of the first record in the chain is verified when the log is opened.
pub(crate) fn copy_tail(
    from: Arc<dyn Storage>,
    to: &dyn Storage,
    log_id: LogId,
    first: Seq,
) -> Result<Head, Error> {
    let tiers = Tiers::of_storage(log_id, from);
    let (acknowledged, _) = head::acknowledged(&tiers.active.storage.read_head()?)?;
    if acknowledged.seq >= first || first == Seq::OLDEST {
        let commits = Commits::of_tail(&tiers, log_id, acknowledged, first);
        each_acknowledged(&commits, Head::genesis(log_id), acknowledged, |committed| {
            let Committed { head, stored, mark, .. } = committed;
            to.put_records(&[(head.seq, &stored)], mark == Mark::EndsCommit)?;
            Ok::<(), Error>(())
        })?;
    }
    to.sync()?;
    Ok(acknowledged)
}
