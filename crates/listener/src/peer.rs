//! The other end of a connection.

use std::net::SocketAddr;

/// The other end of the connection that a request came over. Each request has it as an extension.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);
