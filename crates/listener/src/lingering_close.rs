//! Closing a connection. A kernel that receives bytes for a closed connection resets it, and the client loses the
//! answer that it has not read yet. So the bytes that a client still sends are discarded first, within bounds.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use vectorizer_access::Origin;
use vectorizer_scheduling::StreamBudget;

use super::peers::Peers;
use super::slow_client::SlowClientTimeout;

/// The longest write of the last bytes.
const LAST_WORD_PATIENCE: Duration = Duration::from_secs(5);
/// The longest pause of a client, and the longest time in all.
const PAUSE_MAX: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_mins(1);
/// The longest time while the server stops.
const STOPPING_PATIENCE: Duration = Duration::from_millis(500);
/// How many connections linger at the same time, in all and per client. Others are closed at once.
const LINGERING_MAX: usize = 1_024;
const LINGERING_EACH_MAX: usize = 256;
/// The least limit on discarded bytes.
pub(super) const DISCARDED_BYTES_MIN: u64 = 64 << 20;
/// The size of a read.
const PIECE_BYTES: usize = 16 * 1024;

/// Closes connections. Cheap to clone; the clones share the limits.
#[derive(Clone, Debug)]
pub(super) struct LingeringClose {
    node: Arc<Semaphore>,
    peers: Peers,
    discarded_bytes_max: u64,
    stopping: CancellationToken,
}

impl LingeringClose {
    /// Discards at most `discarded_bytes_max` per connection, and half a second's bytes once `stopping` is cancelled.
    pub(super) fn new(discarded_bytes_max: u64, stopping: CancellationToken) -> Self {
        let node = Arc::new(Semaphore::new(LINGERING_MAX));
        Self { node, peers: Peers::with_each(LINGERING_EACH_MAX), discarded_bytes_max, stopping }
    }

    /// Closes a connection so that the client gets what was written.
    pub(super) async fn close<S: Connection>(&self, mut stream: S, origin: Origin) {
        // Under TLS this sends `close_notify`; in both cases it shuts down the sending side.
        if !matches!(timeout(LAST_WORD_PATIENCE, stream.shutdown()).await, Ok(Ok(()))) {
            return;
        }
        let (Some(_of_peer), Ok(_of_node)) = (self.peers.admit(origin), self.node.try_acquire()) else {
            return;
        };
        let stopped = async {
            self.stopping.cancelled().await;
            sleep(STOPPING_PATIENCE).await;
        };
        tokio::select! {
            _ = timeout(PATIENCE, discard(stream.beneath(), self.discarded_bytes_max)) => {}
            () = stopped => {}
        }
    }
}

/// Reads until the end, an error, a pause, or `bytes_max` bytes.
async fn discard(stream: &mut (impl AsyncRead + Unpin), bytes_max: u64) {
    let mut piece = BytesMut::with_capacity(PIECE_BYTES);
    let (mut bytes, mut budget) = (0, StreamBudget::default());
    while let Ok(Ok(read @ 1..)) = timeout(PAUSE_MAX, stream.read_buf(&mut piece)).await {
        bytes += read as u64;
        if bytes > bytes_max {
            return;
        }
        piece.clear();
        budget.spend(read).await;
    }
}

/// Answers a client whose head was not read to its end.
pub(super) async fn answer(stream: &mut (impl AsyncWrite + Unpin), answer: &[u8]) {
    let _ = timeout(LAST_WORD_PATIENCE, async {
        stream.write_all(answer).await?;
        stream.flush().await
    })
    .await;
}

/// A connection over TCP, with or without TLS.
pub(super) trait Connection: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    /// The TCP stream.
    fn beneath(&mut self) -> &mut SlowClientTimeout<TcpStream>;
}

impl Connection for SlowClientTimeout<TcpStream> {
    fn beneath(&mut self) -> &mut SlowClientTimeout<TcpStream> {
        self
    }
}

impl Connection for TlsStream<SlowClientTimeout<TcpStream>> {
    fn beneath(&mut self) -> &mut SlowClientTimeout<TcpStream> {
        self.get_mut().0
    }
}
