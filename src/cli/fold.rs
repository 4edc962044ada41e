//! A fold of a whole log, with its speed.

use std::fmt;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use uuid::Uuid;
use vectorizer_log::{LogId, Record, Seq};
use vectorizer_replay::{
    ApplyError, Progress, Projection, Projector, RECORDS_PER_PROGRESS, StateDigest, Usage,
};

use super::progress::ProgressDisplay;
use super::server::LogVisitor;
use super::streams::Streams;

/// A projection that is computed record by record from the start of a log.
#[derive(Debug)]
pub(super) struct Fold {
    /// `None` before the first record, which has the log's id.
    projection: Option<Projection>,
    through: Option<Seq>,
    refused: Option<ApplyError>,
    /// The time of the first record. Copying the log or connecting to a server does not count.
    started: Option<Instant>,
    /// The time from there to the end of the last record.
    took: Duration,
    display: ProgressDisplay,
    streams: Streams,
}

impl Fold {
    /// Begins with the state of a base. The records follow.
    pub(super) fn begin(&mut self, beginning: Projection) {
        self.projection = Some(beginning);
    }

    /// A fold through the given record, or of all records.
    pub(super) fn new(doing: &'static str, through: Option<Seq>, streams: &Streams) -> Self {
        let display = ProgressDisplay::new(doing, through, streams);
        let streams = streams.clone();
        Self {
            projection: None,
            through,
            refused: None,
            started: None,
            took: Duration::ZERO,
            display,
            streams,
        }
    }

    /// Folds in the next record. Returns whether to continue.
    pub(super) fn push(&mut self, record: &Record) -> ControlFlow<()> {
        if self.through.is_some_and(|through| record.seq > through) {
            return ControlFlow::Break(());
        }
        let started = *self.started.get_or_insert_with(Instant::now);
        let projection = self.projection.get_or_insert_with(|| Projection::new(record.log_id));
        if let Err(refused) = projection.apply(record) {
            self.refused = Some(refused);
            return ControlFlow::Break(());
        }
        self.took = started.elapsed();
        let applied = projection.applied();
        if applied.get().is_multiple_of(RECORDS_PER_PROGRESS) {
            let through = self.through.unwrap_or(Seq::NONE);
            let progress = Progress { applied, through, vectors: projection.usage().vectors() };
            self.display.report(progress, &self.streams);
        }
        ControlFlow::Continue(())
    }

    /// The last record that was folded in.
    pub(super) fn applied(&self) -> Seq {
        self.projection.as_ref().map_or(Seq::NONE, Projector::applied)
    }

    /// The error of the first record that does not apply, if any.
    pub(super) fn refused(&self) -> Option<&ApplyError> {
        self.refused.as_ref()
    }

    /// Clears the progress display after the last record.
    pub(super) fn end(&self) {
        self.display.clear();
    }

    /// The state after the last record.
    pub(super) fn finish(self) -> FoldedState {
        // The id of an empty log is not known. All empty logs have the same state.
        let projection = self.projection.unwrap_or_else(|| Projection::new(LogId::new(Uuid::nil())));
        let digest = projection.digest();
        FoldedState { seq: projection.applied(), usage: *projection.usage(), digest, took: self.took }
    }
}

/// The state of a log, without the vectors.
#[derive(Clone, Copy, Debug)]
pub(super) struct FoldedState {
    seq: Seq,
    usage: Usage,
    pub(super) digest: StateDigest,
    took: Duration,
}

impl FoldedState {
    /// Whether two folds have the same result.
    pub(super) fn is_equal_to(&self, other: &Self) -> bool {
        (self.seq, self.usage, self.digest) == (other.seq, other.usage, other.digest)
    }
}

impl fmt::Display for FoldedState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seq, usage, digest, took } = self;
        writeln!(f, "seq          {seq}")?;
        writeln!(f, "collections  {}", usage.collections())?;
        writeln!(f, "vectors      {}", usage.vectors())?;
        writeln!(f, "bytes        {} logical", usage.logical_bytes())?;
        writeln!(f, "digest       {digest}")?;
        let (records, vectors) = (seq.get(), usage.vectors_upserted());
        write!(
            f,
            "speed        {} records/s, {} vectors/s",
            per_second(records, *took),
            per_second(vectors, *took)
        )
    }
}

/// The rate, rounded down. A time too short to measure counts as a microsecond.
fn per_second(count: u64, span: Duration) -> u128 {
    u128::from(count) * 1_000_000 / span.as_micros().max(1)
}

impl LogVisitor for Fold {
    fn begin(&mut self, beginning: Projection) {
        Self::begin(self, beginning);
    }

    fn record(&mut self, record: &Record) -> ControlFlow<()> {
        self.push(record)
    }
}
