//! Whatever is declared, dropped, written, compacted and indexed in whichever order: filters select what they say.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, json};
use vectorizer_log::{
    Actor, ChainHash, CollectionId, Event, Head, IndexParameters, LogId, Metric, Payload, PayloadPath, Point,
    PointId, Record, Seq, Timestamp, Vector, Via,
};

use super::super::postings::{IndexState, PayloadIndex};
use super::super::{Collection, Compaction, Filter};
use super::Indexing;
use crate::checkpoint::Restored;
use crate::projection::{Projection, Projector as _};

/// More paths than there is room for in a test.
const PATHS: usize = 60;
const IDS: usize = 40;

fn log_id() -> LogId {
    LogId::new(uuid::Uuid::nil())
}

const COLLECTION: CollectionId = CollectionId::created_at(Seq::OLDEST);

fn name(path: usize) -> String {
    format!("p{path}")
}

/// The path of the values in it.
fn path(number: usize) -> PayloadPath {
    format!("p{number}.v").into_boxed_str().try_into().unwrap()
}

fn apply(projection: &mut Projection, event: Event) {
    let record = Record {
        log_id: log_id(),
        seq: projection.applied().next(),
        at: Timestamp::from_micros(1),
        actor: Actor { key_id: None, via: Via::Rest },
        request_id: String::new(),
        idempotency: None,
        event,
    };
    projection.apply(&record).unwrap();
}

fn begun() -> Projection {
    let mut projection = Projection::new(log_id());
    let created = Event::CollectionCreated {
        name: "words".parse().unwrap(),
        dimension: 1.try_into().unwrap(),
        metric: Metric::Dot,
        index: IndexParameters::default(),
    };
    apply(&mut projection, created);
    projection
}

fn stored(projection: &Projection) -> &Collection {
    projection.index().by_id(COLLECTION).unwrap()
}

fn id(number: usize) -> PointId {
    PointId::text(format!("i{number}")).unwrap()
}

/// Each path twice, in an array of objects, so that one place more or less does not go unnoticed.
fn payload(fields: &[(usize, u8)]) -> Payload {
    let fields: Map<_, _> = fields
        .iter()
        .map(|(path, value)| (name(*path), json!([{"v": value}, {"v": [value, null]}])))
        .collect();
    Payload::new(serde_json::Value::from(fields).to_string()).unwrap()
}

fn upserted(ids: &[usize], fields: &[(usize, u8)]) -> Event {
    let ids: BTreeSet<usize> = ids.iter().copied().collect();
    let point = |number| Point {
        id: id(number),
        vector: Vector::dense(vec![1.0]).unwrap(),
        payload: Some(payload(fields)),
    };
    Event::VectorsUpserted { collection: COLLECTION, points: ids.into_iter().map(point).collect() }
}

#[derive(Clone, Debug)]
enum Step {
    Upsert(Vec<usize>, Vec<(usize, u8)>),
    Delete(usize),
    Change(usize, Vec<(usize, u8)>),
    Declare(usize),
    Drop(usize),
    /// Begins to index, or puts what was indexed in place.
    Index,
    CatchUp,
    /// Begins to compact, or puts the compaction in place.
    Compact,
    Checkpoint,
}

fn step() -> impl Strategy<Value = Step> {
    let fields = || vec((0..PATHS, 0..3_u8), 0..25);
    prop_oneof![
        6 => (vec(0..IDS, 0..12), fields()).prop_map(|(ids, fields)| Step::Upsert(ids, fields)),
        4 => (1..IDS).prop_map(Step::Delete),
        3 => (0..IDS, fields()).prop_map(|(id, fields)| Step::Change(id, fields)),
        4 => (0..PATHS).prop_map(Step::Declare),
        2 => any::<usize>().prop_map(Step::Drop),
        5 => Just(Step::Index),
        1 => Just(Step::CatchUp),
        2 => Just(Step::Compact),
        1 => Just(Step::Checkpoint),
    ]
}

/// A projection, and what is made beside it.
struct Story {
    projection: Projection,
    indexing: Option<Indexing>,
    compaction: Option<Compaction>,
    declared: BTreeSet<PayloadPath>,
}

impl Story {
    fn go_on(&mut self, step: Step) {
        let projection = &mut self.projection;
        match step {
            Step::Upsert(ids, fields) => apply(projection, upserted(&ids, &fields)),
            Step::Delete(stride) => {
                let ids = stored(projection).points().step_by(stride);
                let ids = ids.map(|point| PointId::text(point.id()).unwrap()).collect();
                apply(projection, Event::VectorsDeleted { collection: COLLECTION, ids });
            }
            Step::Change(number, fields) if stored(projection).contains(&id(number)) => {
                let (id, payload) = (id(number), payload(&fields));
                apply(projection, Event::PayloadChanged { collection: COLLECTION, id, payload });
            }
            Step::Change(..) => {}
            Step::Declare(number) => {
                apply(projection, Event::IndexDeclared { collection: COLLECTION, path: path(number) });
                self.declared.insert(path(number));
            }
            Step::Drop(pick) => {
                let Some(pick) = pick.checked_rem(self.declared.len()) else { return };
                let path = self.declared.iter().nth(pick).unwrap().clone();
                self.declared.remove(&path);
                apply(projection, Event::IndexDropped { collection: COLLECTION, path });
            }
            Step::Index => {
                if let Some(indexing) = self.indexing.take() {
                    drop(projection.install_indexing(COLLECTION, indexing));
                } else {
                    let mut indexing = stored(projection).indexing();
                    indexing.gather(&|| false).unwrap();
                    self.indexing = Some(indexing);
                }
            }
            Step::CatchUp => {
                if let Some(indexing) = &mut self.indexing {
                    indexing.catch_up_with(&stored(projection).snapshot());
                }
            }
            Step::Compact => match self.compaction.take() {
                Some(compaction) => drop(projection.install(COLLECTION, compaction)),
                None => self.compaction = Some(stored(projection).snapshot().compact(&|| false).unwrap()),
            },
            Step::Checkpoint => {
                let mut bytes = Vec::new();
                let head = Head { seq: projection.applied(), chain: ChainHash::from_bytes([9; 32]) };
                projection.freeze(head, 1).write(&mut bytes).unwrap();
                let restored = Restored::read(&*bytes, bytes.len() as u64, log_id(), &|| false).unwrap();
                assert_eq!(restored.projection.digest(), projection.digest());
                *projection = restored.projection;
                (self.indexing, self.compaction) = (None, None);
                assert_eq!(stored(projection).payload_index().building, 0);
            }
        }
    }

    /// Every path, by every value and by none.
    fn check(&self) {
        let collection = stored(&self.projection);
        let snapshot = collection.snapshot();
        assert!(collection.declared().eq(&self.declared));
        let building: Vec<String> = collection
            .indexes()
            .declared
            .into_iter()
            .filter_map(|(path, state)| (state == IndexState::Building).then_some(path))
            .collect();
        for number in 0..PATHS {
            let key = format!("p{number}.v");
            for condition in [
                json!({"must": {"key": key, "match": {"value": 1}}}),
                json!({"must_not": {"key": key, "match": {"value": 2}}}),
                json!({"must": {"key": key, "match": {"except": [0]}}}),
                json!({"must": {"is_empty": {"key": key}}}),
            ] {
                let filter = Filter::parse(&condition.to_string(), 64).unwrap();
                let matches = collection.points().filter(|point| filter.matches(point.id(), point.payload()));
                let expected: Vec<String> = matches.map(|point| point.id().to_owned()).collect();
                let selection = collection.select(filter);
                let found: Vec<String> =
                    snapshot.matching(&selection).iter().map(|id| id.as_str().to_owned()).collect();
                assert_eq!(found, expected, "{condition}");
                if self.declared.contains(&path(number)) && !building.contains(&key) {
                    assert!(selection.candidates().is_some_and(|(_, exact)| exact), "{condition}: no index");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn filters_select_what_they_say_whatever_is_declared_when(steps in vec(step(), 0..40)) {
        let mut story = Story { projection: begun(), indexing: None, compaction: None, declared: BTreeSet::new() };
        for step in steps {
            story.go_on(step);
            story.check();
        }
        // What is left to do can be done, and then nothing is being made.
        let mut rounds = 0;
        while stored(&story.projection).wants_indexing() {
            story.indexing = None;
            story.go_on(Step::Index);
            story.go_on(Step::Index);
            rounds += 1;
            prop_assert!(rounds < 10, "it never ends");
        }
        story.check();
        prop_assert_eq!(stored(&story.projection).payload_index().building, 0);
    }
}

/// Paths that take all the room there is.
fn full() -> Projection {
    let mut projection = begun();
    for first in (0..PATHS).step_by(10) {
        let fields: Vec<(usize, u8)> = (first..first + 10).map(|path| (path, 1)).collect();
        apply(&mut projection, upserted(&[first], &fields));
    }
    projection
}

fn index(projection: &mut Projection) {
    let mut indexing = stored(projection).indexing();
    indexing.gather(&|| false).unwrap();
    let (installed, removed) = projection.install_indexing(COLLECTION, indexing);
    assert!(installed);
    drop(removed);
}

fn last() -> PayloadPath {
    path(PATHS - 1)
}

fn facts(projection: &Projection) -> (usize, usize, usize) {
    let PayloadIndex { declared, building, left_out, .. } = stored(projection).payload_index();
    (declared, building, left_out)
}

#[test]
fn a_declared_path_has_room_where_there_is_none_and_takes_nobody_elses() {
    let mut projection = full();
    let (_, _, left_out) = facts(&projection);
    let indexed = stored(&projection).payload_index().indexed;
    assert!(left_out > 0 && indexed + left_out == 2 * PATHS && !stored(&projection).wants_indexing());
    apply(&mut projection, Event::IndexDeclared { collection: COLLECTION, path: last() });
    assert_eq!(facts(&projection), (1, 1, left_out - 1));
    assert!(stored(&projection).wants_indexing());
    index(&mut projection);
    assert_eq!(facts(&projection), (1, 0, left_out - 1));
    assert_eq!(stored(&projection).payload_index().indexed, indexed + 1);
    // Dropped it is like all others, and there is no room for it.
    let bytes = stored(&projection).payload_index().bytes;
    apply(&mut projection, Event::IndexDropped { collection: COLLECTION, path: last() });
    assert_eq!(facts(&projection), (0, 0, left_out));
    assert!(stored(&projection).payload_index().bytes < bytes);
    let filter =
        Filter::parse(&json!({"must": {"key": last().as_str(), "match": {"value": 1}}}).to_string(), 64);
    let selection = stored(&projection).select(filter.unwrap());
    assert!(selection.candidates().is_none());
    assert_eq!(stored(&projection).snapshot().count(Some(&selection)), 1);
}

#[test]
fn a_path_that_no_payload_has_yet_is_indexed_from_the_first_one_on() {
    let mut projection = begun();
    apply(&mut projection, Event::IndexDeclared { collection: COLLECTION, path: last() });
    assert_eq!(facts(&projection), (1, 0, 0));
    for first in (0..PATHS).step_by(10) {
        let fields: Vec<(usize, u8)> = (first..first + 10).map(|path| (path, 1)).collect();
        apply(&mut projection, upserted(&[first], &fields));
    }
    let (declared, building, left_out) = facts(&projection);
    assert_eq!((declared, building), (1, 0));
    assert!(left_out > 0);
    let indexes = stored(&projection).indexes();
    assert_eq!(indexes.declared, [(last().to_string(), IndexState::Ready)]);
    assert_eq!(indexes.automatic + indexes.left_out + 1, 2 * PATHS);
    assert_eq!((indexes.automatic_first.len(), indexes.left_out_first.len()), (indexes.automatic, left_out));
}

#[test]
fn paths_that_were_left_out_come_in_again_when_there_is_much_room() {
    let mut projection = full();
    let left_out = facts(&projection).2;
    let gone = |number| Event::VectorsDeleted { collection: COLLECTION, ids: vec![id(number)] };
    apply(&mut projection, gone(0));
    assert!(stored(&projection).wants_indexing());
    let mut rounds = 0;
    // What has come in takes the room, so that soon nothing more is to be done.
    while stored(&projection).wants_indexing() {
        index(&mut projection);
        rounds += 1;
    }
    assert!(rounds <= 2 && facts(&projection).2 < left_out, "{rounds}");
}

#[test]
fn what_is_indexed_beside_a_compaction_that_was_put_in_place_comes_too_late() {
    let mut projection = full();
    apply(&mut projection, Event::IndexDeclared { collection: COLLECTION, path: last() });
    let mut indexing = stored(&projection).indexing();
    indexing.gather(&|| false).unwrap();
    let mut compaction = stored(&projection).snapshot().compact(&|| false).unwrap();
    compaction.catch_up_with(&stored(&projection).snapshot());
    // Declared and dropped while the compaction is made.
    let other = path(PATHS - 2);
    apply(&mut projection, Event::IndexDeclared { collection: COLLECTION, path: other.clone() });
    apply(&mut projection, Event::IndexDropped { collection: COLLECTION, path: last() });
    let (installed, removed) = projection.install(COLLECTION, compaction);
    assert!(installed);
    drop(removed);
    let (installed, removed) = projection.install_indexing(COLLECTION, indexing);
    assert!(!installed);
    drop(removed);
    assert!(stored(&projection).has_declared(&other) && !stored(&projection).has_declared(&last()));
    assert_eq!(facts(&projection).1, 1, "the one that the compaction did not know is being made");
    index(&mut projection);
    assert_eq!(facts(&projection).1, 0);
}
