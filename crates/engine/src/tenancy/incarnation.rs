//! Binds a tenant's folder to one incarnation of the tenant's id.
//!
//! A folder is bound, durably, to the first incarnation that enters it. A later incarnation is another tenant,
//! whether or not this node has learned of the deletion in between: the folder is moved away like that of a deleted
//! tenant, and the later incarnation begins with a log of its own. An earlier incarnation no longer exists, and is
//! refused.

use std::sync::{Arc, PoisonError};

use tracing::{error, info};
use vectorizer_log::{Incarnation, TenantFolder, TenantId};

use super::deletion::{FolderMove, RETRY_PAUSE};
use super::ending::EndedBy;
use super::{LiveTenant, Tenancy, WakeError};

/// To which incarnation of a tenant id the folder belongs, compared with the one that comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ownership {
    /// The same one, or it is not known which one comes.
    Theirs,
    /// None yet.
    Unbound,
    /// An earlier one.
    Previous,
    /// A later one.
    Later,
}

pub(super) fn ownership(bound: Option<Incarnation>, comes: Option<Incarnation>) -> Ownership {
    match (bound, comes) {
        (_, None) => Ownership::Theirs,
        (None, Some(_)) => Ownership::Unbound,
        (Some(bound), Some(comes)) => match comes.cmp(&bound) {
            std::cmp::Ordering::Equal => Ownership::Theirs,
            std::cmp::Ordering::Greater => Ownership::Previous,
            std::cmp::Ordering::Less => Ownership::Later,
        },
    }
}

/// Whether `comes` may enter the folder, or has to wait until an earlier incarnation is moved away. Reads the disk, and
/// changes nothing.
pub(super) fn admit(folder: &TenantFolder, comes: Option<Incarnation>) -> Result<(), WakeError> {
    let refused = match ownership(folder.incarnation()?, comes) {
        Ownership::Theirs | Ownership::Unbound => return Ok(()),
        Ownership::Previous => WakeError::OfThePast,
        Ownership::Later => WakeError::Outdated,
    };
    // IMPORTANT: the folder is moved away or a key refused on the word of the manifest, so the records have to prove
    // that it is theirs.
    folder.proven_log_id()?;
    Err(refused)
}

impl Tenancy {
    /// Binds the folder to `comes` if it is unbound, and returns its incarnation. Its records have been read. Reads
    /// the disk.
    pub(super) fn bind(
        &self,
        folder: &TenantFolder,
        comes: Option<Incarnation>,
    ) -> Result<Option<Incarnation>, WakeError> {
        let _one_at_a_time = self.shared.binding.lock().unwrap_or_else(PoisonError::into_inner);
        let bound = folder.incarnation()?;
        match ownership(bound, comes) {
            Ownership::Unbound => {
                info!(
                    incarnation = comes.map(tracing::field::display),
                    "the tenant's folder is that of the first who comes"
                );
                Ok(folder.bind(comes)?)
            }
            Ownership::Theirs => Ok(folder.bind(bound)?),
            Ownership::Previous => Err(WakeError::OfThePast),
            Ownership::Later => Err(WakeError::Outdated),
        }
    }

    /// The same for one that is in memory.
    pub(super) async fn bind_awake(
        &self,
        live: &Arc<LiveTenant>,
        comes: Incarnation,
    ) -> Result<(), WakeError> {
        let (tenancy, tenant) = (self.clone(), Arc::clone(live));
        let binding = move || {
            let folder = TenantFolder::new(&tenancy.shared.data, &tenant.id);
            let bound = tenancy.bind(&folder, Some(comes))?;
            if let Some(bound) = bound {
                let _ = tenant.incarnation.set(bound);
            }
            Ok(())
        };
        // A move of the folder waits for it.
        live.tasks
            .spawn_blocking(binding)
            .await
            .unwrap_or_else(|panic| Err(WakeError::Panicked(panic.to_string())))
    }

    /// Moves away the folder of an incarnation before `comes`. No request enters until that is done or has failed. The
    /// caller has set `moving` in the slot.
    pub(super) fn supersede(&self, moving: FolderMove, tenant: TenantId, comes: Incarnation) {
        let tenancy = self.clone();
        tokio::spawn(async move {
            // Another task may have done it meanwhile.
            if !tenancy.is_of_one_before(&tenant, comes).await {
                return;
            }
            info!(%tenant, incarnation = %comes, "another tenant has the id: the one before is deleted");
            if let Err(error) = tenancy.delete_now(&moving, &tenant, EndedBy::Hivehub, None).await {
                error!(%tenant, %error, "the tenant that had this id before is still here");
                // The next request tries again.
                tenancy.shared.stop.run_until_cancelled(tokio::time::sleep(RETRY_PAUSE)).await;
            }
        });
    }
}

impl Tenancy {
    /// Whether the folder is that of an incarnation before `comes`. Of a tenant in memory, whose records were read,
    /// memory says so; otherwise the manifest does, if the records prove it.
    pub(super) async fn is_of_one_before(&self, tenant: &TenantId, comes: Incarnation) -> bool {
        let live = self.slot(tenant).live().and_then(|live| live.incarnation());
        if let Some(bound) = live {
            return bound < comes;
        }
        let folder = TenantFolder::new(&self.shared.data, tenant);
        let bound = tokio::task::spawn_blocking(move || {
            let bound = folder.incarnation()?.filter(|bound| *bound < comes);
            if bound.is_some() {
                folder.proven_log_id()?;
            }
            Ok::<_, vectorizer_log::Error>(bound.is_some())
        });
        match bound.await {
            Ok(Ok(is_of_one_before)) => is_of_one_before,
            Ok(Err(error)) => {
                error!(%tenant, %error, "it cannot be told whose the folder is: it stays");
                false
            }
            Err(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_belongs_to_its_first_owner_alone() {
        let (first, second) = (Incarnation::at_millis(1, &[9; 10]), Incarnation::at_millis(2, &[0; 10]));
        assert_eq!(ownership(None, None), Ownership::Theirs);
        assert_eq!(ownership(Some(first), None), Ownership::Theirs, "of a hub that does not tell them apart");
        assert_eq!(ownership(None, Some(first)), Ownership::Unbound);
        assert_eq!(ownership(Some(first), Some(first)), Ownership::Theirs);
        assert_eq!(ownership(Some(first), Some(second)), Ownership::Previous);
        assert_eq!(ownership(Some(second), Some(first)), Ownership::Later);
    }
}
