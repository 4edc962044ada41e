//! Pools for work in proportion to a request's size, away from the async threads.
//!
//! Inputs up to a mebibyte have their own threads, so they never wait for larger ones. A tenant has at most half of
//! the threads. Its next input waits for the tenant's permit first and then for the node's, behind those of other
//! tenants. So tenants take turns, however much each of them sends. An input waits for five seconds at most.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::Span;
use vectorizer_engine::tenancy::{NicePool, NiceValue, Share};

use super::cores;
use super::error::Error;

/// Smaller inputs are processed on the calling thread.
pub const INLINE_BYTES_MAX: usize = 32 * 1024;
/// Inputs up to this size never wait for a larger one.
pub const MEDIUM_BYTES_MAX: usize = 1024 * 1024;

/// The longest wait for a thread.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// The most inputs of one tenant that wait.
pub(super) const WAITING_EACH_MAX: usize = 64;

/// The threads for inputs of one size.
#[derive(Clone, Debug)]
struct Pool {
    permits: Arc<Semaphore>,
    threads: NicePool,
}

impl Pool {
    fn new() -> Self {
        let threads = threads();
        Self { permits: Arc::new(Semaphore::new(threads)), threads: NicePool::new(threads, NiceValue::Five) }
    }
}

/// Two threads for each core. One tenant has at most half of them, which is every core while the others are idle.
fn threads() -> usize {
    2 * cores()
}

/// The most inputs of one tenant that are processed concurrently, for each size.
pub(super) fn tenant_permits() -> usize {
    threads() / 2
}

/// The threads for work on inputs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct WorkPools {
    medium: Pool,
    large: Pool,
}

impl WorkPools {
    pub(super) fn new() -> Self {
        Self { medium: Pool::new(), large: Pool::new() }
    }

    /// Does `work` on an input of this size, for the tenant with this share.
    pub async fn run<T, E>(
        &self,
        share: &Share,
        bytes: usize,
        work: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        if bytes <= INLINE_BYTES_MAX {
            return work();
        }
        let busy = || E::from(Error::unavailable("busy", "too many large requests are being parsed", 1));
        let waiting = Arc::clone(&share.waiting_parses).try_acquire_owned().map_err(|_| busy())?;
        let [of_medium, of_large] = &share.parsing;
        let (pool, own) =
            if bytes <= MEDIUM_BYTES_MAX { (&self.medium, of_medium) } else { (&self.large, of_large) };
        let permits = async {
            // IMPORTANT, the order: an input that waits for its own tenant's permit must not hold one of the node's.
            let own = Arc::clone(own).acquire_owned().await;
            (own, Arc::clone(&pool.permits).acquire_owned().await)
        };
        let Ok((Ok(own), Ok(of_node))) = timeout(WAIT_MAX, permits).await else { return Err(busy()) };
        let span = Span::current();
        let work = move || {
            // Held until the work is done, even if its caller is gone.
            let _permits = (own, of_node, waiting);
            span.in_scope(work)
        };
        pool.threads.run(work).await.unwrap_or_else(|| Err(Error::internal().into()))
    }
}
