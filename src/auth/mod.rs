//! Who calls, and what they may do.

pub use vectorizer_access::{
    ApiKey, Asked, Denial, DenialReason, Denied, Environment, InvalidKeyHash, KeyHash, KeyId, Level,
    MalformedKey, Operation, OperationFacts, Permission, Requirement, Verb, rest_level,
};
pub use vectorizer_engine::admission::{
    AccessCheck, Admin, Admission, Admitted, ClusterPass, FailedAuthentications, Holds, McpPass, Pass, Reach,
    Read, Write,
};
