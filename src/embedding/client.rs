//! Asking the service.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{StatusCode, Url, redirect};
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::warn;
use vectorizer_log::{Dimension, Vector};

use super::answer::{EmbeddingsAnswer, Unfit};
use crate::config::Embedding;

const CONNECT_TIME_MAX: Duration = Duration::from_secs(2);
/// One question; a model may have to be loaded first.
const CALL_TIME_MAX: Duration = Duration::from_secs(10);
/// All that one request may ask, repetitions and waits included.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(30);
/// How often a question is put at most, and the wait before the second time; before the third it is twice as long.
const TRIES_MAX: u32 = 3;
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// How many texts, and how many bytes of them, one question holds. A longer text goes alone.
const BATCH_TEXTS_MAX: usize = 64;
const BATCH_BYTES_MAX: usize = 256 * 1024;
/// How many questions the node asks at the same time, and how long one waits for its turn.
const CALLS_MAX: usize = 8;
const TURN_PATIENCE: Duration = Duration::from_secs(5);
/// A number as text, with its comma, and everything else in an answer.
const NUMBER_BYTES_MAX: usize = 32;
const ANSWER_OVERHEAD_BYTES: usize = 64 * 1024;

/// The client could not be set up: the key cannot stand in a header, or there is no TLS.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up the client for embeddings")]
pub struct UnusableEmbedder(#[source] Box<dyn std::error::Error + Send + Sync>);

/// Why there are no embeddings. None of these says anything about the texts.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddingError {
    /// Not connected, or cut off.
    #[error("the embeddings service cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    /// No answer in time.
    #[error("the embeddings service has not answered in time")]
    TooLate,
    /// An answer that is none: redirects, too, which are not followed.
    #[error("the embeddings service answered {0}")]
    Status(StatusCode),
    /// An answer that does not hold what was asked for.
    #[error("the embeddings service's answer is of no use: {0}")]
    Unfit(#[from] Unfit),
    /// Too many ask at the same time.
    #[error("too many texts wait for the embeddings service")]
    Busy,
}

impl EmbeddingError {
    /// Whether asking again at once may help.
    fn is_worth_a_retry(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::TooLate => true,
            Self::Status(status) => {
                status.is_server_error()
                    || matches!(*status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
            }
            Self::Unfit(_) | Self::Busy => false,
        }
    }
}

/// A pooled connection to the service. Cheap to clone; the clones share the pool and their turns.
///
/// Redirects are not followed and the environment's proxies not used: the key and the texts go to the configured
/// address and nowhere else.
#[derive(Clone)]
pub struct Embedder {
    http: reqwest::Client,
    url: Url,
    model: Arc<str>,
    dimension: Dimension,
    turns: Arc<Semaphore>,
}

impl fmt::Debug for Embedder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedder").field("model", &self.model).finish_non_exhaustive()
    }
}

/// The question.
#[derive(Serialize)]
struct EmbeddingsRequest<'a> {
    model: &'a str,
    input: &'a [&'a str],
}

impl Embedder {
    /// A client of the service that is configured. Nothing is sent yet.
    pub fn new(configured: &Embedding) -> Result<Self, UnusableEmbedder> {
        let mut headers = HeaderMap::new();
        if let Some(key) = &configured.key {
            let mut bearer = HeaderValue::from_str(&format!("Bearer {}", key.expose()))
                .map_err(|error| UnusableEmbedder(error.into()))?;
            bearer.set_sensitive(true);
            headers.insert(AUTHORIZATION, bearer);
        }
        let http = crate::http_client::client()
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
            turns: Arc::new(Semaphore::new(CALLS_MAX)),
        })
    }

    /// Of all its vectors.
    pub fn dimension(&self) -> Dimension {
        self.dimension
    }

    /// The vectors of these texts, one for each, in their order.
    pub(super) async fn embed(&self, texts: &[&str]) -> Result<Vec<Vector>, EmbeddingError> {
        let end = Instant::now() + REQUEST_TIME_MAX;
        let mut vectors = Vec::with_capacity(texts.len());
        for batch in batches(texts) {
            let asked = timeout_at(end, self.ask_until_answered(batch)).await;
            let answered = asked.unwrap_or(Err(EmbeddingError::TooLate));
            vectors.extend(answered.inspect_err(|error| {
                let source = std::error::Error::source(error).map(ToString::to_string);
                warn!(%error, source, texts = batch.len(), "texts could not be embedded");
            })?);
        }
        Ok(vectors)
    }

    async fn ask_until_answered(&self, texts: &[&str]) -> Result<Vec<Vector>, EmbeddingError> {
        let turn = timeout(TURN_PATIENCE, self.turns.acquire()).await;
        let Ok(Ok(_turn)) = turn else { return Err(EmbeddingError::Busy) };
        let mut pause = RETRY_PAUSE;
        for _ in 1..TRIES_MAX {
            match self.ask(texts).await {
                Err(error) if error.is_worth_a_retry() => {
                    sleep(pause).await;
                    pause *= 2;
                }
                other => return other,
            }
        }
        self.ask(texts).await
    }

    async fn ask(&self, texts: &[&str]) -> Result<Vec<Vector>, EmbeddingError> {
        let broken = |error: reqwest::Error| {
            if error.is_timeout() {
                EmbeddingError::TooLate
            } else {
                EmbeddingError::Unreachable(error.without_url())
            }
        };
        let question = EmbeddingsRequest { model: &self.model, input: texts };
        let mut answer = self.http.post(self.url.clone()).json(&question).send().await.map_err(broken)?;
        if answer.status() != StatusCode::OK {
            return Err(EmbeddingError::Status(answer.status()));
        }
        let bytes_max = texts.len() * self.dimension.get() * NUMBER_BYTES_MAX + ANSWER_OVERHEAD_BYTES;
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(broken)? {
            if bytes.len() + chunk.len() > bytes_max {
                return Err(Unfit::TooLong.into());
            }
            bytes.extend_from_slice(&chunk);
        }
        let answer: EmbeddingsAnswer = serde_json::from_slice(&bytes).map_err(|_| Unfit::NotJson)?;
        Ok(answer.vectors(texts.len(), self.dimension)?)
    }
}

/// The texts in questions of a bounded size.
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
