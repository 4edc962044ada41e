//! The bills of tenants, seen from outside their writers.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug, error, error_span, warn};
use vectorizer_billing::{Accounts, Backlog, Metering, TenantAccount};
use vectorizer_hivehub::Call;
use vectorizer_limits::TenantLimits;
use vectorizer_log::{Error, LogId, Meter, MeterTotal, Seq, TenantFolder, TenantId, Timestamp};
use vectorizer_node_store::Delivered;
use vectorizer_replay::OpenWindow;

use super::deletion::DeletionError;
use super::live_tenant::{LiveTenant, WakeError};
use super::retention::{Retention, stored_retention};
use super::slot::TenantSlot;
use super::{FIRST_ANSWERS, STOPPING_PATIENCE, Tenancy};
use crate::admission::{AccessCheck, ClusterPass};

/// The pause between searches for tenants to wake, and the first pause if a tenant could not be woken.
const LOOK_EVERY: Duration = Duration::from_mins(5);
const TRY_AFTER: Duration = Duration::from_millis(500);
/// The number of tenants that are woken for undelivered lines while `HiveHub` accepts none. They show when it accepts
/// lines again.
const TRIED_MAX: usize = 8;
const DAY_MICROS: i64 = 86_400_000_000;

/// The state of a tenant's bill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BillFacts {
    /// The log that it is computed from.
    pub log_id: LogId,
    /// The window that is open; `None` for a tenant that sleeps.
    pub window: Option<WindowFacts>,
    /// How far the closed windows are delivered to `HiveHub`.
    pub delivered: Delivered,
}

/// A window that is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowFacts {
    /// When it began; `None` before the first record.
    pub since: Option<Timestamp>,
    /// Its first record.
    pub first_seq: Option<Seq>,
    /// The totals now, including counts that are not in the log yet.
    pub totals: Vec<MeterTotal>,
}

impl Tenancy {
    /// The meters of requests, if bills are kept.
    pub fn metering(&self) -> Option<&Metering> {
        self.shared.billed.as_ref().map(|billed| &billed.metering)
    }

    /// The accounts that the reporter delivers, if bills are kept.
    pub fn accounts(&self) -> Option<&Accounts> {
        self.shared.billed.as_ref().map(|billed| &billed.accounts)
    }

    /// Wakes tenants that sleep although something waits for their logs or is not delivered, and once a day
    /// those that store something or have something in their window, so that it is closed. One at a time, until
    /// `stop`.
    pub async fn look_after_bills(self, access: AccessCheck, stop: CancellationToken) {
        let mut pause = TRY_AFTER;
        if stop.run_until_cancelled(tokio::time::sleep(FIRST_ANSWERS)).await.is_none() {
            return;
        }
        // Until every tenant was checked: a crash meanwhile must not leave unknown ones.
        let node_store = self.shared.node_store.clone();
        let knows_all = tokio::task::spawn_blocking(move || node_store.knows_every_bill()).await;
        let mut all = !knows_all.is_ok_and(|knows_all| knows_all);
        loop {
            let tenancy = self.clone();
            let sleepers =
                tokio::task::spawn_blocking(move || tenancy.to_be_woken(all, Timestamp::now())).await;
            let mut is_done = true;
            let sleepers = match sleepers {
                Ok(Ok(sleepers)) => sleepers,
                Ok(Err(error)) => {
                    warn!(%error, "the tenants cannot be listed, and some are not looked at");
                    is_done = false;
                    Vec::new()
                }
                Err(panic) => {
                    error!(%panic, "looking for tenants to wake for their bills panicked");
                    is_done = false;
                    Vec::new()
                }
            };
            for tenant in sleepers {
                let span = error_span!(parent: None, "billing", %tenant);
                let woken = self.wake_for_its_bill(&tenant, &access).instrument(span);
                match stop.run_until_cancelled(woken).await {
                    Some(woken) => is_done &= woken,
                    None => return,
                }
            }
            if all && is_done {
                all = false;
                if let Err(error) = self.shared.node_store.store_every_bill() {
                    warn!(%error, "every tenant will be looked at again after the next start");
                }
            }
            debug!(is_done, "looked after the bills of sleeping tenants");
            pause = if is_done { LOOK_EVERY } else { (2 * pause).min(LOOK_EVERY) };
            if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    async fn wake_for_its_bill(&self, tenant: &TenantId, access: &AccessCheck) -> bool {
        if self.shared.stop.is_cancelled() {
            return false;
        }
        let Ok(tenant_limits) = access.limits_of(tenant).await else { return false };
        let waking = {
            let slot = self.slot(tenant);
            let mut locked = slot.lock();
            // The move may fail, and then the bill has not been checked.
            if locked.moving {
                return false;
            }
            if locked.state.live().is_some_and(|live| !live.has_failed()) {
                return true;
            }
            self.waking(&slot, &mut locked, tenant, None, &tenant_limits, false)
        };
        match waking {
            Ok(mut waking) => {
                let woken = waking.wait_for(Option::is_some).await;
                woken.is_ok_and(|outcome| outcome.as_ref().is_some_and(Result::is_ok))
            }
            Err(_) => false,
        }
    }

    /// The tenants that sleep and should not at this moment; `all` that were never noted down, too. Reads the
    /// node's notes.
    fn to_be_woken(&self, all: bool, now: Timestamp) -> io::Result<Vec<TenantId>> {
        let Some(billed) = &self.shared.billed else { return Ok(Vec::new()) };
        // Before they are read.
        billed.accounts.remember();
        let data = &self.shared.data;
        let mut found = BTreeSet::new();
        let left_over = self.shared.deleted.all().ok();
        for (tenant, log_id) in billed.metering.pending() {
            let folder = TenantFolder::new(data, &tenant);
            let is_gone = match folder.log_id() {
                Ok(current) if current == log_id => {
                    found.insert(tenant);
                    continue;
                }
                // The manifest of another log may have been copied there: then what is counted waits.
                Ok(_) => folder.proven_log_id().is_ok(),
                Err(Error::NotFound(_)) => true,
                // What cannot be read now may be read later.
                Err(_) => false,
            };
            let may_come_back = left_over.as_ref().is_none_or(|(deleted, unreadable)| {
                !unreadable.is_empty() || deleted.iter().any(|tombstone| tombstone.log_id == log_id)
            });
            if is_gone && !may_come_back {
                warn!(%tenant, %log_id, "requests of a log that is not there any more are not billed");
                billed.metering.forget(log_id);
            }
        }
        let stores = |tenant: &TenantId| {
            let size = self.shared.node_store.size(tenant).ok().flatten();
            size.is_none_or(|size| size.storage_bytes > 0)
        };
        let takes_bills = self.shared.metrics.hivehub_answers(Call::Usage);
        let mut behind_left = if takes_bills { usize::MAX } else { TRIED_MAX };
        let mut behind = Vec::new();
        for (tenant, bill) in self.shared.node_store.bills() {
            let is_tried = bill.is_behind() && behind_left > 0;
            behind_left -= usize::from(is_tried);
            if bill.is_behind() {
                behind.push((tenant.clone(), bill.behind_since));
            }
            let is_over = bill.window_since.is_some_and(|since| is_over_by_day(&tenant, since, now));
            if bill.awake || is_tried || (is_over && (bill.window_counts || stores(&tenant))) {
                found.insert(tenant);
            }
        }
        billed.accounts.asleep(behind);
        if all {
            let is_unknown = |tenant: &TenantId| !matches!(self.shared.node_store.bill(tenant), Ok(Some(_)));
            found.extend(TenantFolder::tenants(data)?.into_iter().filter(is_unknown));
        }
        found.retain(|tenant| {
            let slot = self.slots().get(tenant).cloned();
            let live = slot.and_then(|slot| slot.live());
            live.is_none_or(|live| live.has_failed()) && TenantFolder::new(data, tenant).exists()
        });
        Ok(found.into_iter().collect())
    }

    /// Before a tenant is deleted: its last commit will close its window, and undelivered lines will be kept apart
    /// from its folder. A sleeping tenant is woken for that. Returns the account that will have been handed over
    /// then; none without bills, or if the log is damaged: its bill cannot be computed, and the tenant is deleted all
    /// the same.
    pub(super) async fn close_bill(
        &self,
        tenant: &TenantId,
        slot: &Arc<TenantSlot>,
    ) -> Result<Option<Arc<TenantAccount>>, DeletionError> {
        if self.shared.billed.is_none() {
            return Ok(None);
        }
        let waking = {
            let mut locked = slot.lock();
            let is_awake = locked.state.live().is_some_and(|live| !live.has_failed());
            // No request enters: the folder is being moved.
            (!is_awake)
                .then(|| self.waking(slot, &mut locked, tenant, None, &TenantLimits::unlimited(), false))
        };
        let woken = match waking {
            Some(Ok(mut waking)) => {
                let woken = timeout(STOPPING_PATIENCE, waking.wait_for(Option::is_some)).await;
                let outcome = woken.map_err(|_| DeletionError::Busy)?;
                let outcome = outcome.ok().and_then(|outcome| outcome.clone());
                outcome.unwrap_or_else(|| Err(Arc::new(WakeError::Stopping)))
            }
            Some(Err(error)) => Err(error),
            None => slot.live().ok_or_else(|| Arc::new(WakeError::Stopping)),
        };
        match woken {
            Ok(live) => {
                let account = live.bill.as_ref().map(|bill| Arc::clone(&bill.account));
                if let Some(account) = &account {
                    account.make_final();
                }
                debug!(%tenant, "the last window is closed with the last commit");
                Ok(account)
            }
            Err(error) if error.is_damage() => {
                error!(%tenant, %error, "the last window of a damaged log cannot be closed: it is not billed");
                Ok(None)
            }
            Err(error) => {
                warn!(%tenant, %error, "the tenant's last bill cannot be closed yet: it is not deleted");
                Err(DeletionError::Unbilled)
            }
        }
    }

    /// Removes the bill of a deleted tenant.
    pub(super) fn forget_bill(&self, tenant: &TenantId, log_id: LogId) {
        if let Some(billed) = &self.shared.billed {
            billed.metering.sleeps(log_id);
            billed.accounts.forget(tenant);
        }
    }

    /// The undelivered part of all bills, if bills are kept.
    pub fn backlog(&self) -> Option<Backlog> {
        self.accounts().map(Accounts::backlog)
    }

    /// Whether `HiveHub` refuses this server's key when usage is reported.
    pub fn is_report_refused(&self) -> bool {
        self.accounts().is_some_and(Accounts::is_refused)
    }

    /// The state of a tenant's bill. For a sleeping tenant, the state that was last stored.
    pub fn bill(&self, _: &ClusterPass, tenant: &TenantId) -> Option<BillFacts> {
        let slot = self.slots().get(tenant).cloned();
        if let Some(live) = slot.and_then(|slot| slot.live()) {
            return live.bill_facts();
        }
        let noted = self.shared.node_store.bill(tenant).unwrap_or_else(|error| {
            warn!(%tenant, %error, "where the tenant's bill stands cannot be read");
            None
        })?;
        Some(BillFacts { log_id: noted.log_id, window: None, delivered: noted.delivered() })
    }

    /// How long a tenant's history is kept. Reads a file if the tenant sleeps.
    pub fn retention(&self, _: &ClusterPass, tenant: &TenantId) -> Option<Retention> {
        let slot = self.slots().get(tenant).cloned();
        match slot.and_then(|slot| slot.live()) {
            Some(live) => live.history.observed(),
            None => stored_retention(&TenantFolder::new(&self.shared.data, tenant)),
        }
    }
}

/// Whether a window that began at `since` is over by the day, which begins at another time for each tenant.
fn is_over_by_day(tenant: &TenantId, since: Timestamp, now: Timestamp) -> bool {
    let hash = blake3::hash(tenant.as_str().as_bytes());
    let random = hash.as_bytes().iter().take(7).fold(0_i64, |sum, byte| (sum << 8) | i64::from(*byte));
    let day = |at: Timestamp| at.micros().saturating_sub(random % DAY_MICROS).div_euclid(DAY_MICROS);
    day(since) < day(now)
}

impl LiveTenant {
    pub(super) fn bill_facts(&self) -> Option<BillFacts> {
        let bill = self.bill.as_ref()?;
        let delivered = bill.account.delivered();
        let figures = self.state.figures();
        let billing = &figures.billing;
        // With `figures` locked, so that each request is in exactly one of the two counts.
        let (requests, searches) = bill.meter.waiting(billing.journal());
        let mut totals = billing.totals(Timestamp::now(), &figures.usage);
        for total in &mut totals {
            total.value += u128::from(match total.meter {
                Meter::Requests => requests,
                Meter::Searches => searches,
                Meter::VectorsUpserted
                | Meter::VectorsDeleted
                | Meter::StorageByteSeconds
                | Meter::StorageBytes => 0,
            });
        }
        let window = billing.window();
        let (since, first_seq) = (window.map(OpenWindow::since), window.map(OpenWindow::first_seq));
        let log_id = bill.account.log_id();
        Some(BillFacts { log_id, window: Some(WindowFacts { since, first_seq, totals }), delivered })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleepers_windows_are_over_once_a_day_each_at_a_time_of_its_own() {
        let hour = |hour: i64| Timestamp::from_micros(1_700_000_000_000_000 + hour * 3_600_000_000);
        let mut by_hour = [0; 24];
        for number in 0..2_400 {
            let tenant: TenantId = format!("t{number}").parse().unwrap();
            let over = (1..=24).position(|it| is_over_by_day(&tenant, hour(0), hour(it))).unwrap();
            by_hour[over] += 1;
            assert!(!is_over_by_day(&tenant, hour(i64::try_from(over).unwrap() + 1), hour(24)));
        }
        assert!(by_hour.iter().all(|tenants| (50..150).contains(tenants)), "{by_hour:?}");
    }
}
