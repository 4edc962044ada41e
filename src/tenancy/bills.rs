//! The bills of tenants, seen from outside their writers.

use std::sync::PoisonError;

use tracing::warn;
use vectorizer_log::{Meter, MeterTotal, Seq, TenantId, Timestamp};
use vectorizer_replay::OpenWindow;

use super::Tenancy;
use super::awake::Awake;
use crate::auth::ClusterPass;
use crate::quota::{Accounts, Backlog, Delivered, Metering};

/// Where a tenant's bill stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BillFacts {
    /// The window that is open; `None` for a tenant that sleeps.
    pub window: Option<WindowFacts>,
    /// What of the closed ones `HiveHub` has.
    pub delivered: Delivered,
}

/// A window that is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowFacts {
    /// When it began; `None` before the first record.
    pub since: Option<Timestamp>,
    /// Its first record.
    pub first_seq: Option<Seq>,
    /// What it comes to now, with what is not in the log yet.
    pub totals: Vec<MeterTotal>,
}

impl Tenancy {
    /// What counts requests, where bills are kept.
    pub fn metering(&self) -> Option<&Metering> {
        self.shared.billed.as_ref().map(|billed| &billed.metering)
    }

    /// What the reporter delivers, where bills are kept.
    pub fn accounts(&self) -> Option<&Accounts> {
        self.shared.billed.as_ref().map(|billed| &billed.accounts)
    }

    /// What of the bills is not delivered, where bills are kept.
    pub fn backlog(&self) -> Option<Backlog> {
        self.accounts().map(Accounts::backlog)
    }

    /// Whether `HiveHub` refuses this server's key when usage is reported.
    pub fn is_report_refused(&self) -> bool {
        self.accounts().is_some_and(Accounts::is_refused)
    }

    /// Where a tenant's bill stands; of one that sleeps, as far as that was noted down.
    pub fn bill(&self, _: &ClusterPass, tenant: &TenantId) -> Option<BillFacts> {
        let bed = self.beds().get(tenant).cloned();
        if let Some(awake) = bed.and_then(|bed| bed.rest().awake.clone()) {
            return awake.bill_facts();
        }
        let noted = self.shared.catalogue.bill(tenant).unwrap_or_else(|error| {
            warn!(%tenant, %error, "where the tenant's bill stands cannot be read");
            None
        })?;
        let delivered = Delivered { seq: noted.delivered, at: noted.delivered_at };
        Some(BillFacts { window: None, delivered })
    }
}

impl Awake {
    pub(super) fn bill_facts(&self) -> Option<BillFacts> {
        let bill = self.bill.as_ref()?;
        let delivered = bill.account.delivered();
        let (requests, searches) = bill.meter.waiting();
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let billing = state.projection.billing();
        let mut totals = billing.totals(Timestamp::now(), state.projection.usage());
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
        Some(BillFacts { window: Some(WindowFacts { since, first_seq, totals }), delivered })
    }
}
