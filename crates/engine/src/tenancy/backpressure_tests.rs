//! Each change that an upsert may wait for lets it through, by itself.

use std::path::Path;
use std::pin::pin;
use std::sync::atomic::Ordering;

use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;
use vectorizer_index::Collection;
use vectorizer_log::{
    Event, IndexParameters, LogId, Metric, Point, PointId, Seq, TenantFolder, Timestamp, Vector,
};
use vectorizer_replay::{Projection, Projector as _};
use vectorizer_testing::events::record;

use super::super::graph_files::GraphFiles;
use super::super::linker::{LinkPermits, Linker};
use super::super::shared_state::State;
use super::*;

/// Of a dimension in which few vectors come to many numbers.
const DIMENSION: u32 = 500;
/// More than may be unlinked of a collection that is searched.
const SOME: usize = 4_096;
/// More than may be unlinked of any.
const MANY: usize = 4_400;

fn apply(projection: &mut Projection, event: Event) {
    let seq = projection.applied().next();
    projection.apply(&record(projection.log_id(), seq, Timestamp::default(), event)).unwrap();
}

fn id(number: usize) -> PointId {
    PointId::text(number.to_string()).unwrap()
}

fn points(numbers: std::ops::Range<usize>) -> Vec<Point> {
    let point = |number: usize| {
        let mut bytes = [0; DIMENSION as usize];
        blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut bytes);
        let vector = Vector::dense(bytes.iter().map(|byte| f32::from(*byte)).collect::<Vec<_>>()).unwrap();
        Point { id: id(number), vector, payload: None }
    };
    numbers.map(point).collect()
}

/// A tenant with one collection, as its upserts, its writer and its linker see it.
struct Bench {
    state: Arc<SharedState>,
    publish: watch::Sender<Head>,
    tell: watch::Sender<Linking>,
    searches: Searches,
    unread: UnreadGraphs,
    backpressure: Arc<Backpressure>,
    permits: LinkPermits,
    name: CollectionName,
    collection: CollectionId,
}

impl Bench {
    /// That has just woken with so many vectors, of which none is linked.
    fn waking_with(vectors: usize) -> Self {
        let mut projection = Projection::new(LogId::new(uuid::Uuid::nil()));
        let name: CollectionName = "a".parse().unwrap();
        let collection = CollectionId::created_at(Seq::OLDEST);
        let index = IndexParameters { m: Some(4), ef_construction: Some(8), ef: None };
        let (dimension, metric) = (DIMENSION.try_into().unwrap(), Metric::Dot);
        apply(&mut projection, Event::CollectionCreated { name: name.clone(), dimension, metric, index });
        apply(&mut projection, Event::VectorsUpserted { collection, points: points(0..vectors) });
        let unread = UnreadGraphs::of(projection.index().collections());
        let head = Head::genesis(LogId::new(uuid::Uuid::nil()));
        let state = Arc::new(SharedState::new(State { projection, head, log_bytes: 0 }));
        let (publish, published) = watch::channel(head);
        let (tell, linked) = watch::channel(Linking::Going);
        let searches = Searches::default();
        let mut backpressure = Backpressure::new(linked, published, searches.clone(), unread.clone());
        // The machine may be busy, and only a change may let an upsert through.
        backpressure.patience = Duration::from_mins(5);
        let backpressure = Arc::new(backpressure);
        let permits = LinkPermits::default();
        Self { state, publish, tell, searches, unread, backpressure, permits, name, collection }
    }

    /// That has had the vectors for as long as it was awake.
    fn with(vectors: usize) -> Self {
        let bench = Self::waking_with(vectors);
        bench.unread.resolve(bench.collection);
        bench
    }

    /// Commits as the writer does.
    fn commit(&self, event: Event) {
        apply(&mut self.state.poke().projection, event);
        self.publish.send_replace(Head::genesis(LogId::new(uuid::Uuid::nil())));
    }

    fn add(&self, numbers: std::ops::Range<usize>) {
        self.commit(Event::VectorsUpserted { collection: self.collection, points: points(numbers) });
    }

    /// Adds a collection with many vectors.
    fn add_collection(&self) -> (CollectionName, CollectionId) {
        let name: CollectionName = "b".parse().unwrap();
        let collection = CollectionId::created_at(self.state.peek().projection.applied().next());
        let index = IndexParameters { m: Some(4), ef_construction: Some(8), ef: None };
        let (dimension, metric) = (DIMENSION.try_into().unwrap(), Metric::Dot);
        self.commit(Event::CollectionCreated { name: name.clone(), dimension, metric, index });
        self.commit(Event::VectorsUpserted { collection, points: points(0..MANY) });
        (name, collection)
    }

    fn look<T>(&self, look: impl FnOnce(&Collection) -> T) -> T {
        look(self.state.peek().projection.index().by_id(self.collection).unwrap())
    }

    /// Links as a step of the linker does.
    fn link(&self, vectors: usize) {
        self.look(Collection::snapshot).link(vectors, 1, &|| false).unwrap();
        self.tell.send_replace(Linking::Going);
    }

    fn files(data: &Path) -> GraphFiles {
        GraphFiles::new(&TenantFolder::new(data, &"t".parse().unwrap()))
    }

    /// The linker, which runs until the other is dropped.
    fn linker(&self, data: &Path) -> Linker {
        Linker {
            state: Arc::clone(&self.state),
            published: self.publish.subscribe(),
            files: Self::files(data),
            unread: self.unread.clone(),
            linked: self.tell.clone(),
            permits: self.permits.clone(),
            stop: CancellationToken::new(),
            failed: CancellationToken::new(),
        }
    }

    /// An upsert of so many vectors, on its way.
    fn upsert(&self, vectors: usize) -> impl Future<Output = Result<UpsertPermit, Held>> + use<> {
        let (backpressure, state, name) =
            (Arc::clone(&self.backpressure), Arc::clone(&self.state), self.name.clone());
        async move { backpressure.keep(&state, &name, vectors).await }
    }

    /// Holds that an upsert waits, and that `change` alone lets it through.
    async fn is_let_through_by(&self, change: impl AsyncFnOnce()) {
        let mut upsert = pin!(self.upsert(1));
        assert!(upsert.as_mut().now_or_never().is_none(), "it does not wait");
        let (kept, ()) = tokio::join!(upsert, change());
        kept.unwrap();
    }
}

/// Keeps a graph of the first `vectors` points, as an earlier life has.
fn keep_graph(data: &Path, vectors: usize) {
    let earlier = Bench::with(vectors);
    earlier.link(vectors);
    let snapshot = earlier.look(Collection::snapshot);
    Bench::files(data).write(earlier.collection, &snapshot, &CancellationToken::new()).unwrap();
}

#[tokio::test]
async fn a_turn_of_linking_lets_an_upsert_through() {
    let bench = Bench::with(MANY);
    bench.is_let_through_by(async || bench.link(1)).await;
    assert!(bench.look(Collection::is_far_behind), "it was let through for another reason");
}

#[tokio::test]
async fn a_kept_graph_that_comes_into_use_lets_an_upsert_through() {
    let data = tempfile::tempdir().unwrap();
    keep_graph(data.path(), MANY);
    // Nothing is spared here: only that the graph is in use can help.
    let bench = Bench::with(MANY);
    let _nothing_is_linked = bench.permits.hold_linking();
    bench.is_let_through_by(async || drop(tokio::spawn(bench.linker(data.path()).run()))).await;
    assert_eq!(bench.look(Collection::linked), MANY);
}

#[tokio::test]
async fn an_upsert_waits_for_no_kept_graph_to_be_read_but_for_what_came_behind_it() {
    let data = tempfile::tempdir().unwrap();
    keep_graph(data.path(), MANY);
    let bench = Bench::waking_with(MANY);
    let reading = bench.permits.hold_reading();
    let linker = tokio::spawn(bench.linker(data.path()).run());
    bench.searches.note(bench.collection);
    assert!(
        matches!(bench.upsert(1).now_or_never(), Some(Ok(UpsertPermit::Free))),
        "it waits for the reading"
    );
    // More than may be unlinked, none of which the graph can know.
    bench.add(MANY..2 * MANY);
    bench.is_let_through_by(async || drop(reading)).await;
    assert!(bench.look(Collection::linked) >= MANY);
    assert!(!linker.is_finished());
}

#[tokio::test]
async fn a_kept_graph_that_is_unusable_or_lost_holds_an_upsert_back_for_a_turn_of_linking_only() {
    let data = tempfile::tempdir().unwrap();
    keep_graph(data.path(), MANY);
    let file = data.path().join("t/graphs/1");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let lost = tempfile::tempdir().unwrap();
    for folder in [data.path(), lost.path()] {
        let bench = Bench::waking_with(MANY);
        bench.add(MANY..2 * MANY);
        bench.is_let_through_by(async || drop(tokio::spawn(bench.linker(folder).run()))).await;
        assert!(bench.look(Collection::linked) > 0);
        assert_eq!(bench.look(|collection| bench.unread.slots(collection)), 0);
    }
}

#[tokio::test]
async fn a_kept_graph_that_makes_its_reader_panic_is_built_anew() {
    let data = tempfile::tempdir().unwrap();
    keep_graph(data.path(), MANY);
    let bench = Bench::with(MANY);
    // As many as are not given up.
    bench.permits.panics.store(2, Ordering::Relaxed);
    bench.is_let_through_by(async || drop(tokio::spawn(bench.linker(data.path()).run()))).await;
    assert_eq!(*bench.tell.borrow(), Linking::Going);
}

#[tokio::test]
async fn a_compaction_that_is_put_in_place_lets_an_upsert_through() {
    let data = tempfile::tempdir().unwrap();
    let bench = Bench::with(2 * MANY);
    // Of those that are left none has to wait.
    let ids = (SOME + 10..2 * MANY).map(id).collect();
    bench.commit(Event::VectorsDeleted { collection: bench.collection, ids });
    assert!(bench.look(Collection::needs_compaction));
    let _nothing_is_linked = bench.permits.hold_linking();
    bench.is_let_through_by(async || drop(tokio::spawn(bench.linker(data.path()).run()))).await;
    assert_eq!(bench.look(Collection::slot_count), SOME + 10);
}

#[tokio::test]
async fn an_upsert_waits_for_no_kept_graph_of_another_collection_to_be_read() {
    let data = tempfile::tempdir().unwrap();
    let kept = data.path().join("t/graphs/1");
    std::fs::create_dir_all(kept.parent().unwrap()).unwrap();
    // Reading it takes until something is written to it.
    assert!(std::process::Command::new("mkfifo").arg(&kept).status().unwrap().success());
    let bench = Bench::waking_with(MANY);
    let (name, collection) = bench.add_collection();
    let linker = tokio::spawn(bench.linker(data.path()).run());
    bench.backpressure.keep(&bench.state, &name, 1).await.unwrap();
    assert!(bench.state.peek().projection.index().by_id(collection).unwrap().linked() > 0);
    assert_eq!(bench.look(Collection::linked), 0);
    drop(std::fs::File::options().write(true).open(&kept).unwrap());
    assert!(!linker.is_finished());
}

#[tokio::test]
async fn vectors_that_are_deleted_let_an_upsert_through() {
    let bench = Bench::with(MANY);
    let ids = (0..MANY - 10).map(id).collect();
    bench
        .is_let_through_by(async || bench.commit(Event::VectorsDeleted { collection: bench.collection, ids }))
        .await;
}

#[tokio::test]
async fn a_collection_that_is_deleted_lets_an_upsert_through() {
    let bench = Bench::with(MANY);
    bench
        .is_let_through_by(async || bench.commit(Event::CollectionDeleted { collection: bench.collection }))
        .await;
}

#[tokio::test]
async fn a_collection_that_is_searched_no_more_lets_an_upsert_through() {
    let bench = Bench::with(SOME);
    bench.searches.note(bench.collection);
    bench.is_let_through_by(async || ()).await;
}

#[tokio::test]
async fn linking_that_is_given_up_refuses_an_upsert() {
    let bench = Bench::with(MANY);
    let mut upsert = pin!(bench.upsert(1));
    assert!(upsert.as_mut().now_or_never().is_none());
    bench.tell.send_replace(Linking::GivenUp);
    assert_eq!(upsert.now_or_never().unwrap().map(drop), Err(Held::GivenUp));
}

#[tokio::test]
async fn the_end_of_the_writer_or_of_the_linker_lets_an_upsert_through() {
    let Bench { backpressure, state, name, publish, tell, .. } = Bench::with(MANY);
    let mut upsert = pin!(backpressure.keep(&state, &name, 1));
    assert!(upsert.as_mut().now_or_never().is_none());
    drop(publish);
    upsert.await.unwrap();
    drop(tell);
    let Bench { backpressure, state, name, publish: _publish, tell, .. } = Bench::with(MANY);
    let mut upsert = pin!(backpressure.keep(&state, &name, 1));
    assert!(upsert.as_mut().now_or_never().is_none());
    drop(tell);
    upsert.await.unwrap();
}

#[tokio::test]
async fn how_many_vectors_an_upsert_brings_decides_how_long_the_next_one_waits() {
    let bench = Bench::with(2 * MANY);
    let mut large = pin!(bench.upsert(1_000));
    let mut next = pin!(bench.upsert(1));
    assert!(large.as_mut().now_or_never().is_none());
    assert!(next.as_mut().now_or_never().is_none());
    bench.link(1);
    let passage = large.now_or_never().unwrap().unwrap();
    assert!(next.as_mut().now_or_never().is_none(), "it does not wait until the first one is written");
    drop(passage);
    bench.link(1_900);
    assert!(next.as_mut().now_or_never().is_none(), "what the first one has brought is not made up for");
    bench.link(100);
    let passage = next.now_or_never().unwrap().unwrap();
    assert!(bench.look(Collection::is_far_behind));
    // It was refused: the next one has nothing to make up for.
    passage.brought_none();
    let mut last = pin!(bench.upsert(1));
    assert!(last.as_mut().now_or_never().is_none());
    bench.link(1);
    last.now_or_never().unwrap().unwrap();
}

#[tokio::test]
async fn upserts_into_one_collection_do_not_wait_for_those_into_another() {
    let bench = Bench::with(MANY);
    let mut waiting = pin!(bench.upsert(1));
    assert!(waiting.as_mut().now_or_never().is_none());
    let (name, collection) = bench.add_collection();
    let mut other = pin!(bench.backpressure.keep(&bench.state, &name, 1));
    assert!(other.as_mut().now_or_never().is_none());
    let snapshot = bench.state.peek().projection.index().by_id(collection).unwrap().snapshot();
    snapshot.link(1, 1, &|| false).unwrap();
    bench.tell.send_replace(Linking::Going);
    other.now_or_never().unwrap().unwrap();
    assert!(waiting.now_or_never().is_none());
}
