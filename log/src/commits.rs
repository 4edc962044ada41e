//! One pass over a stored log: its records, its uncommitted tail, and its damage.
//!
//! Recovery, verification and copying read a log by the same rules:
//!
//! - A record at or below the acknowledged head belongs to the log.
//! - A record above the head belongs to the log if its commit is complete.
//! - The acknowledged head is the end of a commit, with the chain hash that the head file states.
//! - A missing or invalid record at or below the head is damage.
//! - A missing or invalid record above the head is damage too if the end of a commit follows it. A commit is durable
//!   before the next one begins, and an interrupted commit leaves only a prefix of its parts. So that record was
//!   durable once. It may have been acknowledged: the head file may lag behind after a loss of power.
//! - Everything else above the head is the uncommitted tail. It was never acknowledged.

use std::borrow::Cow;
use std::ops::ControlFlow;

use crate::damage::{Damage, DamageKind};
use crate::error::Error;
use crate::part::{Mark, PartKey, ends_commit};
use crate::position::{Head, LogId, Seq};
use crate::record::Record;
use crate::storage::StorageError;
use crate::tiers::Tiers;
use crate::verifier::{Verifier, WalkEnd, walk};

/// A record that belongs to a log.
pub(crate) struct Committed<'a> {
    pub(crate) record: Record,
    /// The log up to the record.
    pub(crate) head: Head,
    /// Its envelope.
    pub(crate) stored: Cow<'a, [u8]>,
    pub(crate) mark: Mark,
}

/// An item of a pass. Items are in the order of the log.
#[expect(clippy::large_enum_variant, reason = "nearly every item is a record, and one exists at a time")]
pub(crate) enum Found<'a> {
    /// The next record.
    Record(Committed<'a>),
    /// A missing or invalid record. The pass continues with the next record that exists. The place of that record in
    /// the chain is not verified.
    Damage(Damage),
    /// An unfinished commit at the end of the log, above the acknowledged head. Always the last item.
    Uncommitted(Damage),
}

/// A pass over a stored log.
pub(crate) struct Commits<'a> {
    tiers: &'a Tiers,
    acknowledged: Head,
    /// Verifies the records from the first one of the pass on.
    verifier: Verifier,
}

impl<'a> Commits<'a> {
    /// A pass over all readable records of a log with the acknowledged head `acknowledged`.
    pub(crate) fn new(tiers: &'a Tiers, log_id: LogId, acknowledged: Head) -> Self {
        Self::after(tiers, log_id, acknowledged, tiers.beginning())
    }

    /// A pass over the records after `start`, which are verified to continue it.
    pub(crate) fn after(tiers: &'a Tiers, log_id: LogId, acknowledged: Head, start: Head) -> Self {
        Self { tiers, acknowledged, verifier: Verifier::continuing(log_id, start) }
    }

    /// A pass over the records of one tail. The place of its first record in the chain is not verified.
    pub(crate) fn of_tail(tiers: &'a Tiers, log_id: LogId, acknowledged: Head, first: Seq) -> Self {
        Self { tiers, acknowledged, verifier: Verifier::starting_at(log_id, first) }
    }

    /// Calls `visit` with each item, until it breaks or fails.
    pub(crate) fn each<E: From<Error>>(
        &self,
        mut visit: impl FnMut(Found<'_>) -> Result<ControlFlow<()>, E>,
    ) -> Result<(), E> {
        // The pass does not visit the record that it starts after.
        if let Some(start) = self.verifier.head()
            && self.acknowledged.seq == start.seq
            && let Some(damage) = self.damage_of_head(start, Mark::EndsCommit)
            && visit(Found::Damage(damage))?.is_break()
        {
            return Ok(());
        }
        let mut verifier = self.verifier.clone();
        loop {
            let (damage, next) = match self.run(&mut verifier, &mut visit)? {
                RunEnd::Damaged(damage) => {
                    let next = next_record(self.tiers, damage.seq).map_err(Error::from)?;
                    (damage, next)
                }
                RunEnd::Unreadable { damage, resume } => (damage, Some(resume)),
                RunEnd::Uncommitted(damage) => return visit(Found::Uncommitted(damage)).map(drop),
                RunEnd::Whole | RunEnd::Stopped => return Ok(()),
            };
            if visit(Found::Damage(damage))?.is_break() {
                return Ok(());
            }
            match next {
                Some(next) => verifier.skip_to(next),
                None => return Ok(()),
            }
        }
    }

    /// Visits the records from the verifier's next one on, up to the end of the log or the first invalid one.
    fn run<E: From<Error>>(
        &self,
        verifier: &mut Verifier,
        visit: &mut impl FnMut(Found<'_>) -> Result<ControlFlow<()>, E>,
    ) -> Result<RunEnd, E> {
        // Records above the head whose commit has not ended yet.
        let mut uncommitted: Vec<Committed<'static>> = Vec::new();
        let mut ended = Ok(ControlFlow::Continue(()));
        let end = walk(self.tiers, verifier, &mut |verified| {
            let committed = Committed {
                record: verified.content,
                head: verified.head,
                stored: Cow::Borrowed(verified.stored),
                mark: verified.mark,
            };
            if committed.head.seq > self.acknowledged.seq {
                let is_end = committed.mark == Mark::EndsCommit;
                uncommitted.push(committed.into_owned());
                if !is_end {
                    return ControlFlow::Continue(());
                }
                let visited = uncommitted.drain(..).map(|committed| visit(Found::Record(committed)));
                ended = first_end(visited);
            } else {
                ended = self.visit_acknowledged(committed, visit);
            }
            match ended {
                Ok(flow) => flow,
                Err(_) => ControlFlow::Break(()),
            }
        })
        .map_err(Error::from)?;
        if ended?.is_break() {
            return Ok(RunEnd::Stopped);
        }
        match end {
            // Sealed records are acknowledged.
            WalkEnd::Unreadable { damage, resume } => Ok(RunEnd::Unreadable { damage, resume }),
            WalkEnd::Damaged(damage) => {
                let is_durable = damage.seq <= self.acknowledged.seq
                    || ends_a_commit_from(self.tiers, damage.seq).map_err(Error::from)?;
                Ok(if is_durable { RunEnd::Damaged(damage) } else { RunEnd::Uncommitted(damage) })
            }
            WalkEnd::Whole => {
                let next = verifier.next();
                if next <= self.acknowledged.seq {
                    return Ok(RunEnd::Damaged(Damage::missing(next)));
                }
                Ok(uncommitted.first().map_or(RunEnd::Whole, |first| {
                    RunEnd::Uncommitted(Damage { seq: first.head.seq, kind: DamageKind::CommitUnfinished })
                }))
            }
        }
    }

    /// Visits a record at or below the acknowledged head. If its number is that of the head, but it is not the
    /// acknowledged record, visits this damage first.
    fn visit_acknowledged<E>(
        &self,
        committed: Committed<'_>,
        visit: &mut impl FnMut(Found<'_>) -> Result<ControlFlow<()>, E>,
    ) -> Result<ControlFlow<()>, E> {
        if committed.head.seq == self.acknowledged.seq
            && let Some(damage) = self.damage_of_head(committed.head, committed.mark)
            && visit(Found::Damage(damage))?.is_break()
        {
            return Ok(ControlFlow::Break(()));
        }
        visit(Found::Record(committed))
    }

    /// Why the record at the acknowledged head, with this head and mark, is not the acknowledged one.
    fn damage_of_head(&self, found: Head, mark: Mark) -> Option<Damage> {
        if found.chain != self.acknowledged.chain {
            return Some(Damage::other_history(found, self.acknowledged));
        }
        let is_unfinished = mark != Mark::EndsCommit;
        is_unfinished.then_some(Damage { seq: found.seq, kind: DamageKind::CommitUnfinished })
    }
}

impl Committed<'_> {
    fn into_owned(self) -> Committed<'static> {
        let Self { record, head, stored, mark } = self;
        Committed { record, head, stored: Cow::Owned(stored.into_owned()), mark }
    }
}

/// How a run of consecutive records ended.
enum RunEnd {
    /// At the end of the log.
    Whole,
    /// Before an unfinished commit at the end of the log.
    Uncommitted(Damage),
    /// Before a missing or invalid record.
    Damaged(Damage),
    /// Before records of a segment that cannot be read.
    Unreadable { damage: Damage, resume: Seq },
    /// By the visitor.
    Stopped,
}

/// The first of `flows` that is not `Continue`. Later ones are not evaluated.
fn first_end<E>(mut flows: impl Iterator<Item = Result<ControlFlow<()>, E>>) -> Result<ControlFlow<()>, E> {
    flows.find(|flow| !matches!(flow, Ok(ControlFlow::Continue(())))).unwrap_or(Ok(ControlFlow::Continue(())))
}

/// Whether a commit ends at the record at `seq` or after it. Parts are written in order, and the end of a commit is
/// written last. So every part before the end of a commit was durable once.
fn ends_a_commit_from(tiers: &Tiers, seq: Seq) -> Result<bool, StorageError> {
    let mut found = false;
    tiers.scan_parts(PartKey::first(seq), &mut |_, stored| {
        found = ends_commit(stored);
        if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(found)
}

/// The first record after `seq` whose first part exists.
fn next_record(tiers: &Tiers, after: Seq) -> Result<Option<Seq>, StorageError> {
    let mut next = None;
    tiers.scan_parts(PartKey::first(after.next()), &mut |key, _| match PartKey::from_bytes(key) {
        Some(PartKey { seq, part: 0 }) if seq > after => {
            next = Some(seq);
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    })?;
    Ok(next)
}
