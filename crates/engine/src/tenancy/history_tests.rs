//! The history of a tenant in memory: what is dropped, and when.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use vectorizer_limits::TenantLimits;
use vectorizer_log::{Actor, Event, LogReader, TenantFolder, TextParameters, Timestamp, Via};
use vectorizer_metrics::Metrics;
use vectorizer_replay::{Projection, Projector as _};

use super::checkpoints::Checkpoints;
use super::command::{Change, CollectionChange, Command, HeldPermits, Write};
use super::history::{HistoryHandle, prepare_drop};
use super::log_handle::LogHandle;
use super::log_opener::{LogOpener, OpenLimiter};
use super::retention::RetentionClock;
use super::shared_state::{SharedState, State};
use super::writer::{Queued, Writer, own_record};

fn folder(data: &std::path::Path) -> TenantFolder {
    let folder = TenantFolder::new(data, &"acme".parse().unwrap());
    folder.create().unwrap();
    folder
}

/// A log with one sealed segment, and its state.
fn sealed(folder: &TenantFolder) -> (vectorizer_log::TenantLog, Projection) {
    let mut log = folder.open().unwrap().recover(|_| Ok::<_, vectorizer_log::Error>(())).unwrap().log;
    let mut projection = Projection::new(log.log_id());
    let mut commit = log.begin().unwrap();
    let created = Event::CollectionCreated {
        name: "first".parse().unwrap(),
        dimension: 2.try_into().unwrap(),
        metric: vectorizer_log::Metric::Dot,
        index: vectorizer_log::IndexParameters::default(),
    };
    commit.stage(own_record(created), Timestamp::now()).unwrap();
    for record in commit.commit().unwrap() {
        projection.apply(&record).unwrap();
    }
    log.rotate().unwrap();
    log.reader().seal(&|| false).unwrap().unwrap();
    (log, projection)
}

fn create(number: usize) -> Queued {
    let write: Write<Change> = Write {
        collection: format!("c{number}").parse().unwrap(),
        change: CollectionChange::Create { vectors: None, texts: Some(TextParameters::default()) }.into(),
        idempotency: None,
        precondition: None,
        room: HeldPermits::default(),
    };
    let actor = Actor { key_id: None, via: Via::Rest };
    let command = Command { actor, request_id: "r".to_owned(), write };
    Queued { command, answer: oneshot::channel().0 }
}

fn has_base(reader: &LogReader) -> bool {
    reader.tier_sizes().unwrap().base_bytes > 0
}

/// A tenant that is written to without a pause has a writer whose queue is never empty. Its history is dropped
/// nevertheless.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_is_dropped_while_a_tenant_is_written_to() {
    let data = tempfile::tempdir().unwrap();
    let folder = folder(data.path());
    let (log, projection) = tokio::task::spawn_blocking({
        let folder = folder.clone();
        move || sealed(&folder)
    })
    .await
    .unwrap();
    let (head, log_bytes, reader) = (log.head(), log.bytes(), log.reader());
    let history = Arc::new(HistoryHandle::new(&folder, false, Arc::default()));
    let state = Arc::new(SharedState::new(State { projection, head, log_bytes }));
    let opener = LogOpener {
        checkpoints: Arc::new(Checkpoints::new(&folder, log.log_id())),
        folder,
        reader: reader.clone(),
        log_handle: Arc::new(LogHandle::new(true)),
        history: Arc::clone(&history),
        limiter: OpenLimiter::default(),
    };
    let (published, failed) = (watch::channel(head).0, CancellationToken::new());
    let writer = Writer::new(
        log,
        TenantLimits::unlimited(),
        state,
        published,
        failed,
        Arc::default(),
        Metrics::default(),
    )
    .at(opener);
    let (send, queue) = mpsc::channel(256);
    let stop = CancellationToken::new();
    for number in 0..256 {
        send.try_send(create(number)).unwrap();
    }
    let running = tokio::spawn(writer.run(queue, stop.clone()));
    let flooding = CancellationToken::new();
    let flood = tokio::spawn({
        let (send, flooding) = (send.clone(), flooding.clone());
        async move {
            let mut number = 256;
            while !flooding.is_cancelled() {
                send.send(create(number)).await.unwrap();
                number += 1;
            }
        }
    });
    let prepared = {
        let (reader, history) = (reader.clone(), Arc::clone(&history));
        tokio::task::spawn_blocking(move || {
            let horizon = Timestamp::from_micros(i64::MAX);
            prepare_drop(&reader, &history, horizon, head.seq, 0, &|| false).unwrap();
        })
    };
    prepared.await.unwrap();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(4) && !has_base(&reader) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let dropped_meanwhile = has_base(&reader);
    flooding.cancel();
    flood.await.unwrap();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(20) && !has_base(&reader) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(has_base(&reader), "control: it is dropped when the writes pause");
    stop.cancel();
    running.await.unwrap();
    assert!(dropped_meanwhile, "nothing was dropped before the writes paused");
}

/// A node that is started again and again with a clock that is a year ahead.
#[test]
fn restarts_with_a_wrong_clock_make_nothing_old() {
    let node = tempfile::tempdir().unwrap();
    let day = |number: i64| Timestamp::from_micros(number * 86_400_000_000);
    let mut clock = RetentionClock::open(node.path(), day(100));
    clock.now(day(100));
    clock.store();
    for _ in 0..30 {
        let mut clock = RetentionClock::open(node.path(), day(465));
        clock.now(day(465));
        clock.store();
    }
    let now = RetentionClock::open(node.path(), day(100)).now(day(100));
    assert!(now < day(103), "thirty restarts within a minute: {} days", now.micros() / 86_400_000_000);
}

/// The log had 100 MB when the checkpoint was written, then 5 MB after a drop, then 45 MB. Then the node is started
/// again.
#[test]
fn a_checkpoint_from_before_a_drop_is_known_to_be_behind() {
    let data = tempfile::tempdir().unwrap();
    let folder = folder(data.path());
    let (log, projection) = sealed(&folder);
    let state = SharedState::new(State { projection, head: log.head(), log_bytes: 100 << 20 });
    let checkpoints = Checkpoints::new(&folder, log.log_id());
    checkpoints.write(&state, &CancellationToken::new()).unwrap();
    checkpoints.history_dropped(100 << 20, 5 << 20);
    assert!(checkpoints.is_behind(45 << 20) && checkpoints.is_due(45 << 20), "in the same process");
    let reopened = Checkpoints::new(&folder, log.log_id());
    reopened.read(&|| false).unwrap();
    reopened.opened(45 << 20, 40 << 20);
    assert!(
        reopened.is_behind(45 << 20),
        "40 MB are folded at each waking, and never written to a checkpoint"
    );
}
