//! The hub over HTTP.
//!
//! `call` is the table of all calls and their callers. The handlers of related calls share a module.

mod admin;
mod call;
mod internal;
mod ledger;
mod policies;
mod rejection;
mod sent;
#[cfg(test)]
mod tests;
mod usage;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use tokio::sync::Semaphore;

pub use self::admin::models;
pub use self::call::{Call, Caller};
use vectorizer_hivehub::SERVICE_KEY_HEADER;

use self::rejection::HubRejection;
use super::error::HubStoreError;
use super::store::Hub;

const BODY_BYTES_MAX: usize = 16 * 1024;
/// How long a request may take, including the arrival of its body. Does not apply to calls that limit their time
/// themselves.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(10);
/// How many reports of usage may be in progress.
const REPORTS_MAX: usize = 64;
/// How many requests may wait for the policy feed.
const WAITING_MAX: usize = 1_024;

/// The state that the handlers share.
#[derive(Clone)]
struct Served {
    hub: Hub,
    reports: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

/// The hub's routes. The answer to a request without a key reveals nothing, not even which paths exist. A service key
/// is valid only for the servers' paths, and an operator's key only for the operator's paths.
pub fn router(hub: Hub) -> Router {
    let served = Served::new(hub);
    let mut router = Router::new();
    for (path, calls) in by_path() {
        // All calls of a path have the same caller.
        let caller = calls.first().map_or(Caller::Service, |call| call.caller());
        let guard = middleware::from_fn_with_state((served.clone(), caller), require_key);
        router = router.route(path, handlers(&calls).layer(guard));
    }
    let guard = middleware::from_fn_with_state((served.clone(), Caller::Service), require_any_key);
    router
        .fallback_service(Router::new().fallback(not_found).layer(guard))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(served)
}

/// The operator's API without a key check, for a program that has opened the hub's folder itself.
pub fn unguarded_admin(hub: Hub) -> Router {
    let mut router = Router::new();
    for (path, calls) in by_path() {
        if calls.iter().all(|call| call.caller() == Caller::Operator) {
            router = router.route(path, handlers(&calls));
        }
    }
    router.layer(DefaultBodyLimit::max(BODY_BYTES_MAX)).with_state(Served::new(hub))
}

impl Served {
    fn new(hub: Hub) -> Self {
        let [reports, waiting] = [REPORTS_MAX, WAITING_MAX].map(|most| Arc::new(Semaphore::new(most)));
        Self { hub, reports, waiting }
    }
}

fn by_path() -> BTreeMap<&'static str, Vec<Call>> {
    let mut paths = BTreeMap::<_, Vec<_>>::new();
    for call in Call::ALL {
        paths.entry(call.path()).or_default().push(call);
    }
    paths
}

fn handlers(calls: &[Call]) -> MethodRouter<Served> {
    let handlers = calls.iter().fold(MethodRouter::new(), |handlers, call| {
        let handler = call.handler();
        let handler =
            if call.takes_its_time() { handler } else { handler.layer(middleware::from_fn(limit_time)) };
        handlers.merge(handler)
    });
    handlers.fallback(method_not_allowed)
}

/// Runs `work` on a thread that may block.
async fn with_hub<T, F>(served: &Served, work: F) -> Result<T, HubRejection>
where
    T: Send + 'static,
    F: FnOnce(&Hub) -> Result<T, HubStoreError> + Send + 'static,
{
    let hub = served.hub.clone();
    let done = tokio::task::spawn_blocking(move || work(&hub)).await;
    done.map_err(|_| HubRejection::Broken)?.map_err(HubRejection::Store)
}

async fn not_found() -> HubRejection {
    HubRejection::NotFound
}

async fn method_not_allowed() -> HubRejection {
    HubRejection::MethodNotAllowed
}

async fn require_key(
    State((served, caller)): State<(Served, Caller)>,
    request: Request,
    next: Next,
) -> Response {
    if shows_key(&served.hub, caller, &request) {
        next.run(request).await
    } else {
        HubRejection::Key(caller).into_response()
    }
}

/// For paths that do not exist: a valid key of either kind is enough to get the answer that nothing is there.
async fn require_any_key(
    State((served, caller)): State<(Served, Caller)>,
    request: Request,
    next: Next,
) -> Response {
    if [Caller::Service, Caller::Operator].iter().any(|caller| shows_key(&served.hub, *caller, &request)) {
        next.run(request).await
    } else {
        HubRejection::Key(caller).into_response()
    }
}

fn shows_key(hub: &Hub, caller: Caller, request: &Request) -> bool {
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    match caller {
        Caller::Service => header(SERVICE_KEY_HEADER).is_some_and(|key| hub.is_service_key(key)),
        Caller::Operator => {
            let credentials = header(AUTHORIZATION).and_then(|text| text.split_once(' '));
            credentials.is_some_and(|(scheme, key)| {
                scheme.eq_ignore_ascii_case("bearer") && hub.is_operator_key(key)
            })
        }
    }
}

async fn limit_time(request: Request, next: Next) -> Response {
    let answer = tokio::time::timeout(REQUEST_TIME_MAX, next.run(request)).await;
    answer.unwrap_or_else(|_| HubRejection::TooSlow(REQUEST_TIME_MAX).into_response())
}
