//! An HTTP listener that one client, or many, cannot exhaust.
//!
//! - `serve`: listening, and serving each connection until the server stops.
//! - `peers`: how many connections each client has; `heads`: limits on heads of requests while they are read.
//! - `exchange`: one request and its answer; `slow_client`: clients that take too little of an answer.
//! - `lingering_close`: the end of a connection, so that what was written to it arrives.
//! - `tls`: certificates, which change without a stop.
//!
//! The crate knows HTTP and nothing of what is served: the answer to a head that is refused comes from its user.

mod exchange;
mod heads;
mod lingering_close;
mod peer;
mod peers;
mod serve;
mod slow_client;
mod tls;

pub use self::heads::{HEAD_BYTES_MAX, HeadError};
pub use self::peer::Peer;
pub use self::serve::{HeadAnswer, Serving, listen, serve};
pub use self::tls::{Tls, TlsError, TlsFiles};
