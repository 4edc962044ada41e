//! A HiveHub in the measuring process, and nodes that ask it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use vectorizer::config::Secret;
use vectorizer::server;
use vectorizer_access::{ApiKey, Environment};
use vectorizer_hivehub::Permission;
use vectorizer_hub::{Hub, Limits, NewKey, NewTenant};
use vectorizer_log::TenantId;

use super::client::Server;
use super::support::Outcome;

pub(crate) const SERVICE_KEY: &str = "service-key-of-the-measurements-0123456789";
/// A plan whose limits no measurement reaches.
pub(crate) const GENEROUS: &str = r#"{"requests_per_minute":4000000000,"requests_per_hour":4000000000}"#;

/// A HiveHub with tenants `t0`, `t1`, … of one plan, and an ADMIN key of each.
pub(crate) struct Cluster {
    pub(crate) runtime: Runtime,
    pub(crate) hub: Hub,
    pub(crate) url: String,
    pub(crate) keys: Vec<ApiKey>,
    pub(crate) calls: Arc<Calls>,
    pub(crate) folder: TempDir,
}

/// What the hub is asked.
#[derive(Default)]
pub(crate) struct Calls {
    counts: Mutex<HashMap<String, usize>>,
    /// Whether it takes no usage.
    pub(crate) refuses_usage: AtomicBool,
}

impl Calls {
    /// How often each path whose end is this was called.
    pub(crate) fn of(&self, end: &str) -> Vec<usize> {
        let counts = self.counts.lock().map(|counts| counts.clone()).unwrap_or_default();
        counts.into_iter().filter(|(path, _)| path.ends_with(end)).map(|(_, count)| count).collect()
    }
}

impl Cluster {
    pub(crate) fn new(tenants: usize, plan: &str) -> Outcome<Self> {
        let folder = TempDir::new()?;
        let hub = Hub::open(&folder.path().join("hub"))?;
        hub.set_service_key(&Secret::new(SERVICE_KEY))?;
        let limits: Limits = serde_json::from_str(plan)?;
        hub.set_plan(&"measured".parse()?, limits)?;
        let mut keys = Vec::new();
        for name in (0..tenants).map(|tenant| format!("t{tenant}")) {
            let (id, plan) = (name.parse::<TenantId>()?, "measured".parse()?);
            let overrides = Limits::default();
            hub.create_tenant(&NewTenant {
                id: id.clone(),
                name: name.parse()?,
                plan,
                overrides,
                deployment: None,
            })?;
            let new = NewKey { permission: Permission::Admin, tenant: Some(id), expires_at: None };
            keys.push(hub.create_key(Environment::Live, &new)?);
        }
        let runtime = Runtime::new()?;
        let calls = Arc::new(Calls::default());
        let router = vectorizer_hub::router(hub.clone()).layer(from_fn_with_state(Arc::clone(&calls), count));
        let address = "127.0.0.1:0".parse()?;
        let listener = runtime.block_on(async { server::listen(address) })?;
        let url = format!("http://{}", listener.local_addr()?);
        runtime.spawn(server::serve(listener, router, Duration::ZERO, std::future::pending()));
        Ok(Self { runtime, hub, url, keys, calls, folder })
    }

    /// A node of this hub, with these flags.
    pub(crate) fn node(&self, flags: &[&str]) -> Outcome<Server> {
        let cluster =
            ["serve", "--cluster-enabled", "--hivehub-api-url", &self.url, "--hivehub-api-key", SERVICE_KEY];
        Server::start(&[&cluster[..], flags].concat(), &self.folder.path().join("data"))
    }
}

/// Counts a call by its path.
async fn count(State(calls): State<Arc<Calls>>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    if path.ends_with("/usage") && calls.refuses_usage.load(Ordering::Relaxed) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    if let Ok(mut counts) = calls.counts.lock() {
        *counts.entry(path).or_default() += 1;
    }
    next.run(request).await
}

/// The same work on as many threads.
pub(crate) fn together<T: Send>(
    threads: usize,
    work: impl Fn(usize) -> Outcome<T> + Sync,
) -> Outcome<Vec<T>> {
    let work = &work;
    std::thread::scope(|scope| {
        let working: Vec<_> = (0..threads)
            .map(|thread| scope.spawn(move || work(thread).map_err(|error| error.to_string())))
            .collect();
        let ended = working.into_iter().map(|it| it.join().map_err(|_| "a thread panicked".to_owned())?);
        Ok(ended.collect::<Result<Vec<_>, String>>()?)
    })
}
