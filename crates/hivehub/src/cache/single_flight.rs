//! Single-flight: callers that ask about the same key share one call, which ends within bounded time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use vectorizer_access::KeyHash;

use super::{KeySource, Settled, Shared};
use crate::error::HubError;
use crate::models::{KeyIdentity, Refusal};

/// For each [`Lane`], how many calls run at once, and how many questions run or wait.
const CALLS_MAX: usize = 64;
const QUESTIONS_MAX: usize = 4096;

/// The longest a question takes, including the wait for a permit.
const QUESTION_TIME_MAX: Duration = Duration::from_secs(6);

/// How often a key is asked about while answers arrive outdated, and the pause between calls: a replicated hub may
/// need a moment to be consistent.
const OUTDATED_ANSWERS_MAX: u32 = 4;
const AGREEMENT_PAUSE: Duration = Duration::from_millis(50);

/// The default for `Retry-After`.
pub(super) const PAUSE: Duration = Duration::from_secs(1);

/// Permits for questions. Known keys and unknown keys have a lane each, so that a flood of made-up keys does not
/// delay known ones.
pub(super) struct Lane {
    seats: Arc<Semaphore>,
    calls: Arc<Semaphore>,
}

/// How a question ended.
#[derive(Clone)]
pub(super) enum Outcome {
    Valid(Arc<KeyIdentity>),
    Refused(Refusal),
    Failed { retry_after: Duration },
}

/// A question that was asked.
pub(super) enum Asked {
    /// The answer is known without a call.
    Answered(Outcome),
    /// The call is under way.
    Pending(watch::Receiver<Option<Outcome>>),
}

impl<S: KeySource> Shared<S> {
    /// Joins the running question about `key`, or starts one.
    pub(super) fn ask(self: &Arc<Self>, key: &KeyHash, lane: &Lane) -> Asked {
        let mut questions = locked(&self.questions);
        if let Some(outcome) = questions.get(key) {
            return Asked::Pending(outcome.clone());
        }
        // A question enters its answer into the caches before it leaves the map. One that ended since the
        // caller looked is therefore seen here, and not asked twice.
        if let Some(outcome) = self.just_learned(key) {
            return Asked::Answered(outcome);
        }
        let pause = self.source.left_alone();
        if !pause.is_zero() {
            return Asked::Answered(Outcome::Failed { retry_after: pause.max(PAUSE) });
        }
        let Ok(seat) = Arc::clone(&lane.seats).try_acquire_owned() else {
            return Asked::Answered(Outcome::Failed { retry_after: PAUSE });
        };
        let (sender, outcome) = watch::channel(None);
        questions.insert(*key, outcome.clone());
        drop(questions);
        let question = Question { shared: Arc::clone(self), key: *key, sender, _seat: seat };
        tokio::spawn(question.run(Arc::clone(&lane.calls)));
        Asked::Pending(outcome)
    }

    /// Asks until an answer is not outdated.
    async fn question(&self, key: &KeyHash, calls: &Semaphore) -> Outcome {
        // The semaphore is never closed. If it were, a call without a permit would be better than none.
        let _turn = calls.acquire().await;
        for answers in 1..=OUTDATED_ANSWERS_MAX {
            let asked_at = self.policies.generation();
            match self.settle(key, asked_at, self.source.validate(key).await) {
                Settled::Final(outcome) => return outcome,
                Settled::AskAgain => tokio::time::sleep(AGREEMENT_PAUSE * (answers - 1)).await,
            }
        }
        tracing::warn!("HiveHub keeps answering with what was true before its own policy feed");
        Outcome::Failed { retry_after: PAUSE }
    }
}

impl Lane {
    pub(super) fn new() -> Self {
        Self { seats: Arc::new(Semaphore::new(QUESTIONS_MAX)), calls: Arc::new(Semaphore::new(CALLS_MAX)) }
    }
}

impl Asked {
    pub(super) async fn outcome(self) -> Outcome {
        let mut pending = match self {
            Self::Answered(outcome) => return outcome,
            Self::Pending(pending) => pending,
        };
        // An error is a question that ended without an outcome: the runtime is stopping, or a bug.
        pending
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|outcome| outcome.clone())
            .unwrap_or(Outcome::Failed { retry_after: PAUSE })
    }
}

/// A running question. Dropping it removes it from the map, so that its key can be asked about again.
struct Question<S: KeySource> {
    shared: Arc<Shared<S>>,
    key: KeyHash,
    sender: watch::Sender<Option<Outcome>>,
    _seat: OwnedSemaphorePermit,
}

impl<S: KeySource> Question<S> {
    async fn run(self, calls: Arc<Semaphore>) {
        let question = self.shared.question(&self.key, &calls);
        let outcome = tokio::time::timeout(QUESTION_TIME_MAX, question)
            .await
            .unwrap_or_else(|elapsed| self.shared.failed(&HubError::Unreachable(elapsed.into())));
        self.sender.send_replace(Some(outcome));
    }
}

impl<S: KeySource> Drop for Question<S> {
    fn drop(&mut self) {
        locked(&self.shared.questions).remove(&self.key);
    }
}

type Questions = HashMap<KeyHash, watch::Receiver<Option<Outcome>>>;

/// The map is consistent after every statement, so a poisoned lock can be used.
fn locked(questions: &Mutex<Questions>) -> MutexGuard<'_, Questions> {
    questions.lock().unwrap_or_else(PoisonError::into_inner)
}
