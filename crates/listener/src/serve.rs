//! Listening, and serving each connection.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::exchange::Exchanges;
use super::heads::{HEAD_BYTES_MAX, Head, HeadError, HeadLimited, HeadRoom};
use super::lingering_close::{self, Connection, DISCARDED_BYTES_MIN, LingeringClose};
use super::peer::Peer;
use super::peers::Peers;
use super::slow_client::{SEND_BUFFER_BYTES, SlowClientTimeout};
use super::tls::Tls;

/// How many connections are open at the same time. Further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 4_096;
/// How many of them one client may have.
const CONNECTIONS_EACH_MAX: usize = 1_024;
/// How many connections the kernel queues until they are accepted.
const BACKLOG: u32 = 1_024;
/// The longest a client may take to send the head of a request.
const HEADER_PATIENCE: Duration = Duration::from_secs(30);
/// The buffer of HTTP. It is larger than a head's own limit, which has a better answer.
const BUFFER_BYTES_MAX: usize = 4 * HEAD_BYTES_MAX;
/// The pause after the kernel has refused a connection, perhaps because descriptors are missing.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Makes the whole answer, with its head, to a client whose head was not read to its end.
pub type HeadAnswer = fn(HeadError) -> Vec<u8>;

/// How connections are served.
#[derive(Clone, Debug)]
pub struct Serving {
    /// The certificate; `None` is plain HTTP.
    pub tls: Option<Tls>,
    /// How many bytes of an unwanted body are discarded before closing, so that the client reads the answer; at least
    /// 64 MiB.
    pub discarded_bytes_max: u64,
    /// How long running requests may take when the server stops.
    pub grace: Duration,
    /// The answer to heads that do not reach the router.
    pub head_answer: HeadAnswer,
}

/// Listens on `address`.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Accepted connections inherit it.
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves `router` until `stop` is ready, then running requests for at most the grace.
pub async fn serve(listener: TcpListener, router: Router, serving: Serving, stop: impl Future<Output = ()>) {
    let Serving { tls, discarded_bytes_max, grace, head_answer } = serving;
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let peers = Peers::with_each(CONNECTIONS_EACH_MAX);
    let tracker = TaskTracker::new();
    let stopping = CancellationToken::new();
    let (heads, closing) = (
        HeadRoom::default(),
        LingeringClose::new(discarded_bytes_max.max(DISCARDED_BYTES_MIN), stopping.clone()),
    );
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_PATIENCE).max_buf_size(BUFFER_BYTES_MAX);
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = async {
            let place = Arc::clone(&connections).acquire_owned().await;
            (listener.accept().await, place)
        };
        let ((stream, peer), place) = tokio::select! {
            (accepted, place) = accepted => match accepted {
                Ok((stream, peer)) => ((stream, Peer(peer)), place),
                Err(error) => {
                    warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                    continue;
                }
            },
            () = &mut stop => break,
        };
        let Some(of_peer) = peers.admit(peer.0.ip().into()) else {
            debug!(peer = %peer.0, "an address has as many connections as it may");
            continue;
        };
        // Answers are written as a whole, so waiting to fill packets would only delay them.
        let _ = stream.set_nodelay(true);
        let conversation = Conversation {
            http: http.clone(),
            router: router.clone(),
            peer,
            heads: heads.clone(),
            closing: closing.clone(),
            head_answer,
            stopping: stopping.clone(),
        };
        let (tls, stopping) = (tls.clone(), stopping.clone());
        tracker.spawn(async move {
            match tls {
                None => conversation.hold(SlowClientTimeout::new(stream)).await,
                Some(tls) => {
                    // A client in the handshake has made no request when the server stops.
                    let shaken = stopping.run_until_cancelled(tls.shake_hands(stream, peer)).await;
                    if let Some(stream) = shaken.flatten() {
                        conversation.hold(stream).await;
                    }
                }
            }
            drop((place, of_peer));
        });
    }
    drop(listener);
    stopping.cancel();
    tracker.close();
    if tokio::time::timeout(grace, tracker.wait()).await.is_err() {
        warn!("some requests were not finished in time and are aborted");
    }
}

/// One connection.
struct Conversation {
    http: http1::Builder,
    router: Router,
    peer: Peer,
    heads: HeadRoom,
    closing: LingeringClose,
    head_answer: HeadAnswer,
    stopping: CancellationToken,
}

impl Conversation {
    async fn hold(self, stream: impl Connection) {
        let Self { http, router, peer, heads, closing, head_answer, stopping } = self;
        let origin = peer.0.ip().into();
        let head = Head::new(heads, origin);
        let stream = TokioIo::new(HeadLimited::new(stream, head.clone()));
        let mut connection = http.serve_connection(stream, Exchanges { router, peer, head: head.clone() });
        let ended = if let Some(ended) = stopping.run_until_cancelled(&mut connection).await {
            ended
        } else {
            Pin::new(&mut connection).graceful_shutdown();
            (&mut connection).await
        };
        let mut stream = connection.into_parts().io.into_inner().into_inner();
        if let Err(error) = ended {
            debug!(%error, "a connection was cut off");
            if let Some(head_error) = head.error(error.is_timeout()) {
                lingering_close::answer(&mut stream, &head_answer(head_error)).await;
            }
        }
        closing.close(stream, origin).await;
    }
}
