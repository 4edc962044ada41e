//! Folding a whole log, from wherever its records come, with progress on the way.

use vectorizer_log::{Record, Seq};

use crate::projection::{ApplyError, Projection, Projector};

/// How many records are taken between two reports of progress.
pub const RECORDS_PER_PROGRESS: u64 = 256;

/// How far a replay has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The last record applied.
    pub applied: Seq,
    /// The last record to apply.
    pub through: Seq,
    /// The vectors that exist at `applied`.
    pub vectors: u64,
}

/// Why a replay did not reach its end.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReplayError<E> {
    /// The records could not be read.
    #[error("the records could not be read")]
    Source(#[source] E),
    /// A record was not applied.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The records ended too early.
    #[error(transparent)]
    Incomplete(#[from] Incomplete),
}

/// The records ended before the last one there should have been.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("the records end at {applied}, they should reach {through}")]
pub struct Incomplete {
    /// The last record applied.
    pub applied: Seq,
    /// The last record there should have been.
    pub through: Seq,
}

/// A replay that records are pushed into, for sources that call back for each record:
///
/// ```text
/// let mut recovery = Recovery::new(&mut projection, head.seq, report);
/// log.for_each(recovery.next_seq(), |record| recovery.push(&record))?;
/// recovery.finish()?;
/// ```
///
/// It reports every [`RECORDS_PER_PROGRESS`] records and once when finished, never by the clock.
#[derive(Debug)]
pub struct Recovery<'a, F> {
    projection: &'a mut Projection,
    through: Seq,
    unreported: u64,
    report: F,
}

impl<'a, F: FnMut(Progress)> Recovery<'a, F> {
    /// A replay that brings `projection` from where it is to `through`.
    pub fn new(projection: &'a mut Projection, through: Seq, report: F) -> Self {
        Self { projection, through, unreported: 0, report }
    }

    /// The first record that is missing from the projection. Earlier ones may be pushed too; they
    /// are skipped.
    pub fn next_seq(&self) -> Seq {
        self.projection.applied().next()
    }

    /// Folds in the next record. After an error the projection is as it was before the record.
    pub fn push(&mut self, record: &Record) -> Result<(), ApplyError> {
        self.projection.apply(record)?;
        self.unreported += 1;
        if self.unreported == RECORDS_PER_PROGRESS {
            self.unreported = 0;
            let progress = self.progress();
            (self.report)(progress);
        }
        Ok(())
    }

    /// How far it has come.
    pub fn progress(&self) -> Progress {
        Progress {
            applied: self.projection.applied(),
            through: self.through,
            vectors: self.projection.usage().vectors(),
        }
    }

    /// Reports for the last time, and says whether records are missing at the end.
    pub fn finish(mut self) -> Result<Progress, Incomplete> {
        let progress = self.progress();
        (self.report)(progress);
        if progress.applied < self.through {
            return Err(Incomplete { applied: progress.applied, through: self.through });
        }
        Ok(progress)
    }
}

/// Folds `records` into `projection`, which must then have reached `through`. The first record
/// may be any up to the first one missing.
///
/// After an error the projection holds every record before the one that failed.
pub fn replay<E>(
    records: impl IntoIterator<Item = Result<Record, E>>,
    through: Seq,
    projection: &mut Projection,
    report: impl FnMut(Progress),
) -> Result<Progress, ReplayError<E>> {
    let mut recovery = Recovery::new(projection, through, report);
    for record in records {
        recovery.push(&record.map_err(ReplayError::Source)?)?;
    }
    Ok(recovery.finish()?)
}
