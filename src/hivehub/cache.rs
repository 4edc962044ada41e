//! `HiveHub`'s answers, remembered.
//!
//! How old an answer is decides what it is worth:
//!
//! | age of a yes | a lookup |
//! | --- | --- |
//! | up to 30 s | uses it |
//! | up to 60 s | uses it, and has it refreshed behind the answer |
//! | up to `api_key_cache_ttl` | asks first, and uses it only if `HiveHub` fails |
//! | older, or past the key's `expires_at` | asks |
//!
//! A no counts at once: it evicts the yes before it, and is remembered for 10 s. Keys are known by
//! their SHA-256 alone.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use moka::sync::Cache;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use vectorizer_log::Timestamp;

use super::client::HubError;
use super::models::{KeyIdentity, Refusal, Verdict};
use crate::auth::KeyHash;
use crate::config::Seconds;

const FRESH: Duration = Duration::from_secs(30);
const REFRESHED_BEHIND: Duration = Duration::from_mins(1);
const REFUSED: Duration = Duration::from_secs(10);

/// Entries of each of the two caches.
const KEYS_MAX: u64 = 100_000;

/// Questions under way at once, and those under way or waiting for their turn; per [`Lane`].
const CALLS_MAX: usize = 64;
const FLIGHTS_MAX: usize = 4096;

/// The longest a question may take, waiting for its turn included.
const FLIGHT_TIME_MAX: Duration = Duration::from_secs(6);

/// How long nobody is asked after `HiveHub` could not be reached, so that its outage costs one
/// request per second its patience and not every request.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a lookup that can do without an answer waits for one, while the last question failed. A
/// hub that has recovered is quicker than this; one that swallows packets holds up nobody.
const PATIENCE_WITH_A_FAILING_HUB: Duration = Duration::from_millis(250);
/// The longest pause that `HiveHub` can ask for.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Who is asked about a key that the cache does not know: `HiveHub`, or a double of it.
pub trait KeySource: Send + Sync + 'static {
    /// Who holds the key of this hash. Ends within a bounded time. An error says nothing about the key.
    fn validate(&self, key: &KeyHash) -> impl Future<Output = Result<Verdict, HubError>> + Send;
}

/// Time, as the cache sees it.
pub trait Clock: Send + Sync + 'static {
    /// Time since some fixed moment; never runs backwards. Ages are measured with it.
    fn uptime(&self) -> Duration;
    /// The date. Keys expire by it.
    fn now(&self) -> Timestamp;
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock(Instant);

impl Default for SystemClock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock for SystemClock {
    fn uptime(&self) -> Duration {
        self.0.elapsed()
    }

    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// Why a lookup names nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// An explicit no. Answered by 401, and by 403 for [`Refusal::TenantSuspended`].
    #[error("{reason}")]
    Refused {
        /// Why.
        reason: Refusal,
    },
    /// Nobody knows, because `HiveHub` cannot be asked. Answered by 503, never by 401.
    #[error("the key cannot be checked at the moment")]
    Unavailable {
        /// When to come back.
        retry_after: Duration,
    },
}

/// Who holds which key, as far as is known, and the way to find out. Cheap to clone; the clones share
/// what they know.
///
/// Lookups of one key that meet ask once. Lookups run in a Tokio runtime.
pub struct KeyCache<S> {
    shared: Arc<Shared<S>>,
}

struct Shared<S> {
    source: S,
    clock: Arc<dyn Clock>,
    stale_max: Duration,
    valid: Cache<KeyHash, Arc<ValidKey>>,
    refused: Cache<KeyHash, Arc<RefusedKey>>,
    flights: Mutex<HashMap<KeyHash, watch::Receiver<Option<Landing>>>>,
    known: Lane,
    strangers: Lane,
    /// The uptime before which `HiveHub` is left alone.
    paused_until: Mutex<Duration>,
    /// Whether the last question came to nothing.
    failing: AtomicBool,
}

struct ValidKey {
    identity: Arc<KeyIdentity>,
    validated_at: Duration,
}

struct RefusedKey {
    reason: Refusal,
    refused_at: Duration,
}

/// Room for questions. Keys that were valid and keys never seen have a lane each: whoever makes up
/// keys gets in the way of others who do, not of customers.
struct Lane {
    seats: Arc<Semaphore>,
    calls: Arc<Semaphore>,
}

/// How a question ended.
#[derive(Clone)]
enum Landing {
    Valid(Arc<KeyIdentity>),
    Refused(Refusal),
    Failed { retry_after: Duration },
}

/// What asking came to.
enum Asked {
    /// Somebody answered while the question was being put.
    Landed(Landing),
    /// The answer is under way.
    Flying(watch::Receiver<Option<Landing>>),
}

impl<S> Clone for KeyCache<S> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<S: KeySource> KeyCache<S> {
    /// An empty cache in front of `source`. `stale_max` is `api_key_cache_ttl`.
    pub fn new(source: S, stale_max: Seconds, clock: Arc<dyn Clock>) -> Self {
        let stale_max = stale_max.duration();
        Self {
            shared: Arc::new(Shared {
                source,
                clock,
                stale_max,
                // The time to live only frees memory; what an entry is worth is decided by its age.
                valid: Cache::builder().max_capacity(KEYS_MAX).time_to_live(stale_max).build(),
                refused: Cache::builder().max_capacity(KEYS_MAX).time_to_live(REFUSED).build(),
                flights: Mutex::default(),
                known: Lane::new(),
                strangers: Lane::new(),
                paused_until: Mutex::default(),
                failing: AtomicBool::new(false),
            }),
        }
    }

    /// Who holds the key of this hash. Waits for `HiveHub` only if what is known does not do, and then
    /// for seconds at most. Dropping the future does not drop the question: others may wait for it.
    pub async fn lookup(&self, key: &KeyHash) -> Result<Arc<KeyIdentity>, LookupError> {
        let shared = &self.shared;
        if let Some(reason) = shared.refused(key) {
            return Err(LookupError::Refused { reason });
        }
        let Some(entry) = shared.valid(key) else {
            return match shared.ask(key, &shared.strangers).landing().await {
                Landing::Valid(identity) => Ok(identity),
                Landing::Refused(reason) => Err(LookupError::Refused { reason }),
                Landing::Failed { retry_after } => Err(LookupError::Unavailable { retry_after }),
            };
        };
        let age = shared.age(&entry);
        if age < FRESH {
            return Ok(Arc::clone(&entry.identity));
        }
        let asked = shared.ask(key, &shared.known);
        if age < REFRESHED_BEHIND {
            return match asked {
                // It was paused or found no seat: as good as not asked.
                Asked::Landed(Landing::Failed { .. }) | Asked::Flying(_) => Ok(Arc::clone(&entry.identity)),
                Asked::Landed(Landing::Valid(identity)) => Ok(identity),
                Asked::Landed(Landing::Refused(reason)) => Err(LookupError::Refused { reason }),
            };
        }
        let patience = if shared.failing.load(Ordering::Relaxed) {
            PATIENCE_WITH_A_FAILING_HUB
        } else {
            FLIGHT_TIME_MAX
        };
        let landing = tokio::time::timeout(patience, asked.landing()).await;
        match landing.unwrap_or(Landing::Failed { retry_after: PAUSE }) {
            Landing::Valid(identity) => Ok(identity),
            Landing::Refused(reason) => Err(LookupError::Refused { reason }),
            // Looked up again: the wait may have outlasted the entry.
            Landing::Failed { retry_after } => match shared.valid(key) {
                Some(entry) => Ok(Arc::clone(&entry.identity)),
                None => Err(LookupError::Unavailable { retry_after }),
            },
        }
    }
}

impl<S: KeySource> KeyCache<S> {
    /// Whether the key of this hash is known to be valid, so that a lookup may do without `HiveHub`.
    pub fn holds(&self, key: &KeyHash) -> bool {
        self.shared.valid(key).is_some()
    }
}

impl<S: KeySource> Shared<S> {
    fn age(&self, entry: &ValidKey) -> Duration {
        self.clock.uptime().saturating_sub(entry.validated_at)
    }

    /// The entry of `key`, if it is still worth anything.
    fn valid(&self, key: &KeyHash) -> Option<Arc<ValidKey>> {
        let entry = self.valid.get(key)?;
        let expired = entry.identity.expires_at.is_some_and(|end| end <= self.clock.now());
        if expired || self.age(&entry) >= self.stale_max {
            self.valid.invalidate(key);
            return None;
        }
        Some(entry)
    }

    fn refused(&self, key: &KeyHash) -> Option<Refusal> {
        let entry = self.refused.get(key)?;
        let age = self.clock.uptime().saturating_sub(entry.refused_at);
        (age < REFUSED).then(|| entry.reason.clone())
    }

    /// Joins the question about `key` that is under way, or asks it.
    fn ask(self: &Arc<Self>, key: &KeyHash, lane: &Lane) -> Asked {
        let mut flights = locked(&self.flights);
        if let Some(flight) = flights.get(key) {
            return Asked::Flying(flight.clone());
        }
        // A flight settles the caches before it leaves the map. One that landed since the caller
        // looked is therefore seen here, and not asked for twice.
        if let Some(reason) = self.refused(key) {
            return Asked::Landed(Landing::Refused(reason));
        }
        if let Some(entry) = self.valid(key).filter(|entry| self.age(entry) < FRESH) {
            return Asked::Landed(Landing::Valid(Arc::clone(&entry.identity)));
        }
        let pause = locked(&self.paused_until).saturating_sub(self.clock.uptime());
        if !pause.is_zero() {
            return Asked::Landed(Landing::Failed { retry_after: pause });
        }
        let Ok(seat) = Arc::clone(&lane.seats).try_acquire_owned() else {
            return Asked::Landed(Landing::Failed { retry_after: PAUSE });
        };
        let (landed, flight) = watch::channel(None);
        flights.insert(*key, flight.clone());
        drop(flights);
        let flight_end = FlightEnd { shared: Arc::clone(self), key: *key, landed, _seat: seat };
        tokio::spawn(flight_end.fly(Arc::clone(&lane.calls)));
        Asked::Flying(flight)
    }

    async fn validate(&self, key: &KeyHash, calls: &Semaphore) -> Result<Verdict, HubError> {
        let call = async {
            // Never closed; and if it were, asking without a permit would be the lesser harm.
            let _turn = calls.acquire().await;
            self.source.validate(key).await
        };
        tokio::time::timeout(FLIGHT_TIME_MAX, call)
            .await
            .unwrap_or_else(|elapsed| Err(HubError::Unreachable(elapsed.into())))
    }

    /// Enters an answer into the caches.
    fn settle(&self, key: &KeyHash, outcome: Result<Verdict, HubError>) -> Landing {
        self.failing.store(outcome.is_err(), Ordering::Relaxed);
        match outcome {
            Ok(Verdict::Valid(identity))
                if identity.expires_at.is_some_and(|end| end <= self.clock.now()) =>
            {
                self.refuse(key, Refusal::Expired)
            }
            Ok(Verdict::Valid(identity)) => {
                let identity = Arc::new(identity);
                let validated_at = self.clock.uptime();
                let entry = ValidKey { identity: Arc::clone(&identity), validated_at };
                self.valid.insert(*key, Arc::new(entry));
                self.refused.invalidate(key);
                Landing::Valid(identity)
            }
            Ok(Verdict::Refused(reason)) => self.refuse(key, reason),
            Err(error) => self.fail(&error),
        }
    }

    fn refuse(&self, key: &KeyHash, reason: Refusal) -> Landing {
        self.valid.invalidate(key);
        let refused_at = self.clock.uptime();
        self.refused.insert(*key, Arc::new(RefusedKey { reason: reason.clone(), refused_at }));
        Landing::Refused(reason)
    }

    fn fail(&self, error: &HubError) -> Landing {
        let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
        if error.is_retryable() {
            tracing::warn!(cause, "{error}");
        } else {
            tracing::error!(cause, "{error}");
        }
        let pause = match error {
            HubError::Unreachable(_) | HubError::ServiceKeyRejected { .. } => Some(PAUSE),
            HubError::Failing { retry_after, .. } => *retry_after,
            // It may be about this one key, which must not stand in the way of the others.
            HubError::Garbage(_) => None,
        };
        if let Some(pause) = pause {
            let until = self.clock.uptime() + pause.min(PAUSE_MAX);
            let mut paused_until = locked(&self.paused_until);
            *paused_until = until.max(*paused_until);
        }
        Landing::Failed { retry_after: error.retry_after().unwrap_or(PAUSE).max(PAUSE) }
    }
}

impl Lane {
    fn new() -> Self {
        Self { seats: Arc::new(Semaphore::new(FLIGHTS_MAX)), calls: Arc::new(Semaphore::new(CALLS_MAX)) }
    }
}

impl Asked {
    async fn landing(self) -> Landing {
        let mut flight = match self {
            Self::Landed(landing) => return landing,
            Self::Flying(flight) => flight,
        };
        // An error is a flight that ended without landing: the runtime is stopping, or a bug.
        flight
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|landing| landing.clone())
            .unwrap_or(Landing::Failed { retry_after: PAUSE })
    }
}

/// A question under way. However it ends, its key can be asked about again.
struct FlightEnd<S: KeySource> {
    shared: Arc<Shared<S>>,
    key: KeyHash,
    landed: watch::Sender<Option<Landing>>,
    _seat: OwnedSemaphorePermit,
}

impl<S: KeySource> FlightEnd<S> {
    async fn fly(self, calls: Arc<Semaphore>) {
        let outcome = self.shared.validate(&self.key, &calls).await;
        let landing = self.shared.settle(&self.key, outcome);
        self.landed.send_replace(Some(landing));
    }
}

impl<S: KeySource> Drop for FlightEnd<S> {
    fn drop(&mut self) {
        locked(&self.shared.flights).remove(&self.key);
    }
}

/// What these locks guard is consistent after every statement, so a panic elsewhere spoils nothing.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
