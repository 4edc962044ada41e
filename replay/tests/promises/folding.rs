//! A projection is a fold of its log and depends on nothing else.

use proptest::prelude::*;
use vectorizer_index::{Collection, StoredPoint};
use vectorizer_log::{
    Dimension, Document, Event, PayloadPath, PointId, Record, Text, Timestamp, VectorParameters,
};
use vectorizer_replay::{Applied, Projection, Projector};

use crate::history::{collection, created, fold, history, id, log_id, path, point, record};
use crate::model::{Model, ModelCollection, ModelPoint};
use vectorizer_log::{IndexParameters, Metric};

fn plain(point: &StoredPoint) -> (String, ModelPoint) {
    let payload = point.payload().map(|payload| payload.as_str().to_owned());
    let text = point.text().map(|text| text.as_str().to_owned());
    (point.id().to_string(), ModelPoint { vector: point.vector().to_vec(), payload, text })
}

fn in_pages_of(collection: &Collection, limit: usize) -> Vec<(String, ModelPoint)> {
    let mut points: Vec<StoredPoint> = Vec::new();
    loop {
        let last = points.last().map(|point: &StoredPoint| PointId::text(point.id()).unwrap());
        let page = collection.page(last.as_ref(), limit);
        if page.is_empty() {
            return points.iter().map(plain).collect();
        }
        assert!(page.len() <= limit);
        points.extend(page);
    }
}

fn assert_collection(found: &Collection, expected: &ModelCollection) {
    assert_eq!(found.name().as_str(), expected.name);
    assert_eq!(found.has_texts(), expected.texts);
    assert_eq!(found.dimension().map_or(0, Dimension::get), expected.dimension);
    assert_eq!(found.metric(), (expected.dimension > 0).then_some(expected.metric));
    assert_eq!(found.parameters(), expected.parameters);
    assert_eq!(found.created_at().micros(), expected.created_at);
    assert_eq!(found.last_change().get(), expected.last_change);
    assert!(found.declared().map(PayloadPath::as_str).eq(&expected.declared));
    assert_eq!(found.len(), expected.points.len());
    assert_eq!(found.logical_bytes(), expected.logical_bytes());
    assert_eq!(found.snapshot().len(), expected.points.len());
    let points: Vec<_> = expected.points.clone().into_iter().collect();
    assert_eq!(found.points().map(|point| plain(&point)).collect::<Vec<_>>(), points);
    assert_eq!(in_pages_of(found, 7), points);
    for (name, point) in &points {
        assert!(found.contains(&id(name)));
        assert_eq!(plain(&found.get(&id(name)).unwrap()).1, *point);
    }
    assert!(found.get(&id("no such point")).is_none() && !found.contains(&id("no such point")));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn folding_a_log_again_gives_the_same_state(records in history(), cut in any::<prop::sample::Index>()) {
        let live = fold(&records);
        prop_assert_eq!(fold(&records).digest(), live.digest());

        // Interrupted anywhere, and resumed by a source that starts again from the first record.
        let done = cut.index(records.len() + 1);
        let mut resumed = fold(&records[..done]);
        for record in &records {
            let applied = resumed.apply(record).unwrap();
            prop_assert_eq!(applied == Applied::Skipped, record.seq.get() <= done as u64);
        }
        prop_assert_eq!(resumed.digest(), live.digest());
        prop_assert_eq!(resumed.applied(), live.applied());
    }

    #[test]
    fn the_change_of_an_event_is_known_before_it_is_applied(records in history()) {
        let mut state = Projection::new(log_id());
        for record in &records {
            let foreseen = state.index().expected_change(&record.event);
            let most = state.usage().after(&state.index().upper_bound(&record.event));
            let exact = state.usage().after(&foreseen);
            prop_assert!(exact.vectors() <= most.vectors());
            prop_assert!(exact.logical_bytes() <= most.logical_bytes());
            prop_assert!(exact.collections() <= most.collections());
            prop_assert_eq!(state.apply(record).unwrap(), Applied::Changed(foreseen));
        }
    }

    #[test]
    fn collections_and_points_equal_a_plain_model(records in history()) {
        let (projection, model) = (fold(&records), Model::of(&records));
        let mut names: Vec<&str> = model.collections.values().map(|expected| expected.name.as_str()).collect();
        names.sort_unstable();
        let found: Vec<&str> = projection.index().collections().map(|found| found.name().as_str()).collect();
        prop_assert_eq!(found, names);
        for (seq, expected) in &model.collections {
            let found = projection.index().by_id(collection(*seq)).unwrap();
            prop_assert_eq!(projection.index().collection(found.name()).unwrap().id(), found.id());
            assert_collection(found, expected);
        }
        let data_seq = records.iter().filter(|record| record.event.changes_data()).map(|record| record.seq).max();
        prop_assert_eq!(projection.data_seq(), data_seq.unwrap_or_default());
    }

    #[test]
    fn counters_equal_a_recount(records in history()) {
        let (projection, model) = (fold(&records), Model::of(&records));
        let usage = projection.usage();
        let collections = || model.collections.values();
        prop_assert_eq!(usage.collections(), collections().count() as u64);
        prop_assert_eq!(usage.vectors(), collections().map(|it| it.points.len() as u64).sum::<u64>());
        prop_assert_eq!(usage.logical_bytes(), collections().map(ModelCollection::logical_bytes).sum::<u64>());
        prop_assert_eq!(usage.vectors_upserted(), model.vectors_upserted);
        prop_assert_eq!(usage.vectors_deleted(), model.vectors_deleted);
    }

    #[test]
    fn answers_are_remembered_for_24_hours_by_the_time_of_the_records(records in history()) {
        let (projection, model) = (fold(&records), Model::of(&records));
        let now = records.last().map_or(Timestamp::default(), |record| record.at);
        prop_assert_eq!(projection.idempotency().len(), model.answers.len());
        for (key, expected) in &model.answers {
            let found = projection.idempotency().get(key, now).unwrap();
            prop_assert_eq!((found.seq.get(), found.at.micros()), (expected.seq, expected.at));
            prop_assert_eq!((found.body_hash, found.outcome), (expected.body_hash, expected.outcome));
        }
    }
}

fn small_history() -> Vec<Record> {
    let upserted = Event::VectorsUpserted {
        collection: collection(1),
        points: vec![point("a", &[1.0, 2.0], Some(r#"{"n": 1}"#)), point("b", &[3.0, 4.0], None)],
    };
    vec![record(1, 10, created("c", 2, Metric::Dot)), record(2, 20, upserted)]
}

#[test]
fn the_digest_distinguishes_all_differences() {
    let with = |change: &dyn Fn(&mut Vec<Record>)| {
        let mut records = small_history();
        change(&mut records);
        fold(&records).digest().to_string()
    };
    let upsert = |name: &str, vector: [f32; 2], payload: Option<&str>| {
        let points = vec![point(name, &vector, payload), point("b", &[3.0, 4.0], None)];
        record(2, 20, Event::VectorsUpserted { collection: collection(1), points })
    };
    let mut digests = vec![
        Projection::new(log_id()).digest().to_string(),
        with(&|_| {}),
        with(&|records| records.truncate(1)),
        with(&|records| records[0] = record(1, 11, created("c", 2, Metric::Dot))),
        with(&|records| records[0] = record(1, 10, created("d", 2, Metric::Dot))),
        with(&|records| records[0] = record(1, 10, created("c", 2, Metric::Cosine))),
        with(&|records| records[1] = upsert("A", [1.0, 2.0], Some(r#"{"n": 1}"#))),
        with(&|records| records[1] = upsert("a", [1.0, 2.5], Some(r#"{"n": 1}"#))),
        with(&|records| records[1] = upsert("a", [1.0, 2.0], Some(r#"{"n": 2}"#))),
        with(&|records| records[1] = upsert("a", [1.0, 2.0], None)),
        // Writing a point again changes no point, but the collection's last change and a counter.
        with(&|records| {
            let mut again = upsert("a", [1.0, 2.0], Some(r#"{"n": 1}"#));
            again.seq = again.seq.next();
            records.push(again);
        }),
    ];
    // The same points with declared paths.
    let declared = |text: &str| Event::IndexDeclared { collection: collection(1), path: path(text) };
    for paths in [&["a"][..], &["b"], &["a", "b"], &["ab"]] {
        digests.push(with(&|records| {
            let more = (3..).zip(paths).map(|(seq, text)| record(seq, 20, declared(text)));
            records.extend(more);
        }));
    }
    // The same points in collections with texts, with and without them.
    let created = |vectors| Event::TextCollectionCreated { name: "c".parse().unwrap(), vectors };
    let (dimension, metric) = (2.try_into().unwrap(), Metric::Dot);
    let vectors = VectorParameters { dimension, metric, index: IndexParameters::default() };
    let documents = |text: Option<&str>, vector: bool| {
        let Event::VectorsUpserted { collection, points } = small_history().pop().unwrap().event else {
            panic!()
        };
        let documents = points.into_iter().map(|point| {
            let document = Document { text: text.map(|text| Text::new(text).unwrap()), ..point.into() };
            if vector { document } else { Document { vector: None, ..document } }
        });
        record(2, 20, Event::DocumentsUpserted { collection, documents: documents.collect() })
    };
    for text in [None, Some("a"), Some("b")] {
        digests
            .push(fold(&[record(1, 10, created(Some(vectors))), documents(text, true)]).digest().to_string());
    }
    digests.push(fold(&[record(1, 10, created(None)), documents(Some("a"), false)]).digest().to_string());
    digests.sort_unstable();
    let all = digests.len();
    digests.dedup();
    assert_eq!(digests.len(), all);
}

#[test]
fn the_digest_ignores_records_that_change_nothing() {
    let mut records = small_history();
    let before = fold(&records).digest();
    records.push(record(3, 30, Event::VectorsDeleted { collection: collection(1), ids: vec![] }));
    let projection = fold(&records);
    assert_eq!(projection.digest(), before);
    assert_eq!((projection.applied().get(), projection.data_seq().get()), (3, 2));
}

#[test]
fn vectors_come_back_bit_for_bit() {
    let vector = [-0.0, f32::MIN_POSITIVE / 3.0, f32::MAX, 1.0 / 3.0];
    let points = vec![point("a", &vector, None)];
    let records = [
        record(1, 0, created("c", 4, Metric::Cosine)),
        record(2, 0, Event::VectorsUpserted { collection: collection(1), points }),
    ];
    let projection = fold(&records);
    let stored = projection.index().by_id(collection(1)).unwrap().get(&id("a")).unwrap();
    assert_eq!(stored.vector().map_bits(), vector.map_bits());
}

trait Bits {
    fn map_bits(&self) -> Vec<u32>;
}

impl<T: AsRef<[f32]> + ?Sized> Bits for T {
    fn map_bits(&self) -> Vec<u32> {
        self.as_ref().iter().map(|number| number.to_bits()).collect()
    }
}
