//! Asking `HiveHub` over HTTP.

use std::error::Error;
use std::time::{Duration, Instant};

use reqwest::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Response, StatusCode, Url, redirect};

use super::cache::KeySource;
use super::models::{Contradiction, VALIDATE_PATH, ValidateAnswer, ValidateRequest, Verdict};
use crate::auth::KeyHash;
use crate::config::{HubUrl, Secret};
use crate::metrics::{CallOutcome, Metrics};

/// The header in which this server shows its own key.
pub const SERVICE_KEY_HEADER: HeaderName = HeaderName::from_static("x-service-key");

const CONNECT_TIME_MAX: Duration = Duration::from_secs(2);
/// One question, its repetition included.
const CALL_TIME_MAX: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// No hub gets to silence this server for longer.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(1);

/// A pooled connection to one `HiveHub`. Cheap to clone; the clones share the pool.
///
/// Redirects are not followed and the environment's proxies not used: the service key goes to the
/// configured address and nowhere else.
#[derive(Clone, Debug)]
pub struct HiveHubClient {
    http: reqwest::Client,
    validate: Url,
    metrics: Metrics,
}

/// The client could not be set up: the service key cannot stand in a header, or there is no TLS.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up the client for HiveHub")]
pub struct UnusableClient(#[source] Box<dyn Error + Send + Sync>);

/// Why there is no verdict. None of these says anything about the key.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// No answer: not connected, cut off, or too late. Retryable.
    #[error("HiveHub did not answer")]
    Unreachable(#[source] Box<dyn Error + Send + Sync>),
    /// An answer of 408, 429 or 5xx. Retryable.
    #[error("HiveHub answered {status}")]
    Failing {
        /// The status.
        status: u16,
        /// When to come back, if it said so.
        retry_after: Option<Duration>,
    },
    /// It refuses this server (401 or 403), not the caller: `hivehub_api_key` is wrong. Not retryable.
    #[error("HiveHub answered {status}: it does not accept this server's own key (cluster.hivehub_api_key)")]
    ServiceKeyRejected {
        /// The status.
        status: u16,
    },
    /// An answer outside the contract. Not retryable.
    #[error("HiveHub's answer is not what the contract says")]
    Garbage(#[source] Garbage),
}

/// What is wrong with an answer. Nothing of its text is repeated.
#[derive(Debug, thiserror::Error)]
pub enum Garbage {
    /// A status that the contract does not know.
    #[error("status {0}")]
    Status(u16),
    /// Too long.
    #[error("more than {ANSWER_BYTES_MAX} bytes")]
    TooLong,
    /// Not the JSON of the contract.
    #[error("not the JSON it should be, at line {line}, column {column}")]
    Json {
        /// Where.
        line: usize,
        /// Where in it.
        column: usize,
    },
    /// It contradicts itself.
    #[error(transparent)]
    Contradiction(#[from] Contradiction),
}

impl HubError {
    /// Whether the same question may be answered later, without anyone mending anything.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Failing { .. } => true,
            Self::ServiceKeyRejected { .. } | Self::Garbage(_) => false,
        }
    }

    /// When `HiveHub` wants to be asked again, if it said so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Failing { retry_after, .. } => *retry_after,
            Self::Unreachable(_) | Self::ServiceKeyRejected { .. } | Self::Garbage(_) => None,
        }
    }

    /// Whether a second question at once has a chance: the connection broke, or one of several hubs
    /// stumbled. Not when it took its time, and not when it asked for time.
    fn is_worth_a_second_try(&self) -> bool {
        match self {
            Self::Unreachable(cause) => {
                !cause.downcast_ref::<reqwest::Error>().is_some_and(reqwest::Error::is_timeout)
            }
            Self::Failing { status, retry_after } => *status >= 500 && retry_after.is_none(),
            Self::ServiceKeyRejected { .. } | Self::Garbage(_) => false,
        }
    }
}

impl HiveHubClient {
    /// A client of the `HiveHub` at `url`, to which this server is known by `service_key`. Nothing is
    /// sent yet.
    pub fn new(url: &HubUrl, service_key: &Secret) -> Result<Self, UnusableClient> {
        let mut service_key =
            HeaderValue::from_str(service_key.expose()).map_err(|error| UnusableClient(error.into()))?;
        service_key.set_sensitive(true);
        let http = crate::outgoing::client()
            .user_agent(concat!("vectorizer/", env!("CARGO_PKG_VERSION")))
            .default_headers(HeaderMap::from_iter([(SERVICE_KEY_HEADER, service_key)]))
            .redirect(redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIME_MAX)
            .timeout(CALL_TIME_MAX)
            .pool_max_idle_per_host(16)
            .build()
            .map_err(|error| UnusableClient(error.into()))?;
        Ok(Self { http, validate: url.join(VALIDATE_PATH), metrics: Metrics::default() })
    }

    /// The same, measured by these.
    #[must_use]
    pub fn measured_by(self, metrics: Metrics) -> Self {
        Self { metrics, ..self }
    }

    /// Asks who holds the key of this hash. Asks a second time if the first try broke; both together
    /// take no longer than five seconds.
    pub async fn validate(&self, key: &KeyHash) -> Result<Verdict, HubError> {
        let tries = async {
            match self.validate_once(key).await {
                Err(error) if error.is_worth_a_second_try() => {
                    tokio::time::sleep(jitter()).await;
                    self.validate_once(key).await
                }
                outcome => outcome,
            }
        };
        let started = Instant::now();
        let outcome = tokio::time::timeout(CALL_TIME_MAX, tries)
            .await
            .unwrap_or_else(|elapsed| Err(HubError::Unreachable(elapsed.into())));
        self.metrics.hivehub_call("validate_key", CallOutcome::of(&outcome), started.elapsed());
        outcome
    }

    async fn validate_once(&self, key: &KeyHash) -> Result<Verdict, HubError> {
        let request = ValidateRequest { key_sha256: *key };
        let response =
            self.http.post(self.validate.clone()).json(&request).send().await.map_err(unreachable)?;
        let body = body_of(accepted(response)?).await?;
        let answer = ValidateAnswer::from_json(&body).map_err(|error| {
            // Only the place: serde's own message quotes what it met.
            HubError::Garbage(Garbage::Json { line: error.line(), column: error.column() })
        })?;
        answer.verdict().map_err(|contradiction| HubError::Garbage(contradiction.into()))
    }
}

impl KeySource for HiveHubClient {
    async fn validate(&self, key: &KeyHash) -> Result<Verdict, HubError> {
        Self::validate(self, key).await
    }
}

fn unreachable(error: reqwest::Error) -> HubError {
    HubError::Unreachable(error.into())
}

/// The response, if it is a 200.
fn accepted(response: Response) -> Result<Response, HubError> {
    let status = response.status();
    match status {
        StatusCode::OK => Ok(response),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Err(HubError::ServiceKeyRejected { status: status.as_u16() })
        }
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Err(failing(&response)),
        _ if status.is_server_error() => Err(failing(&response)),
        _ => Err(HubError::Garbage(Garbage::Status(status.as_u16()))),
    }
}

fn failing(response: &Response) -> HubError {
    HubError::Failing { status: response.status().as_u16(), retry_after: retry_after(response.headers()) }
}

/// `Retry-After` in either of its forms, seconds or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if let Ok(seconds) = text.parse() {
        Duration::from_secs(seconds)
    } else {
        let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
        Duration::try_from(date.duration_since(jiff::Timestamp::now())).unwrap_or(Duration::ZERO)
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

async fn body_of(mut response: Response) -> Result<Vec<u8>, HubError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(HubError::Garbage(Garbage::TooLong));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// 20 to 147 ms, so that many servers whose hub stumbled do not come back in step.
fn jitter() -> Duration {
    let random = getrandom::u32().unwrap_or_default() % 128;
    Duration::from_millis(20 + u64::from(random))
}
