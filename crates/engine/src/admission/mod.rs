//! The access check: who calls, and the right to act that a caller gets.
//!
//! - `access`: the check, and the passes that only it makes.
//! - `failures`: failed authentications, limited by address.

mod access;
mod failures;

pub use self::access::{
    AccessCheck, Admin, Admission, Admitted, ClusterPass, Holds, McpPass, Pass, Reach, Read, Write,
};
pub use self::failures::FailedAuthentications;
