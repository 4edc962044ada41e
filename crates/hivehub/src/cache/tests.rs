//! What the cache promises, with a double of `HiveHub` and a clock that is set by hand.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use uuid::Uuid;
use vectorizer_access::{KeyHash, KeyId};
use vectorizer_log::{TenantId, Timestamp};

use super::{Judgement, KeyCache, KeySource, LookupError};
use crate::clock::{Clock, ManualClock};
use crate::error::HubError;
use crate::models::{Holder, KeyIdentity, Permission, PolicyCursor, Refusal, TenantProfile, Verdict};

#[derive(Clone, Copy)]
pub(super) enum Answer {
    Yes,
    YesUntil(Timestamp),
    No,
    Suspended,
    Down,
    Busy(u64),
    RejectsUs,
    Panic,
}

pub(super) struct Double {
    answer: Mutex<Answer>,
    calls: AtomicUsize,
    gate: Semaphore,
    left_alone: Mutex<Duration>,
    /// The position that answers are made at.
    pub(super) position: Mutex<Option<u64>>,
}

impl KeySource for Arc<Double> {
    async fn validate(&self, _: &KeyHash) -> Result<Judgement, HubError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let _open = self.gate.acquire().await.unwrap();
        let answer = *self.answer.lock().unwrap();
        let verdict = match answer {
            Answer::Yes => Verdict::Valid(identity(None)),
            Answer::YesUntil(end) => Verdict::Valid(identity(Some(end))),
            Answer::No => Verdict::Refused(Refusal::Revoked),
            Answer::Suspended => Verdict::Refused(suspended()),
            Answer::Down => return Err(HubError::Unreachable("no route".into())),
            Answer::Busy(seconds) => {
                let retry_after = Some(Duration::from_secs(seconds));
                return Err(HubError::Failing { status: 429, retry_after });
            }
            Answer::RejectsUs => return Err(HubError::ServiceKeyRejected { status: 401 }),
            Answer::Panic => panic!("the source has a bug"),
        };
        let policy_cursor = self.position.lock().unwrap().map(cursor);
        Ok(Judgement { verdict, policy_cursor })
    }

    fn left_alone(&self) -> Duration {
        *self.left_alone.lock().unwrap()
    }
}

pub(super) const FEED: Uuid = Uuid::from_u128(7);

pub(super) fn cursor(position: u64) -> PolicyCursor {
    PolicyCursor::new(FEED, position)
}

pub(super) fn acme() -> TenantId {
    "acme".parse().unwrap()
}

pub(super) fn suspended() -> Refusal {
    Refusal::TenantSuspended(acme())
}

fn identity(expires_at: Option<Timestamp>) -> KeyIdentity {
    let tenant = TenantProfile {
        id: acme(),
        name: "Acme".into(),
        plan: "pro".into(),
        incarnation: None,
        deployment: None,
    };
    let key_id = KeyId::try_from("k1".to_owned()).unwrap();
    KeyIdentity { key_id, permission: Permission::Admin, holder: Holder::Tenant(tenant), expires_at }
}

pub(super) struct Bench {
    pub(super) cache: KeyCache<Arc<Double>>,
    pub(super) hub: Arc<Double>,
    pub(super) clock: Arc<ManualClock>,
}

impl Bench {
    pub(super) fn new(answer: Answer) -> Self {
        Self::with_stale_max(answer, 300)
    }

    fn with_stale_max(answer: Answer, seconds: u64) -> Self {
        let clock = Arc::new(ManualClock::default());
        let (calls, gate) = (AtomicUsize::default(), Semaphore::new(100_000));
        let (answer, left_alone, position) = (Mutex::new(answer), Mutex::default(), Mutex::default());
        let hub = Arc::new(Double { answer, calls, gate, left_alone, position });
        let stale_max = Duration::from_secs(seconds);
        let cache = KeyCache::new(Arc::clone(&hub), stale_max, Arc::clone(&clock) as Arc<dyn Clock>);
        Self { cache, hub, clock }
    }

    pub(super) fn hub_says(&self, answer: Answer) {
        *self.hub.answer.lock().unwrap() = answer;
    }

    pub(super) fn calls(&self) -> usize {
        self.hub.calls.load(Ordering::SeqCst)
    }

    /// From now on questions are on their way for as long as the permit lives.
    pub(super) async fn close(&self) -> SemaphorePermit<'_> {
        self.hub.gate.acquire_many(100_000).await.unwrap()
    }

    pub(super) async fn lookup(&self) -> Result<(), LookupError> {
        self.cache.lookup(&KeyHash::of("a key")).await.map(drop)
    }

    /// Lets what runs behind the answers come to its end.
    pub(super) async fn settle(&self) {
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
    }
}

pub(super) fn refused(reason: Refusal) -> Result<(), LookupError> {
    Err(LookupError::Refused { reason })
}

pub(super) fn unavailable(seconds: u64) -> Result<(), LookupError> {
    Err(LookupError::Unavailable { retry_after: Duration::from_secs(seconds) })
}

#[tokio::test]
async fn a_fresh_answer_is_used_without_asking() {
    let bench = Bench::new(Answer::Yes);
    for _ in 0..3 {
        assert_eq!(bench.lookup().await, Ok(()));
        bench.clock.pass(9);
    }
    assert_eq!(bench.calls(), 1);
}

#[tokio::test]
async fn an_answer_of_half_a_minute_is_used_and_refreshed_behind() {
    let bench = Bench::new(Answer::Yes);
    bench.lookup().await.unwrap();
    bench.hub_says(Answer::No);
    bench.clock.pass(30);
    assert_eq!(bench.lookup().await, Ok(()), "the answer does not wait");
    bench.settle().await;
    assert_eq!(bench.calls(), 2);
    assert_eq!(bench.lookup().await, refused(Refusal::Revoked));
}

#[tokio::test]
async fn an_answer_of_a_minute_is_asked_about_first() {
    let bench = Bench::new(Answer::Yes);
    bench.lookup().await.unwrap();
    bench.hub_says(Answer::No);
    bench.clock.pass(60);
    assert_eq!(bench.lookup().await, refused(Refusal::Revoked));
}

#[tokio::test]
async fn a_stale_answer_is_used_while_hivehub_fails_and_no_longer_than_the_ttl() {
    for failure in [Answer::Down, Answer::Busy(2), Answer::RejectsUs] {
        let bench = Bench::new(Answer::Yes);
        bench.lookup().await.unwrap();
        bench.hub_says(failure);
        for _ in 0..59 {
            bench.clock.pass(5);
            assert_eq!(bench.lookup().await, Ok(()));
        }
        bench.clock.pass(5);
        assert!(matches!(bench.lookup().await, Err(LookupError::Unavailable { .. })));
        bench.hub_says(Answer::Yes);
        bench.clock.pass(2);
        assert_eq!(bench.lookup().await, Ok(()));
    }
}

#[tokio::test]
async fn a_short_ttl_is_kept_too() {
    let bench = Bench::with_stale_max(Answer::Yes, 5);
    bench.lookup().await.unwrap();
    bench.hub_says(Answer::Down);
    bench.clock.pass(4);
    assert_eq!(bench.lookup().await, Ok(()));
    bench.clock.pass(1);
    assert_eq!(bench.lookup().await, unavailable(1));
}

#[tokio::test]
async fn a_no_evicts_even_if_hivehub_fails_afterwards() {
    let bench = Bench::new(Answer::Yes);
    bench.lookup().await.unwrap();
    bench.hub_says(Answer::No);
    bench.clock.pass(61);
    assert_eq!(bench.lookup().await, refused(Refusal::Revoked));
    bench.hub_says(Answer::Down);
    bench.clock.pass(10);
    assert_eq!(bench.lookup().await, unavailable(1), "the yes before the no is gone");
}

#[tokio::test]
async fn a_refused_key_is_remembered_for_ten_seconds() {
    let bench = Bench::new(Answer::No);
    assert_eq!(bench.lookup().await, refused(Refusal::Revoked));
    bench.hub_says(Answer::Yes);
    bench.clock.pass(9);
    assert_eq!(bench.lookup().await, refused(Refusal::Revoked));
    assert_eq!(bench.calls(), 1);
    bench.clock.pass(1);
    assert_eq!(bench.lookup().await, Ok(()));
}

#[tokio::test]
async fn no_answer_outlives_its_key() {
    let end = Timestamp::from_micros(10_000_000);
    let bench = Bench::new(Answer::YesUntil(end));
    assert_eq!(bench.lookup().await, Ok(()));
    bench.clock.pass(9);
    assert_eq!(bench.lookup().await, Ok(()));
    bench.clock.pass(1);
    assert_eq!(bench.lookup().await, refused(Refusal::Expired), "whatever HiveHub's clock says");
}

#[tokio::test]
async fn an_outage_does_not_prolong_a_key() {
    let bench = Bench::new(Answer::YesUntil(Timestamp::from_micros(70_000_000)));
    bench.lookup().await.unwrap();
    bench.hub_says(Answer::Down);
    bench.clock.pass(69);
    assert_eq!(bench.lookup().await, Ok(()));
    bench.clock.pass(1);
    assert_eq!(bench.lookup().await, unavailable(1));
}

#[tokio::test]
async fn lookups_of_one_key_that_meet_ask_once() {
    let bench = Bench::new(Answer::Yes);
    let closed = bench.hub.gate.acquire_many(100_000).await.unwrap();
    let lookups: Vec<_> = (0..100)
        .map(|_| {
            let cache = bench.cache.clone();
            tokio::spawn(async move { cache.lookup(&KeyHash::of("a key")).await.map(drop) })
        })
        .collect();
    bench.settle().await;
    assert_eq!(bench.calls(), 1);
    drop(closed);
    for lookup in lookups {
        assert_eq!(lookup.await.unwrap(), Ok(()));
    }
    assert_eq!(bench.calls(), 1);
}

#[tokio::test]
async fn a_caller_who_leaves_takes_no_answer_with_it() {
    let bench = Bench::new(Answer::Yes);
    let closed = bench.hub.gate.acquire_many(100_000).await.unwrap();
    let cache = bench.cache.clone();
    let leaver = tokio::spawn(async move { cache.lookup(&KeyHash::of("a key")).await.map(drop) });
    bench.settle().await;
    leaver.abort();
    drop(closed);
    bench.settle().await;
    assert_eq!(bench.lookup().await, Ok(()));
    assert_eq!(bench.calls(), 1);
}

#[tokio::test]
async fn a_hub_that_is_left_alone_is_not_asked() {
    let bench = Bench::new(Answer::Busy(20));
    assert_eq!(bench.lookup().await, unavailable(20));
    bench.hub_says(Answer::Yes);
    *bench.hub.left_alone.lock().unwrap() = Duration::from_secs(19);
    for _ in 0..5 {
        assert_eq!(bench.lookup().await, unavailable(19));
    }
    assert_eq!(bench.calls(), 1);
    *bench.hub.left_alone.lock().unwrap() = Duration::ZERO;
    assert_eq!(bench.lookup().await, Ok(()));
}

#[tokio::test]
async fn a_known_key_does_not_wait_for_a_hub_that_is_left_alone() {
    let bench = Bench::new(Answer::Yes);
    bench.lookup().await.unwrap();
    *bench.hub.left_alone.lock().unwrap() = Duration::from_secs(30);
    for _ in 0..4 {
        bench.clock.pass(65);
        let mut lookup = std::pin::pin!(bench.lookup());
        assert_eq!(futures_util::poll!(&mut lookup), std::task::Poll::Ready(Ok(())));
    }
    assert_eq!(bench.calls(), 1);
}

#[tokio::test]
async fn a_hub_that_takes_its_time_costs_a_known_key_a_second_at_most() {
    let bench = Bench::new(Answer::Yes);
    bench.lookup().await.unwrap();
    bench.clock.pass(61);
    let _closed = bench.close().await;
    let answer = tokio::time::timeout(Duration::from_secs(3), bench.lookup()).await;
    assert_eq!(answer.expect("a known key waited for a slow hub"), Ok(()));
}

#[tokio::test]
async fn a_hub_that_swallows_questions_holds_up_known_keys_only_once() {
    let bench = Bench::new(Answer::Yes);
    bench.lookup().await.unwrap();
    bench.hub_says(Answer::Down);
    bench.clock.pass(61);
    assert_eq!(bench.lookup().await, Ok(()), "asked first, in vain");
    bench.clock.pass(2);
    let _closed = bench.hub.gate.acquire_many(100_000).await.unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(2), bench.lookup()).await;
    assert_eq!(answer.expect("a known key waited for a failing hub"), Ok(()));
}

#[tokio::test]
async fn a_bug_in_the_source_ends_one_question_and_not_the_key() {
    let bench = Bench::new(Answer::Panic);
    assert_eq!(bench.lookup().await, unavailable(1));
    bench.hub_says(Answer::Yes);
    assert_eq!(bench.lookup().await, Ok(()));
}

#[tokio::test]
async fn made_up_keys_get_in_the_way_of_no_customer() {
    let bench = Bench::new(Answer::Yes);
    bench.lookup().await.unwrap();
    let closed = bench.hub.gate.acquire_many(100_000).await.unwrap();
    let strangers: Vec<_> = (0..5000)
        .map(|number: u32| {
            let cache = bench.cache.clone();
            tokio::spawn(async move { cache.lookup(&KeyHash::of(&number.to_string())).await.map(drop) })
        })
        .collect();
    bench.settle().await;
    assert_eq!(bench.calls(), 1 + 64, "no more are asked about at once");
    let turned_away = strangers.iter().filter(|lookup| lookup.is_finished()).count();
    assert_eq!(turned_away, 5000 - 4096, "and no more wait");
    bench.clock.pass(30);
    assert_eq!(bench.lookup().await, Ok(()));
    bench.settle().await;
    assert_eq!(bench.calls(), 1 + 64 + 1, "the known key has a lane of its own");
    drop(closed);
    for lookup in strangers {
        lookup.abort();
    }
}
