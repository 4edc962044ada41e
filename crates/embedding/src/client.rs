//! The HTTP client of the embeddings service.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{StatusCode, Url, redirect};
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::warn;
use vectorizer_log::{Dimension, Vector};

use super::answer::{EmbeddingsAnswer, InvalidAnswer};
use super::service::EmbeddingService;

const CONNECT_TIME_MAX: Duration = Duration::from_secs(2);
/// The timeout of one call; the service may have to load a model first.
const CALL_TIME_MAX: Duration = Duration::from_secs(10);
/// The timeout of all calls for one request, retries and waits included.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(30);
/// The most retries of one call, and the delay before the first one. The delay doubles before each further retry.
const RETRIES_MAX: usize = 2;
const RETRY_DELAY: Duration = Duration::from_millis(100);
/// The most texts of one call, and the most bytes of them. A longer text is sent alone.
const BATCH_TEXTS_MAX: usize = 64;
const BATCH_BYTES_MAX: usize = 256 * 1024;
/// The most concurrent calls of the node, and the longest wait for a permit.
const CALLS_MAX: usize = 8;
const PERMIT_WAIT_MAX: Duration = Duration::from_secs(5);
/// The most bytes of a number with its comma, and of the rest of an answer.
const NUMBER_BYTES_MAX: usize = 32;
const ANSWER_OVERHEAD_BYTES: usize = 64 * 1024;

/// The client cannot be set up: the key is not a valid header value, or TLS is not available.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up the client for embeddings")]
pub struct UnusableEmbedder(#[source] Box<dyn std::error::Error + Send + Sync>);

/// Why a call failed. None of these reasons depends on the texts.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The connection failed or was closed.
    #[error("the embeddings service cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    /// The service did not answer in time.
    #[error("the embeddings service did not answer in time")]
    TooLate,
    /// The service answered with another status than 200. Redirects are not followed.
    #[error("the embeddings service answered {0}")]
    Status(StatusCode),
    /// The answer is invalid.
    #[error("the embeddings service's answer is invalid: {0}")]
    InvalidAnswer(#[from] InvalidAnswer),
    /// Too many calls wait already.
    #[error("too many texts wait for the embeddings service")]
    Busy,
}

impl CallError {
    /// Whether another try may succeed.
    fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::TooLate => true,
            Self::Status(status) => {
                status.is_server_error()
                    || matches!(*status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
            }
            Self::InvalidAnswer(_) | Self::Busy => false,
        }
    }
}

/// A pooled connection to the service. Cheap to clone; clones share the pool and the permits.
///
/// It follows no redirects and uses no proxies from the environment: the key and the texts go to the configured
/// address and nowhere else.
#[derive(Clone)]
pub struct Embedder {
    http: reqwest::Client,
    url: Url,
    model: Arc<str>,
    dimension: Dimension,
    permits: Arc<Semaphore>,
}

impl fmt::Debug for Embedder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedder").field("model", &self.model).finish_non_exhaustive()
    }
}

/// The body of a call.
#[derive(Serialize)]
struct EmbeddingsRequest<'a> {
    model: &'a str,
    input: &'a [&'a str],
}

impl Embedder {
    /// Creates a client of the configured service. Sends nothing yet.
    pub fn new(configured: &EmbeddingService) -> Result<Self, UnusableEmbedder> {
        let mut headers = HeaderMap::new();
        if let Some(key) = &configured.key {
            let mut bearer = HeaderValue::from_str(&format!("Bearer {}", key.expose()))
                .map_err(|error| UnusableEmbedder(error.into()))?;
            bearer.set_sensitive(true);
            headers.insert(AUTHORIZATION, bearer);
        }
        let http = vectorizer_http_client::client()
            .user_agent(concat!("vectorizer/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIME_MAX)
            .timeout(CALL_TIME_MAX)
            .pool_max_idle_per_host(CALLS_MAX)
            .build()
            .map_err(|error| UnusableEmbedder(error.into()))?;
        Ok(Self {
            http,
            url: configured.url.join("/embeddings"),
            model: configured.model.as_str().into(),
            dimension: configured.dimension,
            permits: Arc::new(Semaphore::new(CALLS_MAX)),
        })
    }

    /// The dimension of all its vectors.
    pub fn dimension(&self) -> Dimension {
        self.dimension
    }

    /// Returns one vector for each text, in order.
    pub(super) async fn embed(&self, texts: &[&str]) -> Result<Vec<Vector>, CallError> {
        let end = Instant::now() + REQUEST_TIME_MAX;
        let mut vectors = Vec::with_capacity(texts.len());
        for batch in batches(texts) {
            let outcome = timeout_at(end, self.call_with_retries(batch)).await;
            let answered = outcome.unwrap_or(Err(CallError::TooLate));
            vectors.extend(answered.inspect_err(|error| {
                let source = std::error::Error::source(error).map(ToString::to_string);
                warn!(%error, source, texts = batch.len(), "texts could not be embedded");
            })?);
        }
        Ok(vectors)
    }

    async fn call_with_retries(&self, texts: &[&str]) -> Result<Vec<Vector>, CallError> {
        let permit = timeout(PERMIT_WAIT_MAX, self.permits.acquire()).await;
        let Ok(Ok(_permit)) = permit else { return Err(CallError::Busy) };
        let delays = ExponentialBuilder::new().with_min_delay(RETRY_DELAY).with_max_times(RETRIES_MAX);
        (|| self.call(texts)).retry(delays).when(CallError::is_retryable).await
    }

    async fn call(&self, texts: &[&str]) -> Result<Vec<Vector>, CallError> {
        let broken = |error: reqwest::Error| {
            if error.is_timeout() { CallError::TooLate } else { CallError::Unreachable(error.without_url()) }
        };
        let request = EmbeddingsRequest { model: &self.model, input: texts };
        let mut answer = self.http.post(self.url.clone()).json(&request).send().await.map_err(broken)?;
        if answer.status() != StatusCode::OK {
            return Err(CallError::Status(answer.status()));
        }
        let bytes_max = texts.len() * self.dimension.get() * NUMBER_BYTES_MAX + ANSWER_OVERHEAD_BYTES;
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(broken)? {
            if bytes.len() + chunk.len() > bytes_max {
                return Err(InvalidAnswer::TooLong.into());
            }
            bytes.extend_from_slice(&chunk);
        }
        let answer: EmbeddingsAnswer = serde_json::from_slice(&bytes).map_err(|_| InvalidAnswer::NotJson)?;
        Ok(answer.vectors(texts.len(), self.dimension)?)
    }
}

/// Splits the texts into batches of a bounded size.
fn batches<'a>(texts: &'a [&'a str]) -> impl Iterator<Item = &'a [&'a str]> {
    let mut rest = texts;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |text: &&&str| {
            bytes += text.len();
            bytes <= BATCH_BYTES_MAX
        };
        let taken = rest.iter().take(BATCH_TEXTS_MAX).take_while(fits).count().max(1);
        let (batch, others) = rest.split_at_checked(taken)?;
        rest = others;
        Some(batch)
    })
}
