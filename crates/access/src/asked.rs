//! What a request asks for.

use std::net::IpAddr;
use std::sync::Arc;

use super::operation::Operation;

/// The context of a request for the access check and the audit.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The operation.
    pub operation: Operation,
    /// The client's address, if it is known, for counting failures and for the audit.
    pub from: Option<IpAddr>,
    /// The request's id.
    pub request_id: Arc<str>,
}
