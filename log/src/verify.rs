//! Verification: reading a log without changing it.

use std::ops::ControlFlow;

use crate::commits::{Commits, Committed, Found};
use crate::damage::Damage;
use crate::envelope::Envelope;
use crate::error::Error;
use crate::head;
use crate::position::{Head, LogId, Seq};
use crate::record::Record;
use crate::recovery::acknowledged;
use crate::tenant_log::StoredRecord;
use crate::tiers::Tiers;
use crate::verifier::Verifier;

/// Verification ends after this many findings.
const FINDINGS_MAX: usize = 100;

/// The result of a verification.
#[derive(Clone, Debug)]
pub struct Verification {
    /// The log.
    pub log_id: LogId,
    /// The last acknowledged record, by the head file.
    pub acknowledged: Head,
    /// The last record of the last whole commit.
    pub last: Seq,
    /// The record after which the log can be read: [`Seq::NONE`] unless older records were dropped.
    pub beginning: Seq,
    /// How many valid records there are up to `last`.
    pub records: u64,
    /// What is missing or wrong, in order; at most a hundred findings.
    pub damage: Vec<Damage>,
    /// An unfinished end above the acknowledged head. Not damage: the next opening removes it.
    pub unfinished: Option<Damage>,
    /// Whether one of the two slots of the head file is torn; the other one holds the head.
    pub head_slot_torn: bool,
}

impl Verification {
    /// Whether all acknowledged records are there.
    pub fn holds(&self) -> bool {
        self.damage.is_empty()
    }
}

/// Verifies every record of a log, and calls `visit` with those that recovery would keep. Goes on after damage, so that
/// one bad record does not hide another.
///
/// # Errors
///
/// Errors of a storage that cannot be read. Damage of records is part of the result.
pub(crate) fn verify(
    tiers: &Tiers,
    log_id: LogId,
    visit: &mut dyn FnMut(StoredRecord) -> ControlFlow<()>,
) -> Result<Verification, Error> {
    let head_file = tiers.active.storage.read_head()?;
    let (acknowledged, _) = acknowledged(tiers)?;
    let mut verification = Verification {
        log_id,
        acknowledged,
        last: tiers.beginning().seq,
        beginning: tiers.beginning().seq,
        records: 0,
        damage: Vec::new(),
        unfinished: None,
        head_slot_torn: !head::unreadable_slots(&head_file).is_empty(),
    };
    if let Some(base) = tiers.base() {
        match base.each(|_| Ok(())) {
            Err(Error::Damaged(damage)) => verification.damage.push(damage),
            read => read?,
        }
    }
    Commits::new(tiers, log_id, acknowledged).each(|found| {
        Ok::<_, Error>(match found {
            Found::Record(Committed { record, head, stored, mark: _ }) => {
                verification.records += 1;
                verification.last = head.seq;
                visit(StoredRecord { record, chain: head.chain, stored: stored.into() })
            }
            Found::Damage(damage) => {
                verification.damage.push(damage);
                let is_full = verification.damage.len() == FINDINGS_MAX;
                if is_full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            }
            Found::Uncommitted(damage) => {
                verification.unfinished = Some(damage);
                ControlFlow::Break(())
            }
        })
    })?;
    Ok(verification)
}

/// Verifies the chain of a log that is received as stored records.
#[derive(Debug, Default)]
pub struct RemoteVerification {
    verifier: Option<Verifier>,
    records: u64,
}

impl RemoteVerification {
    /// Begins after the last record of a base of this log.
    pub fn begin(&mut self, log_id: LogId, base: Head) {
        self.verifier = Some(Verifier::continuing(log_id, base));
    }

    /// Verifies the next stored record. The first one determines the log.
    pub fn push(&mut self, log_id: LogId, stored: &[u8]) -> Result<Record, Damage> {
        let record = self.verifier.get_or_insert_with(|| Verifier::new(log_id)).push(stored)?;
        self.records += 1;
        Ok(record)
    }

    /// Like [`push`](Self::push), for a record of which items may have been erased.
    pub fn push_envelope<'a>(&mut self, log_id: LogId, stored: &'a [u8]) -> Result<Envelope<'a>, Damage> {
        let envelope = self.verifier.get_or_insert_with(|| Verifier::new(log_id)).push_envelope(stored)?;
        self.records += 1;
        Ok(envelope)
    }

    /// The last verified record; `None` before the first, and after one that could not be verified.
    pub fn head(&self) -> Option<Head> {
        self.verifier.as_ref().and_then(Verifier::head)
    }

    /// How many records were verified.
    pub fn records(&self) -> u64 {
        self.records
    }
}
