//! Deletes tenants, restores them, and erases deleted tenants after the grace period.
//!
//! The folder of a deleted tenant is moved away before the deletion is answered, and erased `server.delete_grace`
//! later. Until then one call restores it as it was. Another tenant that gets the same id meanwhile begins with a log
//! of its own.
//!
//! A deletion by `HiveHub` is stored before anything else is done. No request enters the tenant until the deletion is
//! done, through any number of attempts, crashes and restarts: a later request under the id may be of another tenant.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, error, info, warn};
use vectorizer_hivehub::{PolicyChange, PolicyCursor, PolicySubscriber};
use vectorizer_log::{Error, Incarnation, LogId, TenantFolder, TenantId, Timestamp, Tombstone};
use vectorizer_node_store::StoredDeletion;

use super::ending::{EndedBy, Ending};
use super::slot::TenantSlot;
use super::{STOPPING_PATIENCE, Tenancy};
use crate::admission::ClusterPass;

/// The pause before a failed deletion is tried again.
pub(super) const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// The pause before a deletion is tried again while the folder is being moved.
const BUSY_PAUSE: Duration = Duration::from_millis(200);

/// Why a tenant was not deleted or restored.
#[derive(Debug, thiserror::Error)]
pub enum DeletionError {
    /// Another call deletes or restores the tenant, or the tenant's tasks do not end.
    #[error("the tenant is being deleted or restored, or is still at work")]
    Busy,
    /// There is no such tenant, or no deleted one.
    #[error("there is nothing of this tenant to delete or restore")]
    NotFound,
    /// A new tenant with this id has been created since the deletion.
    #[error(
        "the tenant has come again since it was deleted: delete that one first, and name the log to restore"
    )]
    Exists,
    /// HiveHub has deleted the tenant, too.
    #[error(
        "HiveHub has deleted this tenant, so no key would open it here: undo that deletion at HiveHub \
         (`vectorizer hub tenants undelete`), which restores the tenant on this node as well"
    )]
    DeletedAtHiveHub,
    /// HiveHub has given the id to another tenant.
    #[error(
        "HiveHub has, or had, a later tenant of this id: the data kept here belongs to the earlier one, which no key opens"
    )]
    AnotherAtHiveHub,
    /// HiveHub could not be asked.
    #[error("HiveHub cannot be asked whether it has deleted the tenant")]
    HiveHubUnknown,
    /// The tenant's last bill could not be made durable.
    #[error("the tenant's last bill could not be closed and kept yet")]
    Unbilled,
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
            | Error::OtherTenant { .. }
            | Error::Tombstone { .. }
            | Error::RecordTooLarge { .. }
            | Error::LogFull { .. }
            | Error::HistoryDropped { .. }
            | Error::File { .. } => Self::Log(error),
        }
    }
}

/// HiveHub's answer about a tenant that the operator wants to restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtHiveHub {
    /// No answer: there is no HiveHub, it does not know the tenant, or it does not say.
    Silent,
    /// The latest tenant with this id is deleted.
    Deleted(Option<Incarnation>),
    /// The latest tenant with this id is not deleted.
    Lives(Option<Incarnation>),
}

impl AtHiveHub {
    /// Returns an error if no key could use the tenant of this incarnation after it is restored.
    fn allows(self, kept: Option<Incarnation>) -> Result<(), DeletionError> {
        let (said, is_deleted) = match self {
            Self::Silent => return Ok(()),
            Self::Deleted(said) => (said, true),
            Self::Lives(said) => (said, false),
        };
        if kept.is_some() && said.is_some() && kept != said {
            return Err(DeletionError::AnotherAtHiveHub);
        }
        if is_deleted { Err(DeletionError::DeletedAtHiveHub) } else { Ok(()) }
    }
}

/// A deleted tenant that can be restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedFacts {
    /// The tenant, its log, and the time of the deletion.
    pub tombstone: Tombstone,
    /// The time until which it can be restored.
    pub until: Timestamp,
    /// Who deleted it, if that was noted down.
    pub by: Option<EndedBy>,
}

impl DeletedFacts {
    /// The key by which deleted tenants are sorted.
    pub fn place(&self) -> String {
        format!("{}:{}", self.tombstone.tenant, self.tombstone.log_id)
    }
}

/// The result for a tenant that HiveHub has undeleted.
enum Returned {
    /// The tenant is restored.
    Back(LogId),
    /// The tenant was not deleted on this node.
    Here,
    /// The operator has deleted the tenant, and it stays deleted.
    StaysDeleted,
    /// The tenant's data is already erased.
    Erased,
    /// The tenant was never on this node.
    Unknown,
}

/// While a tenant's folder is moved, no request wakes the tenant.
pub(super) struct FolderMove(Arc<TenantSlot>);

impl FolderMove {
    pub(super) fn begin(slot: Arc<TenantSlot>) -> Result<Self, DeletionError> {
        if std::mem::replace(&mut slot.lock().moving, true) {
            return Err(DeletionError::Busy);
        }
        Ok(Self(slot))
    }

    /// For a caller that has just set `moving` in the slot.
    pub(super) fn begun(slot: Arc<TenantSlot>) -> Self {
        Self(slot)
    }
}

impl Drop for FolderMove {
    fn drop(&mut self) {
        self.0.lock().moving = false;
        self.0.moved.notify_waiters();
    }
}

impl Tenancy {
    /// Deletes a tenant: ends its work, moves its folder away and forgets it. A deletion that has begun is finished
    /// even if its caller is gone.
    pub async fn delete(&self, pass: &ClusterPass, tenant: &TenantId) -> Result<Tombstone, DeletionError> {
        // Before a slot is created, so that names of tenants that never existed leave no slots behind.
        if !self.folder(tenant).exists() {
            return Err(DeletionError::NotFound);
        }
        info!(%tenant, key_id = pass.key_id().map(ToString::to_string), "the operator deletes a tenant");
        let moving = FolderMove::begin(self.slot(tenant))?;
        let (tenancy, tenant) = (self.clone(), tenant.clone());
        self.finished(async move { tenancy.delete_now(&moving, &tenant, EndedBy::Operator, None).await })
            .await
    }

    /// Restores the tenant as it was when it was deleted: the log that is named, or the one that was deleted last. A
    /// tenant that no key could use, by HiveHub's answer, is not restored.
    pub async fn restore(
        &self,
        pass: &ClusterPass,
        tenant: &TenantId,
        log_id: Option<LogId>,
        at_hivehub: AtHiveHub,
    ) -> Result<Tombstone, DeletionError> {
        info!(%tenant, key_id = pass.key_id().map(ToString::to_string), "the operator restores a tenant");
        let moving = FolderMove::begin(self.slot(tenant))?;
        let (tenancy, tenant) = (self.clone(), tenant.clone());
        self.finished(async move { tenancy.restore_now(&moving, tenant, log_id, at_hivehub).await }).await
    }

    /// The deleted tenants that can be restored, by tenant and log. Reads the disk.
    pub fn deleted_tenants(&self, _: &ClusterPass) -> Result<Vec<DeletedFacts>, Error> {
        let grace = i64::try_from(self.shared.delete_grace.as_micros()).unwrap_or(i64::MAX);
        let (all, _) = self.shared.deleted.all()?;
        let facts = |tombstone: Tombstone| {
            let until = Timestamp::from_micros(tombstone.deleted_at.micros().saturating_add(grace));
            let ending = self.shared.endings.of(&tombstone.tenant).ok().flatten();
            let by = ending.filter(|ending| ending.log_id == Some(tombstone.log_id)).map(|ending| ending.by);
            DeletedFacts { tombstone, until, by }
        };
        let mut found: Vec<_> = all.into_iter().map(facts).collect();
        found.sort_by_cached_key(DeletedFacts::place);
        Ok(found)
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

    /// The position in the policy feed that the node had reached before it was last stopped.
    pub fn policies_followed_through(&self) -> Option<PolicyCursor> {
        self.shared.node_store.policy_cursor().unwrap_or_else(|error| {
            warn!(%error, "it cannot be read how far the policy feed was followed");
            None
        })
    }

    /// Resumes the deletions by `HiveHub` that were under way when the node was last stopped. This is done before any
    /// request is admitted. It is done again if the stored deletions can be read only later, as on a full disk.
    pub fn resume_deletions(&self) {
        let mut openings = self.shared.node_store.openings();
        openings.mark_unchanged();
        self.resume_noted_deletions();
        let tenancy = self.clone();
        tokio::spawn(async move {
            let stop = tenancy.shared.stop.clone();
            while let Some(Ok(())) = stop.run_until_cancelled(openings.changed()).await {
                let tenancy = tenancy.clone();
                let resumed = tokio::task::spawn_blocking(move || tenancy.resume_noted_deletions());
                if resumed.await.is_err() {
                    error!("going on with deletions panicked");
                }
            }
        });
    }

    fn resume_noted_deletions(&self) {
        let deletions = self.shared.node_store.deletions().unwrap_or_else(|error| {
            warn!(%error, "it cannot be read which deletions were under way");
            Vec::new()
        });
        for (tenant, deletion) in deletions {
            self.follow_hivehub(tenant, deletion);
        }
    }

    async fn finished<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, DeletionError>> + Send + 'static,
    ) -> Result<T, DeletionError> {
        if self.shared.stop.is_cancelled() {
            return Err(DeletionError::Stopping);
        }
        let work = work.in_current_span();
        self.shared.tasks.spawn(work).await.unwrap_or(Err(DeletionError::Stopping))
    }

    pub(super) async fn delete_now(
        &self,
        moving: &FolderMove,
        tenant: &TenantId,
        by: EndedBy,
        named: Option<Incarnation>,
    ) -> Result<Tombstone, DeletionError> {
        // A waking may be about to create a log. A tenant without a folder is not woken below.
        timeout(STOPPING_PATIENCE, woken(&moving.0)).await.map_err(|_| DeletionError::Busy)?;
        if !self.folder(tenant).exists() {
            return Err(DeletionError::NotFound);
        }
        let account = self.close_bill(tenant, &moving.0).await?;
        lay_down(&moving.0).await?;
        // IMPORTANT: before the folder moves, because everything that the bill is computed from moves with it.
        if account.is_some_and(|account| !account.is_handed_over()) {
            return Err(DeletionError::Unbilled);
        }
        let (deleted, endings, id) =
            (self.shared.deleted.clone(), self.shared.endings.clone(), tenant.clone());
        let place = self.folder(tenant);
        let tombstone = blocking(move || {
            let at = Timestamp::now();
            let incarnation = place.incarnation().ok().flatten().or(named);
            let log_id = place.log_id().ok();
            // IMPORTANT: before the folder moves, so that at no moment a request can create a new log.
            endings.write(&id, &Ending { by, incarnation, log_id, at, is_erased: false })?;
            deleted.delete(&id, at)
        })
        .await?;
        self.shared.metrics.forget_tenant(tenant);
        self.shared.audit.forget(tenant);
        self.forget_bill(tenant, tombstone.log_id);
        let (node_store, id) = (self.shared.node_store.clone(), tenant.clone());
        let forgotten = tokio::task::spawn_blocking(move || node_store.forget(&id)).await;
        if let Ok(Err(error)) = forgotten {
            warn!(%tenant, %error, "what was noted down of a deleted tenant is still there");
        }
        info!(%tenant, log_id = %tombstone.log_id, "the tenant is deleted");
        Ok(tombstone)
    }

    async fn restore_now(
        &self,
        moving: &FolderMove,
        tenant: TenantId,
        log_id: Option<LogId>,
        at_hivehub: AtHiveHub,
    ) -> Result<Tombstone, DeletionError> {
        // A waking may be about to create a log.
        timeout(STOPPING_PATIENCE, woken(&moving.0)).await.map_err(|_| DeletionError::Busy)?;
        let (tenancy, id) = (self.clone(), tenant.clone());
        let is_meant = move |tombstone: &Tombstone| {
            tombstone.tenant == id && log_id.is_none_or(|log_id| log_id == tombstone.log_id)
        };
        let (meant, kept) = blocking(move || {
            let (all, _) = tenancy.shared.deleted.all()?;
            let meant = all.into_iter().rfind(is_meant).ok_or(Error::NotFound("_deleted".into()))?;
            let kept = tenancy.kept_incarnation(&meant);
            Ok((meant, kept))
        })
        .await?;
        at_hivehub.allows(kept)?;
        let tenancy = self.clone();
        let tombstone = blocking(move || {
            tenancy.shared.deleted.restore(&meant)?;
            tenancy.shared.endings.remove(&meant.tenant)?;
            Ok(meant)
        })
        .await?;
        moving.0.returns(kept);
        info!(%tenant, log_id = %tombstone.log_id, "the tenant is restored");
        Ok(tombstone)
    }

    /// Does the deletion or undeletion that HiveHub has reported.
    fn follow_hivehub(&self, tenant: TenantId, noted: StoredDeletion) {
        if noted.is_undone {
            self.undelete_for_hivehub(tenant, noted);
        } else {
            self.delete_for_hivehub(tenant, noted);
        }
    }

    /// Restores a tenant that HiveHub has undeleted. No request enters the tenant until it is restored, or until it is
    /// certain that it will not be.
    fn undelete_for_hivehub(&self, tenant: TenantId, noted: StoredDeletion) {
        let StoredDeletion { at, incarnation, .. } = noted;
        let tenancy = self.clone();
        let slot = self.slot(&tenant);
        slot.is_told(at);
        let mut begun = FolderMove::begin(Arc::clone(&slot));
        tokio::spawn(async move {
            // Unless HiveHub says otherwise meanwhile.
            while slot.is_told_last(at) {
                let outcome = match &begun {
                    Ok(moving) => tenancy.return_now(moving, &tenant, incarnation).await,
                    Err(_) => Err(DeletionError::Busy),
                };
                match outcome {
                    Ok(()) => {
                        tenancy.deletion_done(tenant, at).await;
                        break;
                    }
                    // Its deletion may still be under way.
                    Err(DeletionError::Busy) => {}
                    Err(error) => {
                        error!(%tenant, %error, "a tenant that HiveHub has undeleted is not back yet");
                    }
                }
                let pause = tokio::time::sleep(if begun.is_ok() { RETRY_PAUSE } else { BUSY_PAUSE });
                // The next start goes on.
                if tenancy.shared.stop.run_until_cancelled(pause).await.is_none() {
                    return;
                }
                begun = begun.or_else(|_| FolderMove::begin(Arc::clone(&slot)));
            }
        });
    }

    /// Restores a tenant that HiveHub had deleted, as it was.
    pub(super) async fn return_now(
        &self,
        moving: &FolderMove,
        tenant: &TenantId,
        incarnation: Option<Incarnation>,
    ) -> Result<(), DeletionError> {
        timeout(STOPPING_PATIENCE, woken(&moving.0)).await.map_err(|_| DeletionError::Busy)?;
        let (tenancy, id) = (self.clone(), tenant.clone());
        let returned = blocking(move || tenancy.bring_back(&id, incarnation)).await?;
        moving.0.returns(incarnation);
        match returned {
            Returned::Back(log_id) => info!(%tenant, %log_id, "HiveHub has undeleted the tenant: it is back"),
            Returned::Here | Returned::Unknown => {}
            Returned::StaysDeleted => {
                warn!(%tenant, "HiveHub has undeleted a tenant that this node's operator has deleted: it stays deleted");
            }
            Returned::Erased => error!(%tenant, "HiveHub has undeleted a tenant whose data is erased here"),
        }
        Ok(())
    }

    /// The blocking part of [`return_now`](Self::return_now).
    fn bring_back(&self, tenant: &TenantId, incarnation: Option<Incarnation>) -> Result<Returned, Error> {
        let endings = &self.shared.endings;
        let ending = endings.of(tenant)?;
        if self.folder(tenant).exists() {
            if ending.is_some_and(|ending| ending.by == EndedBy::Hivehub) {
                endings.remove(tenant)?;
            }
            return Ok(Returned::Here);
        }
        let is_of_it = |ending: &&Ending| ending.incarnation == incarnation;
        if ending.as_ref().filter(is_of_it).is_some_and(|ending| ending.by == EndedBy::Operator) {
            return Ok(Returned::StaysDeleted);
        }
        let log_id = ending.as_ref().filter(is_of_it).and_then(|ending| ending.log_id);
        let is_it = |tombstone: &Tombstone| {
            let is_bound = incarnation.is_some() && self.kept_incarnation(tombstone) == incarnation;
            tombstone.tenant == *tenant && (is_bound || log_id == Some(tombstone.log_id))
        };
        if let Some(tombstone) = self.shared.deleted.all()?.0.into_iter().rfind(is_it) {
            match self.shared.deleted.restore(&tombstone) {
                Ok(()) => {
                    endings.remove(tenant)?;
                    return Ok(Returned::Back(tombstone.log_id));
                }
                // It is being erased.
                Err(Error::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        match ending.filter(|ending| is_of_it(&ending)) {
            Some(ending) => {
                endings.write(tenant, &Ending { is_erased: true, ..ending })?;
                Ok(Returned::Erased)
            }
            None => Ok(Returned::Unknown),
        }
    }

    /// The incarnation that a deleted folder belongs to, if it is known.
    fn kept_incarnation(&self, tombstone: &Tombstone) -> Option<Incarnation> {
        let name = tombstone.log_id.to_string().parse().ok()?;
        let folder = TenantFolder::new(self.shared.data.join("_deleted"), &name);
        let noted = || {
            let ending = self.shared.endings.of(&tombstone.tenant).ok().flatten()?;
            ending.incarnation.filter(|_| ending.log_id == Some(tombstone.log_id))
        };
        folder.incarnation().ok().flatten().or_else(noted)
    }

    /// Deletes a tenant that HiveHub has deleted. No request enters the tenant until it is deleted.
    fn delete_for_hivehub(&self, tenant: TenantId, noted: StoredDeletion) {
        let StoredDeletion { at, incarnation, .. } = noted;
        let tenancy = self.clone();
        let slot = self.slot(&tenant);
        slot.ends(incarnation);
        slot.is_told(at);
        let mut begun = FolderMove::begin(Arc::clone(&slot));
        tokio::spawn(async move {
            loop {
                // HiveHub may have taken it back meanwhile.
                if !slot.is_told_last(at) {
                    return;
                }
                let outcome = match &begun {
                    Ok(moving) => tenancy.delete_ended(moving, &tenant, incarnation).await,
                    Err(_) => Err(DeletionError::Busy),
                };
                match outcome {
                    // `NotFound`: the tenant was not on this node.
                    Ok(_) | Err(DeletionError::NotFound) => break,
                    Err(error) => {
                        error!(%tenant, %error, "a tenant that HiveHub has deleted is still here");
                    }
                }
                let pause = tokio::time::sleep(RETRY_PAUSE);
                // The next start goes on.
                if tenancy.shared.stop.run_until_cancelled(pause).await.is_none() {
                    return;
                }
                begun = begun.or_else(|_| FolderMove::begin(tenancy.slot(&tenant)));
            }
            // IMPORTANT: before requests can enter again. A tenant that enters now must not be deleted for this.
            tenancy.deletion_done(tenant, at).await;
            drop(begun);
        });
    }

    /// Deletes a tenant that HiveHub has deleted, unless the id belongs to a later tenant by now.
    pub(super) async fn delete_ended(
        &self,
        moving: &FolderMove,
        tenant: &TenantId,
        ended: Option<Incarnation>,
    ) -> Result<Tombstone, DeletionError> {
        // A waking may be about to create a log.
        timeout(STOPPING_PATIENCE, woken(&moving.0)).await.map_err(|_| DeletionError::Busy)?;
        let folder = self.folder(tenant);
        let (tenancy, id) = (self.clone(), tenant.clone());
        blocking(move || tenancy.note_hivehubs_ending(&id, ended)).await?;
        let bound = tokio::task::spawn_blocking(move || folder.incarnation()).await;
        // If the incarnation cannot be read at the moment, the folder may belong to a later tenant.
        let bound = match bound {
            Ok(Err(error)) if error.is_unavailable() => return Err(DeletionError::Log(error)),
            bound => bound,
        };
        let is_a_later_ones = |bound: Incarnation| ended.is_some_and(|ended| bound > ended);
        if matches!(bound, Ok(Ok(Some(bound))) if is_a_later_ones(bound)) {
            return Err(DeletionError::NotFound);
        }
        self.delete_now(moving, tenant, EndedBy::Hivehub, ended).await
    }

    /// Stores that HiveHub has deleted a tenant that this node's operator had deleted before. Without incarnations,
    /// later requests under the id belong to another tenant.
    fn note_hivehubs_ending(&self, tenant: &TenantId, ended: Option<Incarnation>) -> Result<(), Error> {
        if self.folder(tenant).exists() {
            return Ok(());
        }
        match self.shared.endings.of(tenant)? {
            Some(ending) if ending.incarnation.is_none() || ended.is_none() => {
                let incarnation = ending.incarnation.max(ended);
                self.shared.endings.write(tenant, &Ending { by: EndedBy::Hivehub, incarnation, ..ending })
            }
            Some(_) | None => Ok(()),
        }
    }

    async fn deletion_done(&self, tenant: TenantId, at: PolicyCursor) {
        let node_store = self.shared.node_store.clone();
        let noted = tokio::task::spawn_blocking(move || node_store.deletion_done(&tenant, at)).await;
        if let Ok(Err(error)) = noted {
            warn!(%error, "it cannot be noted down that a tenant is deleted");
        }
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

    fn folder(&self, tenant: &TenantId) -> TenantFolder {
        TenantFolder::new(&self.shared.data, tenant)
    }
}

/// Ends the tenant's tasks, so that its log is closed.
async fn lay_down(slot: &TenantSlot) -> Result<(), DeletionError> {
    let had_failed = {
        let locked = slot.lock();
        // After `stop` is cancelled, a failed writer could not be distinguished from a stopped one.
        let had_failed = locked.state.live().is_some_and(|live| live.has_failed() && !live.is_unbegun());
        locked.stop.cancel();
        had_failed
    };
    let ended = async {
        woken(slot).await;
        let live = slot.live();
        if let Some(live) = &live {
            live.tasks.close();
            live.tasks.wait().await;
        }
    };
    timeout(STOPPING_PATIENCE, ended).await.map_err(|_| DeletionError::Busy)?;
    let live = {
        let mut locked = slot.lock();
        locked.write_failed |= had_failed;
        locked.state.leave()
    };
    // A whole projection: not while the slot is locked.
    drop(live);
    Ok(())
}

/// Ready when no waking is under way.
async fn woken(slot: &TenantSlot) {
    let waking = slot.lock().state.waking().cloned();
    if let Some(mut waking) = waking {
        // One whose task is gone without a word has ended too.
        let _ = waking.wait_for(Option::is_some).await;
    }
}

impl PolicySubscriber for Tenancy {
    fn changed(&self, change: &PolicyChange, at: PolicyCursor) {
        let (tenant, incarnation, is_undone) = match change {
            PolicyChange::TenantDeleted { tenant, incarnation } => (tenant, *incarnation, false),
            PolicyChange::TenantUndeleted { tenant, incarnation } => (tenant, *incarnation, true),
            PolicyChange::KeyRevoked { .. }
            | PolicyChange::KeyChanged { .. }
            | PolicyChange::TenantSuspended { .. }
            | PolicyChange::TenantResumed { .. }
            | PolicyChange::TenantChanged { .. }
            | PolicyChange::QuotaChanged { .. }
            | PolicyChange::NotUnderstood => return,
        };
        let noted = StoredDeletion { at, incarnation, is_undone };
        if let Err(error) = self.shared.node_store.store_deletion(tenant, &noted) {
            warn!(%tenant, %error, "a deletion or its end cannot be noted down: should the node stop now, it is lost");
        }
        self.follow_hivehub(tenant.clone(), noted);
    }

    fn reached(&self, at: PolicyCursor) {
        if let Err(error) = self.shared.node_store.store_policy_cursor(at) {
            warn!(%error, "it cannot be noted down how far the policy feed was followed");
        }
    }

    fn lost(&self) {
        self.store_gap();
    }
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
