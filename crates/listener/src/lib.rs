//! An HTTP/1.1 listener that clients cannot exhaust: connections, heads, slow clients and handshakes are bounded.
//!
//! - `serve`: listening, and serving each connection until the server stops.
//! - `peers`: connections per client; `heads`: limits on the heads of requests while they are read.
//! - `exchange`: one request and its answer; `slow_client`: a timeout for clients that read too slowly.
//! - `lingering_close`: closing a connection so that the client gets the answer.
//! - `tls`: certificates, which are reloaded without a restart.
//!
//! The crate knows HTTP and nothing of what is served. Its user supplies the answer to a refused head.

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
