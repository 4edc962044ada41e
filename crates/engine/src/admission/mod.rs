//! Admission: the access check, and the passes that admitted callers get.
//!
//! - `access`: the check, and the passes, which only the check makes.
//! - `failures`: failed authentications, limited by address.

mod access;
mod failures;

pub use self::access::{
    AccessCheck, Admin, Admission, Admitted, ClusterPass, Holds, McpPass, Pass, Reach, Read, Write,
};
pub use self::failures::FailedAuthentications;
