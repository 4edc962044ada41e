//! The audit of refused requests.
//!
//! Denials of an awake tenant go into its log, through its writer; those of unknown and sleeping tenants go into the
//! node's file. Equal denials within a minute are one entry with a count, and the number of entries is bounded, so
//! that a flood of refused requests fills neither disk nor memory. Of a key only its public name is stored.
//!
//! - `denials`: bounded counting of equal denials.
//! - `tenant`: denials that wait for one tenant's log.
//! - `node_log`: the node's file.

mod denials;
mod node_log;
mod tenant;

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{error, warn};
use vectorizer_log::{TenantId, Timestamp};

use self::denials::{Denials, Kind, Span};
use self::node_log::{Entry, NodeLog};
pub use self::tenant::{TakenDenials, TenantDenials};
use vectorizer_access::{DenialReason, Denied, KeyId, Operation};
use vectorizer_metrics::Metrics;

/// How long equal denials are one entry.
const WINDOW: Duration = Duration::from_mins(1);
/// For how many sleeping tenants denials wait until they wake. Those of others are in the node's file only.
const SLEEPERS_MAX: usize = 1_024;
/// How many entries a minute the node's file gets, of tenants and of unknown callers, and one more of each for the
/// rest.
const NODE_KINDS_MAX: usize = 1_024;
const STRANGERS_KINDS_MAX: usize = 128;

/// The audit. Cheap to clone; the clones share the counts.
#[derive(Clone, Debug)]
pub struct Audit {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    tenants: Mutex<Tenants>,
    /// Denials of tenants, for the node's file.
    node: Mutex<Denials<(Option<TenantId>, Kind)>>,
    /// Denials of unknown callers, counted apart so that they leave room for those of tenants.
    strangers: Mutex<Denials<(Option<TenantId>, Kind)>>,
    log: Mutex<NodeLog>,
    metrics: Metrics,
}

/// Denials that wait for tenants' logs.
#[derive(Debug, Default)]
struct Tenants {
    awake: HashMap<TenantId, Arc<TenantDenials>>,
    /// At most [`SLEEPERS_MAX`].
    asleep: HashMap<TenantId, Arc<TenantDenials>>,
}

/// A refused request.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Its tenant, if it is known.
    pub tenant: Option<TenantId>,
    /// The public name of its key, if it had one.
    pub key_id: Option<KeyId>,
    /// Its operation.
    pub operation: Operation,
    /// Why it was refused.
    pub reason: DenialReason,
    /// The client's address.
    pub from: Option<IpAddr>,
}

impl Refused {
    /// A request that the access check has refused; `None` if the check had no answer.
    pub fn of(denied: &Denied, operation: Operation, from: Option<IpAddr>) -> Option<Self> {
        let reason = denied.denial.reason()?;
        Some(Self { tenant: denied.tenant.clone(), key_id: denied.key_id.clone(), operation, reason, from })
    }
}

impl Audit {
    /// An audit with its file in the node's `folder`.
    pub fn new(folder: &Path, metrics: Metrics) -> Self {
        let shared = Shared {
            tenants: Mutex::default(),
            node: Mutex::new(Denials::new(NODE_KINDS_MAX)),
            strangers: Mutex::new(Denials::new(STRANGERS_KINDS_MAX)),
            log: Mutex::new(NodeLog::new(folder)),
            metrics,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Counts a refused request. Takes about a microsecond, and never waits for a disk.
    pub fn note(&self, refused: Refused) {
        let Refused { tenant, key_id, operation, reason, from } = refused;
        if reason.is_of_the_caller() {
            self.shared.metrics.authentication_failed(tenant.as_ref(), reason);
        }
        let kind = Kind { key_id, operation, reason, from };
        let now = Timestamp::now();
        if let Some(tenant) = &tenant {
            let mut tenants = locked(&self.shared.tenants);
            if let Some(denials) = tenants.awake.get(tenant) {
                denials.note(kind, now);
                return;
            }
            if tenants.asleep.len() < SLEEPERS_MAX || tenants.asleep.contains_key(tenant) {
                tenants.asleep.entry(tenant.clone()).or_default().note(kind.clone(), now);
            }
        }
        // Also for a sleeping tenant, which may never wake.
        let node = if tenant.is_some() { &self.shared.node } else { &self.shared.strangers };
        locked(node).note((tenant, kind), now);
    }

    /// The tenant wakes. Returns the denials that wait for its log.
    pub fn wakes(&self, tenant: &TenantId) -> Arc<TenantDenials> {
        let mut tenants = locked(&self.shared.tenants);
        let waited = tenants.asleep.remove(tenant);
        Arc::clone(tenants.awake.entry(tenant.clone()).or_insert_with(|| waited.unwrap_or_default()))
    }

    /// The tenant falls asleep. Its writer has appended its denials.
    pub fn sleeps(&self, tenant: &TenantId) {
        let left = locked(&self.shared.tenants).awake.remove(tenant);
        self.keep_in_the_nodes_file(tenant, left.as_deref());
    }

    /// Moves denials from after the tenant's last commit to the node's file.
    fn keep_in_the_nodes_file(&self, tenant: &TenantId, left: Option<&TenantDenials>) {
        let mut node = locked(&self.shared.node);
        for (kind, span) in left.into_iter().flat_map(TenantDenials::leave) {
            node.add(kind.map(|kind| (Some(tenant.clone()), kind)), span);
        }
    }

    /// The tenant is deleted. A later tenant with its id is another one.
    pub fn forget(&self, tenant: &TenantId) {
        let mut tenants = locked(&self.shared.tenants);
        tenants.asleep.remove(tenant);
        let left = tenants.awake.remove(tenant);
        drop(tenants);
        self.keep_in_the_nodes_file(tenant, left.as_deref());
    }

    /// Writes the node's file once a minute until `stop` is cancelled, and once more at the end.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            let ending = tokio::time::timeout(WINDOW, stop.cancelled()).await.is_ok();
            let audit = self.clone();
            if tokio::task::spawn_blocking(move || audit.write()).await.is_err() {
                error!("writing refused requests panicked");
            }
            if ending {
                return;
            }
        }
    }

    fn write(&self) {
        for denials in [&self.shared.node, &self.shared.strangers] {
            let drained = locked(denials).drain();
            let entry = |(of, span): &(Option<(Option<TenantId>, Kind)>, Span)| match of {
                Some((tenant, kind)) => Entry::of(tenant.clone(), kind, *span),
                None => Entry::others(*span),
            };
            let entries: Vec<Entry> = drained.iter().map(entry).collect();
            if let Err(error) = locked(&self.shared.log).append(&entries) {
                warn!(%error, entries = entries.len(), "refused requests cannot be written yet");
                let mut denials = locked(denials);
                for (of, span) in drained {
                    denials.add(of, span);
                }
            }
        }
    }
}

/// The state is consistent after every statement, so a poisoned lock can be used.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(tenant: Option<&str>, reason: DenialReason) -> Refused {
        Refused {
            tenant: tenant.map(|tenant| tenant.parse().unwrap()),
            key_id: None,
            operation: Operation::Search,
            reason,
            from: Some("192.0.2.1".parse().unwrap()),
        }
    }

    #[test]
    fn denials_of_the_awake_wait_for_their_log_and_all_others_are_in_the_nodes_file() {
        let folder = tempfile::tempdir().unwrap();
        let audit = Audit::new(folder.path(), Metrics::default());
        let awake = audit.wakes(&"awake".parse().unwrap());
        for tenant in [Some("awake"), Some("asleep"), None] {
            for _ in 0..3 {
                audit.note(refused(tenant, DenialReason::InsufficientPermission));
            }
        }
        audit.write();
        let text = std::fs::read_to_string(folder.path().join(node_log::FILE)).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines.iter().all(|line| line["count"] == 3), "{text}");
        assert!(lines.iter().any(|line| line["tenant"] == "asleep"), "{text}");
        assert!(lines.iter().any(|line| line["tenant"].is_null()), "{text}");
        assert!(!awake.is_empty());
        // Its log gets the denials from while it slept.
        assert!(!audit.wakes(&"asleep".parse().unwrap()).is_empty());
    }

    #[test]
    fn no_number_of_sleeping_tenants_takes_more_than_its_room() {
        let folder = tempfile::tempdir().unwrap();
        let audit = Audit::new(folder.path(), Metrics::default());
        for number in 0..2_000 {
            let tenant = format!("t{number}");
            audit.note(refused(Some(&tenant), DenialReason::TenantSuspended));
        }
        assert_eq!(locked(&audit.shared.tenants).asleep.len(), SLEEPERS_MAX);
        audit.write();
        let text = std::fs::read_to_string(folder.path().join(node_log::FILE)).unwrap();
        let count =
            |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["count"].as_u64().unwrap();
        assert_eq!(text.lines().map(count).sum::<u64>(), 2_000);
        assert_eq!(text.lines().count(), NODE_KINDS_MAX + 1);
    }
}
