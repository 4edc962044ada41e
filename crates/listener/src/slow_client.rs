//! A timeout for clients that read too slowly.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// How long a client may take to read [`TAKEN_MIN`] bytes while more bytes wait.
const WINDOW: Duration = Duration::from_mins(1);
/// A kibibyte a second. The kernel reports a writable socket only when a third of its buffer is free (128 KiB and
/// more, see [`SEND_BUFFER_BYTES`]), so a client that reads four times as fast is never taken for a slow one.
const TAKEN_MIN: usize = 1024 * 60;

/// The kernel's send buffer of one connection. Without a bound it grows to megabytes, which hides how much a client
/// has read.
pub(super) const SEND_BUFFER_BYTES: u32 = 256 * 1024;

/// A stream that fails when the client reads too little of the waiting bytes. A waiting answer takes memory, and
/// reading a byte now and then must not keep it for ever. A client without waiting bytes is not slow.
#[derive(Debug)]
pub(super) struct SlowClientTimeout<S> {
    stream: S,
    /// `Some` while bytes wait.
    window: Option<Window>,
}

#[derive(Debug)]
struct Window {
    closing: Pin<Box<Sleep>>,
    taken: usize,
}

impl Window {
    fn new() -> Self {
        Self { closing: Box::pin(sleep(WINDOW)), taken: 0 }
    }
}

impl<S> SlowClientTimeout<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, window: None }
    }

    /// Accounts for a write of `offered` bytes, whose result is `written`.
    fn account(
        &mut self,
        context: &mut Context<'_>,
        offered: usize,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(taken)) if taken == offered => self.window = None,
            Poll::Ready(Ok(taken)) => {
                if let Some(window) = &mut self.window {
                    window.taken += taken;
                }
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => {
                let window = self.window.get_or_insert_with(Window::new);
                while window.closing.as_mut().poll(context).is_ready() {
                    if window.taken < TAKEN_MIN {
                        let slow = io::Error::new(io::ErrorKind::TimedOut, "the client takes too little");
                        return Poll::Ready(Err(slow));
                    }
                    window.taken = 0;
                    window.closing.as_mut().reset(Instant::now() + WINDOW);
                }
            }
        }
        written
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for SlowClientTimeout<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.account(context, bytes.len(), written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let offered = slices.iter().map(|slice| slice.len()).sum();
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.account(context, offered, written)
    }

    /// As the inner stream does. Otherwise hyper would copy each answer, and resources that an answer holds until its
    /// bytes are sent would be released too early.
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for SlowClientTimeout<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    /// Bytes between the two ends.
    const BUFFER_BYTES: usize = 1024;

    /// Reads `bytes` a second for this many seconds.
    async fn take(client: &mut DuplexStream, bytes: usize, seconds: usize) {
        for _ in 0..seconds {
            sleep(Duration::from_secs(1)).await;
            let mut left = vec![0; bytes];
            client.read_exact(&mut left).await.unwrap();
        }
    }

    fn connection(bytes: usize) -> (DuplexStream, tokio::task::JoinHandle<io::Result<()>>) {
        let (client, server) = duplex(BUFFER_BYTES);
        let mut server = SlowClientTimeout::new(server);
        let sending = async move {
            server.write_all(&vec![0; bytes]).await?;
            // After the last byte the client cannot be slow.
            sleep(5 * WINDOW).await;
            server.write_all(b"x").await
        };
        (client, tokio::spawn(sending))
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_next_to_nothing_is_let_go() {
        for each_second in [0, 1, 128, 1024 - BUFFER_BYTES / 16] {
            let (mut client, sending) = connection(10 << 20);
            let started = Instant::now();
            take(&mut client, each_second, 59).await;
            assert!(!sending.is_finished());
            let error = sending.await.unwrap().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            assert!(started.elapsed() <= WINDOW + Duration::from_secs(1), "{:?}", started.elapsed());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_is_slow_but_works_gets_everything() {
        let (seconds, each_second) = (600, 1024 + BUFFER_BYTES / 16);
        let (mut client, sending) = connection(each_second * seconds);
        take(&mut client, each_second, seconds).await;
        assert_eq!(client.read_u8().await.unwrap(), b'x');
        sending.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_stops_halfway_is_let_go_a_window_later() {
        let (mut client, sending) = connection(10 << 20);
        take(&mut client, 8 * 1024, 120).await;
        let error = sending.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
