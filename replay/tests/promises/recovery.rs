//! Replay of a log from any source, with progress.

use std::convert::Infallible;

use vectorizer_log::{Event, Metric, Record, Seq};
use vectorizer_replay::{
    ApplyError, Incomplete, Progress, Projection, Projector, RECORDS_PER_PROGRESS, Recovery, ReplayError,
    replay,
};

use crate::history::{collection, created, fold, log_id, point, record};

fn records(through: u64) -> Vec<Record> {
    let upserted = |seq: u64| {
        let points = vec![point(&format!("p{seq}"), &[1.0], None)];
        record(seq, 0, Event::VectorsUpserted { collection: collection(1), points })
    };
    let first = record(1, 0, created("c", 1, Metric::Dot));
    std::iter::once(first).chain((2..=through).map(upserted)).collect()
}

fn good(records: Vec<Record>) -> impl Iterator<Item = Result<Record, Infallible>> {
    records.into_iter().map(Ok)
}

#[test]
fn progress_is_reported_regularly_and_at_the_end() {
    let through = 2 * RECORDS_PER_PROGRESS + 10;
    let mut reports = Vec::new();
    let mut projection = Projection::new(log_id());
    let last = replay(good(records(through)), Seq::new(through), &mut projection, |progress| {
        reports.push(progress);
    })
    .unwrap();
    let at = |applied: u64| Progress {
        applied: Seq::new(applied),
        through: Seq::new(through),
        vectors: applied - 1,
    };
    assert_eq!(reports, [at(RECORDS_PER_PROGRESS), at(2 * RECORDS_PER_PROGRESS), at(through)]);
    assert_eq!(last, at(through));
    assert_eq!(projection.digest(), fold(&records(through)).digest());
}

#[test]
fn records_pushed_from_a_callback_give_the_same_state() {
    let records = records(20);
    let mut projection = fold(&records[..7]);
    let mut recovery = Recovery::new(&mut projection, Seq::new(20), |_| {});
    assert_eq!(recovery.next_seq(), Seq::new(8));
    records.iter().try_for_each(|record| recovery.push(record)).unwrap();
    recovery.finish().unwrap();
    assert_eq!(projection.digest(), fold(&records).digest());
}

#[test]
fn a_replay_that_ends_early_says_so() {
    let mut projection = Projection::new(log_id());
    let error = replay(good(records(5)), Seq::new(6), &mut projection, |_| {}).unwrap_err();
    assert_eq!(error, ReplayError::Incomplete(Incomplete { applied: Seq::new(5), through: Seq::new(6) }));
}

#[test]
fn a_replay_stops_at_the_first_record_that_fails() {
    let mut projection = Projection::new(log_id());
    let mut broken = records(5);
    broken.remove(3);
    let error = replay(good(broken), Seq::new(5), &mut projection, |_| {}).unwrap_err();
    let gap = ApplyError::Gap { expected: Seq::new(4), found: Seq::new(5) };
    assert_eq!(error, ReplayError::Apply(gap));
    assert_eq!(projection.applied(), Seq::new(3));

    let unreadable =
        records(5).into_iter().map(|record| if record.seq.get() < 5 { Ok(record) } else { Err("torn") });
    let error = replay(unreadable, Seq::new(5), &mut projection, |_| {}).unwrap_err();
    assert_eq!(error, ReplayError::Source("torn"));
    assert_eq!(projection.applied(), Seq::new(4));
}
