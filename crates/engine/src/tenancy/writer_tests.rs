//! The writer on a faulty store: a group behaves like its commands one after the other, and a failure is
//! reported to each caller as it is.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use vectorizer_index::Filter;
use vectorizer_limits::{HistoryLimits, Limits, QuotaExceeded, QuotaType, TenantLimits};
use vectorizer_log::storage::{Fault, MemoryStorage};
use vectorizer_log::{
    Actor, Document, Event, Idempotency, IndexParameters, LogId, Metric, PointId, Record, Seq,
    TextParameters, Timestamp, UnverifiedLog, Vector, VectorParameters, Via, initialize,
};
use vectorizer_metrics::Metrics;
use vectorizer_replay::{Projection, Projector as _};

use super::command::{
    Change, CollectionChange, Command, HeldPermits, Precondition, VectorChange, Write, WriteError,
};
use super::merge_patch::MergePatch;
use super::shared_state::{SharedState, State};
use super::writer::{Answer, QUEUE_COMMANDS_MAX, Queued, Writer};

const LOG: LogId = LogId::new(Uuid::from_u128(1));

/// A tenant on the double, whose writer has not started.
struct Bench {
    storage: Arc<MemoryStorage>,
    writer: Writer,
    send: mpsc::Sender<Queued>,
    queue: mpsc::Receiver<Queued>,
}

fn bench() -> Bench {
    bench_within(Limits::default())
}

fn bench_within(limits: Limits) -> Bench {
    let storage = Arc::new(MemoryStorage::new(1_000));
    initialize(&storage, LOG).unwrap();
    let unverified = UnverifiedLog::new(Box::new(Arc::clone(&storage)), LOG).unwrap();
    let log = unverified.recover(|_| Ok::<_, vectorizer_log::Error>(())).unwrap().log;
    let head = log.head();
    let state =
        Arc::new(SharedState::new(State { projection: Projection::new(LOG), head, log_bytes: log.bytes() }));
    let (published, failed) = (watch::channel(head).0, CancellationToken::new());
    let tenant_limits = TenantLimits::new(limits);
    let writer =
        Writer::new(log, tenant_limits, state, published, failed, Arc::default(), Metrics::default());
    let (send, queue) = mpsc::channel(QUEUE_COMMANDS_MAX);
    Bench { storage, writer, send, queue }
}

fn command(write: Write<Change>) -> Command {
    let actor = Actor { key_id: None, via: Via::Rest };
    Command { actor, request_id: "r".to_owned(), write }
}

impl Bench {
    fn enqueue(&self, write: Write<Change>) -> oneshot::Receiver<Answer> {
        let (answer, answered) = oneshot::channel();
        self.send.try_send(Queued { command: command(write), answer }).unwrap();
        answered
    }
}

/// Every event that is durable, in order.
fn events(storage: &MemoryStorage) -> Vec<Event> {
    let survivor = Arc::new(storage.after_process_death(0));
    let mut events = Vec::new();
    let recovered = UnverifiedLog::new(Box::new(survivor), LOG).unwrap().recover(|record| {
        events.push(record.event);
        Ok::<_, vectorizer_log::Error>(())
    });
    assert_eq!(recovered.unwrap().removed, None);
    events
}

fn write(change: impl Into<Change>) -> Write<Change> {
    Write {
        collection: "a".parse().unwrap(),
        change: change.into(),
        idempotency: None,
        precondition: None,
        room: HeldPermits::default(),
    }
}

/// The same write once more; only the room it takes up cannot be had twice.
fn again(write: &Write<Change>) -> Write<Change> {
    let Write { collection, change, idempotency, precondition, room: _ } = write;
    Write {
        collection: collection.clone(),
        change: change.clone(),
        idempotency: idempotency.clone(),
        precondition: precondition.clone(),
        room: HeldPermits::default(),
    }
}

fn create() -> Change {
    let (dimension, metric) = (2.try_into().unwrap(), Metric::Dot);
    let vectors = Some(VectorParameters { dimension, metric, index: IndexParameters::default() });
    CollectionChange::Create { vectors, texts: Some(TextParameters::default()) }.into()
}

fn id(number: u8) -> PointId {
    PointId::text(format!("p{number}")).unwrap()
}

fn point(number: u8, value: u8) -> Document {
    let vector = Some(Vector::dense(vec![f32::from(value), 1.0]).unwrap());
    Document { id: id(number), vector, payload: None, text: None }
}

fn change() -> impl Strategy<Value = Change> {
    let ids = || vec(0_u8..6, 1..4);
    let patch = |value: u8| {
        let json =
            serde_json::value::to_raw_value(&serde_json::json!({"kind": value, format!("k{value}"): 1}))
                .unwrap();
        MergePatch::new(&json).unwrap()
    };
    let filter = |value: u8| {
        let json = serde_json::json!({"must": [{"key": "kind", "match": {"value": value}}]});
        VectorChange::DeleteMatching(Filter::parse(&json.to_string(), 32).unwrap()).into()
    };
    prop_oneof![
        2 => Just(create()),
        1 => Just(CollectionChange::Delete.into()),
        6 => (ids(), any::<u8>()).prop_map(|(ids, value)| {
            VectorChange::Upsert(ids.into_iter().map(|number| point(number, value)).collect()).into()
        }),
        2 => (0_u8..6).prop_map(|number| VectorChange::DeleteOne(id(number)).into()),
        2 => ids().prop_map(|ids| VectorChange::DeleteMany(ids.into_iter().map(id).collect()).into()),
        1 => (0_u8..3).prop_map(filter),
        4 => (0_u8..6, 0_u8..3).prop_map(move |(number, value)| {
            VectorChange::ChangePayload { id: id(number), patch: patch(value) }.into()
        }),
    ]
}

fn any_write() -> impl Strategy<Value = Write<Change>> {
    let precondition = prop_oneof![
        4 => Just(None),
        1 => Just(Some(Precondition::Exists)),
        1 => (0_u64..30).prop_map(|seq| Some(Precondition::LastChangeIn(vec![Seq::new(seq)]))),
    ];
    let key = prop_oneof![3 => Just(None), 1 => (0_u8..4, 0_u8..2).prop_map(Some)];
    (prop_oneof![Just("a"), Just("b")], change(), precondition, key).prop_map(
        |(name, change, precondition, key)| {
            let idempotency =
                key.map(|(key, body)| Idempotency { key: format!("key{key}"), body_hash: [body; 32] });
            Write {
                collection: name.parse().unwrap(),
                change,
                idempotency,
                precondition,
                room: HeldPermits::default(),
            }
        },
    )
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

/// The answers to all writes, queued at once, and the events they left.
fn at_once(writes: Vec<Write<Change>>, limits: Limits) -> (Vec<Answer>, Vec<Event>) {
    runtime().block_on(async {
        let bench = bench_within(limits);
        let answers: Vec<_> = writes.into_iter().map(|write| bench.enqueue(write)).collect();
        let Bench { storage, writer, send, queue } = bench;
        drop(send);
        writer.run(queue, CancellationToken::new()).await;
        let mut told = Vec::new();
        for answer in answers {
            told.push(answer.await.unwrap());
        }
        (told, events(&storage))
    })
}

/// The same, each write waiting for the answer to the one before.
fn one_by_one(writes: Vec<Write<Change>>, limits: Limits) -> (Vec<Answer>, Vec<Event>) {
    runtime().block_on(async {
        let bench = bench_within(limits);
        let Bench { storage, writer, send, queue } = bench;
        let running = tokio::spawn(writer.run(queue, CancellationToken::new()));
        let mut told = Vec::new();
        for write in writes {
            let (answer, answered) = oneshot::channel();
            send.send(Queued { command: command(write), answer }).await.unwrap();
            told.push(answered.await.unwrap());
        }
        drop(send);
        running.await.unwrap();
        (told, events(&storage))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Quotas, preconditions and idempotency keys are exact because of this.
    #[test]
    fn a_group_does_what_its_commands_would_have_done_one_by_one(
        mut writes in vec(any_write(), 1..40),
        limits in any_limits(),
    ) {
        writes.insert(0, write(create()));
        let grouped = at_once(writes.iter().map(again).collect(), limits);
        let single = one_by_one(writes, limits);
        prop_assert_eq!(&grouped.1, &single.1);
        prop_assert_eq!(grouped.0, single.0);
    }

    #[test]
    fn no_group_takes_a_tenant_beyond_its_limits(writes in vec(any_write(), 1..40), limits in any_limits()) {
        let writes = std::iter::once(write(create())).chain(writes).collect();
        let (answers, events) = at_once(writes, limits);
        let mut state = Projection::new(LOG);
        for (seq, event) in (1..).zip(events) {
            state.apply(&record(seq, event)).unwrap();
            let usage = state.usage();
            prop_assert!(limits.vectors.is_none_or(|limit| usage.vectors() <= limit));
            prop_assert!(limits.storage_bytes.is_none_or(|limit| usage.logical_bytes() <= limit));
            prop_assert!(limits.collections.is_none_or(|limit| usage.collections() <= limit));
        }
        for refused in answers.into_iter().filter_map(Result::err) {
            if let WriteError::QuotaExceeded(exceeded) = refused {
                prop_assert!(exceeded.used + exceeded.more > exceeded.limit, "{}", exceeded);
            }
        }
    }
}

fn any_limits() -> impl Strategy<Value = Limits> {
    let maybe = |range: std::ops::Range<u64>| prop_oneof![1 => Just(None), 2 => range.prop_map(Some)];
    (maybe(40..400), maybe(100..5_000), maybe(0..7), maybe(0..3)).prop_map(
        |(storage_bytes, log_bytes, vectors, collections)| Limits {
            storage_bytes,
            log_bytes,
            vectors,
            collections,
            requests: None,
            history: HistoryLimits::default(),
        },
    )
}

fn record(seq: u64, event: Event) -> Record {
    Record {
        log_id: LOG,
        seq: Seq::new(seq),
        at: Timestamp::default(),
        actor: Actor { key_id: None, via: Via::Rest },
        request_id: "r".to_owned(),
        idempotency: None,
        event,
    }
}

#[tokio::test]
async fn what_a_delete_gives_back_can_be_used_at_once() {
    let bench = bench_within(Limits { vectors: Some(2), ..Limits::default() });
    let upsert = |number| write(VectorChange::Upsert(vec![point(number, 1)]));
    let answers = [
        write(create()),
        upsert(1),
        upsert(2),
        upsert(3),
        upsert(2),
        write(VectorChange::DeleteOne(id(1))),
        upsert(4),
        upsert(5),
    ]
    .map(|write| bench.enqueue(write));
    let Bench { writer, send, queue, .. } = bench;
    drop(send);
    writer.run(queue, CancellationToken::new()).await;
    let mut refused = Vec::new();
    for (number, answer) in answers.into_iter().enumerate() {
        if let Err(refusal) = answer.await.unwrap() {
            let full = QuotaExceeded { quota: QuotaType::Vectors, limit: 2, used: 2, more: 1 };
            assert_eq!(refusal, WriteError::QuotaExceeded(full));
            refused.push(number);
        }
    }
    assert_eq!(refused, [3, 7]);
}

#[tokio::test]
async fn a_tenant_whose_log_is_full_can_still_delete() {
    let bench = bench_within(Limits { log_bytes: Some(400), ..Limits::default() });
    let upserts: Vec<_> =
        (0..9).map(|number| bench.enqueue(write(VectorChange::Upsert(vec![point(number, 1)])))).collect();
    let created = bench.enqueue(write(create()));
    let more: Vec<_> =
        (0..9).map(|number| bench.enqueue(write(VectorChange::Upsert(vec![point(number, 1)])))).collect();
    let deleted = bench.enqueue(write(VectorChange::DeleteOne(id(0))));
    let Bench { writer, send, queue, .. } = bench;
    drop((send, upserts));
    writer.run(queue, CancellationToken::new()).await;
    created.await.unwrap().unwrap();
    let mut told = Vec::new();
    for answer in more {
        told.push(answer.await.unwrap());
    }
    assert!(told[0].is_ok());
    let Err(WriteError::QuotaExceeded(full)) = &told[8] else { panic!("{told:?}") };
    assert_eq!((full.quota, full.limit), (QuotaType::LogBytes, 400));
    assert!(full.used <= 400 && full.used + full.more > 400);
    deleted.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_write_that_the_log_has_no_room_for_makes_no_room_for_others() {
    let payload = |bytes: usize| {
        let json = serde_json::json!({"text": "x".repeat(bytes)});
        MergePatch::new(&serde_json::value::to_raw_value(&json).unwrap()).unwrap()
    };
    let large = || write(VectorChange::ChangePayload { id: id(1), patch: payload(4_000) });
    let first = || [write(create()), write(VectorChange::Upsert(vec![point(1, 1)])), large()];
    let smaller = write(VectorChange::ChangePayload { id: id(1), patch: payload(2_000) });
    // What the first three take up.
    let Bench { writer, send, queue, .. } = {
        let bench = bench();
        for write in first() {
            drop(bench.enqueue(write));
        }
        bench
    };
    drop(send);
    let state = Arc::clone(&writer.state);
    writer.run(queue, CancellationToken::new()).await;
    let (storage_bytes, log_bytes) = {
        let state = state.peek();
        (state.projection.usage().logical_bytes(), state.log_bytes)
    };
    // The storage is full, and of the log is left what a vector needs.
    let bench = bench_within(Limits {
        storage_bytes: Some(storage_bytes),
        log_bytes: Some(log_bytes + 1_000),
        ..Limits::default()
    });
    let answers = first().map(|write| bench.enqueue(write));
    let refused = [smaller, write(VectorChange::Upsert(vec![point(2, 1)]))].map(|write| bench.enqueue(write));
    let Bench { writer, send, queue, .. } = bench;
    drop(send);
    writer.run(queue, CancellationToken::new()).await;
    for answer in answers {
        answer.await.unwrap().unwrap();
    }
    for (answer, quota) in refused.into_iter().zip([QuotaType::LogBytes, QuotaType::StorageBytes]) {
        let Err(WriteError::QuotaExceeded(exceeded)) = answer.await.unwrap() else { panic!("{quota:?}") };
        assert_eq!(exceeded.quota, quota);
    }
}

#[tokio::test]
async fn what_waits_shares_one_sync() {
    let bench = bench();
    let mut answers = vec![bench.enqueue(write(create()))];
    answers.extend((0..50).map(|number| bench.enqueue(write(VectorChange::Upsert(vec![point(number, 1)])))));
    // One sync for the collection, one for the fifty upserts; a third would fail.
    bench.storage.arrange(Fault::Sync { after: 2 });
    let Bench { storage, writer, send, queue } = bench;
    drop(send);
    writer.run(queue, CancellationToken::new()).await;
    for answer in answers {
        answer.await.unwrap().unwrap();
    }
    assert_eq!(events(&storage).len(), 51);
}

#[tokio::test]
async fn after_a_failed_write_no_caller_is_told_of_success_and_the_writer_ends() {
    for fault in [Fault::Put { after: 1 }, Fault::Sync { after: 1 }, Fault::Head { after: 1 }] {
        let bench = bench();
        let first = bench.enqueue(write(create()));
        let failing = bench.enqueue(write(VectorChange::Upsert(vec![point(1, 1)])));
        let refused = bench.enqueue(write(VectorChange::DeleteOne(id(5))));
        bench.storage.arrange(fault);
        let Bench { storage, writer, send, queue } = bench;
        writer.run(queue, CancellationToken::new()).await;
        first.await.unwrap().unwrap();
        // Told nothing, which its handle reports as a storage that has failed.
        assert!(failing.await.is_err(), "{fault:?}");
        assert!(refused.await.is_err(), "{fault:?}");
        assert!(send.is_closed(), "the tenant would go on");
        assert!(storage.is_poisoned());
        // Durable without having been told is allowed; it was synced before its head could not be written.
        let durable = if matches!(fault, Fault::Head { .. }) { 2 } else { 1 };
        assert_eq!(events(&storage).len(), durable, "{fault:?}");
    }
}

#[tokio::test]
async fn a_stopping_writer_does_what_was_handed_to_it_and_takes_nothing_more() {
    let bench = bench();
    let answers = [bench.enqueue(write(create())), bench.enqueue(write(VectorChange::DeleteOne(id(1))))];
    let stop = CancellationToken::new();
    stop.cancel();
    let Bench { writer, send, queue, .. } = bench;
    writer.run(queue, stop).await;
    assert!(send.is_closed());
    let [created, deleted] = answers;
    created.await.unwrap().unwrap();
    assert!(matches!(deleted.await.unwrap(), Err(WriteError::NoSuchVector { .. })));
}
