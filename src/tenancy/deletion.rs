//! Deleting tenants, having them back, and erasing those whose time is over.
//!
//! A deleted tenant's folder is out of the way when the deletion is answered, and erased
//! `server.delete_grace` later. Until then one call brings it back, as it was. A tenant of the same id that
//! comes again meanwhile begins with a log of its own.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use vectorizer_log::{Error, TenantFolder, TenantId, Timestamp, Tombstone};

use super::{Bed, STOPPING_PATIENCE, Tenancy};
use crate::auth::ClusterPass;
use crate::hivehub::{PolicyChange, PolicyCursor, PolicySubscriber};

/// Why a tenant was not deleted or restored.
#[derive(Debug, thiserror::Error)]
pub enum DeletionError {
    /// It is being deleted or restored by somebody else, or does not come to rest.
    #[error("the tenant is being deleted or restored, or is still at work")]
    Busy,
    /// There is no such tenant, or no deleted one.
    #[error("there is nothing of this tenant to delete or restore")]
    NotFound,
    /// A tenant of that id has come again since.
    #[error("the tenant has come again since it was deleted")]
    Exists,
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopping,
    /// The folder could not be moved.
    #[error(transparent)]
    Log(Error),
}

impl From<Error> for DeletionError {
    fn from(error: Error) -> Self {
        match error {
            Error::NotFound(_) => Self::NotFound,
            Error::AlreadyExists(_) => Self::Exists,
            Error::Storage(_)
            | Error::Poisoned(_)
            | Error::Closed
            | Error::Damaged(_)
            | Error::Locked(_)
            | Error::Manifest { .. }
            | Error::RecordTooLarge { .. }
            | Error::LogFull { .. }
            | Error::File { .. } => Self::Log(error),
        }
    }
}

/// While a tenant's folder is moved nobody wakes it.
struct Moving(Arc<Bed>);

impl Moving {
    fn begin(bed: Arc<Bed>) -> Result<Self, DeletionError> {
        if std::mem::replace(&mut bed.rest().moving, true) {
            return Err(DeletionError::Busy);
        }
        Ok(Self(bed))
    }
}

impl Drop for Moving {
    fn drop(&mut self) {
        self.0.rest().moving = false;
    }
}

impl Tenancy {
    /// Deletes a tenant: ends its work, moves its folder away and forgets it. What was begun is ended even if
    /// nobody waits for it any more.
    pub async fn delete(&self, _: &ClusterPass, tenant: &TenantId) -> Result<Tombstone, DeletionError> {
        self.finished(self.clone().delete_now(tenant.clone())).await
    }

    /// Brings back the tenant as it was when it was deleted last.
    pub async fn restore(&self, _: &ClusterPass, tenant: &TenantId) -> Result<Tombstone, DeletionError> {
        self.finished(self.clone().restore_now(tenant.clone())).await
    }

    /// Runs until `stop`: erases deleted tenants whose `grace` is over, and notes down how large the others
    /// are, once every `interval`.
    pub async fn keep_house(self, grace: Duration, interval: Duration, stop: CancellationToken) {
        while timeout(interval, stop.cancelled()).await.is_err() {
            let tenancy = self.clone();
            let work = move || {
                tenancy.note_sizes();
                tenancy.erase_due(grace);
            };
            if tokio::task::spawn_blocking(work).await.is_err() {
                error!("looking after deleted tenants panicked");
            }
        }
    }

    async fn finished<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, DeletionError>> + Send + 'static,
    ) -> Result<T, DeletionError> {
        if self.shared.stop.is_cancelled() {
            return Err(DeletionError::Stopping);
        }
        self.shared.tasks.spawn(work).await.unwrap_or(Err(DeletionError::Stopping))
    }

    async fn delete_now(self, tenant: TenantId) -> Result<Tombstone, DeletionError> {
        // Before a bed is made: names of tenants that never were must leave nothing behind.
        if !TenantFolder::new(&self.shared.data, &tenant).exists() {
            return Err(DeletionError::NotFound);
        }
        let moving = Moving::begin(self.bed(&tenant))?;
        self.close_bill(&tenant, &moving.0).await;
        self.lay_down(&moving.0).await?;
        let (deleted, id) = (self.shared.deleted.clone(), tenant.clone());
        let tombstone = blocking(move || deleted.delete(&id, Timestamp::now())).await?;
        self.shared.metrics.forget_tenant(&tenant);
        self.shared.audit.sleeps(&tenant);
        self.forget_bill(&tenant, tombstone.log_id);
        if let Err(error) = self.shared.catalogue.forget(&tenant) {
            warn!(%tenant, %error, "what was noted down of a deleted tenant is still there");
        }
        info!(%tenant, log_id = %tombstone.log_id, "the tenant is deleted");
        Ok(tombstone)
    }

    async fn restore_now(self, tenant: TenantId) -> Result<Tombstone, DeletionError> {
        let moving = Moving::begin(self.bed(&tenant))?;
        let deleted = self.shared.deleted.clone();
        let id = tenant.clone();
        let tombstone = blocking(move || {
            let (all, _) = deleted.all()?;
            let Some(last) = all.into_iter().rfind(|tombstone| tombstone.tenant == id) else {
                return Err(Error::NotFound(id.as_str().into()));
            };
            deleted.restore(&last)?;
            Ok(last)
        })
        .await?;
        drop(moving);
        info!(%tenant, log_id = %tombstone.log_id, "the tenant is restored");
        Ok(tombstone)
    }

    /// Ends whatever the tenant is at, so that its log is open no more.
    async fn lay_down(&self, bed: &Bed) -> Result<(), DeletionError> {
        let (waking, stop) = {
            let rest = bed.rest();
            (rest.waking.clone(), rest.stop.clone())
        };
        stop.cancel();
        let ended = async {
            if let Some(mut waking) = waking {
                // One whose task is gone without a word has ended too.
                let _ = waking.wait_for(Option::is_some).await;
            }
            let awake = bed.rest().awake.take();
            if let Some(awake) = awake {
                awake.tasks.close();
                awake.tasks.wait().await;
            }
        };
        timeout(STOPPING_PATIENCE, ended).await.map_err(|_| DeletionError::Busy)
    }

    fn erase_due(&self, grace: Duration) {
        let deleted = &self.shared.deleted;
        let (all, unreadable) = match deleted.all() {
            Ok(found) => found,
            Err(error) => {
                warn!(%error, "the deleted tenants cannot be listed");
                return;
            }
        };
        for error in unreadable {
            warn!(%error, "a deleted tenant is not erased: its tombstone cannot be read");
        }
        let grace = i64::try_from(grace.as_micros()).unwrap_or(i64::MAX);
        let now = Timestamp::now().micros();
        for tombstone in all.iter().take_while(|it| it.deleted_at.micros().saturating_add(grace) <= now) {
            if self.shared.stop.is_cancelled() {
                return;
            }
            let Tombstone { tenant, log_id, .. } = tombstone;
            match deleted.erase(tombstone) {
                Ok(()) => info!(%tenant, %log_id, "the deleted tenant is erased"),
                Err(error) => warn!(%tenant, %log_id, %error, "the deleted tenant cannot be erased"),
            }
        }
    }
}

impl PolicySubscriber for Tenancy {
    fn changed(&self, change: &PolicyChange, _: PolicyCursor) {
        let PolicyChange::TenantDeleted { tenant } = change else { return };
        let (tenancy, tenant) = (self.clone(), tenant.clone());
        tokio::spawn(async move {
            match tenancy.finished(tenancy.clone().delete_now(tenant.clone())).await {
                // Not one of this node's.
                Ok(_) | Err(DeletionError::NotFound) => {}
                Err(error) => error!(%tenant, %error, "a tenant that HiveHub has deleted is still here"),
            }
        });
    }

    fn lost(&self) {}
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, DeletionError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done?),
        Err(panic) => {
            error!(%panic, "moving a tenant's folder panicked");
            Err(DeletionError::Busy)
        }
    }
}
