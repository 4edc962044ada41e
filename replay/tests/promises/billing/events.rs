//! Billing events, as a server would append them.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use uuid::Uuid;
use vectorizer_log::{
    Event, JournalPosition, Meter, Metric, ObservedOperation, Record, RejectedLine, Seq, Timestamp,
};
use vectorizer_replay::{Projection, Projector};

use crate::history::{collection, created, fold, point, record};

/// A billing action of a server.
#[derive(Clone, Debug)]
pub(crate) enum BillingAction {
    Observe {
        operations: Vec<ObservedOperation>,
        journal: JournalPosition,
    },
    /// A close, recorded this much later than it was made.
    Close {
        late_micros: i64,
    },
    Correct {
        which: prop::sample::Index,
        meter: Meter,
        by: i128,
    },
    Acknowledge {
        which: prop::sample::Index,
    },
}

pub(crate) fn billing_action() -> impl Strategy<Value = BillingAction> {
    let operations = btree_map("[a-f]", (0..9_u64, 0..9_u64), 0..4).prop_map(|operations| {
        let observed =
            |(operation, (requests, searches))| ObservedOperation { operation, requests, searches };
        operations.into_iter().map(observed).collect()
    });
    let journal = (1..3_u128, 0..9_u64)
        .prop_map(|(journal, entry)| JournalPosition { journal: Uuid::from_u128(journal), entry });
    let which = any::<prop::sample::Index>;
    prop_oneof![
        3 => (operations, journal)
            .prop_map(|(operations, journal)| BillingAction::Observe { operations, journal }),
        5 => prop_oneof![Just(0), 0..5_000_000_i64].prop_map(|late_micros| BillingAction::Close { late_micros }),
        1 => (which(), prop::sample::select(Meter::ALL.to_vec()), -99..99_i128)
            .prop_map(|(which, meter, by)| BillingAction::Correct { which, meter, by }),
        1 => which().prop_map(|which| BillingAction::Acknowledge { which }),
    ]
}

/// The event of the action; `None` if it is not possible in this state.
pub(crate) fn billing_event(
    action: &BillingAction,
    state: &Projection,
    records: &[Record],
    clock: &mut i64,
) -> Option<Event> {
    let closes: Vec<Seq> = records
        .iter()
        .filter(|record| matches!(record.event, Event::BillingClosed { .. }))
        .map(|record| record.seq)
        .collect();
    let close = |which: &prop::sample::Index| (!closes.is_empty()).then(|| closes[which.index(closes.len())]);
    let now = Timestamp::from_micros(*clock);
    Some(match action {
        BillingAction::Observe { operations, journal } => Event::UsageObserved {
            operations: operations.clone(),
            since: now,
            through: now,
            journal: *journal,
        },
        BillingAction::Close { late_micros } => {
            *clock += late_micros;
            return state.billing().close(now, state.usage());
        }
        BillingAction::Correct { which, meter, by } => Event::BillingCorrected {
            corrects: close(which)?,
            meter: *meter,
            by: *by,
            reason: "measured again".to_owned(),
        },
        BillingAction::Acknowledge { which } => {
            let seq = close(which)?;
            let parked = vec![RejectedLine {
                seq,
                meter: Meter::Searches,
                reason: "the tenant is unknown".to_owned(),
            }];
            Event::BillingAcknowledged { through: seq, rejected: parked }
        }
    })
}

/// Histories with closes within milliseconds of each other: almost all storage of a window is a fraction of a
/// byte-second.
pub(super) fn upserts_and_closes() -> impl Strategy<Value = Vec<Record>> {
    vec((0..3_000_i64, any::<bool>()), 1..40).prop_map(|steps| {
        let mut records = vec![record(1, 0, created("c", 1, Metric::Dot))];
        let mut state = fold(&records);
        let mut clock = 0;
        for (micros, closes) in steps {
            clock += micros;
            let at = Timestamp::from_micros(clock);
            let event = if closes {
                state.billing().close(at, state.usage())
            } else {
                let points = vec![point(&format!("p{micros}"), &[1.0], None)];
                Some(Event::VectorsUpserted { collection: collection(1), points })
            };
            let Some(event) = event else { continue };
            clock += micros % 7;
            let record = record(state.applied().next().get(), clock, event);
            state.apply(&record).unwrap();
            records.push(record);
        }
        records
    })
}
