//! Who calls, and what they may do.

mod access;
mod failures;

pub use access::{
    AccessCheck, Admin, Admission, Admitted, ClusterPass, Holds, McpPass, Pass, Reach, Read, Write,
};
pub use failures::FailedAuthentications;
pub use vectorizer_access::{
    ApiKey, Asked, Denial, DenialReason, Denied, Environment, InvalidKeyHash, KeyHash, KeyId, Level,
    MalformedKey, Operation, OperationFacts, Permission, Requirement, Verb, rest_level,
};
