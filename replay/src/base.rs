//! The state that a log begins with after older records were dropped.

use vectorizer_index::{Index, InvalidEvent};
use vectorizer_log::{Base, BaseAnswer, BaseItem, BaseState, CollectionId, Document, Error, LogId, Seq};

use crate::billing::Billing;
use crate::idempotency::{Answer, IdempotencyTable};
use crate::projection::Projection;
use crate::usage::Usage;

/// How many points are restored at once.
const POINTS_MAX: usize = 1_000;

/// Why a base could not be folded.
#[derive(Debug, thiserror::Error)]
pub enum BaseError {
    /// The base could not be read.
    #[error(transparent)]
    Log(#[from] Error),
    /// The items contradict each other. The base was written by a program with an error, since its hash is right.
    #[error("the base does not apply: {0}")]
    DoesNotApply(#[from] InvalidEvent),
    /// An item is not where it has to be.
    #[error("the base does not begin with its state, or a point has no collection")]
    OutOfOrder,
    /// The caller wants to end early.
    #[error("the fold of the base was stopped")]
    Stopped,
}

impl Projection {
    /// The projection of the state in `base`, to be followed by the records after it. Calls `stop` now and then.
    pub fn of_base(log_id: LogId, base: &Base, stop: &dyn Fn() -> bool) -> Result<Self, BaseError> {
        let mut fold = BaseFold::default();
        base.each(|item| if stop() { Err(BaseError::Stopped) } else { fold.push(item) })?;
        fold.finish(log_id, base.head().seq)
    }

    /// The projection of the state that a log begins with: that of its base, or an empty one.
    pub fn of_beginning(
        log_id: LogId,
        base: Option<&Base>,
        stop: &dyn Fn() -> bool,
    ) -> Result<Self, BaseError> {
        base.map_or_else(|| Ok(Self::new(log_id)), |base| Self::of_base(log_id, base, stop))
    }
}

/// A fold of the items of a base, in their order, from any source.
#[derive(Debug, Default)]
pub struct BaseFold {
    state: Option<BaseState>,
    index: Index,
    /// The collection whose points follow, and those that are not restored yet.
    collection: Option<CollectionId>,
    points: Vec<Document>,
    answers: Vec<(Box<str>, Answer)>,
}

impl BaseFold {
    /// Folds the next item.
    pub fn push(&mut self, item: BaseItem) -> Result<(), BaseError> {
        match item {
            BaseItem::State(state) => self.state = Some(state),
            _ if self.state.is_none() => return Err(BaseError::OutOfOrder),
            BaseItem::Collection(collection) => {
                self.restore_points()?;
                self.collection = Some(collection.id);
                self.index.restore_collection(collection)?;
            }
            BaseItem::Point(point) => {
                self.points.push(point);
                if self.points.len() >= POINTS_MAX {
                    self.restore_points()?;
                }
            }
            BaseItem::Answer(BaseAnswer { key, seq, at, body_hash, outcome }) => {
                let answer = Answer { seq, at, body_hash, outcome: outcome.into() };
                self.answers.push((key.into(), answer));
            }
        }
        Ok(())
    }

    fn restore_points(&mut self) -> Result<(), BaseError> {
        let points = std::mem::take(&mut self.points);
        match self.collection {
            Some(id) => Ok(self.index.restore_points(id, &points)?),
            None if points.is_empty() => Ok(()),
            None => Err(BaseError::OutOfOrder),
        }
    }

    /// The projection of the state after the record `through`, which is the last one in the base.
    pub fn finish(mut self, log_id: LogId, through: Seq) -> Result<Projection, BaseError> {
        self.restore_points()?;
        let Self { state, index, answers, .. } = self;
        let state = state.ok_or(BaseError::OutOfOrder)?;
        let (vectors, bytes) = index.by_creation().fold((0, 0), |(vectors, bytes), collection| {
            (vectors + collection.len() as u64, bytes + collection.logical_bytes())
        });
        let counts = [index.len() as u64, vectors, bytes];
        Ok(Projection {
            log_id,
            applied: through,
            data_seq: state.data_seq,
            usage: Usage::restored(counts, state.vectors_upserted, state.vectors_deleted),
            billing: Billing::restored(&state),
            idempotency: IdempotencyTable::restored(answers),
            index,
        })
    }
}
