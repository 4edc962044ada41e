//! Which tenants there are and how large, for the operator. Nothing of their data.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use std::{fs, io};

use tracing::warn;
use vectorizer_log::{TenantFolder, TenantId};
use vectorizer_node_store::StoredSize;

use super::Tenancy;
use super::live_tenant::LiveTenant;
use super::shared_state::Figures;
use crate::admission::ClusterPass;

/// Of a folder that was changed so short a while ago, another change may leave no trace in its time.
const CLOCK_GRAIN: Duration = Duration::from_millis(100);
/// How long a list is kept for the next page.
const LIST_KEPT_FOR: Duration = Duration::from_secs(10);

/// A tenant of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantFacts {
    /// Its id.
    pub id: TenantId,
    /// Whether it is in memory.
    pub state: ReportedState,
    /// How large it is; of one that sleeps, what was noted down last.
    pub size: Option<StoredSize>,
    /// What it takes up in memory now.
    pub memory_bytes: u64,
}

/// Whether a tenant is in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportedState {
    /// It is.
    Awake,
    /// Only on disk.
    Asleep,
}

/// The tenants that have folders, as they were listed last: for paging through very many.
/// Kept for a moment only, and believed only while the folder has not changed.
#[derive(Debug, Default)]
pub(super) struct Listed(Mutex<Option<List>>);

#[derive(Debug)]
struct List {
    /// In order.
    ids: Arc<[TenantId]>,
    /// When the folder had been changed last.
    changed: SystemTime,
    used: Instant,
}

impl Listed {
    fn list(&self) -> MutexGuard<'_, Option<List>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tenants that have a folder in `data`, in order.
    fn read(&self, data: &Path) -> io::Result<Arc<[TenantId]>> {
        // Before it is read, so that what changes meanwhile shows next time.
        let changed = fs::metadata(data)?.modified()?;
        if let Some(list) = self.list().as_mut().filter(|list| list.changed == changed) {
            list.used = Instant::now();
            return Ok(Arc::clone(&list.ids));
        }
        let is_recent = changed.elapsed().map_or(true, |since| since < CLOCK_GRAIN);
        let mut ids = TenantFolder::tenants(data)?;
        ids.sort_unstable();
        let ids: Arc<[TenantId]> = ids.into();
        if !is_recent {
            *self.list() = Some(List { ids: Arc::clone(&ids), changed, used: Instant::now() });
        }
        Ok(ids)
    }

    /// Forgets the list if it has not been paged through for a while.
    pub(super) fn forget_unused(&self) {
        self.list().take_if(|list| list.used.elapsed() >= LIST_KEPT_FOR);
    }
}

impl Tenancy {
    /// Up to `limit` tenants behind `after`, by id. Reads the data folder if that has changed, but no tenant's.
    pub fn tenants(
        &self,
        _: &ClusterPass,
        after: Option<&TenantId>,
        limit: usize,
    ) -> io::Result<Vec<TenantFacts>> {
        let ids = self.shared.listed.read(&self.shared.data)?;
        let first = after.map_or(0, |after| ids.partition_point(|id| id <= after));
        Ok(ids[first..].iter().take(limit).map(|id| self.facts(id.clone())).collect())
    }

    /// How large a tenant is; `None` if it is not on this node, or was never noted down.
    pub fn size(&self, _: &ClusterPass, tenant: &TenantId) -> Option<StoredSize> {
        TenantFolder::new(&self.shared.data, tenant).exists().then(|| self.facts(tenant.clone()).size)?
    }

    /// How many tenants are in memory.
    pub fn awake_count(&self) -> usize {
        self.slots().values().filter(|slot| slot.live().is_some()).count()
    }

    /// Notes down how large each tenant in memory is, for the time when it sleeps.
    pub(super) fn note_sizes(&self) {
        let slots: Vec<_> = self.slots().values().cloned().collect();
        let begun = slots.iter().filter_map(|slot| slot.live()).filter(|it| !it.is_unbegun());
        for live in begun {
            self.store_size(&live);
        }
    }

    pub(super) fn store_size(&self, live: &LiveTenant) {
        if let Err(error) = self.shared.node_store.store_size(&live.id, &live.size()) {
            warn!(tenant = %live.id, %error, "the tenant's size cannot be noted down");
        }
    }

    fn facts(&self, id: TenantId) -> TenantFacts {
        let slot = self.slots().get(&id).cloned();
        if let Some(live) = slot.and_then(|slot| slot.live()) {
            let (size, memory_bytes) = (Some(live.size()), live.memory_bytes());
            return TenantFacts { id, state: ReportedState::Awake, size, memory_bytes };
        }
        let size = self.shared.node_store.size(&id).unwrap_or_else(|error| {
            warn!(tenant = %id, %error, "the tenant's size cannot be read");
            None
        });
        TenantFacts { id, state: ReportedState::Asleep, size, memory_bytes: 0 }
    }
}

impl LiveTenant {
    pub(super) fn size(&self) -> StoredSize {
        let Figures { head, log_bytes, usage, .. } = *self.state.figures();
        StoredSize {
            seq: head.seq.get(),
            collections: usage.collections(),
            vectors: usage.vectors(),
            storage_bytes: usage.logical_bytes(),
            log_bytes,
            memory_bytes: Some(self.closed_bytes()),
            last_use: Some(self.last_use().1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_created_or_deleted_between_pages_is_on_the_next_page_or_absent() {
        let data = tempfile::tempdir().unwrap();
        let listed = Listed::default();
        let names =
            || -> Vec<String> { listed.read(data.path()).unwrap().iter().map(ToString::to_string).collect() };
        let mut expected = Vec::new();
        // As fast as it goes, and with pauses in which lists are kept.
        for number in 0..300 {
            if number % 100 == 99 {
                std::thread::sleep(2 * CLOCK_GRAIN);
                assert_eq!(names(), expected);
                assert!(listed.list().is_some());
            }
            let name = format!("t{number:03}");
            fs::create_dir(data.path().join(&name)).unwrap();
            expected.push(name);
            assert_eq!(names(), expected);
            if number % 3 == 0 {
                fs::remove_dir(data.path().join(expected.remove(number % expected.len()))).unwrap();
                assert_eq!(names(), expected);
            }
        }
    }
}
