//! Counters of each tenant.

use std::array::from_fn;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use vectorizer_access::{DenialReason, Operation};
use vectorizer_limits::QuotaType;
use vectorizer_log::TenantId;

/// How many tenants have their own series.
const TENANTS_MAX: usize = 10_000;
/// The label of further tenants, and of sleeping ones. No tenant can have this name.
const OTHERS: &str = "_others";
/// The label of callers whose tenant is unknown. No tenant can have this name.
const NONE: &str = "_none";

/// The counters of one tenant.
#[derive(Debug)]
pub struct TenantMetrics {
    requests: [AtomicU64; Operation::ALL.len()],
    rate_limits_exceeded: AtomicU64,
    quotas_exceeded: [AtomicU64; QuotaType::ALL.len()],
    failures: [AtomicU64; DenialReason::ALL.len()],
    storage_bytes: AtomicU64,
    memory_bytes: AtomicU64,
}

impl Default for TenantMetrics {
    fn default() -> Self {
        Self {
            requests: from_fn(|_| AtomicU64::new(0)),
            rate_limits_exceeded: AtomicU64::new(0),
            quotas_exceeded: from_fn(|_| AtomicU64::new(0)),
            failures: from_fn(|_| AtomicU64::new(0)),
            storage_bytes: AtomicU64::new(0),
            memory_bytes: AtomicU64::new(0),
        }
    }
}

impl TenantMetrics {
    /// A request was admitted.
    pub fn request(&self, operation: Operation) {
        increment(&self.requests[operation as usize]);
    }

    /// A request exceeded the rate limit.
    pub fn rate_limit_exceeded(&self) {
        increment(&self.rate_limits_exceeded);
    }

    /// A write would have exceeded this quota.
    pub fn quota_exceeded(&self, quota: QuotaType) {
        increment(&self.quotas_exceeded[quota as usize]);
    }

    fn authentication_failed(&self, reason: DenialReason) {
        increment(&self.failures[reason as usize]);
    }
}

fn increment(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// The storage and memory of an awake tenant.
#[derive(Clone, Debug)]
pub struct TenantReading {
    metrics: Arc<TenantMetrics>,
    storage_bytes: u64,
    memory_bytes: u64,
}

impl TenantReading {
    /// With these logical bytes, and bytes in memory.
    pub fn new(metrics: Arc<TenantMetrics>, storage_bytes: u64, memory_bytes: u64) -> Self {
        Self { metrics, storage_bytes, memory_bytes }
    }
}

/// The series of all tenants. The clones share them.
#[derive(Clone, Debug)]
pub(super) struct TenantSeries {
    known: Arc<Mutex<HashMap<TenantId, Arc<TenantMetrics>>>>,
    others: Arc<TenantMetrics>,
    none: Arc<TenantMetrics>,
    families: Arc<Families>,
}

/// The families, in the order of the output.
#[derive(Debug)]
struct Families {
    requests: Desc,
    storage_bytes: Desc,
    memory_bytes: Desc,
    rate_limits_exceeded: Desc,
    quotas_exceeded: Desc,
    failures: Desc,
}

impl Default for TenantSeries {
    fn default() -> Self {
        let desc = |name: &str, help: &str, label: Option<&str>| {
            let labels = label.into_iter().chain(["tenant_id"]).map(str::to_owned).collect();
            Desc::new(name.to_owned(), help.to_owned(), labels, HashMap::new())
                .expect("name and labels are well-formed")
        };
        let families = Families {
            requests: desc(
                "vectorizer_tenant_requests_total",
                "Requests of the tenant that were let in.",
                Some("operation"),
            ),
            storage_bytes: desc(
                "vectorizer_tenant_storage_bytes",
                "Logical size of the vectors of a tenant that is awake.",
                None,
            ),
            memory_bytes: desc(
                "vectorizer_tenant_memory_bytes",
                "Memory that a tenant that is awake takes up, as counted; held against server.memory_budget.",
                None,
            ),
            rate_limits_exceeded: desc(
                "vectorizer_tenant_rate_limit_exceeded_total",
                "Requests refused because the tenant makes too many.",
                None,
            ),
            quotas_exceeded: desc(
                "vectorizer_tenant_quota_exceeded_total",
                "Writes refused because the tenant's quota is used up.",
                Some("quota_type"),
            ),
            failures: desc(
                "vectorizer_authentication_failures_total",
                "Callers refused, by reason; tenant_id is _none where it is not known.",
                Some("reason"),
            ),
        };
        Self {
            known: Arc::default(),
            others: Arc::default(),
            none: Arc::default(),
            families: Arc::new(families),
        }
    }
}

impl TenantSeries {
    /// The tenant's counters, made unless there are too many.
    pub(super) fn of(&self, tenant: &TenantId) -> Arc<TenantMetrics> {
        let mut known = self.known();
        if known.len() >= TENANTS_MAX && !known.contains_key(tenant) {
            return Arc::clone(&self.others);
        }
        Arc::clone(known.entry(tenant.clone()).or_default())
    }

    pub(super) fn known_or_others(&self, tenant: &TenantId) -> Arc<TenantMetrics> {
        Arc::clone(self.known().get(tenant).unwrap_or(&self.others))
    }

    pub(super) fn authentication_failed(&self, tenant: Option<&TenantId>, reason: DenialReason) {
        match tenant {
            Some(tenant) => self.known_or_others(tenant).authentication_failed(reason),
            None => self.none.authentication_failed(reason),
        }
    }

    pub(super) fn forget(&self, tenant: &TenantId) {
        self.known().remove(tenant);
    }

    pub(super) fn set_sizes(&self, readings: &[TenantReading]) {
        // Of several.
        self.others.storage_bytes.store(0, Ordering::Relaxed);
        self.others.memory_bytes.store(0, Ordering::Relaxed);
        for TenantReading { metrics, storage_bytes, memory_bytes } in readings {
            if Arc::ptr_eq(metrics, &self.others) {
                metrics.storage_bytes.fetch_add(*storage_bytes, Ordering::Relaxed);
                metrics.memory_bytes.fetch_add(*memory_bytes, Ordering::Relaxed);
            } else {
                metrics.storage_bytes.store(*storage_bytes, Ordering::Relaxed);
                metrics.memory_bytes.store(*memory_bytes, Ordering::Relaxed);
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<TenantId, Arc<TenantMetrics>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for TenantSeries {
    fn desc(&self) -> Vec<&Desc> {
        let Families {
            requests,
            storage_bytes,
            memory_bytes,
            rate_limits_exceeded,
            quotas_exceeded,
            failures,
        } = &*self.families;
        vec![requests, storage_bytes, memory_bytes, rate_limits_exceeded, quotas_exceeded, failures]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut tenants: Vec<(String, Arc<TenantMetrics>)> =
            self.known().iter().map(|(id, metrics)| (id.to_string(), Arc::clone(metrics))).collect();
        tenants.push((OTHERS.to_owned(), Arc::clone(&self.others)));
        let families = &self.families;
        let mut requests = Series::new(&families.requests, MetricType::COUNTER);
        let mut storage = Series::new(&families.storage_bytes, MetricType::GAUGE);
        let mut memory = Series::new(&families.memory_bytes, MetricType::GAUGE);
        let mut rate_limits = Series::new(&families.rate_limits_exceeded, MetricType::COUNTER);
        let mut quotas = Series::new(&families.quotas_exceeded, MetricType::COUNTER);
        let mut failures = Series::new(&families.failures, MetricType::COUNTER);
        for (tenant, metrics) in &tenants {
            // A counter of zero has no series, except for the label of further tenants.
            let zeroes = *tenant == OTHERS;
            for (operation, count) in Operation::ALL.iter().zip(&metrics.requests) {
                requests.add(tenant, Some(("operation", operation.name())), count, zeroes);
            }
            storage.add(tenant, None, &metrics.storage_bytes, true);
            memory.add(tenant, None, &metrics.memory_bytes, true);
            rate_limits.add(tenant, None, &metrics.rate_limits_exceeded, true);
            for (quota, count) in QuotaType::ALL.iter().zip(&metrics.quotas_exceeded) {
                quotas.add(tenant, Some(("quota_type", quota.name())), count, zeroes);
            }
            failed(&mut failures, tenant, metrics, false);
        }
        failed(&mut failures, NONE, &self.none, true);
        [requests, storage, memory, rate_limits, quotas, failures].map(Series::family).into()
    }
}

fn failed(series: &mut Series, tenant: &str, metrics: &TenantMetrics, zeroes: bool) {
    for (reason, count) in DenialReason::ALL.iter().zip(&metrics.failures) {
        series.add(tenant, Some(("reason", reason.code())), count, zeroes && reason.is_of_the_caller());
    }
}

/// A family of the output.
struct Series {
    family: MetricFamily,
    kind: MetricType,
    metrics: Vec<Metric>,
}

impl Series {
    fn new(desc: &Desc, kind: MetricType) -> Self {
        let mut family = MetricFamily::default();
        family.set_name(desc.fq_name.clone());
        family.set_help(desc.help.clone());
        family.set_field_type(kind);
        Self { family, kind, metrics: Vec::new() }
    }

    #[expect(clippy::cast_precision_loss, reason = "the format's numbers are f64")]
    fn add(&mut self, tenant: &str, label: Option<(&str, &str)>, value: &AtomicU64, zero: bool) {
        let value = value.load(Ordering::Relaxed);
        if value == 0 && !zero {
            return;
        }
        let labels = label.into_iter().chain([("tenant_id", tenant)]).map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name(name.to_owned());
            pair.set_value(value.to_owned());
            pair
        });
        let mut metric = Metric::from_label(labels.collect());
        if self.kind == MetricType::GAUGE {
            let mut gauge = Gauge::default();
            gauge.set_value(value as f64);
            metric.set_gauge(gauge);
        } else {
            let mut counter = Counter::default();
            counter.set_value(value as f64);
            metric.set_counter(counter);
        }
        self.metrics.push(metric);
    }

    fn family(mut self) -> MetricFamily {
        self.family.set_metric(self.metrics);
        self.family
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The arrays are indexed by variants, and listed in the order of `ALL`.
    #[test]
    fn every_list_of_all_is_in_the_order_of_its_variants() {
        assert!(Operation::ALL.iter().enumerate().all(|(at, it)| *it as usize == at));
        assert!(QuotaType::ALL.iter().enumerate().all(|(at, it)| *it as usize == at));
        assert!(DenialReason::ALL.iter().enumerate().all(|(at, it)| *it as usize == at));
    }
}
