//! Limits on the heads of requests while they are read, when the client's key is not known yet.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use vectorizer_access::Origin;

use super::peers::{OfPeer, Peers};

/// The largest head, in bytes: the request line and all headers.
pub const HEAD_BYTES_MAX: usize = 32 * 1024;
/// How many heads may be unfinished, in all and per client. A head that arrives in one piece does not count. With
/// [`HEAD_BYTES_MAX`] this bounds the memory of unfinished heads.
const UNFINISHED_MAX: usize = 1_024;
const UNFINISHED_EACH_MAX: usize = 256;

/// Permits for unfinished heads. Cheap to clone; the clones share the permits.
#[derive(Clone, Debug)]
pub(super) struct HeadRoom {
    node: Arc<Semaphore>,
    peers: Peers,
}

impl Default for HeadRoom {
    fn default() -> Self {
        Self { node: Arc::new(Semaphore::new(UNFINISHED_MAX)), peers: Peers::with_each(UNFINISHED_EACH_MAX) }
    }
}

/// The permit of one unfinished head.
#[derive(Debug)]
struct Place {
    _of_node: OwnedSemaphorePermit,
    _of_peer: OfPeer,
}

/// Why a head was not read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    /// It has more than [`HEAD_BYTES_MAX`] bytes.
    TooLarge,
    /// There are too many unfinished ones.
    Crowded,
    /// It did not arrive in time.
    TooSlow,
}

/// The state of one connection.
#[derive(Clone, Debug)]
pub(super) struct Head {
    room: HeadRoom,
    origin: Origin,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
enum State {
    /// A head is being read.
    Reading { bytes: usize, place: Option<Place> },
    /// A request's body is being read, or its answer written.
    Exchange,
    /// The head failed; nothing more is read.
    Failed(HeadError),
}

impl State {
    const START: Self = Self::Reading { bytes: 0, place: None };
}

impl Head {
    /// For a new connection of `origin`.
    pub(super) fn new(room: HeadRoom, origin: Origin) -> Self {
        Self { room, origin, state: Arc::new(Mutex::new(State::START)) }
    }

    /// The head is complete. The next one is expected when the last clone of the returned value is dropped.
    pub(super) fn end(&self) -> Arc<Exchange> {
        *self.state() = State::Exchange;
        Arc::new(Exchange { head: self.clone() })
    }

    /// Why the head was not read to its end, if it has begun.
    pub(super) fn error(&self, timed_out: bool) -> Option<HeadError> {
        match &*self.state() {
            State::Failed(head_error) => Some(*head_error),
            State::Reading { bytes, .. } if timed_out && *bytes > 0 => Some(HeadError::TooSlow),
            State::Reading { .. } | State::Exchange => None,
        }
    }

    /// Called before each read. All that is read before a head is complete belongs to it.
    fn expect_more(&self) -> io::Result<()> {
        let mut state = self.state();
        let head_error = match &mut *state {
            State::Exchange | State::Reading { bytes: 0, .. } => return Ok(()),
            State::Failed(head_error) => *head_error,
            State::Reading { bytes, .. } if *bytes >= HEAD_BYTES_MAX => HeadError::TooLarge,
            State::Reading { place: Some(_), .. } => return Ok(()),
            State::Reading { place, .. } => match self.room.admit(self.origin) {
                Some(admitted) => {
                    *place = Some(admitted);
                    return Ok(());
                }
                None => HeadError::Crowded,
            },
        };
        *state = State::Failed(head_error);
        Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the head of a request is not read to its end"))
    }

    fn has_come(&self, more: usize) {
        if let State::Reading { bytes, .. } = &mut *self.state() {
            *bytes += more;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HeadRoom {
    fn admit(&self, origin: Origin) -> Option<Place> {
        let of_peer = self.peers.admit(origin)?;
        let of_node = Arc::clone(&self.node).try_acquire_owned().ok()?;
        Some(Place { _of_node: of_node, _of_peer: of_peer })
    }
}

/// The time from the end of a request's head to the end of both bodies.
#[derive(Debug)]
pub(super) struct Exchange {
    head: Head,
}

impl Drop for Exchange {
    fn drop(&mut self) {
        *self.head.state() = State::START;
    }
}

/// A stream with limits on the heads of requests. Its shutdown only flushes: the inner stream is closed after HTTP
/// has ended.
#[derive(Debug)]
pub(super) struct HeadLimited<S> {
    stream: S,
    head: Head,
}

impl<S> HeadLimited<S> {
    pub(super) fn new(stream: S, head: Head) -> Self {
        Self { stream, head }
    }

    /// The inner stream.
    pub(super) fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for HeadLimited<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.head.expect_more()?;
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.head.has_come(buffer.filled().len() - before);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for HeadLimited<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(context)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn begun(room: &HeadRoom, address: &str, bytes: usize) -> Head {
        let head = Head::new(room.clone(), address.parse::<IpAddr>().unwrap().into());
        head.expect_more().unwrap();
        head.has_come(bytes);
        head
    }

    #[test]
    fn a_head_that_is_whole_takes_no_place_and_one_that_is_not_takes_one_until_it_is() {
        let room = HeadRoom::default();
        let whole: Vec<_> = (0..2 * UNFINISHED_MAX).map(|_| begun(&room, "192.0.2.1", 100)).collect();
        let exchanges: Vec<_> = whole.iter().map(Head::end).collect();
        assert_eq!(room.node.available_permits(), UNFINISHED_MAX);
        let slow: Vec<_> = (0..UNFINISHED_EACH_MAX).map(|_| begun(&room, "192.0.2.1", 100)).collect();
        for head in &slow {
            head.expect_more().unwrap();
        }
        let further = begun(&room, "192.0.2.1", 100);
        assert!(further.expect_more().is_err());
        assert_eq!(further.error(false), Some(HeadError::Crowded));
        begun(&room, "192.0.2.2", 100).expect_more().unwrap();
        let exchange = slow[0].end();
        begun(&room, "192.0.2.1", 100).expect_more().unwrap();
        // Bodies are not limited here, and the next head starts at 0.
        slow[0].has_come(10 * HEAD_BYTES_MAX);
        slow[0].expect_more().unwrap();
        drop((exchange, exchanges));
        slow[0].expect_more().unwrap();
        drop((slow, further));
        assert_eq!(room.node.available_permits(), UNFINISHED_MAX);
    }

    #[test]
    fn a_head_is_not_read_beyond_its_limit_and_one_that_has_begun_may_be_too_slow() {
        let room = HeadRoom::default();
        let head = begun(&room, "192.0.2.1", HEAD_BYTES_MAX - 1);
        head.expect_more().unwrap();
        assert_eq!(head.error(true), Some(HeadError::TooSlow));
        head.has_come(1);
        assert!(head.expect_more().is_err());
        assert_eq!(head.error(false), Some(HeadError::TooLarge));
        assert_eq!(begun(&room, "192.0.2.1", 0).error(true), None);
    }
}
