//! What a request asks for, before it is known whether its caller may.

use std::net::IpAddr;
use std::sync::Arc;

use super::operation::Operation;

/// What was asked for, by a request.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The operation.
    pub operation: Operation,
    /// The client's address, if that is known: where its failures count and its refusals are noted.
    pub from: Option<IpAddr>,
    /// The request's id.
    pub request_id: Arc<str>,
}
