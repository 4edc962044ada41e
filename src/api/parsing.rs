//! Where bodies are parsed and checked: away from the async threads, in turns.
//!
//! Bodies up to a mebibyte have threads of their own, so that none waits for large ones. A tenant has half of the
//! threads at most; its next body waits for its own turn first and then, behind those of the others, for the node's.
//! So tenants take turns, whoever sends how much. A body waits for five seconds at most.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::Span;

use super::cores;
use super::problem::Problem;
use crate::tenancy::{Background, Share, Weight};

/// Work on a body of at most so many bytes is done on the spot.
pub(super) const INLINE_BYTES_MAX: usize = 32 * 1024;
/// Up to so many it is done where no larger one is.
pub(super) const MEDIUM_BYTES_MAX: usize = 1024 * 1024;

/// How long a body waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many bodies of one tenant wait for theirs.
pub(super) const WAITING_EACH_MAX: usize = 64;

/// The threads for bodies of one size.
#[derive(Clone, Debug)]
struct Lane {
    turns: Arc<Semaphore>,
    threads: Background,
}

impl Lane {
    fn new() -> Self {
        let threads = threads();
        Self { turns: Arc::new(Semaphore::new(threads)), threads: Background::new(threads, Weight::Third) }
    }
}

/// Twice as many as there are cores: half of them are one tenant's at most, and then it still has all cores if
/// nothing else is to be done.
fn threads() -> usize {
    2 * cores()
}

/// How many bodies of one tenant are parsed at the same time, of each size.
pub(super) fn share() -> usize {
    threads() / 2
}

/// Parses bodies. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Parsers {
    lanes: [Lane; 2],
}

impl Parsers {
    pub(super) fn new() -> Self {
        Self { lanes: [Lane::new(), Lane::new()] }
    }

    /// Does `work` on a body of so many bytes of the tenant that has this share.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        share: &Share,
        bytes: usize,
        work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        if bytes <= INLINE_BYTES_MAX {
            return work();
        }
        let busy = || Problem::unavailable("busy", "too many large requests are being parsed", 1);
        let place = Arc::clone(&share.waiting_parses).try_acquire_owned().map_err(|_| busy())?;
        let [medium, large] = &self.lanes;
        let [of_medium, of_large] = &share.parsing;
        let (lane, own) = if bytes <= MEDIUM_BYTES_MAX { (medium, of_medium) } else { (large, of_large) };
        let turns = async {
            // IMPORTANT, the order: a body that waits for its own tenant's turn must not keep one of the node's.
            let own = Arc::clone(own).acquire_owned().await;
            (own, Arc::clone(&lane.turns).acquire_owned().await)
        };
        let Ok((Ok(own), Ok(turn))) = timeout(PATIENCE, turns).await else { return Err(busy()) };
        let span = Span::current();
        let work = move || {
            // Kept for as long as the work lasts, also when its client has gone.
            let _turns = (own, turn, place);
            span.in_scope(work)
        };
        lane.threads.run(work).await.unwrap_or_else(|| Err(Problem::internal()))
    }
}
