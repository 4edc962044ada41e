//! What becomes of upserts when linking fails, or does not keep up.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt as _;
use tokio::sync::watch::Sender;
use vectorizer_log::{
    Actor, Event, IndexParameters, LogId, Metric, Point, PointId, Record, Seq, TenantFolder, Timestamp,
    Vector, Via,
};
use vectorizer_replay::{Projection, Projector as _};

use super::super::pace::{Held, Pace};
use super::super::searches::Searches;
use super::*;

/// More than may be unlinked of a collection that is searched, and of any.
const VECTORS: usize = 20_000;
const VECTORS_FAR: usize = 70_000;

pub(super) fn panic_if_told(panics: &AtomicUsize) {
    let told = panics.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
    assert!(told.is_err(), "a turn was told to panic");
}

/// A tenant with so many unlinked vectors.
fn behind(vectors: usize) -> State {
    let mut projection = Projection::new(LogId::new(uuid::Uuid::nil()));
    let mut apply = |event| {
        let record = Record {
            log_id: projection.log_id(),
            seq: projection.applied().next(),
            at: Timestamp::default(),
            actor: Actor { key_id: None, via: Via::System },
            request_id: String::new(),
            idempotency: None,
            event,
        };
        projection.apply(&record).unwrap();
    };
    apply(Event::CollectionCreated {
        name: "a".parse().unwrap(),
        dimension: 64.try_into().unwrap(),
        metric: Metric::Dot,
        index: IndexParameters { m: Some(4), ef_construction: Some(8), ef: None },
    });
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
    apply(Event::VectorsUpserted { collection: CollectionId::created_at(Seq::OLDEST), points });
    State { projection, head: Head::genesis(LogId::new(uuid::Uuid::nil())), log_bytes: 0 }
}

/// Runs a linker of which so many turns panic, and has it wait for room for one more vector.
async fn kept(panics: usize) -> (Result<(), Held>, Sender<Head>) {
    let data = tempfile::tempdir().unwrap();
    let state = Arc::new(RwLock::new(behind(VECTORS_FAR)));
    assert!(state.read().unwrap().projection.index().collections().all(Collection::is_far_behind));
    let (publish, published) = watch::channel(Head::genesis(LogId::new(uuid::Uuid::nil())));
    let (tell, linked) = watch::channel(Linking::Going);
    let turns = Turns::default();
    turns.panics.store(panics, Ordering::Relaxed);
    let linker = Linker {
        state: Arc::clone(&state),
        published,
        files: GraphFiles::new(&TenantFolder::new(data.path(), &"t".parse().unwrap())),
        linked: tell,
        turns,
        stop: CancellationToken::new(),
        failed: CancellationToken::new(),
    };
    let linker = tokio::spawn(linker.run());
    let kept = Pace::new(linked, Searches::default()).keep(&state, &"a".parse().unwrap(), 1).await;
    if kept.is_err() {
        linker.await.unwrap();
        assert!(state.read().unwrap().projection.index().collections().all(Collection::is_far_behind));
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
    let searches = Searches::default();
    let pace = Pace::new(linked.clone(), searches.clone());
    let state = RwLock::new(behind(VECTORS));
    assert_eq!(pace.keep(&state, &name, 1).now_or_never(), Some(Ok(())));
    searches.note(CollectionId::created_at(Seq::OLDEST.next()));
    assert_eq!(pace.keep(&state, &name, 1).now_or_never(), Some(Ok(())), "another one is searched");
    searches.note(id);
    assert_eq!(pace.keep(&state, &name, 1).now_or_never(), None);
    let state = RwLock::new(behind(VECTORS_FAR));
    let unsearched = Pace::new(linked, Searches::default());
    assert_eq!(unsearched.keep(&state, &name, 1).now_or_never(), None);
}

#[tokio::test]
async fn a_tenant_that_waits_for_the_upkeep_of_others_links_meanwhile() {
    let data = tempfile::tempdir().unwrap();
    let (publish, published) = watch::channel(Head::genesis(LogId::new(uuid::Uuid::nil())));
    let turns = Turns::default();
    let _others = Arc::clone(&turns.upkeep).acquire_owned().await.unwrap();
    let linker = Linker {
        state: Arc::new(RwLock::new(behind(VECTORS))),
        published,
        files: GraphFiles::new(&TenantFolder::new(data.path(), &"t".parse().unwrap())),
        linked: watch::channel(Linking::Going).0,
        turns,
        stop: CancellationToken::new(),
        failed: CancellationToken::new(),
    };
    let id = CollectionId::created_at(Seq::OLDEST);
    // Its graph was read, and it would keep the graph now.
    let kept = HashMap::from([(id, 0)]);
    let snapshot = linker.state.read().unwrap().projection.index().by_id(id).unwrap().snapshot();
    let (task, _) = linker.turn(Task { work: Work::Write, id, snapshot }, &kept).await.unwrap();
    assert!(matches!(task.work, Work::Link));
    drop(publish);
}
