//! Errors in answers of `HiveHub`.

use serde::{Deserialize, Serialize};

/// [`ErrorAnswer::error`] of a 404 about a tenant that `HiveHub` does not know.
pub const UNKNOWN_TENANT: &str = "unknown_tenant";
/// [`ErrorAnswer::error`] of a 410 about a cursor from which the policy feed cannot go on.
pub const CURSOR_LOST: &str = "cursor_lost";

/// The body of each error of `HiveHub`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorAnswer {
    /// A code for programs.
    pub error: String,
    /// A sentence for people.
    pub details: String,
}
