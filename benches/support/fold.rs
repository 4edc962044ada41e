//! Folding events as a tenant's log would hold them.

use vectorizer_log::{Event, Timestamp};
use vectorizer_replay::{Projection, Projector as _};
use vectorizer_testing::events::record;

use crate::support::Outcome;

/// Folds in the next record, which holds `event`.
pub(crate) fn apply(projection: &mut Projection, event: Event) -> Outcome<()> {
    let (log_id, seq) = (projection.log_id(), projection.applied().next());
    projection.apply(&record(log_id, seq, Timestamp::default(), event))?;
    Ok(())
}
