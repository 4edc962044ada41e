//! The server: it wires the parts together, listens, and stops without losing data.

mod memory;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;
use vectorizer_billing::Reporter;
use vectorizer_embedding::{Embedder, UnusableEmbedder};
use vectorizer_engine::admission::{AccessCheck, FailedAuthentications};
use vectorizer_engine::tenancy::{Rules, ShareSize, Tenancy};
use vectorizer_hivehub::{Clock, HiveHubClient, KeyCache, PolicyFeed, SystemClock, UnusableClient};
use vectorizer_limits::{DefaultLimits, HistoryLimits, OnFullLog, QuotaManager, RequestLimits};
pub use vectorizer_listener::TlsError;
use vectorizer_listener::{HEAD_BYTES_MAX, HeadError, Serving, Tls, TlsFiles};
use vectorizer_log::{Destination, TenantId, destination};
use vectorizer_metrics::Metrics;
use vectorizer_rest::{
    AllowedHosts, App, NetworkRules, PageOrigin, PageOrigins, Problem, metrics_router, router,
};
use vectorizer_service::{Error, Service, SizeLimits, share_size};

use self::memory::memory_bytes;
use crate::config::{self, Config, Seconds};

/// The tenant of a server without keys.
const SINGLE_TENANT: &str = "default";
/// How long the listener for metrics waits for requests in progress when the server ends.
const METRICS_GRACE: Duration = Duration::from_secs(1);
/// How often deleted tenants are erased and tenants' sizes are stored.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_mins(1);

/// A server that listens but does not serve yet.
pub struct Server {
    listener: TcpListener,
    metrics: Option<(TcpListener, Option<AllowedHosts>)>,
    /// `None` for plain HTTP.
    tls: Option<Tls>,
    app: App,
    tenancy: Tenancy,
    /// In cluster mode.
    policies: Option<PolicyFeed<HiveHubClient, HiveHubClient>>,
    /// In cluster mode.
    reporter: Option<Reporter>,
    /// In cluster mode.
    hub: Option<HiveHubClient>,
    /// In cluster mode.
    quotas: Option<QuotaManager>,
    /// How long the server continues to serve requests after `/ready` answers 503.
    delay: Option<Duration>,
    grace: Duration,
    delete_grace: Duration,
}

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Listening on the address failed.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address or the path.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// The data folder cannot be used.
    #[error("cannot use the data folder {path:?}")]
    Data {
        /// The address or the path.
        path: std::path::PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The client of the embeddings service cannot be set up.
    #[error(transparent)]
    Embedding(#[from] UnusableEmbedder),
    /// The client of HiveHub cannot be set up.
    #[error(transparent)]
    HiveHub(#[from] UnusableClient),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The data was migrated to a cluster. The server does not start with an empty tenant in its place.
    #[error(
        "the data of {path:?} was migrated to tenant {} in {:?}: choose another folder, or move the one in _migrated \
         back to {:?}", .to.tenant, .to.data, .to.source.as_str()
    )]
    Migrated {
        /// The folder.
        path: std::path::PathBuf,
        /// The destination of the migration.
        to: Destination,
    },
}

impl Server {
    /// Opens the listener and the data folder. Does not wake tenants.
    pub fn bind(config: &Config) -> Result<Self, StartError> {
        let address = config.server.listen;
        let tls = config.server.tls.as_ref().map(load_tls).transpose()?;
        let metrics = Metrics::default();
        let limits = SizeLimits {
            body_bytes_max: config.server.body_bytes_max.get() as usize,
            json_depth_max: config.server.json_depth_max.get() as usize,
        };
        if config.cluster.is_none() {
            warn_of_unprotected_access(&config.server);
            check_not_migrated(&config.server.data_dir)?;
        }
        let window = config.cluster.as_ref().map(|cluster| cluster.usage_report_interval.duration());
        let rules = Rules {
            // A single tenant never has to make room for others.
            idle: config.cluster.as_ref().map(|_| config.server.tenant_idle.duration()),
            memory_bytes_max: match (&config.cluster, config.server.memory_budget) {
                (None, _) => u64::MAX,
                (Some(_), Some(budget)) => budget.get(),
                (Some(_), None) => memory_bytes(),
            },
            delete_grace: config.server.delete_grace.duration(),
        };
        let share = share_size(&limits);
        let tenancy = open_data(&config.server.data_dir, share, rules, window, metrics.clone())?;
        let (access, policies, reporter, hub, quotas) = match &config.cluster {
            Some(cluster) => {
                let client = HiveHubClient::new(&cluster.hivehub_api_url, &cluster.hivehub_api_key)?
                    .observed_by(Arc::new(metrics.clone()));
                let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
                let quotas = QuotaManager::new(
                    Arc::new(client.clone()),
                    tenancy.node_store().clone(),
                    default_limits(&config.rate_limiting, config.history),
                    cluster.quota_check_interval.duration(),
                    Arc::clone(&clock),
                )
                .keeping_requests_in(&tenancy.node_folder());
                let keys = KeyCache::new(client.clone(), config.auth.api_key_cache_ttl.duration(), clock);
                let accounts = tenancy.accounts().cloned().unwrap_or_default();
                let reporter =
                    Reporter::new(accounts, client.clone(), metrics.clone(), tenancy.node_store().clone());
                let policies = PolicyFeed::new(client.clone(), keys.clone())
                    .resume(tenancy.policies_followed_through())
                    .subscribe(Arc::new(quotas.clone()))
                    .subscribe(Arc::new(tenancy.clone()));
                let deployment = cluster.deployment.clone();
                (
                    AccessCheck::Keys {
                        keys,
                        failures: FailedAuthentications::default(),
                        quotas: quotas.clone(),
                        deployment,
                    },
                    Some(policies),
                    Some(reporter),
                    Some(client),
                    Some(quotas),
                )
            }
            None => (
                AccessCheck::keyless(single_tenant(), history_limits(config.history)),
                None,
                None,
                None,
                None,
            ),
        };
        let listener = listen(address)?;
        let embedder = config.embedding.as_ref().map(Embedder::new).transpose()?;
        let network = network_rules(&config.server);
        let service = Service::new(tenancy.clone(), access, metrics, limits, embedder);
        let app = App::new(service, network);
        let metrics = metrics_listener(&config.server)?;
        let delay = config.server.shutdown_delay.map(Seconds::duration);
        let grace = config.server.shutdown_grace.duration();
        let delete_grace = config.server.delete_grace.duration();
        Ok(Self {
            listener,
            metrics,
            tls,
            app,
            tenancy,
            policies,
            reporter,
            hub,
            quotas,
            delay,
            grace,
            delete_grace,
        })
    }

    /// The listening address.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The scheme of its URLs.
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// The address of the separate listener for metrics, if there is one.
    pub fn metrics_address(&self) -> Option<io::Result<SocketAddr>> {
        self.metrics.as_ref().map(|(listener, _)| listener.local_addr())
    }

    /// Serves until `stop` is ready. Then finishes requests in progress, within the grace period, and closes every
    /// tenant's log.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let Self {
            listener,
            metrics,
            tls,
            app,
            tenancy,
            policies,
            reporter,
            hub,
            quotas,
            delay,
            grace,
            delete_grace,
        } = self;
        // This also covers a body that is rejected for its size.
        let service = app.service().clone();
        let discarded_bytes_max = 2 * service.limits().body_bytes_max as u64;
        let ended = CancellationToken::new();
        let mut background = JoinSet::new();
        background.spawn(tenancy.audit().clone().run(ended.clone()));
        let interval = HOUSEKEEPING_INTERVAL.min(delete_grace);
        background.spawn(tenancy.clone().keep_house(delete_grace, interval, ended.clone()));
        background.spawn(tenancy.clone().put_to_sleep(ended.clone()));
        background.spawn(tenancy.clone().keep_checkpoints(ended.clone()));
        background.spawn(tenancy.clone().keep_history(ended.clone()));
        background.spawn(tenancy.clone().scrub(ended.clone()));
        tenancy.resume_deletions();
        if let Some(hub) = hub {
            background.spawn(tenancy.clone().close_gaps(hub, ended.clone()));
        }
        if let Some(metering) = tenancy.metering() {
            background.spawn(metering.clone().run(ended.clone()));
            let access = service.access().clone();
            background.spawn(tenancy.clone().look_after_bills(access, ended.clone()));
        }
        if let Some(quotas) = quotas {
            background.spawn(quotas.keep_requests(ended.clone()));
        }
        if let Some(reporter) = reporter {
            background.spawn(reporter.run(ended.clone()));
        }
        if let Some(policies) = policies {
            // It runs to the end, so that requests in progress are denied, too, if HiveHub revokes a key.
            background.spawn(policies.run(ended.clone()));
        }
        if let Some((listener, hosts)) = metrics {
            let router = metrics_router(app.clone(), hosts);
            background.spawn(serve(listener, router, METRICS_GRACE, ended.clone().cancelled_owned()));
        }
        if let Some(tls) = tls.clone() {
            background.spawn(tls.follow(ended.clone()));
        }
        let stop = async move {
            stop.await;
            if let Some(delay) = delay {
                info!(?delay, "stopping after a delay: /ready answers 503, other requests are still served");
                service.begin_drain();
                tokio::time::sleep(delay).await;
            }
            info!("stopping: finishing requests in progress");
            service.end();
        };
        let serving = Serving { tls, discarded_bytes_max, grace, head_answer };
        vectorizer_listener::serve(listener, router(app), serving, stop).await;
        tenancy.stop().await;
        ended.cancel();
        background.join_all().await;
        info!("stopped");
    }
}

/// The limits of a tenant whose plan has none.
fn default_limits(configured: &config::RateLimiting, history: config::History) -> DefaultLimits {
    let requests = RequestLimits {
        per_minute: configured.default_requests_per_minute.get(),
        per_hour: configured.default_requests_per_hour.get(),
    };
    DefaultLimits::new(requests, history_limits(history))
}

fn history_limits(configured: config::History) -> HistoryLimits {
    HistoryLimits {
        keep: configured.keep.map(config::HistorySeconds::duration),
        on_full: match configured.on_full {
            config::OnFull::Drop => OnFullLog::Drop,
            config::OnFull::Refuse => OnFullLog::Refuse,
        },
    }
}

/// Warns if a server without keys can be reached by others.
fn warn_of_unprotected_access(config: &config::Server) {
    let address = config.listen;
    if !address.ip().is_loopback() {
        warn!(
            %address,
            "this server requires no keys: any client that reaches this address under a name in \
             server.allowed_hosts can read, change and delete everything"
        );
    }
    if config.cors_origins.contains(&PageOrigin::Any) {
        warn!(
            "this server requires no keys and server.cors_origins has \"*\": every page that a browser on this \
             machine opens can read, change and delete everything"
        );
    }
}

/// The allowed hosts of a listener at this address.
fn hosts(config: &config::Server, address: SocketAddr) -> AllowedHosts {
    AllowedHosts::new(address, config.allowed_hosts.iter().map(|host| host.as_str().to_owned()))
}

fn network_rules(config: &config::Server) -> NetworkRules {
    NetworkRules {
        known_hosts: hosts(config, config.listen),
        page_origins: PageOrigins::new(&config.cors_origins),
        trusted_proxies: config.trusted_proxies.clone(),
    }
}

/// The separate listener for metrics, with its allowed hosts.
fn metrics_listener(
    config: &config::Server,
) -> Result<Option<(TcpListener, Option<AllowedHosts>)>, StartError> {
    let Some(address) = config.metrics_listen else { return Ok(None) };
    // DNS rebinding must not let a web page read the metrics over loopback.
    let hosts = address.ip().is_loopback().then(|| hosts(config, address));
    if hosts.is_none() {
        warn!(%address, "any client that reaches this address can read the metrics, which include tenants' names");
    }
    Ok(Some((listen(address)?, hosts)))
}

/// The tenant of a server without keys.
pub fn single_tenant() -> TenantId {
    SINGLE_TENANT.parse().expect("the name is a tenant id")
}

fn check_not_migrated(path: &Path) -> Result<(), StartError> {
    match destination(path, &single_tenant()) {
        Ok(None) => Ok(()),
        Ok(Some(to)) => Err(StartError::Migrated { path: path.to_owned(), to }),
        Err(error) => Err(StartError::Data { path: path.to_owned(), source: io::Error::other(error) }),
    }
}

fn open_data(
    path: &Path,
    share: ShareSize,
    rules: Rules,
    window: Option<Duration>,
    metrics: Metrics,
) -> Result<Tenancy, StartError> {
    Tenancy::new(path, share, rules, window, metrics)
        .map_err(|source| StartError::Data { path: path.to_owned(), source })
}

fn load_tls(files: &config::TlsFiles) -> Result<Tls, TlsError> {
    let [cert, key] = [&files.cert, &files.key].map(|file| file.path().to_owned());
    Tls::load(&TlsFiles { cert, key })
}

/// Listens on `address`.
pub fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    vectorizer_listener::listen(address).map_err(|source| StartError::Listen { address, source })
}

/// Serves `router` without TLS until `stop` is ready. Then finishes requests in progress, for at most `grace`.
pub async fn serve(listener: TcpListener, router: Router, grace: Duration, stop: impl Future<Output = ()>) {
    let serving = Serving { tls: None, discarded_bytes_max: 0, grace, head_answer };
    vectorizer_listener::serve(listener, router, serving, stop).await;
}

/// The answer to a request whose head could not be read.
fn head_answer(error: HeadError) -> Vec<u8> {
    let problem = match error {
        HeadError::TooLarge => {
            let detail = format!("the head of the request has more than {HEAD_BYTES_MAX} bytes");
            Problem::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "head-too-large", detail)
        }
        HeadError::Crowded => {
            Error::unavailable("busy", "too many requests with incomplete heads are open", 1).into()
        }
        HeadError::TooSlow => {
            let detail = "the head of the request did not arrive in time";
            Problem::new(StatusCode::REQUEST_TIMEOUT, "head-too-slow", detail)
        }
    };
    problem.written(&Uuid::now_v7().to_string())
}
