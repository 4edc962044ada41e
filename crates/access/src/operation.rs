//! The table of operations: everything that a caller can ask for, a row each.

use crate::permission::{Level, Requirement};

/// The method of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Reads.
    Get,
    /// Does, or creates.
    Post,
    /// Writes in place of what is there.
    Put,
    /// Deletes.
    Delete,
    /// Changes a part.
    Patch,
}

/// Everything that is known of an operation without its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperationFacts {
    /// Its name in the audit log, in the metrics, on the bill and in the description of the API.
    pub name: &'static str,
    /// Its method in the REST API.
    pub verb: Verb,
    /// Its path template in the REST API.
    pub path: &'static str,
    /// Whether it takes parameters in the query. Those of an operation that takes none are refused.
    pub takes_parameters: bool,
    /// What it asks of its caller.
    pub requirement: Requirement,
}

macro_rules! operations {
    ($(
        $(#[doc = $doc:literal])+
        $operation:ident: $name:literal, $verb:ident $path:literal $(with $parameters:ident)?, $requirement:ident $(($level:ident))?;
    )+) => {
        /// Everything that a caller can ask for.
        ///
        /// A new row is classified, counted and audited by being there. It does not compile before the REST API has a
        /// handler for it, which is documented with it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Operation {
            $($(#[doc = $doc])+ $operation,)+
        }

        impl Operation {
            /// All of them, in the order of their discriminants.
            pub const ALL: [Self; [$(Self::$operation),+].len()] = [$(Self::$operation),+];

            /// Its row of the table.
            pub const fn facts(self) -> OperationFacts {
                match self {
                    $(Self::$operation => OperationFacts {
                        name: $name,
                        verb: Verb::$verb,
                        path: $path,
                        takes_parameters: operations!(@is_given $($parameters)?),
                        requirement: Requirement::$requirement $((Level::$level))?,
                    },)+
                }
            }
        }
    };
    (@is_given) => { false };
    (@is_given parameters) => { true };
}

operations! {
    /// Create a collection.
    CreateCollection: "create_collection", Post "/api/v1/collections", Tenant(Admin);
    /// List all collections.
    ListCollections: "list_collections", Get "/api/v1/collections", Tenant(Read);
    /// Describe one collection.
    DescribeCollection: "describe_collection", Get "/api/v1/collections/{name}", Tenant(Read);
    /// Delete a collection with everything in it.
    DeleteCollection: "delete_collection", Delete "/api/v1/collections/{name}", Tenant(Admin);
    /// Declare a path of a collection's payloads, so that it is always indexed.
    DeclareIndex: "declare_index", Put "/api/v1/collections/{name}/indexes/{path}", Tenant(Admin);
    /// List which paths of a collection's payloads are indexed.
    ListIndexes: "list_indexes", Get "/api/v1/collections/{name}/indexes", Tenant(Read);
    /// Take the declaration of a path back.
    DropIndex: "drop_index", Delete "/api/v1/collections/{name}/indexes/{path}", Tenant(Admin);
    /// Write vectors.
    UpsertVectors: "upsert_vectors", Put "/api/v1/collections/{name}/vectors", Tenant(Write);
    /// Page through vectors.
    ListVectors: "list_vectors", Get "/api/v1/collections/{name}/vectors" with parameters, Tenant(Read);
    /// Read one vector.
    GetVector: "get_vector", Get "/api/v1/collections/{name}/vectors/{id}" with parameters, Tenant(Read);
    /// Delete one vector.
    DeleteVector: "delete_vector", Delete "/api/v1/collections/{name}/vectors/{id}", Tenant(Write);
    /// Change one vector's payload.
    ChangePayload: "change_payload", Patch "/api/v1/collections/{name}/vectors/{id}/payload", Tenant(Write);
    /// Delete vectors by id or by filter.
    DeleteVectors: "delete_vectors", Post "/api/v1/collections/{name}/vectors/delete", Tenant(Write);
    /// Search.
    Search: "search", Post "/api/v1/collections/{name}/search", Tenant(Read);
    /// Several searches at once.
    SearchBatch: "search_batch", Post "/api/v1/collections/{name}/search/batch", Tenant(Read);
    /// Count vectors.
    Count: "count", Post "/api/v1/collections/{name}/count", Tenant(Read);
    /// Read the audit log.
    ReadLog: "read_log", Get "/api/v1/log" with parameters, Tenant(Admin);
    /// Read where the log ends.
    ReadLogHead: "read_log_head", Get "/api/v1/log/head", Tenant(Read);
    /// Read the node's metrics, which name its tenants.
    Metrics: "metrics", Get "/metrics" with parameters, Cluster;
    /// Show how the node is.
    ClusterHealth: "cluster_health", Get "/api/v1/cluster/health", Cluster;
    /// List the tenants of the node.
    ListTenants: "list_tenants", Get "/api/v1/cluster/tenants" with parameters, Cluster;
    /// Delete a tenant with everything it has.
    DeleteTenant: "delete_tenant", Delete "/api/v1/cluster/tenants/{id}", Cluster;
    /// Restore a deleted tenant.
    RestoreTenant: "restore_tenant", Post "/api/v1/cluster/tenants/{id}/restore" with parameters, Cluster;
    /// Show what a tenant uses and what it may use.
    Usage: "usage", Get "/api/v1/cluster/usage" with parameters, TenantOrCluster;
    /// Show what the caller's own key may do.
    ValidateKey: "validate_key", Post "/api/v1/cluster/keys/validate", AnyKey;
    /// Speak MCP. Each tool asks for its own operation.
    Mcp: "mcp", Post "/mcp", AnyTenant;
    /// Whether the process lives.
    Health: "health", Get "/health" with parameters, Nothing;
    /// Whether the server takes requests.
    Ready: "ready", Get "/ready" with parameters, Nothing;
    /// The description of this API.
    OpenApi: "openapi", Get "/api/v1/openapi.json" with parameters, Nothing;
}

impl Operation {
    /// Its name in the audit log, in the metrics, on the bill and in the description of the API.
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    /// What it asks of its caller.
    pub const fn requirement(self) -> Requirement {
        self.facts().requirement
    }
}
