//! The calls of `HiveHub` over HTTP.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{RequestBuilder, StatusCode, Url, redirect};
use tokio::time::Instant;
use vectorizer_access::{KeyHash, Secret};
use vectorizer_http_client::ServiceUrl;
use vectorizer_log::TenantId;

use super::answer::{Answer, unexpected};
use super::breaker::{Breaker, Try};
use super::cache::{Judgement, KeySource};
use super::clock::{Clock, SystemClock};
use super::error::{HubError, UnusableClient};
use super::feed::{PolicyNews, PolicySource};
use super::jitter::with_jitter;
use super::models::{
    ErrorAnswer, POLICIES_PATH, POLICY_WAIT_SECONDS_MAX, PoliciesQuery, QuotaAnswer, UNKNOWN_TENANT,
    USAGE_PATH, VALIDATE_PATH, ValidateAnswer, ValidateRequest, quota_path,
};
use super::observer::{Call, CallObserver, CallOutcome};

/// The header with this server's own key.
pub const SERVICE_KEY_HEADER: HeaderName = HeaderName::from_static("x-service-key");

const CONNECT_TIME_MAX: Duration = Duration::from_secs(2);
/// The longest a call takes, retries included.
const CALL_TIME_MAX: Duration = Duration::from_secs(5);
/// How much longer a long poll may take than the wait that it asks for.
const LATE_MAX: Duration = Duration::from_secs(10);
/// How long a connection is silent before the system probes it: otherwise a long poll would wait for a machine that
/// is gone.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// How many attempts a call makes, and the pause before the second one. The pause before the third is twice as long.
const TRIES_MAX: u32 = 3;
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// The longest `Retry-After` that a caller waits for. A longer one opens the breaker and fails the call.
const RETRY_AFTER_WAITED_MAX: Duration = Duration::from_secs(1);

const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Room for a thousand events.
const POLICIES_BYTES_MAX: usize = 1024 * 1024;

/// A client of one `HiveHub`. Cheap to clone; the clones share the connection pool and the breaker.
///
/// It follows no redirects and uses no proxies of the environment: the service key is sent to the configured address
/// only.
#[derive(Clone)]
pub struct HiveHubClient {
    pub(super) http: reqwest::Client,
    url: ServiceUrl,
    breaker: Arc<Breaker>,
    observer: Arc<dyn CallObserver>,
}

/// A tenant's quota, if there is such a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuotaVerdict {
    /// Its quota.
    Quota(QuotaAnswer),
    /// `HiveHub` knows no such tenant.
    NoSuchTenant,
}

impl fmt::Debug for HiveHubClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HiveHubClient").field("url", &self.url).finish_non_exhaustive()
    }
}

impl HiveHubClient {
    /// A client of the `HiveHub` at `url`, which knows this server by `service_key`. Sends nothing yet.
    pub fn new(url: &ServiceUrl, service_key: &Secret) -> Result<Self, UnusableClient> {
        let mut service_key =
            HeaderValue::from_str(service_key.expose()).map_err(|error| UnusableClient(error.into()))?;
        service_key.set_sensitive(true);
        let http = vectorizer_http_client::client()
            .user_agent(concat!("vectorizer/", env!("CARGO_PKG_VERSION")))
            .default_headers(HeaderMap::from_iter([(SERVICE_KEY_HEADER, service_key)]))
            .redirect(redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIME_MAX)
            .timeout(CALL_TIME_MAX)
            .tcp_keepalive(KEEPALIVE)
            .pool_max_idle_per_host(16)
            .build()
            .map_err(|error| UnusableClient(error.into()))?;
        let breaker = Breaker::new(Arc::new(SystemClock::default()));
        Ok(Self { http, url: url.clone(), breaker, observer: Arc::new(()) })
    }

    /// The same client, whose calls are reported to `observer`.
    #[must_use]
    pub fn observed_by(self, observer: Arc<dyn CallObserver>) -> Self {
        Self { observer, ..self }
    }

    /// The same client with a new breaker that uses `clock`.
    #[must_use]
    pub fn on_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { breaker: Breaker::new(clock), ..self }
    }

    /// Asks who holds the key of this hash. Retries broken calls, for five seconds in all.
    pub async fn validate(&self, key: &KeyHash) -> Result<Judgement, HubError> {
        let url = self.url.join(VALIDATE_PATH);
        let request = ValidateRequest { key_sha256: *key };
        let build = || self.http.post(url.clone()).json(&request);
        self.ask(Call::Validate, build, |answer| {
            let answer = ValidateAnswer::from_json(answer.body()?).map_err(|error| HubError::json(&error))?;
            let policy_cursor = answer.policy_cursor();
            let verdict = answer.verdict().map_err(|error| HubError::Garbage(error.into()))?;
            Ok(Judgement { verdict, policy_cursor })
        })
        .await
    }

    /// Asks for the quota of a tenant. Retries like [`validate`](Self::validate).
    pub async fn quota(&self, tenant: &TenantId) -> Result<QuotaVerdict, HubError> {
        let url = self.url.join(&quota_path(tenant));
        self.ask(
            Call::Quota,
            || self.http.get(url.clone()),
            |answer| {
                if answer.status == StatusCode::NOT_FOUND && says(answer, UNKNOWN_TENANT) {
                    return Ok(QuotaVerdict::NoSuchTenant);
                }
                let quota = serde_json::from_slice(answer.body()?).map_err(|error| HubError::json(&error))?;
                Ok(QuotaVerdict::Quota(quota))
            },
        )
        .await
    }

    /// Asks for policy events, and waits for one as long as the query says. Makes one attempt, also while the breaker
    /// is open.
    pub async fn policies(&self, query: &PoliciesQuery) -> Result<PolicyNews, HubError> {
        let wait = query.wait.min(POLICY_WAIT_SECONDS_MAX);
        let mut url = self.url.join(POLICIES_PATH);
        if let Some(since) = query.since {
            url.query_pairs_mut()
                .append_pair("since", &since.to_string())
                .append_pair("wait", &wait.to_string());
        }
        let patience = Duration::from_secs(wait.into()) + LATE_MAX;
        let request = self.http.get(url).timeout(patience);
        let start = Instant::now();
        let outcome = read(request, POLICIES_BYTES_MAX, |answer| match answer.status {
            StatusCode::GONE => Ok(PolicyNews::CursorLost),
            StatusCode::NOT_FOUND => Ok(PolicyNews::NotOffered),
            _ => serde_json::from_slice(answer.body()?)
                .map(PolicyNews::Answer)
                .map_err(|error| HubError::json(&error)),
        })
        .await;
        self.observer.called(Call::Policies, CallOutcome::of(&outcome), start.elapsed());
        outcome
    }

    /// The address for usage reports.
    pub(super) fn usage_url(&self) -> Url {
        self.url.join(USAGE_PATH)
    }

    /// Makes attempts until one is answered, one fails for good, or the time is over.
    async fn ask<T>(
        &self,
        call: Call,
        build: impl Fn() -> RequestBuilder,
        understand: impl Fn(&Answer) -> Result<T, HubError>,
    ) -> Result<T, HubError> {
        let end = Instant::now() + CALL_TIME_MAX;
        let mut last = None;
        for tries in 1..=TRIES_MAX {
            let Some(admitted) = self.admit(call, &mut last)? else { break };
            let start = Instant::now();
            let request = build().timeout(end.duration_since(start));
            let outcome = read(request, ANSWER_BYTES_MAX, &understand).await;
            self.ended(admitted, call, &outcome, start.elapsed());
            let error = match outcome {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let pause = pause_after(&error, tries).filter(|pause| Instant::now() + *pause < end);
            last = Some(error);
            match pause {
                Some(pause) => tokio::time::sleep(pause).await,
                None => break,
            }
        }
        // The loop ends only after a failure.
        Err(last.unwrap_or(HubError::LeftAlone { retry_after: RETRY_PAUSE }))
    }

    /// The right to an attempt; `None` if the breaker has opened since the `last` one failed.
    fn admit(&self, call: Call, last: &mut Option<HubError>) -> Result<Option<Try>, HubError> {
        match self.admitted(call) {
            Ok(admitted) => Ok(Some(admitted)),
            Err(_) if last.is_some() => Ok(None),
            Err(left_alone) => Err(left_alone),
        }
    }

    /// The right to an attempt, unless the breaker is open.
    pub(super) fn admitted(&self, call: Call) -> Result<Try, HubError> {
        self.breaker.admit(call).map_err(|retry_after| {
            self.observer.called(call, CallOutcome::NotMade, Duration::ZERO);
            HubError::LeftAlone { retry_after }
        })
    }

    /// Reports how an attempt ended to the breaker and the observer.
    pub(super) fn ended<T>(&self, admitted: Try, call: Call, outcome: &Result<T, HubError>, took: Duration) {
        admitted.ended(outcome);
        self.observer.called(call, CallOutcome::of(outcome), took);
    }
}

impl KeySource for HiveHubClient {
    async fn validate(&self, key: &KeyHash) -> Result<Judgement, HubError> {
        Self::validate(self, key).await
    }

    fn left_alone(&self) -> Duration {
        self.breaker.wait(Call::Validate)
    }
}

impl PolicySource for HiveHubClient {
    async fn policies(&self, query: &PoliciesQuery) -> Result<PolicyNews, HubError> {
        Self::policies(self, query).await
    }
}

async fn read<T>(
    request: RequestBuilder,
    bytes_max: usize,
    understand: impl Fn(&Answer) -> Result<T, HubError>,
) -> Result<T, HubError> {
    let response = request.send().await?;
    understand(&Answer::read(response, bytes_max).await?)
}

/// Whether the answer is an error with this code.
fn says(answer: &Answer, word: &str) -> bool {
    serde_json::from_slice::<ErrorAnswer>(&answer.body).is_ok_and(|answer| answer.error == word)
}

/// The pause before another attempt, if one may succeed: the connection broke, or one of several hubs failed. `None`
/// after a timeout, or if the hub asks for a longer pause than a caller waits for.
fn pause_after(error: &HubError, tries: u32) -> Option<Duration> {
    let pause = with_jitter(RETRY_PAUSE * tries);
    match error {
        HubError::Unreachable(cause) => {
            let took_its_time = cause.downcast_ref().is_some_and(reqwest::Error::is_timeout);
            (!took_its_time).then_some(pause)
        }
        HubError::Failing { retry_after: Some(asked), .. } => {
            (*asked <= RETRY_AFTER_WAITED_MAX).then_some(*asked + pause)
        }
        HubError::Failing { status, retry_after: None } => (*status >= 500).then_some(pause),
        HubError::LeftAlone { .. } | HubError::ServiceKeyRejected { .. } | HubError::Garbage(_) => None,
    }
}

/// The error for any status but 200 that the contract does not have for this call.
pub(super) fn accepted(status: StatusCode) -> Result<(), HubError> {
    if status == StatusCode::OK { Ok(()) } else { Err(unexpected(status)) }
}
