//! Who calls, and what they may do.

mod access;
mod key;
mod permission;

pub use access::{AccessCheck, Admin, Admission, Admitted, ClusterPass, Denial, Holds, Pass, Reach, Read, Write};
pub use permission::{Level, Operation, Requirement};

pub use key::{ApiKey, Environment, InvalidKeyHash, KeyHash, KeyId, MalformedKey};
