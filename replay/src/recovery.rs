//! Folding of a whole log from any source, with progress.

use vectorizer_log::{Record, Seq};

use crate::projection::{ApplyError, Projection, Projector};

/// How many records are applied between two reports of progress.
pub const RECORDS_PER_PROGRESS: u64 = 256;

/// The progress of a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The last record applied.
    pub applied: Seq,
    /// The last record to apply.
    pub through: Seq,
    /// How many vectors exist at `applied`.
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
    /// The records end too early.
    #[error(transparent)]
    Incomplete(#[from] Incomplete),
}

/// The records end before the expected last one.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("the records end at {applied}, they should reach {through}")]
pub struct Incomplete {
    /// The last record applied.
    pub applied: Seq,
    /// The expected last record.
    pub through: Seq,
}

/// A replay for sources that call back for each record:
///
/// ```text
/// let mut recovery = Recovery::new(&mut projection, head.seq, report);
/// log.for_each(recovery.next_seq(), |record| recovery.push(&record))?;
/// recovery.finish()?;
/// ```
///
/// Progress is reported every [`RECORDS_PER_PROGRESS`] records and at the end, independent of time.
#[derive(Debug)]
pub struct Recovery<'a, F> {
    projection: &'a mut Projection,
    through: Seq,
    unreported: u64,
    report: F,
}

impl<'a, F: FnMut(Progress)> Recovery<'a, F> {
    /// A replay of `projection` up to `through`.
    pub fn new(projection: &'a mut Projection, through: Seq, report: F) -> Self {
        Self { projection, through, unreported: 0, report }
    }

    /// The first record that the projection needs. Earlier records are skipped.
    pub fn next_seq(&self) -> Seq {
        self.projection.applied().next()
    }

    /// Applies the next record. After an error the projection is unchanged.
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

    /// The current progress.
    pub fn progress(&self) -> Progress {
        Progress {
            applied: self.projection.applied(),
            through: self.through,
            vectors: self.projection.usage().vectors(),
        }
    }

    /// Reports the final progress, and checks that all records were applied.
    pub fn finish(mut self) -> Result<Progress, Incomplete> {
        let progress = self.progress();
        (self.report)(progress);
        if progress.applied < self.through {
            return Err(Incomplete { applied: progress.applied, through: self.through });
        }
        Ok(progress)
    }
}

/// Folds `records` into `projection`, up to `through`. The first record may be any up to the first that the projection
/// needs.
///
/// After an error the projection has applied all records before the one that failed.
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
