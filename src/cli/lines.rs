//! Reading an answer line by line.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::Response;

use super::server::ServerError;

/// The longest line: more than the stored bytes of the largest record in base64. The limit keeps a server from filling
/// this machine's memory.
pub(super) const LINE_BYTES_MAX: usize = 3 << 29;

/// Splits a streamed body into lines. It buffers only the current line.
#[derive(Debug)]
pub(super) struct Lines {
    response: Response,
    arrived: BytesMut,
    /// The number of bytes of `arrived` that are known to have no line feed.
    searched: usize,
    line_bytes_max: usize,
    /// The longest wait for the next bytes; `None` for a stream that follows the log.
    wait_max: Option<Duration>,
}

impl Lines {
    pub(super) fn new(response: Response, line_bytes_max: usize, wait_max: Option<Duration>) -> Self {
        Self { response, arrived: BytesMut::new(), searched: 0, line_bytes_max, wait_max }
    }

    /// The next line with its line feed, or `None` at the end. Skips empty lines, which keep an idle connection open.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, ServerError> {
        loop {
            let unsearched = &self.arrived[self.searched..];
            if let Some(at) = unsearched.iter().position(|byte| *byte == b'\n') {
                let line = self.arrived.split_to(self.searched + at + 1).freeze();
                self.searched = 0;
                if line.trim_ascii().is_empty() {
                    continue;
                }
                return Ok(Some(line));
            }
            self.searched = self.arrived.len();
            if self.searched > self.line_bytes_max {
                return Err(ServerError::LineTooLong { bytes_max: self.line_bytes_max });
            }
            match self.chunk().await? {
                Some(chunk) => self.arrived.extend_from_slice(&chunk),
                None if self.arrived.is_empty() => return Ok(None),
                None => return Err(ServerError::LineTruncated),
            }
        }
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, ServerError> {
        let chunk = self.response.chunk();
        let arrived = match self.wait_max {
            Some(wait_max) => {
                tokio::time::timeout(wait_max, chunk).await.map_err(|_| ServerError::Timeout)?
            }
            None => chunk.await,
        };
        arrived.map_err(ServerError::Unreachable)
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;

    use super::*;
    use crate::cli::test_support::serve;

    async fn lines(body: &'static str, line_bytes_max: usize) -> Lines {
        let url = serve(Router::new().route("/", get(move || async move { body }))).await;
        let client = vectorizer_http_client::client().no_proxy().build().unwrap();
        Lines::new(client.get(url).send().await.unwrap(), line_bytes_max, Some(Duration::from_secs(9)))
    }

    #[tokio::test]
    async fn lines_are_complete_and_empty_lines_are_skipped() {
        let mut lines = lines("one\n\n\r\ntwo\n", 9).await;
        assert_eq!(lines.next().await.unwrap().unwrap(), "one\n");
        assert_eq!(lines.next().await.unwrap().unwrap(), "two\n");
        assert!(lines.next().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_line_without_an_end_is_an_error() {
        let mut unended = lines("a line that breaks", 99).await;
        assert!(matches!(unended.next().await, Err(ServerError::LineTruncated)));
        let mut long = lines("a line that goes on and on", 9).await;
        assert!(matches!(long.next().await, Err(ServerError::LineTooLong { bytes_max: 9 })));
    }
}
