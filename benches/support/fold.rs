//! Folding events as a tenant's log would hold them.

use vectorizer_log::{Actor, Event, Record, Timestamp, Via};
use vectorizer_replay::{Projection, Projector as _};

use crate::support::Outcome;

/// Folds in the next record, which holds `event`.
pub(crate) fn apply(projection: &mut Projection, event: Event) -> Outcome<()> {
    projection.apply(&Record {
        log_id: projection.log_id(),
        seq: projection.applied().next(),
        at: Timestamp::default(),
        actor: Actor { key_id: None, via: Via::System },
        request_id: String::new(),
        idempotency: None,
        event,
    })?;
    Ok(())
}
