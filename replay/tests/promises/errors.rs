//! Records that a projection refuses leave no trace.

use vectorizer_index::InvalidEvent;
use vectorizer_log::{Event, LogId, Metric, Payload, Record, Seq};
use vectorizer_replay::{Applied, ApplyError, Projection, Projector};

use crate::history::{collection, created, fold, id, log_id, path, point, record};

fn projection() -> Projection {
    let points = vec![point("a", &[1.0, 2.0], None), point("b", &[3.0, 4.0], None)];
    fold(&[
        record(1, 10, created("c", 2, Metric::Dot)),
        record(2, 20, Event::VectorsUpserted { collection: collection(1), points }),
    ])
}

/// Applies a record, which must be refused and change nothing.
fn refusal(record: &Record) -> ApplyError {
    let mut projection = projection();
    let before = projection.digest();
    let error = projection.apply(record).unwrap_err();
    assert_eq!(projection.digest(), before);
    assert_eq!(projection.applied(), Seq::new(2));
    error
}

#[test]
fn a_missing_record_is_a_gap() {
    let error = refusal(&record(4, 30, created("d", 2, Metric::Dot)));
    assert_eq!(error, ApplyError::Gap { expected: Seq::new(3), found: Seq::new(4) });
}

#[test]
fn a_record_of_another_log_is_refused_even_if_its_seq_was_applied() {
    let found = LogId::new(uuid::Uuid::from_u128(8));
    for seq in 1..=3 {
        let foreign = Record { log_id: found, ..record(seq, 30, created("d", 2, Metric::Dot)) };
        assert_eq!(refusal(&foreign), ApplyError::ForeignLog { expected: log_id(), found });
    }
}

#[test]
fn a_record_applied_before_is_skipped() {
    let mut projection = projection();
    let before = projection.digest();
    for seq in 0..=2 {
        let again = record(seq, 10, created("d", 2, Metric::Dot));
        assert_eq!(projection.apply(&again).unwrap(), Applied::Skipped);
    }
    assert_eq!(projection.digest(), before);
}

#[test]
fn an_invalid_event_leaves_no_trace() {
    let here = collection(1);
    let nowhere = collection(9);
    let upserted = |collection, points| Event::VectorsUpserted { collection, points };
    let deleted = |collection, ids| Event::VectorsDeleted { collection, ids };
    let changed = |collection, name: &str| Event::PayloadChanged {
        collection,
        id: id(name),
        payload: Payload::new("{}").unwrap(),
    };
    let unknown = || InvalidEvent::UnknownCollection { collection: nowhere };
    let cases = [
        (created("c", 3, Metric::Dot), InvalidEvent::NameExists { name: "c".parse().unwrap() }),
        (Event::CollectionDeleted { collection: nowhere }, unknown()),
        (upserted(nowhere, vec![]), unknown()),
        (deleted(nowhere, vec![]), unknown()),
        (changed(nowhere, "a"), unknown()),
        (
            upserted(here, vec![point("n", &[1.0, 1.0], None), point("m", &[1.0], None)]),
            InvalidEvent::WrongDimension { id: id("m"), expected: 2, found: 1 },
        ),
        (
            upserted(here, vec![point("n", &[1.0, 1.0], None), point("n", &[1.0, 2.0], None)]),
            InvalidEvent::RepeatedPoint { id: id("n") },
        ),
        (deleted(here, vec![id("a"), id("n")]), InvalidEvent::UnknownPoint { id: id("n") }),
        (deleted(here, vec![id("a"), id("a")]), InvalidEvent::RepeatedPoint { id: id("a") }),
        (
            upserted(here, ["n", "m", "n"].map(|id| point(id, &[1.0, 1.0], None)).to_vec()),
            InvalidEvent::RepeatedPoint { id: id("n") },
        ),
        (changed(here, "n"), InvalidEvent::UnknownPoint { id: id("n") }),
        (Event::IndexDeclared { collection: nowhere, path: path("n") }, unknown()),
        (Event::IndexDropped { collection: nowhere, path: path("n") }, unknown()),
        (
            Event::IndexDropped { collection: here, path: path("n") },
            InvalidEvent::UndeclaredIndex { path: path("n") },
        ),
    ];
    for (event, reason) in cases {
        assert_eq!(projection().index().check(&event).unwrap_err(), reason);
        assert_eq!(refusal(&record(3, 30, event)), ApplyError::DoesNotApply { seq: Seq::new(3), reason });
    }
}

#[test]
fn a_name_is_free_again_once_its_collection_is_deleted() {
    let mut projection = projection();
    projection.apply(&record(3, 30, Event::CollectionDeleted { collection: collection(1) })).unwrap();
    projection.apply(&record(4, 40, created("c", 5, Metric::Cosine))).unwrap();
    let again = projection.index().collection(&"c".parse().unwrap()).unwrap();
    assert_eq!((again.id(), again.len()), (collection(4), 0));
    assert!(projection.index().by_id(collection(1)).is_none());
}
