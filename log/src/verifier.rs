//! Verification of stored bytes: whether they are the next record of a history.

use std::ops::ControlFlow;

use crate::damage::{Damage, DamageKind};
use crate::envelope::Envelope;
use crate::part::{Assembler, Mark, PartKey};
use crate::position::{ChainHash, Head, LogId, Seq, Timestamp};
use crate::record::Record;
use crate::segment::ScanEnd;
use crate::storage::StorageError;
use crate::tiers::Tiers;

/// Verifies a history record by record. It needs only the stored bytes, so a receiver of them can compare a log with
/// its head.
#[derive(Clone, Debug)]
pub struct Verifier {
    log_id: LogId,
    seq: Seq,
    /// `None` after a record that could not be verified: the chain hash of the next one is not checked.
    chain: Option<ChainHash>,
}

impl Verifier {
    /// Begins before the first record of the log.
    pub fn new(log_id: LogId) -> Self {
        Self { log_id, seq: Seq::NONE, chain: Some(ChainHash::genesis(log_id)) }
    }

    /// Begins after a record that was verified before.
    pub(crate) fn continuing(log_id: LogId, head: Head) -> Self {
        Self { log_id, seq: head.seq, chain: Some(head.chain) }
    }

    /// Begins before the record at `next`, whose chain hash is not checked unless it is the first record.
    pub fn starting_at(log_id: LogId, next: Seq) -> Self {
        match next.previous() {
            None | Some(Seq::NONE) => Self::new(log_id),
            Some(seq) => Self { log_id, seq, chain: None },
        }
    }

    /// The last verified record; `None` after one that could not be verified.
    pub fn head(&self) -> Option<Head> {
        self.chain.map(|chain| Head { seq: self.seq, chain })
    }

    /// The number of the next record.
    pub fn next(&self) -> Seq {
        self.seq.next()
    }

    /// Verifies the stored bytes of the next record, and decodes the record.
    ///
    /// # Errors
    ///
    /// [`DamageKind::Erased`] if items of the record were erased. The record is verified then, and the chain hash of
    /// the next one will be checked.
    pub fn push(&mut self, stored: &[u8]) -> Result<Record, Damage> {
        let seq = self.next();
        let record = self.push_envelope(stored)?.into_record().map_err(|kind| Damage { seq, kind });
        let is_verified = match &record {
            Ok(_) => true,
            Err(damage) => matches!(damage.kind, DamageKind::Erased { .. }),
        };
        self.chain = self.chain.filter(|_| is_verified);
        record
    }

    /// Verifies the stored bytes of the next record, of which items may have been erased. What the items mean is not
    /// verified before [`Envelope::into_record`].
    pub fn push_envelope<'a>(&mut self, stored: &'a [u8]) -> Result<Envelope<'a>, Damage> {
        let seq = self.next();
        let result = self.check(stored, seq).map_err(|kind| Damage { seq, kind });
        self.seq = seq;
        self.chain = result.as_ref().ok().map(Envelope::chain);
        result
    }

    /// Skips the records before `next`, whose chain hash is not checked.
    pub(crate) fn skip_to(&mut self, next: Seq) {
        *self = Self { chain: None, ..Self::starting_at(self.log_id, next) };
    }

    fn check<'a>(&self, stored: &'a [u8], seq: Seq) -> Result<Envelope<'a>, DamageKind> {
        let envelope = Envelope::verify(stored)?;
        if envelope.log_id() != self.log_id {
            return Err(DamageKind::ForeignLog { found: envelope.log_id() });
        }
        if envelope.seq() != seq {
            return Err(DamageKind::Displaced { found: envelope.seq() });
        }
        if self.chain.is_some_and(|previous| !envelope.continues(&previous)) {
            return Err(DamageKind::Chain);
        }
        Ok(envelope)
    }
}

/// A verified record in the storage: `content` is the record, or the time of an envelope.
pub(crate) struct Verified<'a, T = Record> {
    pub(crate) content: T,
    pub(crate) stored: &'a [u8],
    pub(crate) head: Head,
    pub(crate) mark: Mark,
}

/// How a walk ended.
#[derive(Debug)]
pub(crate) enum WalkEnd {
    /// After the last record, or by the visitor.
    Whole,
    /// Before something wrong.
    Damaged(Damage),
    /// Before records of a segment that cannot be read. `resume` is the record after them.
    Unreadable { damage: Damage, resume: Seq },
}

/// Calls `visit` with each record from the verifier's next one on, up to the first that is wrong.
pub(crate) fn walk(
    tiers: &Tiers,
    verifier: &mut Verifier,
    visit: &mut dyn FnMut(Verified<'_>) -> ControlFlow<()>,
) -> Result<WalkEnd, StorageError> {
    walk_with(tiers, verifier, Verifier::push, visit)
}

/// Like [`walk`], with the time of each record in its place. Records are not decoded, and items of them may have been
/// erased.
pub(crate) fn walk_envelopes(
    tiers: &Tiers,
    verifier: &mut Verifier,
    visit: &mut dyn FnMut(Verified<'_, Timestamp>) -> ControlFlow<()>,
) -> Result<WalkEnd, StorageError> {
    walk_with(tiers, verifier, |verifier, stored| Ok(verifier.push_envelope(stored)?.at()), visit)
}

fn walk_with<T>(
    tiers: &Tiers,
    verifier: &mut Verifier,
    verify: impl Fn(&mut Verifier, &[u8]) -> Result<T, Damage>,
    visit: &mut dyn FnMut(Verified<'_, T>) -> ControlFlow<()>,
) -> Result<WalkEnd, StorageError> {
    let mut assembler = Assembler::starting_at(verifier.next());
    let mut end = WalkEnd::Whole;
    let mut stopped = false;
    let scanned = tiers.scan(PartKey::first(verifier.next()), &mut |key, value| {
        let seq = assembler.seq();
        let step = PartKey::from_bytes(key)
            .ok_or(DamageKind::Key { bytes: key.len() })
            .and_then(|key| {
                assembler.push(key, value, |seq, mark, stored| {
                    let content = verify(verifier, stored).map_err(|damage| damage.kind)?;
                    let chain = verifier.chain.expect("a verified record has a chain hash");
                    Ok(visit(Verified { content, stored, head: Head { seq, chain }, mark }))
                })
            })
            .map_err(|kind| match seq.previous() {
                // A key between two records is damage of the first one: removing everything from the second one on
                // would leave it there.
                Some(seq) if key < PartKey::first(seq.next()).to_bytes().as_slice() => {
                    Damage { seq, kind: DamageKind::Key { bytes: key.len() } }
                }
                Some(_) | None => Damage { seq, kind },
            });
        match step {
            Ok(None) => ControlFlow::Continue(()),
            Ok(Some(flow)) => {
                stopped = flow.is_break();
                flow
            }
            Err(damage) => {
                end = WalkEnd::Damaged(damage);
                ControlFlow::Break(())
            }
        }
    })?;
    match (&end, scanned) {
        (WalkEnd::Whole, ScanEnd::Damaged { damage, resume }) => {
            return Ok(WalkEnd::Unreadable { damage, resume });
        }
        (WalkEnd::Whole, ScanEnd::Whole) if !stopped => {
            if let Some(kind) = assembler.end() {
                end = WalkEnd::Damaged(Damage { seq: assembler.seq(), kind });
            }
        }
        (_, ScanEnd::Whole | ScanEnd::Damaged { .. }) => {}
    }
    Ok(end)
}
