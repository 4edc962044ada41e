//! Finds the tenants that HiveHub deleted during a gap in its policy feed.
//!
//! A tenant that was deleted and created again is recognised by its incarnation (see `incarnation`). But a tenant
//! that was deleted and sends no further request would stay on the disk for ever. So after a gap HiveHub is asked
//! about every tenant that has a folder here, one after the other, until all have been asked about.

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use vectorizer_hivehub::{Extensible, HiveHubClient, QuotaVerdict, TenantStatus};
use vectorizer_log::{Incarnation, TenantFolder, TenantId};
use vectorizer_scheduling::run_blocking;

use super::deletion::{DeletionError, FolderMove};
use super::ending::{EndedBy, Ending};
use super::{FIRST_ANSWERS, Tenancy};

/// The pause between two questions, because HiveHub has other requests to answer.
const PAUSE: Duration = Duration::from_millis(10);
/// How many tenants may be in doubt at the same time.
const DOUBTED_MAX: usize = 1_024;
/// The pause before HiveHub is asked again about a tenant, and before a data folder is listed again.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

impl Tenancy {
    /// Asks `hub` about every tenant here after each gap in its feed, until `stop`.
    pub async fn close_gaps(self, hub: HiveHubClient, stop: CancellationToken) {
        let work = async {
            tokio::time::sleep(FIRST_ANSWERS).await;
            loop {
                while self.has_gap().await && !self.close_gap(&hub).await {
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
                let found = self.shared.gap_found.notified();
                if self.settle_doubts(&hub).await {
                    found.await;
                } else {
                    let _ = timeout(RETRY_PAUSE, found).await;
                }
            }
        };
        let _: Option<()> = stop.run_until_cancelled(work).await;
    }

    /// Stores durably that changes in the feed may have been missed.
    pub(super) fn store_gap(&self) {
        self.shared.gaps.fetch_add(1, Ordering::SeqCst);
        if let Err(error) = self.shared.node_store.store_gap(true) {
            warn!(%error, "it cannot be noted down that HiveHub's feed had a gap");
        }
        self.shared.gap_found.notify_one();
    }

    pub(super) async fn has_gap(&self) -> bool {
        let node_store = self.shared.node_store.clone();
        let noted = tokio::task::spawn_blocking(move || node_store.has_gap()).await;
        // If the stored value cannot be read, there may be a gap.
        !matches!(noted, Ok(Ok(false)))
    }

    /// Asks about every tenant that is here now; `false` if they could not be listed.
    pub(super) async fn close_gap(&self, hub: &HiveHubClient) -> bool {
        let gaps = self.shared.gaps.load(Ordering::SeqCst);
        let data = self.shared.data.clone();
        let deleted = self.shared.deleted.clone();
        let listed = run_blocking(move || {
            let mut tenants: BTreeSet<_> = TenantFolder::tenants(&data)?.into_iter().collect();
            // Also tenants that are deleted here, because HiveHub may have undeleted them.
            let (deleted, _) = deleted.all().map_err(std::io::Error::other)?;
            tenants.extend(deleted.into_iter().map(|tombstone| tombstone.tenant));
            std::io::Result::Ok(tenants)
        })
        .await;
        let mut left = match listed {
            Ok(Ok(tenants)) => tenants.into_iter().collect::<Vec<_>>(),
            Ok(Err(error)) => {
                warn!(%error, "the tenants cannot be listed to ask HiveHub about them");
                return false;
            }
            Err(_) => return false,
        };
        info!(
            tenants = left.len(),
            "asking HiveHub which tenants it has deleted while its feed could not be followed"
        );
        while !left.is_empty() {
            let mut unanswered = Vec::new();
            for tenant in left {
                if !self.follows(&tenant, hub).await {
                    unanswered.push(tenant);
                }
                tokio::time::sleep(PAUSE).await;
            }
            left = unanswered;
            if !left.is_empty() {
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
        // Another one may have come meanwhile.
        if self.shared.gaps.load(Ordering::SeqCst) == gaps {
            let node_store = self.shared.node_store.clone();
            let noted = tokio::task::spawn_blocking(move || node_store.store_gap(false)).await;
            if let Ok(Err(error)) = noted {
                warn!(%error, "it cannot be noted down that all tenants were asked about");
            }
        }
        true
    }

    /// Asks about one tenant and follows the answer. Returns whether that is done.
    async fn follows(&self, tenant: &TenantId, hub: &HiveHubClient) -> bool {
        let answer = match hub.quota(tenant).await {
            Ok(QuotaVerdict::Quota(answer)) => answer,
            // HiveHub has not said that it was deleted: it may be the wrong hub.
            Ok(QuotaVerdict::NoSuchTenant) => {
                warn!(%tenant, "there is a tenant here that HiveHub does not know");
                return true;
            }
            Err(error) => {
                debug!(%tenant, %error, "HiveHub does not say whether the tenant is deleted: it is asked again");
                return false;
            }
        };
        let is_deleted = answer.status == Some(Extensible::Known(TenantStatus::Deleted));
        let outcome = match (is_deleted, answer.incarnation) {
            (true, ended) => self.delete_as_told(tenant, ended).await,
            (false, Some(lives)) => match self.delete_before(tenant, lives).await {
                Ok(()) => self.return_as_told(tenant, lives).await,
                Err(error) => Err(error),
            },
            (false, None) => return true,
        };
        match outcome {
            Ok(()) | Err(DeletionError::NotFound) => true,
            Err(error) => {
                warn!(%tenant, %error, "a tenant that HiveHub has deleted is still here");
                false
            }
        }
    }

    async fn delete_as_told(
        &self,
        tenant: &TenantId,
        ended: Option<Incarnation>,
    ) -> Result<(), DeletionError> {
        let slot = self.slot(tenant);
        slot.ends(ended);
        let moving = FolderMove::begin(slot)?;
        self.delete_ended(&moving, tenant, ended).await.map(drop)
    }

    /// Restores the living incarnation, if it was deleted here because HiveHub had reported its deletion.
    async fn return_as_told(&self, tenant: &TenantId, lives: Incarnation) -> Result<(), DeletionError> {
        let (tenancy, id) = (self.clone(), tenant.clone());
        let was_deleted = tokio::task::spawn_blocking(move || {
            let is_here = TenantFolder::new(&tenancy.shared.data, &id).exists();
            let ending = tenancy.shared.endings.of(&id).ok().flatten();
            let is_it =
                |it: &Ending| it.by == EndedBy::Hivehub && it.incarnation == Some(lives) && !it.is_erased;
            !is_here && ending.is_some_and(|ending| is_it(&ending))
        });
        if !was_deleted.await.unwrap_or(false) {
            return Ok(());
        }
        let moving = FolderMove::begin(self.slot(tenant))?;
        self.return_now(&moving, tenant, Some(lives)).await
    }

    /// Notes that a request has a valid key of a tenant that HiveHub has deleted, so that HiveHub is asked about it.
    pub(super) fn doubt(&self, tenant: &TenantId) {
        let mut doubted = self.shared.doubted.lock().unwrap_or_else(PoisonError::into_inner);
        if doubted.len() < DOUBTED_MAX {
            doubted.insert(tenant.clone());
        }
        drop(doubted);
        self.shared.gap_found.notify_one();
    }

    /// Asks about the tenants in doubt. Returns whether all questions were answered.
    async fn settle_doubts(&self, hub: &HiveHubClient) -> bool {
        let doubted =
            std::mem::take(&mut *self.shared.doubted.lock().unwrap_or_else(PoisonError::into_inner));
        let mut all = true;
        for tenant in doubted {
            tokio::time::sleep(PAUSE).await;
            if !self.follows(&tenant, hub).await {
                all = false;
                self.shared.doubted.lock().unwrap_or_else(PoisonError::into_inner).insert(tenant);
            }
        }
        all
    }

    /// Deletes the incarnation before the one that lives.
    async fn delete_before(&self, tenant: &TenantId, lives: Incarnation) -> Result<(), DeletionError> {
        let moving = FolderMove::begin(self.slot(tenant))?;
        if self.is_of_one_before(tenant, lives).await {
            self.delete_now(&moving, tenant, EndedBy::Hivehub, None).await?;
        }
        Ok(())
    }
}
