//! What a key may do, and what an operation asks for.

use serde::{Deserialize, Serialize};

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Permission {
    /// Everything within its scope.
    Admin,
    /// Insert, update, delete, search.
    ReadWrite,
    /// Search and read.
    ReadOnly,
    /// The MCP endpoint only.
    Mcp,
}

/// What an operation asks of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// Nothing: anybody may.
    Nothing,
    /// A tenant's key of at least this level.
    Tenant(Level),
    /// The operator's key: ADMIN, of cluster scope. No tenant's key does.
    Cluster,
    /// A key of the tenant that it is about, of any level that REST knows, or the operator's.
    TenantOrCluster,
    /// Any key that REST knows.
    AnyKey,
    /// A tenant's key of any permission: its tools each have a requirement of their own.
    AnyTenant,
}

/// How far a key reaches inside its tenant, each level including those above it here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Search and read.
    Read,
    /// Change vectors.
    Write,
    /// Manage collections and their indexes, read the audit log.
    Admin,
}

/// How far a key of this permission reaches over REST; `None` if it does not reach there at all.
pub const fn rest_level(permission: Permission) -> Option<Level> {
    match permission {
        Permission::Admin => Some(Level::Admin),
        Permission::ReadWrite => Some(Level::Write),
        Permission::ReadOnly => Some(Level::Read),
        // The MCP endpoint has tools of its own; such a key must not become a REST key by leaking.
        Permission::Mcp => None,
    }
}

/// How far a key of this permission reaches over MCP.
pub const fn mcp_level(permission: Permission) -> Level {
    match permission {
        Permission::Admin => Level::Admin,
        // Data, and nothing else.
        Permission::ReadWrite | Permission::Mcp => Level::Write,
        Permission::ReadOnly => Level::Read,
    }
}

/// Whether a tenant's caller who reaches as far as `reach` may use an operation as a tool. An operation that is not
/// a tenant's has no tool.
pub const fn reaches(reach: Level, requirement: Requirement) -> Option<Level> {
    let needed = match requirement {
        Requirement::Tenant(needed) => needed,
        Requirement::TenantOrCluster => Level::Read,
        Requirement::Nothing | Requirement::Cluster | Requirement::AnyKey | Requirement::AnyTenant => {
            return None;
        }
    };
    if reach as u8 >= needed as u8 { Some(needed) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::Operation;

    /// The design's table, written out a second time by hand.
    #[test]
    fn every_permission_reaches_exactly_what_the_design_gives_it() {
        use Operation as O;
        let reads = [
            O::ListCollections,
            O::DescribeCollection,
            O::ListIndexes,
            O::ListVectors,
            O::GetVector,
            O::Search,
            O::SearchBatch,
            O::Count,
            O::ReadLogHead,
            O::Usage,
            O::ValidateKey,
        ];
        let writes = [O::UpsertVectors, O::DeleteVector, O::ChangePayload, O::DeleteVectors];
        let admin = [O::CreateCollection, O::DeleteCollection, O::DeclareIndex, O::DropIndex, O::ReadLog];
        let cluster = [O::Metrics, O::ClusterHealth, O::ListTenants, O::DeleteTenant, O::RestoreTenant];
        let any = [O::Mcp];
        let public = [O::Health, O::Ready, O::OpenApi];
        let named = reads.len() + writes.len() + admin.len() + cluster.len() + any.len() + public.len();
        assert_eq!(named, Operation::ALL.len());
        for operation in Operation::ALL {
            let allowed = |permission| match operation.requirement() {
                Requirement::Nothing | Requirement::AnyTenant => true,
                Requirement::Tenant(level) => rest_level(permission).is_some_and(|reach| reach >= level),
                // These are tenants' keys, of any permission.
                Requirement::Cluster => false,
                Requirement::TenantOrCluster | Requirement::AnyKey => rest_level(permission).is_some(),
            };
            let is_public = public.contains(&operation) || any.contains(&operation);
            assert_eq!(allowed(Permission::Mcp), is_public, "{operation:?}");
            assert_eq!(
                allowed(Permission::ReadOnly),
                is_public || reads.contains(&operation),
                "{operation:?}"
            );
            assert_eq!(
                allowed(Permission::ReadWrite),
                is_public || reads.contains(&operation) || writes.contains(&operation),
                "{operation:?}"
            );
            assert_eq!(allowed(Permission::Admin), !cluster.contains(&operation), "{operation:?}");
        }
    }

    /// The same for MCP: an MCP key reaches data, and nothing but that.
    #[test]
    fn every_permission_reaches_exactly_its_tools() {
        use Operation as O;
        let reads = [
            O::ListCollections,
            O::DescribeCollection,
            O::ListIndexes,
            O::ListVectors,
            O::GetVector,
            O::Search,
            O::SearchBatch,
            O::Count,
            O::ReadLogHead,
            O::Usage,
        ];
        let writes = [O::UpsertVectors, O::DeleteVector, O::ChangePayload, O::DeleteVectors];
        let admin = [O::CreateCollection, O::DeleteCollection, O::DeclareIndex, O::DropIndex, O::ReadLog];
        for operation in Operation::ALL {
            let allowed = |permission| reaches(mcp_level(permission), operation.requirement()).is_some();
            let (read, write) = (reads.contains(&operation), writes.contains(&operation));
            assert_eq!(allowed(Permission::ReadOnly), read, "{operation:?}");
            assert_eq!(allowed(Permission::ReadWrite), read || write, "{operation:?}");
            assert_eq!(allowed(Permission::Mcp), read || write, "{operation:?}");
            assert_eq!(
                allowed(Permission::Admin),
                read || write || admin.contains(&operation),
                "{operation:?}"
            );
        }
    }
}
