//! Follows `HiveHub`'s policy feed, so that a revoked key or a suspended tenant is refused within a second.
//!
//! The feed only adds to what the cache knows. While it cannot be followed, answers are valid as long as their age
//! allows. After a gap all answers are asked for again.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::cache::{KeyCache, KeySource};
use super::error::HubError;
use super::jitter::{growing_pause, with_jitter};
use super::models::{
    POLICY_EVENTS_MAX, PoliciesAnswer, PoliciesQuery, PolicyChange, PolicyCursor, PolicyEvent,
};

/// How long a poll waits for an event.
const WAIT_SECONDS: u32 = 25;
/// The shortest time between two polls without events, for a hub that does not wait.
const IDLE_TIME_MIN: Duration = Duration::from_millis(500);
/// The pause after a failure. Each further one is twice as long, with jitter.
const PAUSE: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// The longest `Retry-After` of a failing hub.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);
/// The same after "too many requests". It is short, because no revocation arrives in the meantime.
const RETRY_AFTER_TOO_MANY_MAX: Duration = Duration::from_secs(2);
/// How often a hub without a policy feed is asked again.
const ABSENT_PAUSE: Duration = Duration::from_mins(10);

/// A source of policy events: `HiveHub`, or a test double.
pub trait PolicySource: Send + Sync + 'static {
    /// The events since the query's cursor. Ends within bounded time.
    fn policies(&self, query: &PoliciesQuery) -> impl Future<Output = Result<PolicyNews, HubError>> + Send;
}

/// The answer of [`PolicySource::policies`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyNews {
    /// Events.
    Answer(PoliciesAnswer),
    /// The feed cannot be followed from the query's cursor.
    CursorLost,
    /// This `HiveHub` has no policy feed.
    NotOffered,
}

/// Is told of changes, after the key cache. The feed waits for it, so it must not block.
pub trait PolicySubscriber: Send + Sync + 'static {
    /// A change. Answers from before `at` may be outdated: those with an earlier position of the same feed, and those
    /// without a position that were asked for before this call.
    fn changed(&self, change: &PolicyChange, at: PolicyCursor);

    /// Changes may have been missed: all answers from before this call may be outdated. Also called when the feed is
    /// first followed.
    fn lost(&self);

    /// All changes up to here were told.
    fn reached(&self, at: PolicyCursor) {
        let _ = at;
    }
}

/// The follower of the policy feed.
pub struct PolicyFeed<P, S> {
    source: P,
    cache: KeyCache<S>,
    subscribers: Vec<Arc<dyn PolicySubscriber>>,
    cursor: Option<PolicyCursor>,
    /// In a row.
    failures: u32,
    /// Whether the missing feed was logged.
    absence_noted: bool,
    /// Whether the last poll was answered.
    hears: bool,
}

impl<P: PolicySource, S: KeySource> PolicyFeed<P, S> {
    /// Follows `source`, and tells `cache`. Makes no call yet.
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

    /// Continues at the cursor of an earlier run of the node. Must be called before any key is looked up.
    #[must_use]
    pub fn resume(mut self, cursor: Option<PolicyCursor>) -> Self {
        self.cursor = cursor;
        self.cache.restart(cursor);
        self
    }

    /// Adds a subscriber.
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
        // Events are applied between two waits, so cancelling leaves none half applied.
        let _: Option<()> = stop.run_until_cancelled(follow).await;
    }

    /// Polls once. Returns the pause before the next poll.
    pub(super) async fn poll(&mut self) -> Duration {
        // The first poll does not wait, so that it is known at once whether there is a feed.
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
            // Answers so far may be older than the cursor.
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
        // After events there may be more already.
        if events.is_empty() { IDLE_TIME_MIN.saturating_sub(start.elapsed()) } else { Duration::ZERO }
    }

    fn tell(&self, cursor: PolicyCursor, event: &PolicyEvent) {
        self.cache.apply(cursor.feed(), event);
        let at = PolicyCursor::new(cursor.feed(), event.position);
        for subscriber in &self.subscribers {
            subscriber.changed(&event.change, at);
        }
    }

    /// Continues at `cursor`, or at the feed's end if there is none. All answers so far may be outdated.
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

    /// Starts again, after a pause that grows with each failure: otherwise all answers would be outdated all the
    /// time.
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
            // The same events might fail again and again. The next readable answer starts the feed again, and only
            // then all answers are outdated.
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
        let pause = growing_pause(PAUSE, PAUSE_MAX, self.failures);
        self.failures = self.failures.saturating_add(1);
        pause
    }

    fn go_without(&mut self) -> Duration {
        if self.cursor.is_some() {
            self.lose(None);
        }
        if !self.absence_noted {
            tracing::warn!(
                "this HiveHub has no policy feed: a revoked key may be used until its answer is too old"
            );
            self.absence_noted = true;
        }
        self.failures = 0;
        with_jitter(ABSENT_PAUSE)
    }
}

/// Whether the answer continues after `since`, with its events in order.
fn continues(since: PolicyCursor, answer: &PoliciesAnswer) -> bool {
    let ascending = answer.events.windows(2).all(|two| two[0].position < two[1].position);
    let first = answer.events.first().map_or(u64::MAX, |event| event.position);
    let last = answer.events.last().map_or(0, |event| event.position);
    // Cursors of two feeds are not comparable, so `<=` is false.
    since <= answer.cursor
        && ascending
        && first > since.position()
        && last <= answer.cursor.position()
        && answer.events.len() <= POLICY_EVENTS_MAX
}
