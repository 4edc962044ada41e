//! Which tenants there are and how large, for the operator. Nothing of their data.

use std::io;
use std::sync::PoisonError;

use tracing::warn;
use vectorizer_log::{TenantFolder, TenantId};

use super::Tenancy;
use super::awake::Awake;
use crate::auth::ClusterPass;
use crate::catalogue::NotedSize;

/// A tenant of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantFacts {
    /// Its id.
    pub id: TenantId,
    /// Whether it is in memory.
    pub state: TenantState,
    /// How large it is; of one that sleeps, what was noted down last.
    pub size: Option<NotedSize>,
}

/// Whether a tenant is in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TenantState {
    /// It is.
    Awake,
    /// Only on disk.
    Asleep,
}

impl Tenancy {
    /// Up to `limit` tenants behind `after`, by id. Reads the data folder, but no tenant's.
    pub fn tenants(
        &self,
        _: &ClusterPass,
        after: Option<&TenantId>,
        limit: usize,
    ) -> io::Result<Vec<TenantFacts>> {
        let mut ids = TenantFolder::tenants(&self.shared.data)?;
        ids.retain(|id| after.is_none_or(|after| id > after));
        // Of very many only a page is put in order.
        if limit < ids.len() {
            ids.select_nth_unstable(limit);
            ids.truncate(limit);
        }
        ids.sort_unstable();
        Ok(ids.into_iter().map(|id| self.facts(id)).collect())
    }

    /// How large a tenant is; `None` if it is not on this node, or was never noted down.
    pub fn size(&self, _: &ClusterPass, tenant: &TenantId) -> Option<NotedSize> {
        TenantFolder::new(&self.shared.data, tenant).exists().then(|| self.facts(tenant.clone()).size)?
    }

    /// How many tenants are in memory.
    pub fn awake_count(&self) -> usize {
        self.beds().values().filter(|bed| bed.rest().awake.is_some()).count()
    }

    /// Notes down how large each tenant in memory is, for the time when it sleeps.
    pub(super) fn note_sizes(&self) {
        let beds: Vec<_> = self.beds().values().cloned().collect();
        for awake in beds.iter().filter_map(|bed| bed.rest().awake.clone()) {
            self.note_size(&awake);
        }
    }

    pub(super) fn note_size(&self, awake: &Awake) {
        if let Err(error) = self.shared.catalogue.note_size(&awake.id, &awake.size()) {
            warn!(tenant = %awake.id, %error, "the tenant's size cannot be noted down");
        }
    }

    fn facts(&self, id: TenantId) -> TenantFacts {
        let bed = self.beds().get(&id).cloned();
        if let Some(awake) = bed.and_then(|bed| bed.rest().awake.clone()) {
            return TenantFacts { id, state: TenantState::Awake, size: Some(awake.size()) };
        }
        let size = self.shared.catalogue.size(&id).unwrap_or_else(|error| {
            warn!(tenant = %id, %error, "the tenant's size cannot be read");
            None
        });
        TenantFacts { id, state: TenantState::Asleep, size }
    }
}

impl Awake {
    pub(super) fn size(&self) -> NotedSize {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let usage = state.projection.usage();
        NotedSize {
            seq: state.head.seq.get(),
            collections: usage.collections(),
            vectors: usage.vectors(),
            storage_bytes: usage.logical_bytes(),
            log_bytes: state.log_bytes,
            last_use: Some(self.last_use().1),
        }
    }
}
