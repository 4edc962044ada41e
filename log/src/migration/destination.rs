//! The destination of migrated data.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::tenant_id::TenantId;

/// The destination of a single tenant's data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destination {
    /// The tenant in the source.
    pub source: TenantId,
    /// The tenant in the destination.
    pub tenant: TenantId,
    /// The data folder of the destination.
    pub data: PathBuf,
}
