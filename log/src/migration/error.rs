//! Errors of a migration.

use std::io;
use std::path::{Path, PathBuf};

use super::destination::Destination;
use crate::error::Error;
use crate::position::LogId;
use crate::tenant_id::TenantId;

/// Why a folder cannot be migrated.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    /// A server or another migration has one of the folders open.
    #[error("{0:?} is in use: stop the server that has it open")]
    InUse(PathBuf),
    /// There is no source.
    #[error("there is no single-tenant data in {0:?}")]
    NoSource(PathBuf),
    /// The source was migrated before, to another destination.
    #[error("the data of {from:?} was already migrated to tenant {} in {:?}", .to.tenant, .to.data)]
    MigratedElsewhere {
        /// The source.
        from: PathBuf,
        /// The earlier destination.
        to: Destination,
    },
    /// The cluster already has this tenant.
    #[error("tenant {tenant} already exists in {data:?}")]
    TenantExists {
        /// The tenant.
        tenant: TenantId,
        /// The cluster's folder.
        data: PathBuf,
    },
    /// The cluster already has this log, as another tenant.
    #[error("log {log_id} already belongs to tenant {tenant}: one log cannot be two tenants")]
    LogExists {
        /// The log.
        log_id: LogId,
        /// The other tenant.
        tenant: TenantId,
    },
    /// The log was deleted in the cluster.
    #[error("log {0} was deleted in this cluster: restore it there, or remove its tombstone")]
    LogDeleted(LogId),
    /// The tenant is being migrated from another folder.
    #[error(
        "tenant {tenant} is being migrated from {from:?}: finish that first, or discard it by removing \
         _migrating/{tenant} and _migrating/{tenant}.json"
    )]
    OtherUnderWay {
        /// The tenant.
        tenant: TenantId,
        /// The other folder.
        from: PathBuf,
    },
    /// The source was written to after its copy became a tenant.
    #[error("{0:?} was written to after it became a tenant: those records are in no tenant's log")]
    SourceWentOn(PathBuf),
    /// The disk is too small.
    #[error("{data:?} has {available} bytes free, but {needed} are needed")]
    TooSmall {
        /// The cluster's folder.
        data: PathBuf,
        /// The required free space in bytes.
        needed: u64,
        /// The free space in bytes.
        available: u64,
    },
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] Error),
    /// A file or folder cannot be read or written.
    #[error("could not {doing} {path:?}")]
    File {
        /// The operation.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
}

impl MigrationError {
    /// Whether the error is a finding: data that differs or is damaged.
    pub fn is_finding(&self) -> bool {
        matches!(self, Self::SourceWentOn(_) | Self::Log(Error::Damaged(_)))
    }
}

/// Turns an error of the system into one of the migration.
pub(super) fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> MigrationError {
    let path = path.to_owned();
    move |source| MigrationError::File { doing, path, source }
}
