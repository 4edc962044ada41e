//! A server: the parts put together, listening, and stopping without losing anything.

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
pub use vectorizer_listener::TlsError;
use vectorizer_listener::{HEAD_BYTES_MAX, HeadError, Serving, Tls, TlsFiles};
use vectorizer_log::{Destination, TenantId, destination};

use self::memory::memory_bytes;
use crate::auth::{AccessCheck, FailedAuthentications};
use crate::billing::Reporter;
use crate::config::{self, Config, PageOrigin, Seconds};
use crate::embedding::{Embedder, UnusableEmbedder};
use crate::hivehub::{Clock, HiveHubClient, KeyCache, PolicyFeed, SystemClock, UnusableClient};
use crate::limits::{DefaultLimits, QuotaManager, RequestLimits};
use crate::metrics::Metrics;
use crate::rest::{AllowedHosts, App, NetworkRules, PageOrigins, Problem, metrics_router, router};
use crate::service::{Error, Service, SizeLimits, share_size};
use crate::tenancy::{Rules, ShareSize, Tenancy};

/// The tenant of a server without keys.
const SINGLE_TENANT: &str = "default";
/// How long a reader of the metrics may take for what it was sent when the server ends.
const METRICS_GRACE: Duration = Duration::from_secs(1);
/// How often is looked for deleted tenants to erase and for sizes to note down.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_mins(1);

/// A server that listens and does not serve yet.
pub struct Server {
    listener: TcpListener,
    metrics: Option<(TcpListener, Option<AllowedHosts>)>,
    /// Where connections are encrypted.
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
    /// How long everything is served still after `/ready` has said that it will not be.
    delay: Option<Duration>,
    grace: Duration,
    delete_grace: Duration,
}

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The data folder cannot be used.
    #[error("cannot use the data folder {path:?}")]
    Data {
        /// Which.
        path: std::path::PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Embeddings cannot be asked for with this configuration.
    #[error(transparent)]
    Embedding(#[from] UnusableEmbedder),
    /// HiveHub cannot be asked with this configuration.
    #[error(transparent)]
    HiveHub(#[from] UnusableClient),
    /// Connections cannot be encrypted.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// What would be served is a tenant of a cluster now. An empty one in its place would be a surprise.
    #[error(
        "the data of {path:?} has become tenant {} in {:?}: choose another folder, or move the one in _migrated \
         back to {:?}", .to.tenant, .to.data, .to.source.as_str()
    )]
    Migrated {
        /// The folder.
        path: std::path::PathBuf,
        /// Where it went.
        to: Destination,
    },
}

impl Server {
    /// Takes the address and the data folder. Wakes no tenant.
    pub fn bind(config: &Config) -> Result<Self, StartError> {
        let address = config.server.listen;
        let tls = config.server.tls.as_ref().map(load_tls).transpose()?;
        let metrics = Metrics::default();
        let limits = SizeLimits {
            body_bytes_max: config.server.body_bytes_max.get() as usize,
            json_depth_max: config.server.json_depth_max.get() as usize,
        };
        if config.cluster.is_none() {
            warn_of_open_doors(&config.server);
            not_migrated(&config.server.data_dir)?;
        }
        let window = config.cluster.as_ref().map(|cluster| cluster.usage_report_interval.duration());
        let rules = Rules {
            // There is nobody else to make room for.
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
                    default_limits(&config.rate_limiting),
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
            None => (AccessCheck::keyless(single_tenant()), None, None, None, None),
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

    /// The address it listens on.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// How its addresses begin.
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// The address it serves metrics on, if that is another one.
    pub fn metrics_address(&self) -> Option<io::Result<SocketAddr>> {
        self.metrics.as_ref().map(|(listener, _)| listener.local_addr())
    }

    /// Serves until `stop` is ready; then finishes what is under way, for as long as the grace lasts,
    /// and closes every tenant's log.
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
        // Of a body that is refused for its size, too.
        let service = app.service().clone();
        let discarded_bytes_max = 2 * service.limits().body_bytes_max as u64;
        let ended = CancellationToken::new();
        let mut beside = JoinSet::new();
        beside.spawn(tenancy.audit().clone().run(ended.clone()));
        let interval = HOUSEKEEPING_INTERVAL.min(delete_grace);
        beside.spawn(tenancy.clone().keep_house(delete_grace, interval, ended.clone()));
        beside.spawn(tenancy.clone().put_to_sleep(ended.clone()));
        beside.spawn(tenancy.clone().keep_checkpoints(ended.clone()));
        tenancy.resume_deletions();
        if let Some(hub) = hub {
            beside.spawn(tenancy.clone().close_gaps(hub, ended.clone()));
        }
        if let Some(metering) = tenancy.metering() {
            beside.spawn(metering.clone().run(ended.clone()));
            let access = service.access().clone();
            beside.spawn(tenancy.clone().look_after_bills(access, ended.clone()));
        }
        if let Some(quotas) = quotas {
            beside.spawn(quotas.keep_requests(ended.clone()));
        }
        if let Some(reporter) = reporter {
            beside.spawn(reporter.run(ended.clone()));
        }
        if let Some(policies) = policies {
            // To the end: requests under way are to be refused too, if that is what HiveHub says.
            beside.spawn(policies.run(ended.clone()));
        }
        if let Some((listener, hosts)) = metrics {
            let router = metrics_router(app.clone(), hosts);
            beside.spawn(serve(listener, router, METRICS_GRACE, ended.clone().cancelled_owned()));
        }
        if let Some(tls) = tls.clone() {
            beside.spawn(tls.follow(ended.clone()));
        }
        let stop = async move {
            stop.await;
            if let Some(delay) = delay {
                info!(?delay, "stopping soon: /ready says so, and everything is served still");
                service.begin_drain();
                tokio::time::sleep(delay).await;
            }
            info!("stopping: finishing the requests under way");
            service.end();
        };
        let serving = Serving { tls, discarded_bytes_max, grace, head_answer };
        vectorizer_listener::serve(listener, router(app), serving, stop).await;
        tenancy.stop().await;
        ended.cancel();
        beside.join_all().await;
        info!("stopped");
    }
}

/// The limits of a tenant whose plan names none.
fn default_limits(configured: &config::RateLimiting) -> DefaultLimits {
    DefaultLimits::new(RequestLimits {
        per_minute: configured.default_requests_per_minute.get(),
        per_hour: configured.default_requests_per_hour.get(),
    })
}

/// Says who may do everything on a server without keys.
fn warn_of_open_doors(config: &config::Server) {
    let address = config.listen;
    if !address.ip().is_loopback() {
        warn!(
            %address,
            "this server asks for no keys: anybody who reaches this address under a name of \
             server.allowed_hosts can read, change and delete everything"
        );
    }
    if config.cors_origins.contains(&PageOrigin::Any) {
        warn!(
            "this server asks for no keys and server.cors_origins has \"*\": every page that a browser on this \
             machine opens can read, change and delete everything"
        );
    }
}

/// The hosts that a listener at this address is known by.
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

/// The listener for metrics alone, and the hosts that it is known by.
fn metrics_listener(
    config: &config::Server,
) -> Result<Option<(TcpListener, Option<AllowedHosts>)>, StartError> {
    let Some(address) = config.metrics_listen else { return Ok(None) };
    // A page in a browser must not read them by a name of its own for loopback.
    let hosts = address.ip().is_loopback().then(|| hosts(config, address));
    if hosts.is_none() {
        warn!(%address, "anybody who reaches this address can read the metrics, tenants' names among them");
    }
    Ok(Some((listen(address)?, hosts)))
}

/// The tenant of a server without keys.
pub fn single_tenant() -> TenantId {
    SINGLE_TENANT.parse().expect("the name is a tenant id")
}

fn not_migrated(path: &Path) -> Result<(), StartError> {
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

/// Serves `router` without TLS until `stop` is ready, then for at most `grace` what is under way.
pub async fn serve(listener: TcpListener, router: Router, grace: Duration, stop: impl Future<Output = ()>) {
    let serving = Serving { tls: None, discarded_bytes_max: 0, grace, head_answer };
    vectorizer_listener::serve(listener, router, serving, stop).await;
}

/// The answer to a client whose head was not read to its end.
fn head_answer(error: HeadError) -> Vec<u8> {
    let problem = match error {
        HeadError::TooLarge => {
            let detail = format!(
                "the head of the request has more than {HEAD_BYTES_MAX} bytes, the most that it may have"
            );
            Problem::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "head-too-large", detail)
        }
        HeadError::Crowded => {
            Error::unavailable("busy", "too many requests have begun whose heads are not whole", 1).into()
        }
        HeadError::TooSlow => {
            let detail = "the head of the request did not arrive in time";
            Problem::new(StatusCode::REQUEST_TIMEOUT, "head-too-slow", detail)
        }
    };
    problem.written(&Uuid::now_v7().to_string())
}
