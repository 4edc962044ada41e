//! Large collections have a graph. It finds nearly all of the nearest points and only existing ones, after any history.

use std::collections::BTreeMap;

use vectorizer_index::{Hit, Interrupted, SearchMode, SearchRequest, Snapshot, UnusableGraph};
use vectorizer_log::{Event, Metric, Payload, Point, PointId, Vector};
use vectorizer_replay::{Projection, Projector};
use vectorizer_testing::Random;

use crate::allocations::allocations_of;
use crate::history::{collection, created, log_id, record};
use crate::vectors::{DIMENSION, Vectors as _};

const METRICS: [Metric; 3] = [Metric::Cosine, Metric::Dot, Metric::Euclidean];

/// A collection, and a plain list of its points.
struct Written {
    projection: Projection,
    model: BTreeMap<PointId, Vec<f32>>,
    random: Random,
}

impl Written {
    fn new(metric: Metric, seed: u64) -> Self {
        let mut projection = Projection::new(log_id());
        projection.apply(&record(1, 0, created("words", DIMENSION, metric))).unwrap();
        Self { projection, model: BTreeMap::new(), random: Random::new(seed) }
    }

    fn apply(&mut self, event: Event) {
        let seq = self.projection.applied().get() + 1;
        self.projection.apply(&record(seq, 0, event)).unwrap();
    }

    /// Writes points with ids below `ids`, new or in place of older ones.
    fn upsert(&mut self, count: u64, ids: u64) {
        self.upsert_with(count, ids, Random::vector);
    }

    fn upsert_with(&mut self, count: u64, ids: u64, vector: impl Fn(&mut Random) -> Vec<f32>) {
        let mut points = BTreeMap::new();
        while (points.len() as u64) < count {
            let id = PointId::text(self.random.below(ids).to_string()).unwrap();
            points.insert(id, vector(&mut self.random));
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

    fn recall(&mut self, mode: SearchMode) -> f64 {
        self.recall_of(mode, Random::vector)
    }

    fn recall_of(&mut self, mode: SearchMode, vector: impl Fn(&mut Random) -> Vec<f32>) -> f64 {
        let snapshot = self.snapshot();
        let (mut found, mut expected) = (0.0, 0.0);
        for _ in 0..100 {
            let vector = vector(&mut self.random);
            let exact = search(&snapshot, &vector, 10, SearchMode::Exact);
            let hits = search(&snapshot, &vector, 10, mode);
            assert_eq!(hits.len(), exact.len());
            for hit in &exact {
                expected += 1.0;
                found += f64::from(u8::from(hits.iter().any(|found| found.point.id() == hit.point.id())));
            }
            for hit in &hits {
                let stored = &self.model[&PointId::text(hit.point.id()).unwrap()];
                assert_eq!(hit.point.vector(), stored, "a hit is not what was written last");
                let same = exact.iter().find(|exact| exact.point.id() == hit.point.id());
                assert!(same.is_none_or(|exact| exact.score == hit.score), "the score is not the exact one");
            }
        }
        found / expected
    }
}

fn search(snapshot: &Snapshot, vector: &[f32], limit: usize, mode: SearchMode) -> Vec<Hit> {
    let request = SearchRequest { vector, limit, filter: None, score_threshold: None, mode };
    snapshot.search(&request).unwrap()
}

#[test]
fn recall_is_high_for_every_metric_also_far_from_zero() {
    for metric in METRICS {
        let mut written = Written::new(metric, 1);
        written.upsert(6_000, u64::MAX);
        written.link();
        let recall = written.recall(SearchMode::Default);
        assert!(recall >= 0.97, "{metric:?}: {recall}");
        let quick = written.recall(SearchMode::Candidates(1));
        assert!(quick < recall, "{metric:?}: the graph did not answer, or fewer candidates find as much");
    }
}

/// Bytes around a fixed mean would not distinguish these vectors.
#[test]
fn recall_is_high_also_where_a_byte_for_each_number_is_not_enough() {
    let plain = |random: &mut Random| (0..DIMENSION).map(|_| random.unit()).collect::<Vec<f32>>();
    for metric in METRICS {
        // Later vectors lie elsewhere.
        // Farther away than this, the cosines themselves are equal in `f32`.
        let far = match metric {
            Metric::Cosine => 100.0,
            Metric::Dot | Metric::Euclidean => 1_000.0,
        };
        for shift in [10.0, far] {
            let shifted =
                |random: &mut Random| plain(random).into_iter().map(|number| number + shift).collect();
            let mut written = Written::new(metric, 7);
            written.upsert_with(4_500, u64::MAX, plain);
            written.link();
            written.upsert_with(600, u64::MAX, shifted);
            written.link();
            written.upsert_with(1_500, u64::MAX, shifted);
            written.link();
            for recall in [
                written.recall_of(SearchMode::Default, shifted),
                written.recall_of(SearchMode::Default, plain),
            ] {
                assert!(recall >= 0.9, "{metric:?}, {shift} away: {recall}");
            }
        }
        // An outlier.
        let mut written = Written::new(metric, 8);
        written.upsert_with(1, u64::MAX, |random| {
            plain(random).into_iter().map(|number| number * 1e6).collect()
        });
        written.upsert_with(6_000, u64::MAX, plain);
        written.link();
        let recall = written.recall_of(SearchMode::Default, plain);
        assert!(recall >= 0.9, "{metric:?}, an outlier: {recall}");
        // Only one direction matters; all cosines along it are one in `f32`.
        if metric == Metric::Cosine {
            continue;
        }
        let long = |random: &mut Random| {
            let mut vector = plain(random);
            vector[3] *= 1e5;
            vector
        };
        let mut written = Written::new(metric, 9);
        written.upsert_with(5_000, u64::MAX, long);
        written.link();
        let recall = written.recall_of(SearchMode::Default, long);
        assert!(recall >= 0.95, "{metric:?}, a long direction: {recall}");
    }
}

/// Also far from zero, where lengths are nearly equal and predict the products with most queries.
#[test]
fn recall_is_high_under_dot_wherever_the_vectors_lie() {
    let plain = |random: &mut Random| (0..DIMENSION).map(|_| random.unit()).collect::<Vec<f32>>();
    let clustered = Random::vector;
    for shift in [0.0, 10.0, 1_000.0] {
        for vector in [plain, clustered] {
            let shifted =
                |random: &mut Random| vector(random).into_iter().map(|number| number + shift).collect();
            let mut written = Written::new(Metric::Dot, 7);
            written.upsert_with(6_000, u64::MAX, shifted);
            written.link();
            for recall in [
                written.recall_of(SearchMode::Default, shifted),
                written.recall_of(SearchMode::Default, plain),
            ] {
                assert!(recall >= 0.95, "{shift} from zero: {recall}");
            }
        }
    }
}

/// The longest vectors are in most results, and near to nothing.
#[test]
fn recall_is_high_under_dot_however_much_lengths_differ() {
    let of_length = |random: &mut Random, spread: f32| -> Vec<f32> {
        // About log-normal: the exponential of a sum of twelve uniform numbers.
        let normal = (0..12).map(|_| random.unit()).sum::<f32>() / 2.0;
        let vector = random.vector();
        let length = vector.iter().map(|number| number * number).sum::<f32>().sqrt();
        vector.into_iter().map(|number| number / length * (spread * normal).exp()).collect()
    };
    for spread in [0.0, 0.25, 0.5, 1.0, 2.0] {
        let mut written = Written::new(Metric::Dot, 13);
        written.upsert_with(5_000, u64::MAX, |random| of_length(random, 0.0));
        written.link();
        written.upsert_with(2_000, u64::MAX, |random| of_length(random, spread));
        written.link();
        let recall = written.recall(SearchMode::Default);
        assert!(recall >= 0.95, "lengths that differ by e^{spread}, from some time on: {recall}");
        let mut written = Written::new(Metric::Dot, 14);
        written.upsert_with(6_000, u64::MAX, |random| of_length(random, spread));
        written.link();
        let recall = written.recall(SearchMode::Default);
        assert!(recall >= 0.95, "lengths that differ by e^{spread}: {recall}");
        written.delete(3_100);
        let compaction = written.snapshot().compact(&|| false).unwrap();
        assert!(written.projection.install(collection(1), compaction).0);
        let recall = written.recall(SearchMode::Default);
        assert!(recall >= 0.95, "lengths that differ by e^{spread}, after a compaction: {recall}");
    }
}

/// The squares of these numbers exceed the range of `f32`.
#[test]
fn recall_is_high_however_large_or_small_the_numbers_are() {
    for metric in METRICS {
        for scale in [1e-26, 1e-12, 1e20, 1e30] {
            let scaled = |random: &mut Random| -> Vec<f32> {
                random.vector().into_iter().map(|number| number * scale).collect()
            };
            let mut written = Written::new(metric, 15);
            written.upsert_with(5_000, u64::MAX, scaled);
            written.link();
            // Under dot, the products of two of them exceed the range of `f32`.
            let recall = match metric {
                Metric::Dot => written.recall(SearchMode::Default),
                Metric::Cosine | Metric::Euclidean => written.recall_of(SearchMode::Default, scaled),
            };
            assert!(recall >= 0.95, "{metric:?}, numbers of {scale}: {recall}");
        }
    }
}

/// Vectors that alternate between places far from each other.
#[test]
fn recall_is_high_in_distant_clusters_whose_vectors_alternate() {
    let plain = |random: &mut Random| (0..DIMENSION).map(|_| random.unit()).collect::<Vec<f32>>();
    for (metric, least) in [(Metric::Dot, 0.95), (Metric::Euclidean, 0.85)] {
        let mut turn = false;
        let mut written = Written::new(metric, 7);
        let points = (0..8_000).map(|number| {
            turn = !turn;
            let vector = plain(&mut written.random);
            let vector = vector.iter().map(|n| if turn { n + 20.0 } else { n - 20.0 }).collect::<Vec<f32>>();
            (PointId::text(format!("{number:05}")).unwrap(), vector)
        });
        let points: Vec<_> = points.collect();
        written.model.extend(points.iter().cloned());
        let point = |(id, vector)| Point { id, vector: Vector::dense(vector).unwrap(), payload: None };
        let points = points.into_iter().map(point).collect();
        written.apply(Event::VectorsUpserted { collection: collection(1), points });
        written.link();
        for shift in [-20.0, 20.0] {
            let like = |random: &mut Random| plain(random).into_iter().map(|n| n + shift).collect();
            let recall = written.recall_of(SearchMode::Default, like);
            assert!(recall >= 0.97, "{metric:?}, {shift}: {recall}");
        }
        let recall = written.recall_of(SearchMode::Default, plain);
        assert!(recall >= least, "{metric:?}, from between them: {recall}");
    }
}

#[test]
fn copies_of_one_vector_do_not_hide_other_vectors() {
    for metric in METRICS {
        let mut written = Written::new(metric, 10);
        written.upsert(3_000, u64::MAX);
        let copied = written.random.vector();
        written.upsert_with(3_000, u64::MAX, |_| copied.clone());
        written.link();
        let recall = written.recall(SearchMode::Default);
        assert!(recall >= 0.95, "{metric:?}: {recall}");
        assert_eq!(search(&written.snapshot(), &copied, 900, SearchMode::Default).len(), 900);
        written.delete(2_000);
        let compaction = written.snapshot().compact(&|| false).unwrap();
        assert!(written.projection.install(collection(1), compaction).0);
        let recall = written.recall(SearchMode::Default);
        assert!(recall >= 0.95, "{metric:?}, after a compaction: {recall}");
    }
}

#[test]
fn unlinked_points_are_found() {
    let mut written = Written::new(Metric::Euclidean, 2);
    written.upsert(5_000, u64::MAX);
    written.link();
    written.upsert(500, u64::MAX);
    let snapshot = written.snapshot();
    assert_eq!(snapshot.unlinked(), 500);
    for (id, vector) in written.model.iter().step_by(7) {
        assert_eq!(search(&snapshot, vector, 1, SearchMode::Candidates(200))[0].point.id(), id.as_str());
    }
}

/// Rows rule out most of them, but never one that belongs to the result.
#[test]
fn searches_miss_no_unlinked_point() {
    let plain = |random: &mut Random| (0..DIMENSION).map(|_| random.unit()).collect::<Vec<f32>>();
    for metric in METRICS {
        for (scale, shift) in
            [(1.0, 0.0), (1.0, 4.0), (1.0, 1_000.0), (1e-17, 0.0), (1e-13, 0.0), (1e16, 0.0)]
        {
            let vector = |random: &mut Random| -> Vec<f32> {
                plain(random).into_iter().map(|number| number * scale + shift).collect()
            };
            let mut written = Written::new(metric, 12);
            written.upsert_with(4_500, u64::MAX, vector);
            written.link();
            let linked = written.model.clone();
            written.upsert_with(3_000, u64::MAX, vector);
            written.snapshot().link(1, 1, &|| false).unwrap();
            let snapshot = written.snapshot();
            assert_eq!(snapshot.unlinked(), 2_999);
            // They are written in the order of ids, and one more was linked.
            let first = written.model.keys().find(|id| !linked.contains_key(*id)).unwrap().clone();
            for _ in 0..100 {
                let query = vector(&mut written.random);
                let hits = search(&snapshot, &query, 10, SearchMode::Candidates(20));
                let found: Vec<_> = hits.iter().map(|hit| (hit.point.id(), hit.score)).collect();
                for hit in search(&snapshot, &query, 10, SearchMode::Exact) {
                    let id = PointId::text(hit.point.id()).unwrap();
                    if id != first && !linked.contains_key(&id) {
                        let missed = !found.contains(&(hit.point.id(), hit.score));
                        assert!(
                            !missed,
                            "{metric:?}, {scale} times, {shift} away: {found:?} without {hit:?}"
                        );
                    }
                }
            }
        }
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
        let mode = SearchMode::Candidates(40);
        let after = written.recall(mode);
        // The same points, linked again: a clone has no graph.
        written.projection = written.projection.clone();
        written.link();
        let fresh = written.recall(mode);
        assert!(after >= fresh - 0.01, "{metric:?}: {after} after, {fresh} fresh");
    }
}

#[test]
fn no_history_of_writes_linking_and_compaction_shows_absent_points() {
    let rounds = if vectorizer_testing::is_long_run() { 40 } else { 3 };
    for seed in 0..rounds {
        let metric = METRICS[usize::try_from(seed).unwrap() % 3];
        let mut written = Written::new(metric, 100 + seed);
        written.upsert(4_500, 8_000);
        let mut pending = None;
        // A graph that was written at one time and is read later by a collection without a graph.
        let mut kept = Vec::new();
        for _ in 0..25 {
            match written.random.below(8) {
                0 | 1 => written.upsert(200, 8_000),
                2 => written.delete(400),
                3 => written.link(),
                4 => {
                    written.snapshot().link(100, 1, &|| false).unwrap();
                }
                5 => {
                    kept.clear();
                    written.snapshot().write_graph(&mut kept).unwrap();
                }
                6 if !kept.is_empty() => {
                    written.projection = written.projection.clone();
                    pending = None;
                    written.snapshot().read_graph(&kept, 2, &|| false).unwrap();
                    assert_eq!(written.snapshot().unlinked(), 0);
                }
                _ => match pending.take() {
                    // Made at one time, and installed later or never.
                    None => pending = Some(written.snapshot().compact(&|| false).unwrap()),
                    Some(compaction) => {
                        drop(written.projection.install(collection(1), compaction));
                    }
                },
            }
            let snapshot = written.snapshot();
            assert_eq!(snapshot.len(), written.model.len());
            let vector = written.random.vector();
            let hits = search(&snapshot, &vector, 20, SearchMode::Candidates(20));
            assert_eq!(hits.len(), 20);
            assert!(
                hits.iter()
                    .all(|hit| written.model[&PointId::text(hit.point.id()).unwrap()] == hit.point.vector())
            );
        }
        let recall = written.recall(SearchMode::Default);
        assert!(recall >= 0.95, "seed {seed}: {recall}");
        let digest = written.projection.digest();
        assert_eq!(digest, written.projection.clone().digest());
    }
}

/// A compaction would delay the write, so it runs in the background; but not never, if there is no background.
#[test]
fn a_large_collection_without_a_graph_is_compacted_in_the_background() {
    let mut written = Written::new(Metric::Dot, 18);
    let payload = Payload::new(format!("{{\"text\":\"{}\"}}", "x".repeat(2_000))).unwrap();
    let rewrite = |written: &mut Written| {
        let points = (0..1_100).map(|number: u32| Point {
            id: PointId::text(number.to_string()).unwrap(),
            vector: Vector::dense(written.random.vector()).unwrap(),
            payload: Some(payload.clone()),
        });
        let points = points.collect();
        written.apply(Event::VectorsUpserted { collection: collection(1), points });
    };
    rewrite(&mut written);
    rewrite(&mut written);
    rewrite(&mut written);
    assert!(written.snapshot().needs_compaction());
    let mut compaction = written.snapshot().compact(&|| false).unwrap();
    rewrite(&mut written);
    compaction.catch_up_with(&written.snapshot());
    rewrite(&mut written);
    assert!(written.projection.install(collection(1), compaction).0);
    let query = written.random.vector();
    let hits = search(&written.snapshot(), &query, 1_100, SearchMode::Exact);
    assert_eq!(hits.len(), 1_100);
    for hit in &hits {
        let id = PointId::text(hit.point.id()).unwrap();
        let stored = written.projection.index().by_id(collection(1)).unwrap().get(&id).unwrap();
        assert_eq!(stored.vector(), hit.point.vector());
        assert_eq!(stored.payload(), Some(&payload));
    }
    let compacted = (0..12).any(|_| {
        rewrite(&mut written);
        !written.snapshot().needs_compaction()
    });
    assert!(compacted);
}

#[test]
fn a_compaction_of_older_slots_is_refused() {
    let mut written = Written::new(Metric::Dot, 4);
    written.upsert(5_000, u64::MAX);
    written.link();
    written.delete(2_600);
    let [first, second] =
        [written.snapshot().compact(&|| false).unwrap(), written.snapshot().compact(&|| false).unwrap()];
    assert!(written.snapshot().needs_compaction());
    assert!(written.projection.install(collection(1), first).0);
    assert!(!written.projection.install(collection(1), second).0);
    assert!(!written.snapshot().needs_compaction());
    assert_eq!(written.snapshot().unlinked(), 0);
    assert!(written.recall(SearchMode::Default) >= 0.97);
}

#[test]
fn a_graph_is_restored_from_its_bytes_whatever_was_written_since() {
    for metric in METRICS {
        let mut written = Written::new(metric, 5);
        written.upsert(6_000, u64::MAX);
        written.link();
        written.delete(100);
        written.upsert(50, u64::MAX);
        let mut bytes = Vec::new();
        written.snapshot().write_graph(&mut bytes).unwrap();
        // Restored without a graph, and with other slots.
        written.projection = written.projection.clone();
        written.delete(1_500);
        written.upsert(700, u64::MAX);
        assert!(written.snapshot().unlinked() > 5_000);
        written.snapshot().read_graph(&bytes, 2, &|| false).unwrap();
        assert_eq!(written.snapshot().unlinked(), 0);
        let recall = written.recall(SearchMode::Default);
        assert!(recall >= 0.97, "{metric:?}: {recall}");
    }
}

#[test]
fn points_after_those_of_a_restored_graph_are_linked_until_it_is_enough() {
    for metric in METRICS {
        let mut written = Written::new(metric, 6);
        written.upsert(6_000, u64::MAX);
        written.link();
        let mut bytes = Vec::new();
        written.snapshot().write_graph(&mut bytes).unwrap();
        written.projection = written.projection.clone();
        written.delete(300);
        written.upsert(700, u64::MAX);
        written.snapshot().read_graph_until(&bytes, 2, &|| false, &|| true).unwrap();
        let unlinked = written.snapshot().unlinked();
        assert!((600..700).contains(&unlinked), "{metric:?}: {unlinked} are left");
        let random = written.random.clone();
        let partly = written.recall(SearchMode::Default);
        written.link();
        assert_eq!(written.snapshot().unlinked(), 0);
        written.random = random.clone();
        let wholly = written.recall(SearchMode::Default);
        assert!(partly >= wholly - 0.01, "{metric:?}: {partly} before all is linked, {wholly} after");
    }
}

/// The stored graph has holes where points are deleted: half of them, in whole regions.
#[test]
fn a_restored_graph_without_half_its_points_has_the_recall_of_a_new_one() {
    for metric in METRICS {
        let mut written = Written::new(metric, 16);
        written.upsert(9_000, u64::MAX);
        written.link();
        let mut bytes = Vec::new();
        written.snapshot().write_graph(&mut bytes).unwrap();
        written.delete(4_400);
        written.projection = written.projection.clone();
        written.snapshot().read_graph(&bytes, 2, &|| false).unwrap();
        assert_eq!(written.snapshot().unlinked(), 0);
        let random = written.random.clone();
        let recalls = |written: &mut Written| {
            [20, 40].map(|ef| {
                written.random = random.clone();
                written.recall(SearchMode::Candidates(ef))
            })
        };
        let kept = recalls(&mut written);
        written.projection = written.projection.clone();
        written.link();
        let fresh = recalls(&mut written);
        for (kept, fresh) in kept.iter().zip(fresh) {
            assert!(
                *kept >= fresh - 0.015,
                "{metric:?}: {kept} with the kept graph, {fresh} with a fresh one"
            );
        }
    }
}

/// While a writer, a linker and compactions run, searches always find nearly everything.
#[test]
fn searches_find_nearly_all_while_others_write_link_and_compact() {
    use std::sync::RwLock;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    for metric in METRICS {
        let mut written = Written::new(metric, 17);
        written.upsert(4_500, 6_000);
        written.link();
        let (written, done) = (RwLock::new(written), AtomicBool::new(false));
        let (searched, compacted) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let snapshot = || written.read().unwrap().snapshot();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 0..40 {
                    let mut written = written.write().unwrap();
                    if round % 4 == 3 {
                        written.delete(300);
                    } else {
                        written.upsert(200, 6_000);
                    }
                    drop(written);
                    std::thread::yield_now();
                }
                // Until each has run, or has failed.
                for _ in 0..5_000 {
                    if searched.load(Ordering::Relaxed) >= 60 && compacted.load(Ordering::Relaxed) >= 2 {
                        break;
                    }
                    std::thread::sleep(std::time::Duration::from_millis(2));
                }
                done.store(true, Ordering::Relaxed);
            });
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    snapshot().link(200, 1, &|| false).unwrap();
                    let mut compaction = snapshot().compact(&|| false).unwrap();
                    compaction.catch_up_with(&snapshot());
                    let installed = written.write().unwrap().projection.install(collection(1), compaction).0;
                    assert!(installed, "no other thread compacts");
                    compacted.fetch_add(1, Ordering::Relaxed);
                }
            });
            for seed in 0..2 {
                let (searched, done) = (&searched, &done);
                scope.spawn(move || {
                    let mut random = Random::new(seed);
                    let (mut found, mut expected) = (0, 0);
                    while !done.load(Ordering::Relaxed) {
                        let (snapshot, vector) = (snapshot(), random.vector());
                        let exact = search(&snapshot, &vector, 10, SearchMode::Exact);
                        let hits = search(&snapshot, &vector, 10, SearchMode::Default);
                        assert_eq!(hits.len(), 10);
                        let has = |hit: &&Hit| hits.iter().any(|hits| hits.point.id() == hit.point.id());
                        found += exact.iter().filter(has).count();
                        expected += 10;
                        searched.fetch_add(1, Ordering::Relaxed);
                    }
                    assert!(found * 100 >= expected * 95, "{metric:?}: {found} of {expected}");
                });
            }
        });
    }
}

#[test]
fn a_search_allocates_nothing_but_its_answer() {
    for metric in METRICS {
        let mut written = Written::new(metric, 12);
        let check = |written: &mut Written, moment: &str| {
            let (snapshot, vector) = (written.snapshot(), written.random.vector());
            for mode in [SearchMode::Default, SearchMode::Candidates(300), SearchMode::Exact] {
                let allocated = allocations_of(|| search(&snapshot, &vector, 10, mode));
                assert_eq!(allocated, 1, "{metric:?} {mode:?}, {moment}");
            }
        };
        written.upsert(5_000, u64::MAX);
        check(&mut written, "nothing is linked");
        written.link();
        check(&mut written, "all is linked");
        written.upsert(100, u64::MAX);
        check(&mut written, "the end is not linked");
        written.delete(50);
        check(&mut written, "some are deleted");
    }
}

#[test]
fn bytes_of_another_graph_are_refused() {
    let mut written = Written::new(Metric::Cosine, 6);
    written.upsert(4_200, u64::MAX);
    written.link();
    let mut bytes = Vec::new();
    written.snapshot().write_graph(&mut bytes).unwrap();
    written.projection = written.projection.clone();
    let snapshot = written.snapshot();
    for at in (0..bytes.len()).step_by(bytes.len() / 50).chain([bytes.len() - 1]) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        assert_eq!(snapshot.read_graph(&damaged, 1, &|| false), Err(UnusableGraph::Damaged), "byte {at}");
        assert!(snapshot.read_graph(&bytes[..at], 1, &|| false).is_err(), "cut at {at}");
    }
    let mut other = Written::new(Metric::Dot, 6);
    other.upsert(4_200, u64::MAX);
    assert_eq!(other.snapshot().read_graph(&bytes, 1, &|| false), Err(UnusableGraph::Other));
    let stopped = Err(UnusableGraph::Interrupted(Interrupted));
    written.upsert(10, u64::MAX);
    assert_eq!(written.snapshot().read_graph(&bytes, 1, &|| true), stopped);
    assert!(written.snapshot().unlinked() > 0, "a refused graph is in use");
}
