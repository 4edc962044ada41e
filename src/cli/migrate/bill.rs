//! The start of the bill of a migrated log.
//!
//! Usage on a server without keys is not billed. In the log it is one window, open since the first record. The
//! migration closes this window, corrects each of its sums to zero, and acknowledges all of these lines as rejected,
//! with the reason. So the log itself, and a recomputed bill, say that the customer pays from the migration on.

use vectorizer_index::Change;
use vectorizer_log::{Actor, Draft, Error, Event, Meter, Record, RejectedLine, Timestamp, Via, billed_lines};
use vectorizer_replay::Projector as _;

use super::history::History;

/// The reason in the log.
const REASON: &str = "recorded before the log became a tenant of a cluster";

/// Whether [`begin`] appended this record.
pub(super) fn begins_bill(record: &Record) -> bool {
    record.actor.via == Via::CommandLine
}

/// Begins the bill, unless it has begun before or the log has no usage. Returns whether the bill begins with this
/// migration. The records are durable afterwards.
pub(super) fn begin(history: &mut History) -> Result<bool, Error> {
    if history.is_bill_begun {
        return Ok(true);
    }
    let now = Timestamp::now();
    let (usage, mut billing) = (*history.projection.usage(), *history.projection.billing());
    // Times in a log never decrease, and the close must be valid as the next record.
    let at = billing.window().map_or(now, |window| now.max(window.counted_through()));
    let Some(close) = billing.close(at, &usage) else { return Ok(false) };
    let mut commit = history.log.begin()?;
    let closed = commit.stage(own(close), at)?.clone();
    billing = billing.after(&closed, &usage, &Change::default());
    let Some(window) = closed.event.effect().close() else { return Ok(false) };
    let mut parked = Vec::new();
    let mut park = |seq, meter| parked.push(RejectedLine { seq, meter, reason: REASON.to_owned() });
    for total in billed_lines(window.totals) {
        park(closed.seq, total.meter);
        // A gauge has no sum to correct. The next value replaces it.
        if total.meter == Meter::StorageBytes {
            continue;
        }
        let by = -i128::try_from(total.value).unwrap_or(i128::MAX);
        let (corrects, meter, reason) = (closed.seq, total.meter, REASON.to_owned());
        let corrected = commit.stage(own(Event::BillingCorrected { corrects, meter, by, reason }), at)?;
        billing = billing.after(corrected, &usage, &Change::default());
        park(corrected.seq, meter);
    }
    let through = billing.last_entry();
    commit.stage(own(Event::BillingAcknowledged { through, rejected: parked }), at)?;
    for record in commit.commit()? {
        // The records were computed from this state, so they apply.
        if history.projection.apply(&record).is_err() {
            debug_assert!(false, "a record of the bill's beginning does not apply");
        }
    }
    Ok(true)
}

fn own(event: Event) -> Draft {
    let actor = Actor { key_id: None, via: Via::CommandLine };
    Draft { actor, request_id: String::new(), idempotency: None, event }
}
