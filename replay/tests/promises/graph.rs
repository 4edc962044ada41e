//! Large collections have a graph: it finds nearly all of the nearest, and whatever it is made to go
//! through, only points that exist.

use std::collections::BTreeMap;

use vectorizer_log::{Event, Metric, Point, PointId, Vector};
use vectorizer_replay::{Effort, Hit, Projection, Projector, SearchRequest, Snapshot};

use crate::history::{collection, created, log_id, record};
use crate::random::{DIMENSION, Random};

const METRICS: [Metric; 3] = [Metric::Cosine, Metric::Dot, Metric::Euclidean];

/// A collection and a plain list of what it should hold.
struct Written {
    projection: Projection,
    model: BTreeMap<PointId, Vec<f32>>,
    random: Random,
}

impl Written {
    fn new(metric: Metric, seed: u64) -> Self {
        let mut projection = Projection::new(log_id());
        let dimension = u32::try_from(DIMENSION).unwrap();
        projection.apply(&record(1, 0, created("words", dimension, metric))).unwrap();
        Self { projection, model: BTreeMap::new(), random: Random(seed) }
    }

    fn apply(&mut self, event: Event) {
        let seq = self.projection.applied().get() + 1;
        self.projection.apply(&record(seq, 0, event)).unwrap();
    }

    /// Writes points with ids below `ids`, new or in place of older ones.
    fn upsert(&mut self, count: u64, ids: u64) {
        let mut points = BTreeMap::new();
        while (points.len() as u64) < count {
            let id = PointId::text(self.random.below(ids).to_string()).unwrap();
            points.insert(id, self.random.vector());
        }
        self.model.extend(points.clone());
        let point = |(id, vector)| Point { id, vector: Vector::dense(vector).unwrap(), payload: None };
        let points = points.into_iter().map(point).collect();
        self.apply(Event::VectorsUpserted { collection: collection(1), points });
    }

    fn delete(&mut self, count: usize) {
        let step = (self.model.len() / count.max(1)).max(1);
        let ids: Vec<PointId> = self.model.keys().step_by(step).take(count).cloned().collect();
        for id in &ids {
            self.model.remove(id);
        }
        self.apply(Event::VectorsDeleted { collection: collection(1), ids });
    }

    fn snapshot(&self) -> Snapshot {
        self.projection.index().by_id(collection(1)).unwrap().snapshot()
    }

    fn link(&self) {
        self.snapshot().link(usize::MAX, 2, &|| false).unwrap();
        assert_eq!(self.snapshot().unlinked(), 0);
    }

    fn recall(&mut self, effort: Effort) -> f64 {
        let snapshot = self.snapshot();
        let (mut found, mut expected) = (0.0, 0.0);
        for _ in 0..100 {
            let vector = self.random.vector();
            let exact = search(&snapshot, &vector, 10, Effort::Exact);
            let hits = search(&snapshot, &vector, 10, effort);
            assert_eq!(hits.len(), exact.len());
            for hit in &exact {
                expected += 1.0;
                found += f64::from(u8::from(hits.iter().any(|found| found.point.id() == hit.point.id())));
            }
            for hit in &hits {
                let stored = &self.model[hit.point.id()];
                assert_eq!(hit.point.vector(), stored, "a hit is not what was written last");
                let same = exact.iter().find(|exact| exact.point.id() == hit.point.id());
                assert!(same.is_none_or(|exact| exact.score == hit.score), "the score is not the exact one");
            }
        }
        found / expected
    }
}

fn search(snapshot: &Snapshot, vector: &[f32], limit: usize, effort: Effort) -> Vec<Hit> {
    let request = SearchRequest { vector, limit, filter: None, score_threshold: None, effort };
    snapshot.search(&request).unwrap()
}

#[test]
fn recall_is_high_for_every_metric_also_far_from_zero() {
    for metric in METRICS {
        let mut written = Written::new(metric, 1);
        written.upsert(6_000, u64::MAX);
        written.link();
        let recall = written.recall(Effort::Usual);
        assert!(recall >= 0.97, "{metric:?}: {recall}");
        let quick = written.recall(Effort::Candidates(1));
        assert!(quick < recall, "{metric:?}: the graph did not answer, or fewer candidates find as much");
    }
}

#[test]
fn what_is_not_linked_yet_is_found_all_the_same() {
    let mut written = Written::new(Metric::Euclidean, 2);
    written.upsert(5_000, u64::MAX);
    written.link();
    written.upsert(500, u64::MAX);
    let snapshot = written.snapshot();
    assert_eq!(snapshot.unlinked(), 500);
    for (id, vector) in written.model.iter().step_by(7) {
        assert_eq!(search(&snapshot, vector, 1, Effort::Candidates(200))[0].point.id(), id);
    }
}

#[test]
fn deleting_and_rewriting_a_third_costs_no_recall() {
    for metric in METRICS {
        let mut written = Written::new(metric, 3);
        written.upsert(6_000, u64::MAX);
        written.link();
        for _ in 0..6 {
            written.delete(300);
            written.upsert(300, u64::MAX);
            written.link();
        }
        let effort = Effort::Candidates(40);
        let after = written.recall(effort);
        // The same points, linked anew: a clone has no graph.
        written.projection = written.projection.clone();
        written.link();
        let fresh = written.recall(effort);
        assert!(after >= fresh - 0.01, "{metric:?}: {after} after, {fresh} fresh");
    }
}

#[test]
fn no_history_of_writes_linking_and_compaction_shows_what_is_not_there() {
    let rounds = if std::env::var_os("VECTORIZER_SLOW_TESTS").is_some() { 40 } else { 3 };
    for seed in 0..rounds {
        let metric = METRICS[usize::try_from(seed).unwrap() % 3];
        let mut written = Written::new(metric, 100 + seed);
        written.upsert(4_500, 8_000);
        let mut pending = None;
        for _ in 0..25 {
            match written.random.below(6) {
                0 | 1 => written.upsert(200, 8_000),
                2 => written.delete(400),
                3 => written.link(),
                4 => {
                    written.snapshot().link(100, 1, &|| false).unwrap();
                }
                _ => match pending.take() {
                    // Made at one time, put in place at another, or never.
                    None => pending = Some(written.snapshot().compact()),
                    Some(compaction) => {
                        written.projection.install(collection(1), compaction);
                    }
                },
            }
            let snapshot = written.snapshot();
            assert_eq!(snapshot.len(), written.model.len());
            let vector = written.random.vector();
            let hits = search(&snapshot, &vector, 20, Effort::Candidates(20));
            assert_eq!(hits.len(), 20);
            assert!(hits.iter().all(|hit| written.model[hit.point.id()] == hit.point.vector()));
        }
        let recall = written.recall(Effort::Usual);
        assert!(recall >= 0.95, "seed {seed}: {recall}");
        let digest = written.projection.digest();
        assert_eq!(digest, written.projection.clone().digest());
    }
}

#[test]
fn a_compaction_of_older_slots_is_refused() {
    let mut written = Written::new(Metric::Dot, 4);
    written.upsert(5_000, u64::MAX);
    written.link();
    written.delete(2_600);
    let [first, second] = [written.snapshot().compact(), written.snapshot().compact()];
    assert!(written.snapshot().wants_compaction());
    assert!(written.projection.install(collection(1), first));
    assert!(!written.projection.install(collection(1), second));
    assert!(!written.snapshot().wants_compaction());
    assert_eq!(written.snapshot().unlinked(), 0);
    assert!(written.recall(Effort::Usual) >= 0.97);
}
