//! Following `HiveHub`'s policy feed, so that a key that is revoked or a tenant that is suspended is
//! refused within a second.
//!
//! The feed only ever makes the cache know more. While it cannot be followed, answers count for as long
//! as their age allows; when it cannot be followed without a gap, everything is asked for anew.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::cache::{KeyCache, KeySource};
use super::error::HubError;
use super::jitter::with_jitter;
use super::models::{
    POLICY_EVENTS_MAX, PoliciesAnswer, PoliciesQuery, PolicyChange, PolicyCursor, PolicyEvent,
};

/// How long `HiveHub` is asked to wait for an event.
const WAIT_SECONDS: u32 = 25;
/// How long an answer without events is made to last, by a hub that does not wait.
const IDLE_TIME_MIN: Duration = Duration::from_millis(500);
/// The pause after a failure; each further one is twice as long, shortened by chance.
const PAUSE: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// The longest pause that a `HiveHub` that fails can ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);
/// The same of one that is well and was asked too often: meanwhile nobody hears of what it revokes.
const RETRY_AFTER_TOO_MANY_MAX: Duration = Duration::from_secs(2);
/// How often a hub without a policy feed is asked whether it has one by now.
const ABSENT_PAUSE: Duration = Duration::from_mins(10);

/// Who tells what has changed: `HiveHub`, or a double of it.
pub trait PolicySource: Send + Sync + 'static {
    /// What has changed since the query's cursor. Ends within a bounded time.
    fn policies(&self, query: &PoliciesQuery) -> impl Future<Output = Result<PolicyNews, HubError>> + Send;
}

/// What [`PolicySource::policies`] is answered by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyNews {
    /// This.
    Answer(PoliciesAnswer),
    /// The feed cannot be followed from the query's cursor.
    CursorLost,
    /// This `HiveHub` has no policy feed.
    NotOffered,
}

/// Told of what changes, after the key cache. Called where the feed is followed: it must not block.
pub trait PolicySubscriber: Send + Sync + 'static {
    /// This changed. What was learned from an answer made before `at` (an earlier position of the same
    /// feed, or no position and asked for before this call) may be outdated.
    fn changed(&self, change: &PolicyChange, at: PolicyCursor);

    /// Changes may have been missed: all that was learned before this call may be outdated. Called when
    /// the feed begins to be followed, too.
    fn lost(&self);

    /// All that happened up to here was told of.
    fn reached(&self, at: PolicyCursor) {
        let _ = at;
    }
}

/// The policy feed, being followed.
pub struct PolicyFeed<P, S> {
    source: P,
    cache: KeyCache<S>,
    subscribers: Vec<Arc<dyn PolicySubscriber>>,
    cursor: Option<PolicyCursor>,
    /// In a row.
    failures: u32,
    /// Whether it was said that there is no feed.
    absence_noted: bool,
    /// Whether the last question was answered.
    hears: bool,
}

impl<P: PolicySource, S: KeySource> PolicyFeed<P, S> {
    /// The feed that `source` tells and `cache` learns from. Nothing is asked yet.
    pub fn new(source: P, cache: KeyCache<S>) -> Self {
        Self {
            source,
            cache,
            subscribers: Vec::new(),
            cursor: None,
            failures: 0,
            absence_noted: false,
            hears: false,
        }
    }

    /// Goes on where an earlier life of the node was, as long as nothing has been learned in this one.
    #[must_use]
    pub fn resume(mut self, cursor: Option<PolicyCursor>) -> Self {
        self.cursor = cursor;
        self.cache.restart(cursor);
        self
    }

    /// Somebody more who learns from it.
    #[must_use]
    pub fn subscribe(mut self, subscriber: Arc<dyn PolicySubscriber>) -> Self {
        self.subscribers.push(subscriber);
        self
    }

    /// Follows the feed until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let follow = async {
            loop {
                let pause = self.poll().await;
                tokio::time::sleep(pause).await;
            }
        };
        // Whatever is learned is learned between two waits, whole.
        let _: Option<()> = stop.run_until_cancelled(follow).await;
    }

    /// Asks once, and says when to ask again.
    pub(super) async fn poll(&mut self) -> Duration {
        // Who has heard nothing yet wants to know at once whether there is a feed.
        let wait = if self.cursor.is_some() && self.hears { WAIT_SECONDS } else { 0 };
        let start = Instant::now();
        let news = self.source.policies(&PoliciesQuery { since: self.cursor, wait }).await;
        self.hears = matches!(news, Ok(PolicyNews::Answer(_)));
        self.cache.note_hearing(self.hears);
        let answer = match news {
            Ok(PolicyNews::Answer(answer)) => answer,
            Ok(PolicyNews::CursorLost) => return self.lose_the_thread(),
            Ok(PolicyNews::NotOffered) => return self.go_without(),
            Err(error) => return self.fail(&error),
        };
        let Some(since) = self.cursor else {
            tracing::info!(cursor = %answer.cursor, "following HiveHub's policy feed");
            // What was learned so far may be older.
            self.lose(Some(answer.cursor));
            return Duration::ZERO;
        };
        if !continues(since, &answer) {
            tracing::error!(%since, cursor = %answer.cursor, "HiveHub's policy feed contradicts itself");
            return self.lose_the_thread();
        }
        self.recover();
        let PoliciesAnswer { cursor, events } = answer;
        let is_understood = |event: &&PolicyEvent| event.change != PolicyChange::NotUnderstood;
        for event in events.iter().filter(is_understood) {
            self.tell(cursor, event);
        }
        if !events.iter().all(|event| is_understood(&event)) {
            tracing::warn!("HiveHub's policy feed has an event that this server does not know");
            self.lose(Some(cursor));
            return IDLE_TIME_MIN;
        }
        self.cursor = Some(cursor);
        if !events.is_empty() {
            self.reach(cursor);
        }
        // Where something happened, more may have by now.
        if events.is_empty() { IDLE_TIME_MIN.saturating_sub(start.elapsed()) } else { Duration::ZERO }
    }

    fn tell(&self, cursor: PolicyCursor, event: &PolicyEvent) {
        self.cache.apply(cursor.feed(), event);
        let at = PolicyCursor::new(cursor.feed(), event.position);
        for subscriber in &self.subscribers {
            subscriber.changed(&event.change, at);
        }
    }

    /// Goes on at `cursor`, or wherever the feed is by then, with all that was learned in doubt.
    fn lose(&mut self, cursor: Option<PolicyCursor>) {
        self.cursor = cursor;
        self.cache.restart(cursor);
        for subscriber in &self.subscribers {
            subscriber.lost();
        }
        if let Some(cursor) = cursor {
            self.reach(cursor);
        }
    }

    fn reach(&self, cursor: PolicyCursor) {
        for subscriber in &self.subscribers {
            subscriber.reached(cursor);
        }
    }

    /// Begins anew, and the later the more often: where that is of no use, it must not keep everything
    /// in doubt all the time.
    fn lose_the_thread(&mut self) -> Duration {
        if self.cursor.is_some() {
            tracing::warn!("HiveHub's policy feed cannot be followed from where it was left");
            self.lose(None);
        }
        self.next_pause()
    }

    fn recover(&mut self) {
        if self.failures > 0 {
            tracing::info!("HiveHub's policy feed can be followed again");
        }
        self.failures = 0;
        self.absence_noted = false;
    }

    fn fail(&mut self, error: &HubError) -> Duration {
        let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
        if self.failures == 0 {
            tracing::warn!(cause, "HiveHub's policy feed cannot be followed: {error}");
        } else {
            tracing::debug!(cause, "HiveHub's policy feed still cannot be followed: {error}");
        }
        match error {
            // It may be in the events, and then it would be met again and again. The next answer that
            // can be read is a new beginning, with everything in doubt; until then nothing is.
            HubError::Garbage(_) => self.cursor = None,
            HubError::Unreachable(_)
            | HubError::Failing { .. }
            | HubError::LeftAlone { .. }
            | HubError::ServiceKeyRejected { .. } => {}
        }
        let pause = self.next_pause();
        let is_well = matches!(error, HubError::Failing { status: 429, .. });
        let longest = if is_well { RETRY_AFTER_TOO_MANY_MAX } else { RETRY_AFTER_MAX };
        error.retry_after().map_or(pause, |asked| asked.min(longest).max(pause))
    }

    fn next_pause(&mut self) -> Duration {
        let pause = with_jitter(PAUSE.saturating_mul(1 << self.failures.min(16)).min(PAUSE_MAX));
        self.failures = self.failures.saturating_add(1);
        pause
    }

    fn go_without(&mut self) -> Duration {
        if self.cursor.is_some() {
            self.lose(None);
        }
        if !self.absence_noted {
            tracing::warn!("this HiveHub has no policy feed: revoked keys may be used until their age tells");
            self.absence_noted = true;
        }
        self.failures = 0;
        with_jitter(ABSENT_PAUSE)
    }
}

/// Whether the answer goes on where `since` is, and its events are in order.
fn continues(since: PolicyCursor, answer: &PoliciesAnswer) -> bool {
    let ascending = answer.events.windows(2).all(|two| two[0].position < two[1].position);
    let first = answer.events.first().map_or(u64::MAX, |event| event.position);
    let last = answer.events.last().map_or(0, |event| event.position);
    // Cursors of two feeds are not comparable, and so not in order.
    since <= answer.cursor
        && ascending
        && first > since.position()
        && last <= answer.cursor.position()
        && answer.events.len() <= POLICY_EVENTS_MAX
}
