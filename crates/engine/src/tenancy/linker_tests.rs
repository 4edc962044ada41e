//! What becomes of upserts when linking fails, or does not keep up.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt as _;
use tokio::sync::watch::Sender;
use vectorizer_log::{
    Event, IndexParameters, LogId, Metric, Point, PointId, Seq, TenantFolder, Timestamp, Vector,
};
use vectorizer_replay::{Projection, Projector as _};
use vectorizer_testing::events::record;

use super::super::backpressure::{Backpressure, Held};
use super::super::searches::Searches;
use super::super::shared_state::State;
use super::*;

/// More than may be unlinked of a collection that is searched, and of any.
const VECTORS: usize = 20_000;
const VECTORS_FAR: usize = 70_000;

pub(super) fn panic_if_told(panics: &AtomicUsize) {
    let told = panics.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
    assert!(told.is_err(), "a step was told to panic");
}

fn apply(projection: &mut Projection, event: Event) {
    let seq = projection.applied().next();
    projection.apply(&record(projection.log_id(), seq, Timestamp::default(), event)).unwrap();
}

/// A tenant with so many unlinked vectors.
fn behind(vectors: usize) -> State {
    let mut projection = Projection::new(LogId::new(uuid::Uuid::nil()));
    add(&mut projection, "a", vectors);
    State { projection, head: Head::genesis(LogId::new(uuid::Uuid::nil())), log_bytes: 0 }
}

/// Adds a collection of so many unlinked vectors.
fn add(projection: &mut Projection, name: &str, vectors: usize) {
    let created = projection.applied().next();
    let event = Event::CollectionCreated {
        name: name.parse().unwrap(),
        dimension: 64.try_into().unwrap(),
        metric: Metric::Dot,
        index: IndexParameters { m: Some(4), ef_construction: Some(8), ef: None },
    };
    apply(projection, event);
    let point = |number: usize| {
        let bits = blake3::hash(&number.to_le_bytes());
        let numbers: Vec<f32> =
            bits.as_bytes().iter().chain(bits.as_bytes()).map(|byte| f32::from(*byte)).collect();
        Point {
            id: PointId::text(number.to_string()).unwrap(),
            vector: Vector::dense(numbers).unwrap(),
            payload: None,
        }
    };
    let points = (0..vectors).map(point).collect();
    apply(projection, Event::VectorsUpserted { collection: CollectionId::created_at(created), points });
}

/// Runs a linker of which so many turns panic, and has it wait for room for one more vector.
async fn kept(panics: usize) -> (Result<(), Held>, Sender<Head>) {
    let data = tempfile::tempdir().unwrap();
    let state = Arc::new(SharedState::new(behind(VECTORS_FAR)));
    assert!(state.peek().projection.index().collections().all(Collection::is_far_behind));
    let (publish, published) = watch::channel(Head::genesis(LogId::new(uuid::Uuid::nil())));
    let (tell, linked) = watch::channel(Linking::Going);
    let permits = LinkPermits::default();
    permits.panics.store(panics, Ordering::Relaxed);
    let mut backpressure =
        Backpressure::new(linked, published.clone(), Searches::default(), UnreadGraphs::default());
    // The machine may be busy.
    backpressure.patience = Duration::from_mins(5);
    let linker = Linker {
        state: Arc::clone(&state),
        published,
        files: GraphFiles::new(&TenantFolder::new(data.path(), &"t".parse().unwrap())),
        unread: UnreadGraphs::default(),
        linked: tell,
        permits,
        stop: CancellationToken::new(),
        failed: CancellationToken::new(),
    };
    let linker = tokio::spawn(linker.run());
    let kept = backpressure.keep(&state, &"a".parse().unwrap(), 1).await.map(drop);
    if kept.is_err() {
        linker.await.unwrap();
        assert!(state.peek().projection.index().collections().all(Collection::is_far_behind));
    }
    (kept, publish)
}

#[tokio::test]
async fn linking_that_panics_once_is_begun_again() {
    assert_eq!(kept(0).await.0, Ok(()));
    assert_eq!(kept(1).await.0, Ok(()));
}

#[tokio::test]
async fn where_linking_panics_again_and_again_the_unlinked_do_not_grow_without_bound() {
    assert_eq!(kept(2).await.0, Err(Held::GivenUp));
}

#[tokio::test]
async fn an_upsert_into_what_somebody_searches_waits_while_less_is_unlinked() {
    let id = CollectionId::created_at(Seq::OLDEST);
    let name = "a".parse().unwrap();
    let (_tell, linked) = watch::channel(Linking::Going);
    let (_publish, published) = watch::channel(Head::genesis(LogId::new(uuid::Uuid::nil())));
    let searches = Searches::default();
    let backpressure =
        Backpressure::new(linked.clone(), published.clone(), searches.clone(), UnreadGraphs::default());
    let state = SharedState::new(behind(VECTORS));
    let kept = |backpressure: &Backpressure, state| {
        backpressure.keep(state, &name, 1).now_or_never().map(|kept| kept.map(drop))
    };
    assert_eq!(kept(&backpressure, &state), Some(Ok(())));
    searches.note(CollectionId::created_at(Seq::OLDEST.next()));
    assert_eq!(kept(&backpressure, &state), Some(Ok(())), "another one is searched");
    searches.note(id);
    assert_eq!(kept(&backpressure, &state), None);
    let state = SharedState::new(behind(VECTORS_FAR));
    let unsearched = Backpressure::new(linked, published, Searches::default(), UnreadGraphs::default());
    assert_eq!(kept(&unsearched, &state), None);
}

#[tokio::test]
async fn a_tenant_that_waits_for_the_upkeep_of_others_links_meanwhile() {
    let data = tempfile::tempdir().unwrap();
    let (publish, published) = watch::channel(Head::genesis(LogId::new(uuid::Uuid::nil())));
    let permits = LinkPermits::default();
    let _others = Arc::clone(&permits.upkeep).acquire_owned().await.unwrap();
    let linker = Linker {
        state: Arc::new(SharedState::new(behind(VECTORS))),
        published,
        files: GraphFiles::new(&TenantFolder::new(data.path(), &"t".parse().unwrap())),
        unread: UnreadGraphs::default(),
        linked: watch::channel(Linking::Going).0,
        permits,
        stop: CancellationToken::new(),
        failed: CancellationToken::new(),
    };
    let id = CollectionId::created_at(Seq::OLDEST);
    // Its graph was read, and it would keep the graph now.
    let progress = Progress { kept: HashMap::from([(id, 0)]), ..Progress::default() };
    let snapshot = linker.state.peek().projection.index().by_id(id).unwrap().snapshot();
    let (task, _) = linker.permit_for(Task { work: Work::Write, id, snapshot }, &progress).await.unwrap();
    assert!(matches!(task.work, Work::Link));
    drop(publish);
}

/// A linker of this tenant, whose upkeep somebody else has taken.
fn linker(data: &std::path::Path, state: State) -> (Linker, Sender<Head>, OwnedSemaphorePermit) {
    let (publish, published) = watch::channel(Head::genesis(LogId::new(uuid::Uuid::nil())));
    let permits = LinkPermits::default();
    let others = Arc::clone(&permits.upkeep).try_acquire_owned().unwrap();
    let linker = Linker {
        state: Arc::new(SharedState::new(state)),
        published,
        files: GraphFiles::new(&TenantFolder::new(data, &"t".parse().unwrap())),
        unread: UnreadGraphs::default(),
        linked: watch::channel(Linking::Going).0,
        permits,
        stop: CancellationToken::new(),
        failed: CancellationToken::new(),
    };
    (linker, publish, others)
}

/// Linking wants what no other program does: beside busy ones it takes ten times as long.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..30_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(holds(), "{what} does not come true");
}

#[tokio::test]
async fn the_first_vectors_of_a_tenant_are_linked_whatever_upkeep_others_are_at() {
    let data = tempfile::tempdir().unwrap();
    let (linker, publish, _others) = linker(data.path(), behind(VECTORS));
    let state = Arc::clone(&linker.state);
    let running = tokio::spawn(linker.run());
    let all = |holds: fn(&Collection) -> bool| state.peek().projection.index().collections().all(holds);
    until("that all is linked", || all(|collection| collection.linked() == VECTORS)).await;
    // Its graph is to be written, and waits for the others.
    assert!(!running.is_finished());
    drop(publish);
}

#[tokio::test]
async fn two_collections_are_linked_in_turns() {
    let data = tempfile::tempdir().unwrap();
    let mut state = behind(VECTORS);
    let created = state.projection.applied().next();
    add(&mut state.projection, "b", VECTORS);
    let (linker, _publish, _others) = linker(data.path(), state);
    let first = CollectionId::created_at(Seq::OLDEST);
    let second = CollectionId::created_at(created);
    let mut progress = Progress { kept: HashMap::from([(first, 0), (second, 0)]), ..Progress::default() };
    let mut order = Vec::new();
    for round in 1..=6 {
        let task = linker.next(&progress).await.unwrap();
        order.push(task.id);
        progress.linked_in.insert(task.id, round);
    }
    assert!(order.chunks(2).all(|pair| pair.contains(&first) && pair.contains(&second)), "{order:?}");
}

#[tokio::test]
async fn the_kept_graph_of_a_deleted_collection_is_erased_also_if_it_was_the_last() {
    let data = tempfile::tempdir().unwrap();
    let (linker, publish, others) = linker(data.path(), behind(VECTORS));
    drop(others);
    let (state, files) = (Arc::clone(&linker.state), linker.files.clone());
    tokio::spawn(linker.run());
    until("that the graph is kept", || files.ids() == ["1"]).await;
    let connected = || state.peek().projection.index().collections().all(Collection::is_connected);
    until("that all can be found", connected).await;
    {
        let mut state = state.poke();
        apply(
            &mut state.projection,
            Event::CollectionDeleted { collection: CollectionId::created_at(Seq::OLDEST) },
        );
    }
    publish.send_replace(Head::genesis(LogId::new(uuid::Uuid::nil())));
    until("that no graph is kept", || files.ids().is_empty()).await;
}
