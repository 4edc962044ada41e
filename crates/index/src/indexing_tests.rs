//! Filters select the same points, whatever is declared, dropped, written, compacted and indexed in whatever order.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, json};
use vectorizer_log::{
    Actor, CollectionId, Event, IndexParameters, LogId, Metric, Payload, PayloadPath, Point, PointId, Record,
    Seq, Timestamp, Vector, Via,
};

use super::Indexing;
use crate::checkpoint::{SectionReader, SectionWriter};
use crate::postings::{IndexState, PayloadIndex};
use crate::{Collection, Compaction, Filter, Index};

/// More paths than there is room for in tests.
const PATHS: usize = 60;
const IDS: usize = 40;

const COLLECTION: CollectionId = CollectionId::created_at(Seq::OLDEST);

fn name(path: usize) -> String {
    format!("p{path}")
}

/// The path of the values at this name.
fn path(number: usize) -> PayloadPath {
    format!("p{number}.v").into_boxed_str().try_into().unwrap()
}

fn apply(index: &mut Index, event: Event) {
    let last = index.by_id(COLLECTION).map_or(Seq::NONE, Collection::last_change);
    let record = Record {
        log_id: LogId::new(uuid::Uuid::nil()),
        seq: last.next(),
        at: Timestamp::from_micros(1),
        actor: Actor { key_id: None, via: Via::Rest },
        request_id: String::new(),
        idempotency: None,
        event,
    };
    index.apply(&record).unwrap();
}

fn begun() -> Index {
    let mut index = Index::default();
    let created = Event::CollectionCreated {
        name: "words".parse().unwrap(),
        dimension: 1.try_into().unwrap(),
        metric: Metric::Dot,
        index: IndexParameters::default(),
    };
    apply(&mut index, created);
    index
}

fn stored(index: &Index) -> &Collection {
    index.by_id(COLLECTION).unwrap()
}

/// Checks that both collections hold the same.
fn assert_same(left: &Collection, right: &Collection) {
    assert_eq!((left.id(), left.name(), left.vectors()), (right.id(), right.name(), right.vectors()));
    let facts = |it: &Collection| (it.created_at(), it.last_change(), it.logical_bytes(), it.len());
    assert_eq!(facts(left), facts(right));
    assert!(left.declared().eq(right.declared()));
    for (left, right) in left.points().zip(right.points()) {
        assert_eq!((left.id(), left.payload(), left.text()), (right.id(), right.payload(), right.text()));
        assert_eq!(left.vector(), right.vector());
    }
}

fn id(number: usize) -> PointId {
    PointId::text(format!("i{number}")).unwrap()
}

/// Each path occurs twice, in an array of objects, so that a miscounted occurrence shows.
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
    /// Begins to index, or installs the result.
    Index,
    CatchUp,
    /// Begins to compact, or installs the result.
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

/// An index, and the background work on it.
struct Run {
    index: Index,
    indexing: Option<Indexing>,
    compaction: Option<Compaction>,
    declared: BTreeSet<PayloadPath>,
}

impl Run {
    fn apply_step(&mut self, step: Step) {
        let index = &mut self.index;
        match step {
            Step::Upsert(ids, fields) => apply(index, upserted(&ids, &fields)),
            Step::Delete(stride) => {
                let ids = stored(index).points().step_by(stride);
                let ids = ids.map(|point| PointId::text(point.id()).unwrap()).collect();
                apply(index, Event::VectorsDeleted { collection: COLLECTION, ids });
            }
            Step::Change(number, fields) if stored(index).contains(&id(number)) => {
                let (id, payload) = (id(number), payload(&fields));
                apply(index, Event::PayloadChanged { collection: COLLECTION, id, payload });
            }
            Step::Change(..) => {}
            Step::Declare(number) => {
                apply(index, Event::IndexDeclared { collection: COLLECTION, path: path(number) });
                self.declared.insert(path(number));
            }
            Step::Drop(pick) => {
                let Some(pick) = pick.checked_rem(self.declared.len()) else { return };
                let path = self.declared.iter().nth(pick).unwrap().clone();
                self.declared.remove(&path);
                apply(index, Event::IndexDropped { collection: COLLECTION, path });
            }
            Step::Index => {
                if let Some(indexing) = self.indexing.take() {
                    drop(index.install_indexing(COLLECTION, indexing));
                } else {
                    let mut indexing = stored(index).indexing();
                    indexing.gather(&|| false).unwrap();
                    self.indexing = Some(indexing);
                }
            }
            Step::CatchUp => {
                if let Some(indexing) = &mut self.indexing {
                    indexing.catch_up_with(&stored(index).snapshot());
                }
            }
            Step::Compact => match self.compaction.take() {
                Some(compaction) => drop(index.install(COLLECTION, compaction)),
                None => self.compaction = Some(stored(index).snapshot().compact(&|| false).unwrap()),
            },
            Step::Checkpoint => {
                let mut bytes = Vec::new();
                let mut sections = SectionWriter::begin(&mut bytes).unwrap();
                index.freeze().write(&mut sections).unwrap();
                sections.end().unwrap();
                let mut sections = SectionReader::begin(&*bytes, bytes.len() as u64).unwrap();
                let read = Index::read(&mut sections, 1).unwrap();
                sections.end().unwrap();
                let restored = read.restored(&|| false).unwrap();
                assert_same(stored(&restored), stored(index));
                *index = restored;
                (self.indexing, self.compaction) = (None, None);
                assert_eq!(stored(index).payload_index().building, 0);
            }
        }
    }

    /// Checks filters on every path, by value and by absence.
    fn check(&self) {
        let collection = stored(&self.index);
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
    fn filters_select_the_same_points_whatever_is_declared_when(steps in vec(step(), 0..40)) {
        let mut run = Run { index: begun(), indexing: None, compaction: None, declared: BTreeSet::new() };
        for step in steps {
            run.apply_step(step);
            run.check();
        }
        // The remaining work can be completed.
        let mut rounds = 0;
        while stored(&run.index).needs_indexing() {
            run.indexing = None;
            run.apply_step(Step::Index);
            run.apply_step(Step::Index);
            rounds += 1;
            prop_assert!(rounds < 10, "it never ends");
        }
        run.check();
        prop_assert_eq!(stored(&run.index).payload_index().building, 0);
    }
}

/// An index whose paths take all the room.
fn full() -> Index {
    let mut index = begun();
    for first in (0..PATHS).step_by(10) {
        let fields: Vec<(usize, u8)> = (first..first + 10).map(|path| (path, 1)).collect();
        apply(&mut index, upserted(&[first], &fields));
    }
    index
}

fn index_paths(index: &mut Index) {
    let mut indexing = stored(index).indexing();
    indexing.gather(&|| false).unwrap();
    let (installed, removed) = index.install_indexing(COLLECTION, indexing);
    assert!(installed);
    drop(removed);
}

fn last() -> PayloadPath {
    path(PATHS - 1)
}

fn facts(index: &Index) -> (usize, usize, usize) {
    let PayloadIndex { declared, building, left_out, .. } = stored(index).payload_index();
    (declared, building, left_out)
}

#[test]
fn a_declared_path_has_room_of_its_own() {
    let mut index = full();
    let (_, _, left_out) = facts(&index);
    let indexed = stored(&index).payload_index().indexed;
    assert!(left_out > 0 && indexed + left_out == 2 * PATHS && !stored(&index).needs_indexing());
    apply(&mut index, Event::IndexDeclared { collection: COLLECTION, path: last() });
    assert_eq!(facts(&index), (1, 1, left_out - 1));
    assert!(stored(&index).needs_indexing());
    index_paths(&mut index);
    assert_eq!(facts(&index), (1, 0, left_out - 1));
    assert_eq!(stored(&index).payload_index().indexed, indexed + 1);
    // Without its declaration it is like all other paths, and there is no room for it.
    let bytes = stored(&index).payload_index().bytes;
    apply(&mut index, Event::IndexDropped { collection: COLLECTION, path: last() });
    assert_eq!(facts(&index), (0, 0, left_out));
    assert!(stored(&index).payload_index().bytes < bytes);
    let filter =
        Filter::parse(&json!({"must": {"key": last().as_str(), "match": {"value": 1}}}).to_string(), 64);
    let selection = stored(&index).select(filter.unwrap());
    assert!(selection.candidates().is_none());
    assert_eq!(stored(&index).snapshot().count(Some(&selection)), 1);
}

#[test]
fn a_path_declared_before_its_first_payload_is_indexed_from_it_on() {
    let mut index = begun();
    apply(&mut index, Event::IndexDeclared { collection: COLLECTION, path: last() });
    assert_eq!(facts(&index), (1, 0, 0));
    for first in (0..PATHS).step_by(10) {
        let fields: Vec<(usize, u8)> = (first..first + 10).map(|path| (path, 1)).collect();
        apply(&mut index, upserted(&[first], &fields));
    }
    let (declared, building, left_out) = facts(&index);
    assert_eq!((declared, building), (1, 0));
    assert!(left_out > 0);
    let indexes = stored(&index).indexes();
    assert_eq!(indexes.declared, [(last().to_string(), IndexState::Ready)]);
    assert_eq!(indexes.automatic + indexes.left_out + 1, 2 * PATHS);
    assert_eq!((indexes.automatic_first.len(), indexes.left_out_first.len()), (indexes.automatic, left_out));
}

#[test]
fn paths_that_were_left_out_are_indexed_once_there_is_much_room() {
    let mut index = full();
    let left_out = facts(&index).2;
    let gone = |number| Event::VectorsDeleted { collection: COLLECTION, ids: vec![id(number)] };
    apply(&mut index, gone(0));
    assert!(stored(&index).needs_indexing());
    let mut rounds = 0;
    // New fields take the room, so that soon none is left.
    while stored(&index).needs_indexing() {
        index_paths(&mut index);
        rounds += 1;
    }
    assert!(rounds <= 2 && facts(&index).2 < left_out, "{rounds}");
}

#[test]
fn indexing_that_began_before_a_compaction_is_not_installed() {
    let mut index = full();
    apply(&mut index, Event::IndexDeclared { collection: COLLECTION, path: last() });
    let mut indexing = stored(&index).indexing();
    indexing.gather(&|| false).unwrap();
    let mut compaction = stored(&index).snapshot().compact(&|| false).unwrap();
    compaction.catch_up_with(&stored(&index).snapshot());
    // Declared and dropped during the compaction.
    let other = path(PATHS - 2);
    apply(&mut index, Event::IndexDeclared { collection: COLLECTION, path: other.clone() });
    apply(&mut index, Event::IndexDropped { collection: COLLECTION, path: last() });
    let (installed, removed) = index.install(COLLECTION, compaction);
    assert!(installed);
    drop(removed);
    let (installed, removed) = index.install_indexing(COLLECTION, indexing);
    assert!(!installed);
    drop(removed);
    assert!(stored(&index).has_declared(&other) && !stored(&index).has_declared(&last()));
    assert_eq!(facts(&index).1, 1, "the one that the compaction did not know is being made");
    index_paths(&mut index);
    assert_eq!(facts(&index).1, 0);
}
