//! A cache of `HiveHub`'s answers about keys.
//!
//! The age of an answer decides how it is used:
//!
//! | age of a positive answer | a lookup |
//! | --- | --- |
//! | up to 30 s | uses it |
//! | up to 60 s | uses it, and refreshes it in the background |
//! | up to `api_key_cache_ttl` | asks first, and uses it only if `HiveHub` fails or takes more than a second |
//! | older, or past the key's `expires_at` | asks |
//!
//! A negative answer replaces a positive one at once, and is stored for 10 s. Keys are stored as SHA-256 only.
//!
//! With a policy feed, changes arrive within a second: an answer from before a change of its key or tenant is
//! invalid, whether it is stored or still on its way (see `policy_memory`). A revoked key stays revoked.

mod policy_memory;
#[cfg(test)]
mod policy_tests;
mod single_flight;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use moka::sync::Cache;
use tokio::sync::watch;
use uuid::Uuid;
use vectorizer_access::KeyHash;
use vectorizer_log::TenantId;

use self::policy_memory::{Freshness, PolicyMemory, Stamp};
use self::single_flight::{Asked, Lane, Outcome, PAUSE};
use super::clock::Clock;
use super::error::HubError;
use super::models::{Holder, KeyIdentity, PolicyCursor, PolicyEvent, Refusal, Verdict};

const FRESH: Duration = Duration::from_secs(30);
const REFRESHED_BEHIND: Duration = Duration::from_mins(1);
const REFUSED: Duration = Duration::from_secs(10);

/// Entries of each of the two caches.
const KEYS_MAX: u64 = 100_000;

/// How long a lookup waits for a new answer when it has an old one: a slow or silent hub must not slow requests with
/// known keys.
const PATIENCE: Duration = Duration::from_secs(1);
/// The same after a failed call. A hub that has recovered answers faster.
const PATIENCE_WITH_A_FAILING_HUB: Duration = Duration::from_millis(250);

/// A source of answers about keys: `HiveHub`, or a test double.
pub trait KeySource: Send + Sync + 'static {
    /// Asks who holds the key of this hash. Ends within bounded time. An error says nothing about the key.
    fn validate(&self, key: &KeyHash) -> impl Future<Output = Result<Judgement, HubError>> + Send;

    /// How long no call is made, because the breaker is open; zero if it is closed.
    fn left_alone(&self) -> Duration {
        Duration::ZERO
    }
}

/// A verdict and its position in the policy feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The holder of the key, or a refusal.
    pub verdict: Verdict,
    /// The position in the policy feed, if `HiveHub` has one.
    pub policy_cursor: Option<PolicyCursor>,
}

/// Why a lookup returns no identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// `HiveHub` refuses the key. The status is 401, or 403 for [`Refusal::TenantSuspended`].
    #[error("{reason}")]
    Refused {
        /// Why.
        reason: Refusal,
    },
    /// The key is not known, and `HiveHub` cannot be asked. The status is 503, never 401.
    #[error("the key cannot be checked at the moment")]
    Unavailable {
        /// When to retry.
        retry_after: Duration,
    },
}

/// The holders of keys, from stored answers or from a call. Cheap to clone; the clones share the cache.
///
/// Concurrent lookups of one key make one call. Lookups need a Tokio runtime.
pub struct KeyCache<S> {
    shared: Arc<Shared<S>>,
}

/// The state that the clones share.
struct Shared<S> {
    source: S,
    policies: PolicyMemory,
    questions: Mutex<HashMap<KeyHash, watch::Receiver<Option<Outcome>>>>,
    clock: Arc<dyn Clock>,
    stale_max: Duration,
    valid: Cache<KeyHash, Arc<ValidKey>>,
    refused: Cache<KeyHash, Arc<RefusedKey>>,
    known: Lane,
    strangers: Lane,
    /// Whether the last call failed.
    failing: AtomicBool,
    /// Whether the policy feed is being followed.
    hears_policies: AtomicBool,
}

struct ValidKey {
    identity: Arc<KeyIdentity>,
    stamp: Stamp,
    validated_at: Duration,
}

struct RefusedKey {
    reason: Refusal,
    stamp: Stamp,
    refused_at: Duration,
}

impl<S> Clone for KeyCache<S> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<S: KeySource> KeyCache<S> {
    /// An empty cache in front of `source`. `stale_max` is `api_key_cache_ttl`.
    pub fn new(source: S, stale_max: Duration, clock: Arc<dyn Clock>) -> Self {
        Self {
            shared: Arc::new(Shared {
                source,
                policies: PolicyMemory::default(),
                questions: Mutex::default(),
                clock,
                stale_max,
                // The time to live only frees memory. The age decides whether an entry is used.
                valid: Cache::builder().max_capacity(KEYS_MAX).time_to_live(stale_max).build(),
                refused: Cache::builder().max_capacity(KEYS_MAX).time_to_live(REFUSED).build(),
                known: Lane::new(),
                strangers: Lane::new(),
                failing: AtomicBool::new(false),
                hears_policies: AtomicBool::new(false),
            }),
        }
    }

    /// Who holds the key of this hash. Waits for `HiveHub` only if no stored answer is fresh enough, for seconds at
    /// most. Dropping the future does not cancel the call, since other lookups may wait for it.
    pub async fn lookup(&self, key: &KeyHash) -> Result<Arc<KeyIdentity>, LookupError> {
        let shared = &self.shared;
        if let Some(reason) = shared.refused(key) {
            return Err(LookupError::Refused { reason });
        }
        let entry = match shared.valid(key) {
            Known::Valid(entry) => entry,
            Known::Refused(reason) => return Err(LookupError::Refused { reason }),
            Known::Nothing => {
                return match shared.ask(key, &shared.strangers).outcome().await {
                    Outcome::Valid(identity) => Ok(identity),
                    Outcome::Refused(reason) => Err(LookupError::Refused { reason }),
                    Outcome::Failed { retry_after } => Err(LookupError::Unavailable { retry_after }),
                };
            }
        };
        let age = shared.age(&entry);
        if age < FRESH {
            return Ok(Arc::clone(&entry.identity));
        }
        let asked = shared.ask(key, &shared.known);
        if age < REFRESHED_BEHIND {
            return match asked {
                // The breaker is open or the queue is full: the stored answer is used.
                Asked::Answered(Outcome::Failed { .. }) | Asked::Pending(_) => {
                    Ok(Arc::clone(&entry.identity))
                }
                Asked::Answered(Outcome::Valid(identity)) => Ok(identity),
                Asked::Answered(Outcome::Refused(reason)) => Err(LookupError::Refused { reason }),
            };
        }
        let failing = shared.failing.load(Ordering::Relaxed);
        let patience = if failing { PATIENCE_WITH_A_FAILING_HUB } else { PATIENCE };
        let outcome = tokio::time::timeout(patience, asked.outcome()).await;
        match outcome.unwrap_or(Outcome::Failed { retry_after: PAUSE }) {
            Outcome::Valid(identity) => Ok(identity),
            Outcome::Refused(reason) => Err(LookupError::Refused { reason }),
            // Looked up again, since the entry may have expired during the wait.
            Outcome::Failed { retry_after } => match shared.valid(key) {
                Known::Valid(entry) => Ok(Arc::clone(&entry.identity)),
                Known::Refused(reason) => Err(LookupError::Refused { reason }),
                Known::Nothing => Err(LookupError::Unavailable { retry_after }),
            },
        }
    }

    /// Applies an event of this policy feed to all lookups from now on.
    pub(super) fn apply(&self, feed: Uuid, event: &PolicyEvent) {
        self.shared.policies.apply(feed, event);
    }

    /// Invalidates all answers that may have changed unnoticed: all of them, or with a cursor those from before it.
    pub(super) fn restart(&self, cursor: Option<PolicyCursor>) {
        self.shared.policies.restart(cursor);
    }
}

/// The stored answer about a key without a refusal.
enum Known {
    Valid(Arc<ValidKey>),
    Refused(Refusal),
    Nothing,
}

/// The result of entering an answer.
enum Settled {
    /// This is the answer.
    Final(Outcome),
    /// The answer is outdated: the key must be asked about again.
    AskAgain,
}

impl<S: KeySource> KeyCache<S> {
    /// Whether the policy feed is being followed, so that revocations arrive.
    pub fn hears_policies(&self) -> bool {
        self.shared.hears_policies.load(Ordering::Relaxed)
    }

    pub(super) fn note_hearing(&self, hears: bool) {
        self.shared.hears_policies.store(hears, Ordering::Relaxed);
    }

    /// The source of answers.
    pub fn source(&self) -> &S {
        &self.shared.source
    }

    /// Whether a stored answer says that the key of this hash is valid.
    pub fn holds(&self, key: &KeyHash) -> bool {
        self.known(key).is_some()
    }

    /// Who holds the key of this hash, if a stored answer says that it is valid. Makes no call.
    pub fn known(&self, key: &KeyHash) -> Option<Arc<KeyIdentity>> {
        match self.shared.valid(key) {
            Known::Valid(entry) => Some(Arc::clone(&entry.identity)),
            Known::Refused(_) | Known::Nothing => None,
        }
    }
}

impl<S: KeySource> Shared<S> {
    fn age(&self, entry: &ValidKey) -> Duration {
        self.clock.uptime().saturating_sub(entry.validated_at)
    }

    /// The valid entry of `key`, or a refusal that is known by now.
    fn valid(&self, key: &KeyHash) -> Known {
        let Some(entry) = self.valid.get(key) else { return Known::Nothing };
        let expired = entry.identity.expires_at.is_some_and(|end| end <= self.clock.now());
        if expired || self.age(&entry) >= self.stale_max {
            self.valid.invalidate(key);
            return Known::Nothing;
        }
        match self.policies.freshness(key, tenant_of(&entry.identity), entry.stamp) {
            Freshness::Current => Known::Valid(entry),
            Freshness::Refused(reason) => {
                self.refuse(key, &reason, self.stamp_of_now());
                Known::Refused(reason)
            }
            Freshness::Outdated => {
                self.valid.invalidate(key);
                Known::Nothing
            }
        }
    }

    fn refused(&self, key: &KeyHash) -> Option<Refusal> {
        if self.policies.is_revoked(key) {
            return Some(Refusal::Revoked);
        }
        let entry = self.refused.get(key)?;
        let age = self.clock.uptime().saturating_sub(entry.refused_at);
        if age >= REFUSED {
            return None;
        }
        if entry.reason == Refusal::TenantDeleted && self.policies.has_undeleted_since(entry.stamp) {
            return None;
        }
        match self.policies.freshness(key, suspended_tenant_of(&entry.reason), entry.stamp) {
            Freshness::Current => Some(entry.reason.clone()),
            Freshness::Refused(reason) => Some(reason),
            Freshness::Outdated => None,
        }
    }

    /// The outcome for `key` without a call, if a fresh answer is stored.
    fn just_learned(&self, key: &KeyHash) -> Option<Outcome> {
        if let Some(reason) = self.refused(key) {
            return Some(Outcome::Refused(reason));
        }
        match self.valid(key) {
            Known::Valid(entry) if self.age(&entry) < FRESH => {
                Some(Outcome::Valid(Arc::clone(&entry.identity)))
            }
            Known::Refused(reason) => Some(Outcome::Refused(reason)),
            Known::Valid(_) | Known::Nothing => None,
        }
    }

    /// Enters an answer into the caches, unless it is outdated. A change may arrive at the same time, so each use
    /// checks again.
    fn settle(&self, key: &KeyHash, asked_at: u64, outcome: Result<Judgement, HubError>) -> Settled {
        let Judgement { verdict, policy_cursor } = match outcome {
            Ok(judgement) => judgement,
            Err(error) => return Settled::Final(self.failed(&error)),
        };
        self.failing.store(false, Ordering::Relaxed);
        let stamp = Stamp { asked_at, cursor: policy_cursor };
        let tenant = match &verdict {
            Verdict::Valid(identity) => tenant_of(identity),
            Verdict::Refused(reason) => suspended_tenant_of(reason),
        };
        let is_of_the_deleted = verdict == Verdict::Refused(Refusal::TenantDeleted);
        if is_of_the_deleted && self.policies.has_undeleted_since(stamp) {
            return Settled::AskAgain;
        }
        match self.policies.freshness(key, tenant, stamp) {
            Freshness::Current => {}
            Freshness::Refused(reason) => {
                return Settled::Final(self.refuse(key, &reason, self.stamp_of_now()));
            }
            Freshness::Outdated => return Settled::AskAgain,
        }
        Settled::Final(match verdict {
            Verdict::Valid(identity) if identity.expires_at.is_some_and(|end| end <= self.clock.now()) => {
                self.refuse(key, &Refusal::Expired, stamp)
            }
            Verdict::Valid(identity) => {
                let identity = Arc::new(identity);
                let validated_at = self.clock.uptime();
                let entry = ValidKey { identity: Arc::clone(&identity), stamp, validated_at };
                self.valid.insert(*key, Arc::new(entry));
                self.refused.invalidate(key);
                Outcome::Valid(identity)
            }
            Verdict::Refused(reason) => self.refuse(key, &reason, stamp),
        })
    }

    fn refuse(&self, key: &KeyHash, reason: &Refusal, stamp: Stamp) -> Outcome {
        self.valid.invalidate(key);
        let refused_at = self.clock.uptime();
        let entry = RefusedKey { reason: reason.clone(), stamp, refused_at };
        self.refused.insert(*key, Arc::new(entry));
        Outcome::Refused(reason.clone())
    }

    /// Records a failed call.
    fn failed(&self, error: &HubError) -> Outcome {
        self.failing.store(true, Ordering::Relaxed);
        let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
        match error {
            // It was logged when the breaker opened.
            HubError::LeftAlone { .. } => tracing::debug!("{error}"),
            HubError::Unreachable(_) | HubError::Failing { .. } => tracing::warn!(cause, "{error}"),
            HubError::ServiceKeyRejected { .. } | HubError::Garbage(_) => tracing::error!(cause, "{error}"),
        }
        Outcome::Failed { retry_after: error.retry_after().unwrap_or(PAUSE).max(PAUSE) }
    }

    /// The stamp of a conclusion that is drawn now.
    fn stamp_of_now(&self) -> Stamp {
        Stamp { asked_at: self.policies.generation(), cursor: None }
    }
}

fn tenant_of(identity: &KeyIdentity) -> Option<&TenantId> {
    match &identity.holder {
        Holder::Tenant(tenant) => Some(&tenant.id),
        Holder::Cluster => None,
    }
}

/// The suspended tenant of a refusal. It may be served again.
fn suspended_tenant_of(reason: &Refusal) -> Option<&TenantId> {
    match reason {
        Refusal::TenantSuspended(tenant) => Some(tenant),
        Refusal::Unknown
        | Refusal::Revoked
        | Refusal::Expired
        | Refusal::TenantDeleted
        | Refusal::NotUnderstood => None,
    }
}
