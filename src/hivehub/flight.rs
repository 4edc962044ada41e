//! Questions about keys, under way: who asks first asks for all, and nobody waits without end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::cache::{KeySource, Settled, Shared};
use super::error::HubError;
use super::models::{KeyIdentity, Refusal};
use crate::auth::KeyHash;

/// Questions under way at once, and those under way or waiting for their turn; per [`Lane`].
const CALLS_MAX: usize = 64;
const FLIGHTS_MAX: usize = 4096;

/// The longest a question may take, waiting for its turn included.
const FLIGHT_TIME_MAX: Duration = Duration::from_secs(6);

/// How often a question is put whose answers are outdated when they arrive, and what lies between: a
/// hub of many parts may need a moment to agree with itself.
const OUTDATED_ANSWERS_MAX: u32 = 4;
const AGREEMENT_PAUSE: Duration = Duration::from_millis(50);

/// When to come back, if nobody knows better.
pub(super) const PAUSE: Duration = Duration::from_secs(1);

/// Room for questions. Keys that were valid and keys never seen have a lane each: whoever makes up
/// keys gets in the way of others who do, not of customers.
pub(super) struct Lane {
    seats: Arc<Semaphore>,
    calls: Arc<Semaphore>,
}

/// How a question ended.
#[derive(Clone)]
pub(super) enum Landing {
    Valid(Arc<KeyIdentity>),
    Refused(Refusal),
    Failed { retry_after: Duration },
}

/// What asking came to.
pub(super) enum Asked {
    /// Somebody answered while the question was being put.
    Landed(Landing),
    /// The answer is under way.
    Flying(watch::Receiver<Option<Landing>>),
}

impl<S: KeySource> Shared<S> {
    /// Joins the question about `key` that is under way, or asks it.
    pub(super) fn ask(self: &Arc<Self>, key: &KeyHash, lane: &Lane) -> Asked {
        let mut flights = locked(&self.flights);
        if let Some(flight) = flights.get(key) {
            return Asked::Flying(flight.clone());
        }
        // A flight settles the caches before it leaves the map. One that landed since the caller
        // looked is therefore seen here, and not asked for twice.
        if let Some(landing) = self.just_learned(key) {
            return Asked::Landed(landing);
        }
        let pause = self.source.left_alone();
        if !pause.is_zero() {
            return Asked::Landed(Landing::Failed { retry_after: pause.max(PAUSE) });
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

    /// Puts the question until an answer counts.
    async fn question(&self, key: &KeyHash, calls: &Semaphore) -> Landing {
        // Never closed; and if it were, asking without a permit would be the lesser harm.
        let _turn = calls.acquire().await;
        for answers in 1..=OUTDATED_ANSWERS_MAX {
            let asked_at = self.policies.generation();
            match self.settle(key, asked_at, self.source.validate(key).await) {
                Settled::Landed(landing) => return landing,
                Settled::AskAgain => tokio::time::sleep(AGREEMENT_PAUSE * (answers - 1)).await,
            }
        }
        tracing::warn!("HiveHub keeps answering with what was true before its own policy feed");
        Landing::Failed { retry_after: PAUSE }
    }
}

impl Lane {
    pub(super) fn new() -> Self {
        Self { seats: Arc::new(Semaphore::new(FLIGHTS_MAX)), calls: Arc::new(Semaphore::new(CALLS_MAX)) }
    }
}

impl Asked {
    pub(super) async fn landing(self) -> Landing {
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
        let question = self.shared.question(&self.key, &calls);
        let landing = tokio::time::timeout(FLIGHT_TIME_MAX, question)
            .await
            .unwrap_or_else(|elapsed| self.shared.failed(&HubError::Unreachable(elapsed.into())));
        self.landed.send_replace(Some(landing));
    }
}

impl<S: KeySource> Drop for FlightEnd<S> {
    fn drop(&mut self) {
        locked(&self.shared.flights).remove(&self.key);
    }
}

type Flights = HashMap<KeyHash, watch::Receiver<Option<Landing>>>;

/// What the lock guards is consistent after every statement, so a panic elsewhere spoils nothing.
fn locked(flights: &Mutex<Flights>) -> MutexGuard<'_, Flights> {
    flights.lock().unwrap_or_else(PoisonError::into_inner)
}
