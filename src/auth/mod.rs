//! Who calls, and what they may do.

mod access;
mod denial;
mod failures;
mod key;
mod permission;

pub use access::{
    AccessCheck, Admin, Admission, Admitted, Asked, ClusterPass, Denial, Holds, McpPass, Pass, Reach, Read,
    Write,
};
pub use denial::{DenialReason, Denied};
pub use failures::FailedAuthentications;
pub(crate) use permission::rest_level;
pub use permission::{Level, Operation, Requirement};

pub use key::{ApiKey, Environment, InvalidKeyHash, KeyHash, KeyId, MalformedKey};
