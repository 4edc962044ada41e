//! One typed function for each operation, under every face.
//!
//! A face (REST, MCP) parses a request, calls a function of [`Service`], and renders the result. Everything that the
//! faces share is here: access, limits, threads, embedding, idempotency. This module knows no HTTP and no JSON.
//!
//! - `admission`: the access check.
//! - `collections`, `vectors`, `search`, `log`, `node`: the operations.
//! - `input`: arguments; `request_memory`: the memory for requests; `work`: the threads for parsing.
//! - `answer_memory`: the memory for answers; `feed`: streaming a log.
//! - `error`: the error of every operation.

mod admission;
mod answer_memory;
mod collections;
mod error;
mod feed;
mod input;
mod log;
mod node;
mod request_memory;
mod search;
mod vectors;
mod work;

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use vectorizer_embedding::Embedder;
use vectorizer_engine::admission::AccessCheck;
use vectorizer_engine::tenancy::{ShareSize, Tenancy, Tenant};
use vectorizer_metrics::{Metrics, Room};
use vectorizer_scheduling::run_blocking;

pub use self::admission::{Access, Admitted, Readmission};
pub use self::answer_memory::{AnswerMemory, AnswerPermit, Show, shown_bytes};
pub use self::collections::{NewCollection, index_parameters};
pub use self::error::{Error, ErrorKind};
pub use self::input::{Conditions, IDEMPOTENCY_KEY_BYTES_MAX, IdempotencyKey, Input};
pub use self::log::LogRequest;
pub use self::node::{HiveHubHealth, KeyFacts, NodeHealth, TenantUsage, UsageBacklog, UsageOf};
pub use self::request_memory::{MemoryPermit, RequestMemory, kibibytes};
use self::search::SearchPool;
pub use self::search::{BatchResults, RankBy, SEARCHES_MAX, SearchArguments, SearchResults, SearchResume};
pub use self::vectors::{Page, Selection, VECTORS_MAX, too_many_vectors};
pub use self::work::{INLINE_BYTES_MAX, MEDIUM_BYTES_MAX, WorkPools};

/// The most results or vectors of one answer.
pub const RESULTS_MAX: usize = 1_000;
/// The most MCP messages of one tenant that are answered concurrently.
const MESSAGES_EACH_MAX: usize = 32;

/// The limits on the size and the nesting of requests.
#[derive(Clone, Copy, Debug)]
pub struct SizeLimits {
    /// The largest body, in bytes.
    pub body_bytes_max: usize,
    /// The deepest nesting of a payload or filter.
    pub json_depth_max: usize,
}

impl SizeLimits {
    /// Every tenant's share of the memory for requests, in KiB.
    pub fn share_kibibytes(&self) -> u32 {
        kibibytes(self.body_bytes_max).saturating_mul(2)
    }
}

/// All operations, over the tenants of one node. Cheap to clone.
#[derive(Clone)]
pub struct Service {
    shared: Arc<Shared>,
}

struct Shared {
    started: Instant,
    tenancy: Tenancy,
    access: AccessCheck,
    metrics: Metrics,
    embedder: Option<Embedder>,
    limits: SizeLimits,
    request_memory: Arc<RequestMemory>,
    answer_memory: Arc<Semaphore>,
    work: WorkPools,
    searches: SearchPool,
    /// The permit of the only call that may render the metrics.
    measuring: Arc<Semaphore>,
    /// Cancelled when callers should send no new requests: another server takes over, or soon will.
    draining: CancellationToken,
    /// Cancelled when streams without an end have to end.
    ending: CancellationToken,
}

impl Service {
    /// The operations on the data of these tenants, for callers that `access` admits. `embedder` makes vectors of
    /// texts.
    pub fn new(
        tenancy: Tenancy,
        access: AccessCheck,
        metrics: Metrics,
        limits: SizeLimits,
        embedder: Option<Embedder>,
    ) -> Self {
        // As much as eight of the largest bodies.
        let request_memory = RequestMemory::new(8 * kibibytes(limits.body_bytes_max) as usize);
        let shared = Shared {
            started: Instant::now(),
            tenancy,
            access,
            metrics,
            embedder,
            limits,
            request_memory,
            answer_memory: answer_memory::of_node(),
            work: WorkPools::new(),
            searches: SearchPool::new(),
            measuring: Arc::new(Semaphore::new(1)),
            draining: CancellationToken::new(),
            ending: CancellationToken::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Asks callers to send no new requests. Requests that arrive anyway are processed.
    pub fn begin_drain(&self) {
        self.shared.draining.cancel();
    }

    /// Begins to drain, and ends streams without an end.
    pub fn end(&self) {
        self.begin_drain();
        self.shared.ending.cancel();
    }

    /// Whether callers should send no new requests.
    pub fn is_draining(&self) -> bool {
        self.shared.draining.is_cancelled()
    }

    /// Cancelled when streams without an end have to end.
    pub fn ending(&self) -> CancellationToken {
        self.shared.ending.clone()
    }

    /// The access check.
    pub fn access(&self) -> &AccessCheck {
        &self.shared.access
    }

    /// The limits on the size and the nesting of requests.
    pub fn limits(&self) -> SizeLimits {
        self.shared.limits
    }

    /// The node's metrics.
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// The node's memory for requests.
    pub fn request_memory(&self) -> &Arc<RequestMemory> {
        &self.shared.request_memory
    }

    /// The threads for parsing.
    pub fn work_pools(&self) -> &WorkPools {
        &self.shared.work
    }

    /// The memory for large answers of this tenant.
    pub fn answer_memory<L>(&self, tenant: &Tenant<L>) -> AnswerMemory {
        let (node, share) = (Arc::clone(&self.shared.answer_memory), Arc::clone(&tenant.share().answers));
        AnswerMemory { node, share }
    }

    fn tenancy(&self) -> &Tenancy {
        &self.shared.tenancy
    }

    fn embedder(&self) -> Option<&Embedder> {
        self.shared.embedder.as_ref()
    }

    fn search_pool(&self) -> &SearchPool {
        &self.shared.searches
    }

    /// How much of the memory for requests and answers is in use.
    fn memory_usage(&self) -> Vec<Room> {
        let memory = &self.shared.request_memory;
        let bytes = 1024 * memory.kibibytes();
        let requests = Room { name: "bodies", bytes, used_bytes: bytes - 1024 * memory.free_kibibytes() };
        vec![requests, answer_memory::usage(&self.shared.answer_memory)]
    }
}

/// Renders an answer of about `bytes` bytes: on this thread if it is small, otherwise away from the async threads.
pub async fn rendered<T, E>(
    bytes: usize,
    render: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E>
where
    T: Send + 'static,
    E: From<Error> + Send + 'static,
{
    if bytes <= answer_memory::INLINE_BYTES_MAX {
        return render();
    }
    run_blocking(render).await.unwrap_or_else(|_| Err(Error::internal().into()))
}

/// The size of every tenant's share, if `limits` bound the requests.
pub fn share_size(limits: &SizeLimits) -> ShareSize {
    ShareSize {
        bodies: limits.share_kibibytes() as usize,
        answers: answer_memory::SHARE_KIBIBYTES,
        // One core is always left for the other tenants.
        searches: cores().saturating_sub(1).max(1),
        waiting_searches: search::WAITING_EACH_MAX,
        parsing: work::tenant_permits(),
        waiting_parses: work::WAITING_EACH_MAX,
        messages: MESSAGES_EACH_MAX,
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Checks a `limit`, 1 to 1,000.
fn checked_limit(limit: Option<u64>, default: usize) -> Result<usize, Error> {
    match limit.map(usize::try_from) {
        None => Ok(default),
        Some(Ok(limit @ 1..=RESULTS_MAX)) => Ok(limit),
        Some(_) => {
            let limit = limit.unwrap_or_default();
            Err(Error::invalid("invalid-limit", format!("limit is {limit}, it must be 1 to {RESULTS_MAX}")))
        }
    }
}
