//! What following the policy feed promises, against a double of it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use uuid::Uuid;
use vectorizer_access::Secret;
use vectorizer_log::Timestamp;

use super::cache::KeyCache;
use super::client::HiveHubClient;
use super::clock::SystemClock;
use super::error::{Garbage, HubError};
use super::feed::{PolicyFeed, PolicyNews, PolicySource, PolicySubscriber};
use super::models::{PoliciesAnswer, PoliciesQuery, PolicyChange, PolicyCursor, PolicyEvent};

pub(super) const FEED: Uuid = Uuid::from_u128(7);

pub(super) fn cursor(position: u64) -> PolicyCursor {
    PolicyCursor::new(FEED, position)
}

fn quota_changed(position: u64) -> PolicyEvent {
    event(position, PolicyChange::QuotaChanged { tenant: "acme".parse().unwrap() })
}

pub(super) fn event(position: u64, change: PolicyChange) -> PolicyEvent {
    PolicyEvent { position, at: Timestamp::from_micros(0), change }
}

type News = Result<PolicyNews, HubError>;

#[expect(clippy::unnecessary_wraps, reason = "the news of a script are of one type")]
fn answer(position: u64, events: Vec<PolicyEvent>) -> News {
    Ok(PolicyNews::Answer(PoliciesAnswer { cursor: cursor(position), events }))
}

fn down() -> News {
    Err(HubError::Unreachable("no route".into()))
}

/// Tells what it was told to tell, and writes down what it was asked.
#[derive(Default)]
struct Double {
    news: Mutex<VecDeque<News>>,
    asked: Mutex<Vec<PoliciesQuery>>,
}

impl PolicySource for Arc<Double> {
    async fn policies(&self, query: &PoliciesQuery) -> News {
        self.asked.lock().unwrap().push(*query);
        self.news.lock().unwrap().pop_front().expect("asked too often")
    }
}

/// Writes down what it is told: changes by their position, losses by 0.
#[derive(Default)]
pub(super) struct Notes(pub(super) Mutex<Vec<u64>>);

impl PolicySubscriber for Notes {
    fn changed(&self, _: &PolicyChange, at: PolicyCursor) {
        self.0.lock().unwrap().push(at.position());
    }

    fn lost(&self) {
        self.0.lock().unwrap().push(0);
    }
}

struct Bench {
    hub: Arc<Double>,
    notes: Arc<Notes>,
    feed: PolicyFeed<Arc<Double>, HiveHubClient>,
}

impl Bench {
    fn new(news: impl IntoIterator<Item = News>) -> Self {
        let hub = Arc::new(Double { news: Mutex::new(news.into_iter().collect()), ..Double::default() });
        let notes = Arc::<Notes>::default();
        let client = HiveHubClient::new(&"http://127.0.0.1:1".parse().unwrap(), &Secret::new("k")).unwrap();
        let cache = KeyCache::new(client, Duration::from_mins(5), Arc::new(SystemClock::default()));
        let feed = PolicyFeed::new(Arc::clone(&hub), cache).subscribe(Arc::clone(&notes) as Arc<_>);
        Self { hub, notes, feed }
    }

    /// Following from 10 on; that much is not written down.
    async fn following(news: impl IntoIterator<Item = News>) -> Self {
        let mut bench = Self::new([answer(10, Vec::new())].into_iter().chain(news));
        assert_eq!(bench.feed.poll().await, Duration::ZERO);
        assert_eq!(bench.told(), [0], "what was learned before the beginning is in doubt");
        bench
    }

    fn told(&self) -> Vec<u64> {
        std::mem::take(&mut *self.notes.0.lock().unwrap())
    }

    /// Where it was last asked from.
    fn since(&self) -> Option<u64> {
        self.hub.asked.lock().unwrap().last().unwrap().since.map(|cursor| cursor.position())
    }
}

#[tokio::test]
async fn events_are_passed_on_in_order_and_the_next_ones_asked_for_at_once() {
    let two = vec![quota_changed(11), quota_changed(13)];
    let mut bench = Bench::following([answer(13, two), answer(13, Vec::new())]).await;
    assert_eq!(bench.feed.poll().await, Duration::ZERO);
    assert_eq!(bench.told(), [11, 13]);
    assert!(bench.feed.poll().await <= Duration::from_millis(500), "no hub is asked without a pause");
    assert_eq!(bench.since(), Some(13));
    let asked = bench.hub.asked.lock().unwrap();
    assert_eq!((asked[0].wait, asked[1].wait), (0, 25));
}

#[tokio::test]
async fn a_failure_is_waited_after_and_nothing_is_missed() {
    let mut bench = Bench::following([down(), down(), down(), answer(11, vec![quota_changed(11)])]).await;
    let mut last = Duration::ZERO;
    for pause in [500, 1_000, 2_000].map(Duration::from_millis) {
        let waited = bench.feed.poll().await;
        assert!(waited >= pause / 2 && waited <= pause && waited >= last, "{waited:?}");
        last = waited;
    }
    bench.feed.poll().await;
    assert_eq!((bench.since(), bench.told()), (Some(10), vec![11]));
}

#[tokio::test]
async fn a_hub_that_asks_for_time_gets_it_within_a_bound() {
    let busy =
        |status, seconds| Err(HubError::Failing { status, retry_after: Some(Duration::from_secs(seconds)) });
    let mut bench = Bench::new([busy(429, 1), busy(429, 3_600), busy(503, 20), busy(503, 3_600)]);
    // Who is well and was asked too often is not left alone for so long that revocations come late.
    for seconds in [1, 2, 20, 30] {
        assert_eq!(bench.feed.poll().await, Duration::from_secs(seconds));
    }
}

#[tokio::test]
async fn a_lost_cursor_puts_everything_in_doubt_and_begins_anew() {
    let mut bench = Bench::following([Ok(PolicyNews::CursorLost), answer(3, Vec::new())]).await;
    assert!(bench.feed.poll().await <= Duration::from_millis(500));
    assert_eq!(bench.told(), [0]);
    bench.feed.poll().await;
    assert_eq!((bench.since(), bench.told()), (None, vec![0]));
}

#[tokio::test]
async fn a_cursor_that_is_always_lost_is_asked_for_ever_more_rarely() {
    let lost = (0..10).flat_map(|_| [Ok(PolicyNews::CursorLost), answer(3, Vec::new())]);
    let mut bench = Bench::following(lost).await;
    let mut pause = Duration::ZERO;
    for _ in 0..10 {
        pause = bench.feed.poll().await;
        bench.feed.poll().await;
    }
    assert!(pause > Duration::from_secs(2), "{pause:?}");
}

#[tokio::test]
async fn an_event_from_the_future_puts_everything_in_doubt_hides_no_other_and_the_feed_goes_on() {
    let future = vec![quota_changed(11), event(12, PolicyChange::NotUnderstood), quota_changed(13)];
    let mut bench = Bench::following([answer(13, future), answer(14, vec![quota_changed(14)])]).await;
    bench.feed.poll().await;
    assert_eq!(bench.told(), [11, 13, 0]);
    bench.feed.poll().await;
    assert_eq!((bench.since(), bench.told()), (Some(13), vec![14]));
}

#[tokio::test]
async fn an_answer_that_does_not_continue_the_feed_is_a_lost_cursor() {
    let other = PolicyCursor::new(Uuid::nil(), 11);
    for answer in [
        answer(9, Vec::new()),
        answer(11, vec![quota_changed(10)]),
        answer(11, vec![quota_changed(12)]),
        answer(12, vec![quota_changed(12), quota_changed(11)]),
        answer(12, vec![quota_changed(11), quota_changed(11)]),
        answer(2_000, (11..1_012).map(quota_changed).collect()),
        Ok(PolicyNews::Answer(PoliciesAnswer { cursor: other, events: vec![quota_changed(11)] })),
    ] {
        let mut bench = Bench::following([answer, down()]).await;
        bench.feed.poll().await;
        assert_eq!(bench.told(), [0]);
        bench.feed.poll().await;
        assert_eq!(bench.since(), None);
    }
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_puts_nothing_in_doubt_before_one_that_can() {
    let garbage = || Err(HubError::Garbage(Garbage::Status(200)));
    let mut bench = Bench::following([garbage(), garbage(), answer(20, Vec::new())]).await;
    bench.feed.poll().await;
    bench.feed.poll().await;
    assert_eq!(bench.told(), [0; 0]);
    bench.feed.poll().await;
    assert_eq!((bench.since(), bench.told()), (None, vec![0]));
}

#[tokio::test]
async fn a_hub_without_a_feed_is_asked_rarely() {
    let mut bench = Bench::new([Ok(PolicyNews::NotOffered), Ok(PolicyNews::NotOffered)]);
    for _ in 0..2 {
        assert!(bench.feed.poll().await >= Duration::from_mins(5));
    }
    assert_eq!(bench.told(), [0; 0]);
}
