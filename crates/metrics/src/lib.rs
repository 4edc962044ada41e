//! The metrics of a node, in Prometheus' text format.
//!
//! Counting a request costs an atomic addition, since its series are looked up once and then held. All labels have
//! few values, except for tenants, whose number is bounded.
//!
//! - `tenants`: counters of each tenant.
//! - `requests`: latencies.
//! - `hivehub`: calls of HiveHub.
//! - `node`: gauges of the node.
//! - `process`: this process, from `/proc`.

mod history;
mod hivehub;
mod node;
mod process;
mod requests;
mod tenants;

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use prometheus::core::{Collector, Desc};
use prometheus::{Histogram, HistogramOpts, IntCounter, IntGauge, Opts, Registry, TEXT_FORMAT, TextEncoder};
use vectorizer_log::{CommitTimes, TenantId};

use self::history::HistorySeries;
pub use self::history::{HistoryWork, TierReading};
use self::hivehub::HiveHubSeries;
use self::node::{NodeSeries, WakingSeries};
pub use self::node::{Reading, Room, Waking};
use self::process::Process;
use self::requests::RequestSeries;
use self::tenants::TenantSeries;
pub use self::tenants::{TenantMetrics, TenantReading};
use vectorizer_access::{DenialReason, Operation};
use vectorizer_hivehub::{Call, CallObserver, CallOutcome};
use vectorizer_limits::QuotaType;

/// The media type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = TEXT_FORMAT;

/// From a tenth of a millisecond, a search, to the longest that a request should take.
const LATENCY_BUCKETS: [f64; 16] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// All metrics of the node. Cheap to clone; the clones share the counters.
#[derive(Clone, Debug)]
pub struct Metrics {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    registry: Registry,
    tenants: TenantSeries,
    requests: RequestSeries,
    hivehub: HiveHubSeries,
    node: NodeSeries,
    waking: WakingSeries,
    searches: Histogram,
    appends: Histogram,
    syncs: Histogram,
    records: IntCounter,
    history: HistorySeries,
}

impl Default for Metrics {
    fn default() -> Self {
        let shared = Shared {
            registry: Registry::new(),
            tenants: TenantSeries::default(),
            requests: RequestSeries::default(),
            hivehub: HiveHubSeries::default(),
            node: NodeSeries::default(),
            waking: WakingSeries::default(),
            searches: histogram(
                "vectorizer_search_duration_seconds",
                "How long a search computes, waiting not counted.",
            ),
            appends: histogram(
                "vectorizer_commit_append_duration_seconds",
                "How long a commit's records take to be written.",
            ),
            syncs: histogram(
                "vectorizer_commit_sync_duration_seconds",
                "How long a commit's records take to be durable once they are written.",
            ),
            records: counter("vectorizer_committed_records_total", "Records appended to tenants' logs."),
            history: HistorySeries::default(),
        };
        for collector in shared.collectors() {
            shared.register(collector);
        }
        Self { shared: Arc::new(shared) }
    }
}

impl Metrics {
    /// All metrics as text, with the gauges of `reading`. Takes milliseconds with many tenants.
    pub fn text(&self, reading: &Reading) -> String {
        self.shared.node.set(reading);
        self.shared.history.set(reading.tiers);
        self.shared.tenants.set_sizes(&reading.tenants);
        TextEncoder::new().encode_to_string(&self.shared.registry.gather()).unwrap_or_else(|error| {
            tracing::error!(%error, "the metrics could not be written");
            String::new()
        })
    }

    /// The counters of a tenant, to be held while it is awake. Above a number of tenants, further ones share
    /// counters.
    pub fn tenant(&self, tenant: &TenantId) -> Arc<TenantMetrics> {
        self.shared.tenants.of(tenant)
    }

    /// The tenant falls asleep: its series are removed.
    pub fn forget_tenant(&self, tenant: &TenantId) {
        self.shared.tenants.forget(tenant);
    }

    /// A request was answered.
    pub fn request(&self, operation: Operation, status: StatusCode, latency: Duration) {
        self.shared.requests.observe(operation, status, latency);
    }

    /// A caller was refused, of this tenant if it is known.
    pub fn authentication_failed(&self, tenant: Option<&TenantId>, reason: DenialReason) {
        self.shared.tenants.authentication_failed(tenant, reason);
    }

    /// A request was admitted that does not wake its tenant.
    pub fn requested(&self, tenant: &TenantId, operation: Operation) {
        self.shared.tenants.known_or_others(tenant).request(operation);
    }

    /// A request was refused because of its tenant's rate limit.
    pub fn rate_limit_exceeded(&self, tenant: &TenantId) {
        self.shared.tenants.known_or_others(tenant).rate_limit_exceeded();
    }

    /// A write was refused because of its tenant's quota.
    pub fn quota_exceeded(&self, tenant: &TenantId, quota: QuotaType) {
        self.shared.tenants.known_or_others(tenant).quota_exceeded(quota);
    }

    /// A search has computed for this long.
    pub fn searched(&self, computed: Duration) {
        self.shared.searches.observe(computed.as_secs_f64());
    }

    /// Records were committed.
    pub fn committed(&self, records: usize, times: CommitTimes) {
        self.shared.records.inc_by(records as u64);
        self.shared.appends.observe(times.append.as_secs_f64());
        self.shared.syncs.observe(times.sync.as_secs_f64());
    }

    /// The history of a log was changed or verified, by this many bytes.
    pub fn history_worked(&self, work: HistoryWork, bytes: u64) {
        self.shared.history.worked(work, bytes);
    }

    /// So many segments and bases were found damaged by the last verification.
    pub fn history_damaged(&self, files: usize) {
        self.shared.history.found_damaged(files);
    }

    /// Whether `HiveHub` answered the last call of this kind, or none was made.
    pub fn hivehub_answers(&self, call: Call) -> bool {
        self.shared.hivehub.answers(call)
    }

    /// A tenant wakes, until the returned value is dropped.
    pub fn waking(&self) -> Waking {
        self.shared.waking.begin()
    }

    /// `HiveHub` has rejected lines of bills.
    pub fn lines_parked(&self, lines: u64) {
        self.shared.node.parked_lines.inc_by(lines);
    }

    /// The number of rejected lines of bills, including earlier runs.
    pub fn parked_lines(&self) -> u64 {
        self.shared.node.parked_lines.get()
    }

    /// Whether records of the node are in memory only for now.
    pub fn notes_in_memory(&self, is_so: bool) {
        self.shared.node.notes_in_memory.set(i64::from(is_so));
    }

    /// The age of the oldest unreported usage; zero if all is reported.
    pub fn oldest_unreported_usage(&self, age: Duration) {
        self.shared.node.oldest_unreported_usage.set(age.as_secs_f64());
    }
}

impl Shared {
    fn collectors(&self) -> Vec<Box<dyn Collector>> {
        let mut all: Vec<Box<dyn Collector>> = vec![
            Box::new(build_info()),
            Box::new(Process::default()),
            Box::new(self.tenants.clone()),
            Box::new(self.searches.clone()),
            Box::new(self.appends.clone()),
            Box::new(self.syncs.clone()),
            Box::new(self.records.clone()),
        ];
        all.extend(self.requests.collectors());
        all.extend(self.hivehub.collectors());
        all.extend(self.node.collectors());
        all.extend(self.history.collectors());
        all.extend(self.waking.collectors());
        all
    }

    fn register(&self, collector: Box<dyn Collector>) {
        let names: Vec<String> = collector.desc().into_iter().map(|it: &Desc| it.fq_name.clone()).collect();
        if let Err(error) = self.registry.register(collector) {
            tracing::error!(%error, ?names, "metrics that cannot be registered are not shown");
        }
    }
}

fn build_info() -> IntGauge {
    let options = Opts::new("vectorizer_build_info", "Always 1; its labels say which build this is.")
        .const_label("version", env!("CARGO_PKG_VERSION"));
    let info = IntGauge::with_opts(options).expect("name and labels are well-formed");
    info.set(1);
    info
}

fn counter(name: &str, help: &str) -> IntCounter {
    IntCounter::new(name, help).expect("the name is well-formed")
}

fn gauge(name: &str, help: &str) -> IntGauge {
    IntGauge::new(name, help).expect("the name is well-formed")
}

fn latency(name: &str, help: &str) -> HistogramOpts {
    HistogramOpts::new(name, help).buckets(LATENCY_BUCKETS.to_vec())
}

fn histogram(name: &str, help: &str) -> Histogram {
    Histogram::with_opts(latency(name, help)).expect("name and buckets are well-formed")
}

impl CallObserver for Metrics {
    fn called(&self, call: Call, outcome: CallOutcome, took: Duration) {
        self.shared.hivehub.observe(call, outcome, took);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn tenant(name: &str) -> TenantId {
        name.parse().unwrap()
    }

    #[test]
    fn the_proposals_metrics_have_its_names_and_labels() {
        let metrics = Metrics::default();
        let acme = metrics.tenant(&tenant("acme"));
        acme.request(Operation::Search);
        acme.request(Operation::Search);
        metrics.rate_limit_exceeded(&tenant("acme"));
        metrics.quota_exceeded(&tenant("acme"), QuotaType::Vectors);
        metrics.authentication_failed(Some(&tenant("acme")), DenialReason::InsufficientPermission);
        metrics.authentication_failed(None, DenialReason::NoKey);
        let reading =
            Reading { tenants: vec![TenantReading::new(acme, 4_000, 70_000)], ..Reading::default() };
        let text = metrics.text(&reading);
        for line in [
            "vectorizer_tenant_requests_total{operation=\"search\",tenant_id=\"acme\"} 2",
            "vectorizer_tenant_storage_bytes{tenant_id=\"acme\"} 4000",
            "vectorizer_tenant_memory_bytes{tenant_id=\"acme\"} 70000",
            "vectorizer_tenant_rate_limit_exceeded_total{tenant_id=\"acme\"} 1",
            "vectorizer_tenant_quota_exceeded_total{quota_type=\"vectors\",tenant_id=\"acme\"} 1",
            "vectorizer_authentication_failures_total{reason=\"insufficient-permission\",tenant_id=\"acme\"} 1",
            "vectorizer_authentication_failures_total{reason=\"no-key\",tenant_id=\"_none\"} 1",
        ] {
            assert!(text.lines().any(|it| it == line), "{line}\n{text}");
        }
    }

    #[test]
    fn a_sleeping_tenant_has_no_series_and_no_number_of_tenants_has_more_than_there_is_room_for() {
        let metrics = Metrics::default();
        drop(metrics.tenant(&tenant("acme")));
        metrics.forget_tenant(&tenant("acme"));
        metrics.rate_limit_exceeded(&tenant("acme"));
        let text = metrics.text(&Reading::default());
        assert!(!text.contains("acme"), "{text}");
        assert!(text.contains("vectorizer_tenant_rate_limit_exceeded_total{tenant_id=\"_others\"} 1"));
        for number in 0..12_000 {
            metrics.tenant(&tenant(&format!("t{number}"))).request(Operation::Search);
        }
        let text = metrics.text(&Reading::default());
        let of_tenants = text.lines().filter(|line| line.starts_with("vectorizer_tenant_requests_total{"));
        // One for each tenant, and one for each operation of all others together.
        assert_eq!(of_tenants.count(), 10_000 + Operation::ALL.len());
        assert!(text.contains("{operation=\"search\",tenant_id=\"_others\"} 2000"));
    }

    /// A part of the cost of a warm request. Without optimization it is several times as much.
    #[test]
    fn counting_a_request_takes_next_to_nothing() {
        const TIMES: u32 = 10_000;
        let metrics = Metrics::default();
        let acme = metrics.tenant(&tenant("acme"));
        let once = || {
            let started = Instant::now();
            for _ in 0..TIMES {
                let began = Instant::now();
                acme.request(Operation::Search);
                metrics.searched(began.elapsed());
                metrics.request(Operation::Search, StatusCode::OK, began.elapsed());
            }
            started.elapsed() / TIMES
        };
        let least = (0..20).map(|_| once()).min().unwrap();
        assert!(least < Duration::from_micros(10), "{least:?}");
    }
}
