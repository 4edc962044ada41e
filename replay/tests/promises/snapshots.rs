//! A snapshot answers as of its moment, whatever is written later.

use std::collections::BTreeMap;

use proptest::prelude::*;
use vectorizer_index::{SearchMode, SearchRequest, Snapshot, StoredPoint};
use vectorizer_log::{Event, Metric, PointId, Record};
use vectorizer_replay::{Projection, Projector};

use crate::history::{collection, created, fold, history, id, log_id, point, record};

/// All answers of a snapshot.
fn everything(snapshot: &Snapshot) -> BTreeMap<PointId, (Vec<u32>, Option<String>)> {
    let vector = vec![1.0; snapshot.dimension()];
    let request = SearchRequest {
        vector: &vector,
        limit: usize::MAX,
        filter: None,
        score_threshold: None,
        mode: SearchMode::Default,
    };
    assert_eq!(snapshot.count(None), snapshot.len());
    if snapshot.dimension() == 0 {
        // By its ids, as there are no vectors to compare.
        let ids = snapshot.matching(&vectorizer_index::Filter::default().into());
        return ids.into_iter().map(|id| (id, (Vec::new(), None))).collect();
    }
    let hits = snapshot.search(&request).unwrap();
    assert_eq!(hits.len(), snapshot.len());
    hits.into_iter().map(|hit| plain(&hit.point)).collect()
}

fn plain(point: &StoredPoint) -> (PointId, (Vec<u32>, Option<String>)) {
    let vector = point.vector().iter().map(|number| number.to_bits()).collect();
    (id(point.id()), (vector, point.payload().map(|payload| payload.as_str().to_owned())))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_snapshot_answers_as_of_its_moment(records in history()) {
        let mut projection = Projection::new(log_id());
        let mut taken = Vec::new();
        for record in &records {
            projection.apply(record).unwrap();
            for collection in projection.index().collections() {
                let then: BTreeMap<_, _> = collection.points().map(|point| plain(&point)).collect();
                let of_ids = |then: BTreeMap<PointId, _>| then.into_keys().map(|id| (id, (Vec::new(), None)));
                let then = if collection.dimension().is_none() { of_ids(then).collect() } else { then };
                taken.push((collection.snapshot(), then));
            }
        }
        for (snapshot, then) in &taken {
            prop_assert_eq!(&everything(snapshot), then);
        }
        // Readers do not change later writes.
        prop_assert_eq!(projection.digest(), fold(&records).digest());
    }
}

fn upserted(seq: u64, count: usize, vector: &[f32]) -> Record {
    let points = (0..count).map(|number| point(&format!("p{number}"), vector, None)).collect();
    record(seq, 0, Event::VectorsUpserted { collection: collection(1), points })
}

#[test]
fn a_point_that_was_read_outlives_its_deletion() {
    let mut projection = fold(&[record(1, 0, created("c", 2, Metric::Dot)), upserted(2, 3, &[1.0, 2.0])]);
    let point = projection.index().by_id(collection(1)).unwrap().get(&id("p1")).unwrap();
    projection.apply(&record(3, 0, Event::CollectionDeleted { collection: collection(1) })).unwrap();
    assert_eq!(point.vector(), [1.0, 2.0]);
    assert_eq!(point.id(), "p1");
}

#[test]
fn snapshots_are_read_on_other_threads_while_writes_go_on() {
    let mut projection = fold(&[record(1, 0, created("c", 2, Metric::Dot)), upserted(2, 2_000, &[1.0, 0.0])]);
    let snapshot = projection.index().by_id(collection(1)).unwrap().snapshot();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| (0..50).map(|_| everything(&snapshot)).collect::<Vec<_>>());
        for seq in 3..20 {
            projection.apply(&upserted(seq, 2_000, &[0.0, 1.0])).unwrap();
        }
        let read = reader.join().unwrap();
        assert!(read.iter().all(|points| *points == read[0] && points.len() == 2_000));
    });
    let now = projection.index().by_id(collection(1)).unwrap();
    assert!(now.points().all(|point| point.vector() == [0.0, 1.0]));
}

#[test]
fn a_projection_is_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Projection>();
    shared::<Snapshot>();
    shared::<StoredPoint>();
}
