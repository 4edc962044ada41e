//! Looking at a log without changing it.

use std::ops::ControlFlow;

use crate::damage::{Damage, DamageKind};
use crate::error::Error;
use crate::head;
use crate::part::{Mark, PartKey};
use crate::position::{Head, LogId, Seq};
use crate::record::Record;
use crate::recovery::ends_a_commit_from;
use crate::storage::{Storage, StorageError};
use crate::tenant_log::StoredRecord;
use crate::verifier::{Verifier, WalkEnd, walk};

/// More findings than anybody reads are counted as one.
const FINDINGS_MAX: usize = 100;

/// What looking at a log has shown.
#[derive(Clone, Debug)]
pub struct Verification {
    /// Which log.
    pub log_id: LogId,
    /// What it is known to have acknowledged.
    pub acknowledged: Head,
    /// Where its whole commits end.
    pub last: Seq,
    /// How many whole records it has up to there.
    pub records: u64,
    /// What is missing or wrong at or below the head, in order; at most a hundred.
    pub damage: Vec<Damage>,
    /// An end beyond the head that is not whole: not damage, the next opening cuts it.
    pub unfinished: Option<Damage>,
    /// One of the head's two slots is torn; the other one holds the head.
    pub head_slot_torn: bool,
}

impl Verification {
    /// Whether everything that was acknowledged is there.
    pub fn holds(&self) -> bool {
        self.damage.is_empty()
    }
}

/// Verifies every record of a log and shows those to `visit` that a recovery would keep. Goes on behind
/// damage, so that one bad record does not hide another; only a storage that cannot be read is an error.
pub(crate) fn verify(
    storage: &dyn Storage,
    log_id: LogId,
    visit: &mut dyn FnMut(StoredRecord) -> ControlFlow<()>,
) -> Result<Verification, Error> {
    let head_file = storage.read_head()?;
    let (acknowledged, _) = head::acknowledged(&head_file)?;
    let mut verification = Verification {
        log_id,
        acknowledged,
        last: Seq::NONE,
        records: 0,
        damage: Vec::new(),
        unfinished: None,
        head_slot_torn: !head::unreadable_slots(&head_file).is_empty(),
    };
    if acknowledged.seq == Seq::NONE && acknowledged != Head::genesis(log_id) {
        let found = Head::genesis(log_id).chain;
        let kind = DamageKind::OtherHistory { found, acknowledged: acknowledged.chain };
        verification.damage.push(Damage { seq: Seq::NONE, kind });
    }
    let mut verifier = Verifier::new(log_id);
    loop {
        let mut at_head = None;
        // Records beyond the head whose commit mark has not come yet.
        let mut uncommitted = Vec::new();
        let mut stopped = false;
        let end = walk(storage, &mut verifier, &mut |verified| {
            let Head { seq, chain } = verified.head;
            if seq == acknowledged.seq {
                at_head = Some(chain);
            }
            uncommitted.push(StoredRecord { record: verified.record, chain, stored: verified.stored.into() });
            if seq > acknowledged.seq && verified.mark != Mark::EndsCommit {
                return ControlFlow::Continue(());
            }
            for stored in uncommitted.drain(..) {
                verification.records += 1;
                verification.last = stored.record.seq;
                if visit(stored).is_break() {
                    stopped = true;
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        })?;
        if let Some(found) = at_head.filter(|found| *found != acknowledged.chain) {
            let kind = DamageKind::OtherHistory { found, acknowledged: acknowledged.chain };
            verification.damage.push(Damage { seq: acknowledged.seq, kind });
        }
        if stopped {
            return Ok(verification);
        }
        match end {
            WalkEnd::Damaged(damage)
                if damage.seq <= acknowledged.seq || ends_a_commit_from(storage, damage.seq)? =>
            {
                let next = next_record(storage, &damage)?;
                verification.damage.push(damage);
                match next {
                    Some(next) if verification.damage.len() < FINDINGS_MAX => verifier.skip_to(next),
                    _ => return Ok(verification),
                }
            }
            WalkEnd::Damaged(damage) => {
                verification.unfinished = Some(damage);
                return Ok(verification);
            }
            WalkEnd::Whole => {
                let seq = verifier.next();
                if seq <= acknowledged.seq {
                    verification.damage.push(Damage { seq, kind: DamageKind::Missing { found: None } });
                } else if let Some(first) = uncommitted.first() {
                    let seq = first.record.seq;
                    verification.unfinished = Some(Damage { seq, kind: DamageKind::CommitUnfinished });
                }
                return Ok(verification);
            }
        }
    }
}

/// The first record behind `damage` of which a first part exists.
fn next_record(storage: &dyn Storage, damage: &Damage) -> Result<Option<Seq>, StorageError> {
    let mut next = None;
    storage.scan(PartKey::first(damage.seq.next()), &mut |key, _| match PartKey::from_bytes(key) {
        Some(PartKey { seq, part: 0 }) if seq > damage.seq => {
            next = Some(seq);
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    })?;
    Ok(next)
}

/// Reads a log that somebody sends as stored records, and holds it against its chain.
#[derive(Debug, Default)]
pub struct RemoteVerification {
    verifier: Option<Verifier>,
    records: u64,
}

impl RemoteVerification {
    /// Takes the next stored record; the first one says which log it is.
    pub fn push(&mut self, log_id: LogId, stored: &[u8]) -> Result<Record, Damage> {
        let record = self.verifier.get_or_insert_with(|| Verifier::new(log_id)).push(stored)?;
        self.records += 1;
        Ok(record)
    }

    /// What has been verified so far.
    pub fn head(&self) -> Option<Head> {
        self.verifier.as_ref().and_then(Verifier::head)
    }

    /// How many records that were.
    pub fn records(&self) -> u64 {
        self.records
    }
}
