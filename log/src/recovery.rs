//! From stored bytes to a log that can be trusted.

use std::ops::ControlFlow;

use crate::damage::{Damage, DamageKind};
use crate::error::Error;
use crate::head::{self, Slot};
use crate::part::{Mark, PartKey, split};
use crate::position::{Head, LogId, Seq, Timestamp};
use crate::record::Record;
use crate::storage::{Storage, StorageError};
use crate::tenant_log::TenantLog;
use crate::verifier::{Verifier, WalkEnd, walk};

/// A log whose storage is open and whose records nobody has looked at. It can only be recovered.
#[derive(Debug)]
pub struct UnverifiedLog {
    storage: Box<dyn Storage>,
    log_id: LogId,
    acknowledged: Head,
    slot: Slot,
}

/// A log that holds what was acknowledged.
#[derive(Debug)]
pub struct Recovered {
    /// The log.
    pub log: TenantLog,
    /// What was beyond the acknowledged head and not whole. Worth a line in the log of the server.
    pub cut: Option<Cut>,
}

/// An unfinished end that was never acknowledged and has been removed.
#[derive(Clone, Debug, PartialEq)]
pub struct Cut {
    /// The first record that is gone.
    pub from: Seq,
    /// How many parts were removed.
    pub parts: usize,
    /// Why the end was not whole.
    pub reason: Damage,
}

/// Prepares an empty storage for a new log.
pub fn initialize(storage: &dyn Storage, log_id: LogId) -> Result<(), StorageError> {
    storage.write_head(Slot::First, &head::encode(&Head::genesis(log_id)))?;
    storage.sync_head()
}

impl UnverifiedLog {
    /// Reads the head, and nothing else yet.
    pub fn new(storage: Box<dyn Storage>, log_id: LogId) -> Result<Self, Error> {
        let (acknowledged, slot) = head::acknowledged(&storage.read_head()?)?;
        Ok(Self { storage, log_id, acknowledged, slot })
    }

    /// What the log is known to have acknowledged.
    pub fn acknowledged(&self) -> Head {
        self.acknowledged
    }

    /// The log's id, if the first record is of this log; of a log without records, if the head is.
    pub(crate) fn proven_log_id(self) -> Result<LogId, Error> {
        let Self { storage, log_id, acknowledged, .. } = self;
        if acknowledged.seq == Seq::NONE {
            is_acknowledged(Head::genesis(log_id), Mark::EndsCommit, acknowledged)?;
            return Ok(log_id);
        }
        let mut found = false;
        let mut verifier = Verifier::new(log_id);
        let end = walk(storage.as_ref(), &mut verifier, &mut |_| {
            found = true;
            ControlFlow::Break(())
        })?;
        match end {
            WalkEnd::Damaged(damage) => Err(damage.into()),
            WalkEnd::Whole if !found => {
                Err(Damage { seq: Seq::OLDEST, kind: DamageKind::Missing { found: None } }.into())
            }
            WalkEnd::Whole => Ok(log_id),
        }
    }

    /// Verifies every record, hands it to `fold`, and cuts what lies beyond the acknowledged head and
    /// is not a whole commit. Anything missing or wrong at or below the head is an error, and then
    /// nothing has been changed.
    pub fn recover<E: From<Error>>(self, fold: impl FnMut(Record) -> Result<(), E>) -> Result<Recovered, E> {
        let genesis = Head::genesis(self.log_id);
        self.recover_behind(genesis, fold)
    }

    /// The same for whoever has folded everything up to `base`: every record is verified, and those behind it
    /// are handed over. That another record is there, or none, is damage at its seq; so a `base` that was
    /// believed wrongly is found, and nothing has been changed.
    pub fn recover_behind<E: From<Error>>(
        self,
        base: Head,
        mut fold: impl FnMut(Record) -> Result<(), E>,
    ) -> Result<Recovered, E> {
        let Self { storage, log_id, acknowledged, slot } = self;
        let mut fold = |record: Record| if record.seq > base.seq { fold(record) } else { Ok(()) };
        let mut committed = Head::genesis(log_id);
        let mut last_at = Timestamp::default();
        // Of what is committed, and of all that was met.
        let (mut bytes, mut met_bytes) = (0, 0);
        // Records beyond the head whose commit mark has not come yet.
        let mut uncommitted = Vec::new();
        let mut failure: Option<E> = None;
        let mut verifier = Verifier::new(log_id);
        let end = walk(storage.as_ref(), &mut verifier, &mut |verified| {
            let head = verified.head;
            met_bytes += verified.stored.len() as u64;
            if head.seq == base.seq && head.chain != base.chain {
                failure = Some(Error::from(other_history(head, base)).into());
                return ControlFlow::Break(());
            }
            if head.seq == acknowledged.seq
                && let Err(damage) = is_acknowledged(head, verified.mark, acknowledged)
            {
                failure = Some(Error::from(damage).into());
                return ControlFlow::Break(());
            }
            if head.seq <= acknowledged.seq {
                last_at = verified.record.at;
                (committed, bytes) = (head, met_bytes);
                return match fold(verified.record) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(error) => {
                        failure = Some(error);
                        ControlFlow::Break(())
                    }
                };
            }
            uncommitted.push(verified.record);
            if verified.mark == Mark::EndsCommit {
                (committed, bytes) = (head, met_bytes);
                for record in uncommitted.drain(..) {
                    last_at = record.at;
                    if let Err(error) = fold(record) {
                        failure = Some(error);
                        return ControlFlow::Break(());
                    }
                }
            }
            ControlFlow::Continue(())
        })
        .map_err(Error::from)?;
        if let Some(failure) = failure {
            return Err(failure);
        }
        let beyond = committed.seq.next();
        let unfinished = match end {
            WalkEnd::Damaged(damage) if damage.seq <= acknowledged.seq => {
                return Err(Error::from(damage).into());
            }
            // A commit is durable before the next one starts, and what survives of the last is its
            // beginning. So a whole end of a commit behind the damage says that what is damaged was
            // durable, and perhaps acknowledged: the head on disk may lag behind after a loss of power.
            WalkEnd::Damaged(damage)
                if ends_a_commit_from(storage.as_ref(), damage.seq).map_err(Error::from)? =>
            {
                return Err(Error::from(damage).into());
            }
            WalkEnd::Damaged(damage) => Some(damage),
            WalkEnd::Whole if committed.seq < acknowledged.seq => {
                let damage = Damage { seq: beyond, kind: DamageKind::Missing { found: None } };
                return Err(Error::from(damage).into());
            }
            WalkEnd::Whole if uncommitted.is_empty() => None,
            WalkEnd::Whole => Some(Damage { seq: beyond, kind: DamageKind::CommitUnfinished }),
        };
        if committed.seq < base.seq {
            return Err(Error::from(Damage { seq: beyond, kind: DamageKind::Missing { found: None } }).into());
        }
        // The genesis head has no record whose chain could have been compared.
        if acknowledged.seq == Seq::NONE {
            is_acknowledged(Head::genesis(log_id), Mark::EndsCommit, acknowledged).map_err(Error::from)?;
        }
        let cut = unfinished
            .map(|reason| cut(storage.as_ref(), beyond, reason))
            .transpose()
            .map_err(Error::from)?;
        let mut slot = slot;
        if committed != acknowledged {
            // Whole and durable, though nobody was told: from now on it counts as acknowledged.
            slot = slot.other();
            storage.write_head(slot, &head::encode(&committed)).map_err(Error::from)?;
        }
        Ok(Recovered { log: TenantLog::recovered(storage, log_id, committed, bytes, slot, last_at), cut })
    }
}

pub(crate) fn is_acknowledged(found: Head, mark: Mark, acknowledged: Head) -> Result<(), Damage> {
    let kind = if found.chain != acknowledged.chain {
        return Err(other_history(found, acknowledged));
    } else if mark != Mark::EndsCommit {
        DamageKind::CommitUnfinished
    } else {
        return Ok(());
    };
    Err(Damage { seq: found.seq, kind })
}

fn other_history(found: Head, acknowledged: Head) -> Damage {
    let kind = DamageKind::OtherHistory { found: found.chain, acknowledged: acknowledged.chain };
    Damage { seq: found.seq, kind }
}

/// Whether a commit ends at the record at `seq` or behind it. Parts are written in order and a commit's end
/// last, so one that is there says that everything in front of it once was.
pub(crate) fn ends_a_commit_from(storage: &dyn Storage, seq: Seq) -> Result<bool, StorageError> {
    let mut found = false;
    storage.scan(PartKey::first(seq), &mut |_, value| {
        found = value.first().is_some_and(|mark| Mark::try_from(*mark) == Ok(Mark::EndsCommit));
        if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(found)
}

/// Removes everything from `from` on and makes that durable, so that nothing of it can mix with what
/// is written there next. From the end, so that a cut that is interrupted leaves a shorter end.
fn cut(storage: &dyn Storage, from: Seq, reason: Damage) -> Result<Cut, StorageError> {
    let mut keys = Vec::new();
    storage.scan(PartKey::first(from), &mut |key, _| {
        keys.push(key.to_vec());
        ControlFlow::Continue(())
    })?;
    for key in keys.iter().rev() {
        storage.remove(key)?;
    }
    storage.sync()?;
    Ok(Cut { from, parts: keys.len(), reason })
}

/// Copies the records up to the acknowledged head, each verified, into an empty storage, and makes
/// them durable there. This is how a log whose storage has failed comes to take writes again: what
/// the page cache shows of the old files is not trusted beyond what verifies.
pub fn copy_acknowledged(from: &dyn Storage, to: &dyn Storage, log_id: LogId) -> Result<Head, Error> {
    let (acknowledged, _) = head::acknowledged(&from.read_head()?)?;
    let mut copied = Head::genesis(log_id);
    let mut failure = None;
    let mut verifier = Verifier::new(log_id);
    if acknowledged.seq > Seq::NONE {
        let end = walk(from, &mut verifier, &mut |verified| {
            let head = verified.head;
            let copy = || {
                if head.seq == acknowledged.seq {
                    is_acknowledged(head, verified.mark, acknowledged)?;
                }
                for (part, value) in (0..).zip(split(verified.stored, to.part_bytes_max(), verified.mark)) {
                    to.put(PartKey { seq: head.seq, part }, &value)?;
                }
                Ok::<(), Error>(())
            };
            copied = head;
            match copy() {
                Ok(()) if head.seq < acknowledged.seq => ControlFlow::Continue(()),
                Ok(()) => ControlFlow::Break(()),
                Err(error) => {
                    failure = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        if let Some(failure) = failure {
            return Err(failure);
        }
        if let WalkEnd::Damaged(damage) = end {
            return Err(damage.into());
        }
        if copied.seq < acknowledged.seq {
            return Err(Damage { seq: copied.seq.next(), kind: DamageKind::Missing { found: None } }.into());
        }
    }
    to.sync()?;
    to.write_head(Slot::First, &head::encode(&copied))?;
    to.sync_head()?;
    Ok(copied)
}
