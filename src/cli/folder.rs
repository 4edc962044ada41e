//! Reading a log from its folder, which no server may have open.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use vectorizer_log::{Base, BaseItem, Error, StoredRecord, TenantFolder, TenantId};
use vectorizer_replay::BaseError;

use super::failure::Failure;
use super::interruption::Interruption;
use super::reading::Reading;

/// The folder of a tenant, and a folder for copies. Commands read a copy, because opening a log writes to it.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    tenant: TenantId,
    place: TenantFolder,
    scratch: PathBuf,
}

impl Folder {
    /// The folder of `tenant` in the data folder `data`. Does not access the disk.
    pub(super) fn new(data: &Path, tenant: TenantId, scratch: PathBuf) -> Self {
        Self { place: TenantFolder::new(data, &tenant), tenant, scratch }
    }

    /// The tenant.
    pub(super) fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The name of the log in messages.
    pub(super) fn subject(&self) -> String {
        format!("tenant {}", self.tenant)
    }

    /// The state that the log begins with, if older records were dropped. Blocks.
    pub(super) fn base(&self) -> Result<Option<Base>, Failure> {
        self.place.base().map_err(|source| Failure::Log { tenant: self.tenant.clone(), source })
    }

    /// Passes each item of the base to `visit`. Blocks.
    pub(super) fn each_base_item(
        &self,
        base: &Base,
        visit: &mut dyn FnMut(BaseItem) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut failure = None;
        let read = base.each(|item| {
            visit(item).map_err(|stopped| {
                failure = Some(stopped);
                Error::Closed
            })
        });
        match failure {
            Some(failure) => Err(failure),
            None => read.map_err(|source| Failure::Log { tenant: self.tenant.clone(), source }),
        }
    }

    /// The failure to fold the base.
    pub(super) fn base_failure(&self, error: BaseError) -> Failure {
        match error {
            BaseError::Log(source) => Failure::Log { tenant: self.tenant.clone(), source },
            BaseError::Stopped => Failure::Interrupted,
            error @ (BaseError::DoesNotApply(_) | BaseError::OutOfOrder) => {
                Failure::Base { tenant: self.tenant.clone(), source: error }
            }
        }
    }

    /// Verifies the log and passes each complete record to `visit`. Blocks.
    pub(super) fn read(
        &self,
        interruption: &Interruption,
        visit: &mut dyn FnMut(StoredRecord) -> Result<ControlFlow<()>, Failure>,
    ) -> Result<Reading, Failure> {
        let mut failure = None;
        let verification = self.place.verify(&self.scratch, &mut |stored| {
            let step = interruption.check().and_then(|()| visit(stored));
            step.unwrap_or_else(|stopped| {
                failure = Some(stopped);
                ControlFlow::Break(())
            })
        });
        if let Some(failure) = failure {
            return Err(failure);
        }
        let tenant = self.tenant.clone();
        match verification {
            Ok(verification) => Ok(verification.into()),
            Err(Error::Damaged(damage)) => Ok(Reading::unreadable(self.place.log_id().ok(), damage)),
            Err(Error::Locked(folder)) => Err(Failure::Locked { tenant, folder }),
            Err(source) => Err(Failure::Log { tenant, source }),
        }
    }
}
