//! One request and its answer. If the answer is ready before the body was read, a short rest of the body is
//! discarded; for a longer one the answer says `connection: close`.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::time::timeout;
use tower::ServiceExt as _;
use vectorizer_scheduling::StreamBudget;

use super::heads::{Exchange, Head};
use super::peer::Peer;

/// How much of an unwanted body is discarded so that its connection can serve the next request, and for how long.
/// Beyond that, the connection is closed (see `lingering_close`).
const READ_ON_BYTES_MAX: u64 = 256 * 1024;
const READ_ON_PATIENCE: Duration = Duration::from_secs(1);

/// Serves the requests of one connection.
#[derive(Clone)]
pub(super) struct Exchanges {
    pub(super) router: Router,
    pub(super) peer: Peer,
    pub(super) head: Head,
}

impl hyper::service::Service<Request<Incoming>> for Exchanges {
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Answer>, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let exchange = self.head.end();
        let rest = Rest::default();
        let waits_for_word = request.headers().contains_key(header::EXPECT);
        let mut request = request.map(|incoming| {
            let exchange = Some(Arc::clone(&exchange));
            Body::new(Watched { incoming: Some(incoming), was_read: false, rest: rest.clone(), exchange })
        });
        request.extensions_mut().insert(self.peer);
        let answering = self.router.clone().oneshot(request);
        Box::pin(async move {
            let mut response = answering.await?;
            if let Some(unread) = rest.take()
                && !is_read_to_its_end(unread, waits_for_word, response.status()).await
            {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(response.map(|body| Answer { body, _exchange: exchange }))
        })
    }
}

/// The rest of a body that was not read to its end.
struct Unread {
    incoming: Incoming,
    /// Whether any of it was read.
    was_read: bool,
    _exchange: Option<Arc<Exchange>>,
}

/// Discards the rest, within bounds. Returns whether that was all of it.
async fn is_read_to_its_end(unread: Unread, waits_for_word: bool, status: StatusCode) -> bool {
    let Unread { mut incoming, was_read, _exchange } = unread;
    // A client that waits for `100 Continue` may send the body or the next request, which look alike.
    let may_not_come = waits_for_word && !was_read;
    let is_slow = status == StatusCode::REQUEST_TIMEOUT;
    if may_not_come || is_slow || incoming.size_hint().lower() > READ_ON_BYTES_MAX {
        return false;
    }
    let reading = async {
        let (mut bytes, mut budget) = (0, StreamBudget::default());
        while let Some(frame) = incoming.frame().await {
            let Ok(frame) = frame else { return false };
            let read = frame.data_ref().map_or(0, Bytes::len);
            bytes += read as u64;
            budget.spend(read).await;
            if bytes > READ_ON_BYTES_MAX {
                return false;
            }
        }
        true
    };
    timeout(READ_ON_PATIENCE, reading).await.unwrap_or(false)
}

/// Where the rest of a dropped body is put.
#[derive(Clone, Default)]
struct Rest(Arc<Mutex<Option<Unread>>>);

impl Rest {
    fn take(&self) -> Option<Unread> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A request's body. Dropping it leaves its rest in `rest`.
struct Watched {
    /// `None` after its end.
    incoming: Option<Incoming>,
    was_read: bool,
    rest: Rest,
    exchange: Option<Arc<Exchange>>,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.was_read = true;
        let Some(incoming) = &mut self.incoming else { return Poll::Ready(None) };
        let frame = Pin::new(incoming).poll_frame(context);
        if matches!(&frame, Poll::Ready(None | Some(Err(_)))) {
            self.incoming = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let Some(incoming) = self.incoming.take().filter(|incoming| !incoming.is_end_stream()) else {
            return;
        };
        let unread = Unread { incoming, was_read: self.was_read, _exchange: self.exchange.take() };
        *self.rest.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(unread);
    }
}

/// An answer's body. While it exists, no new head is expected.
pub(super) struct Answer {
    body: Body,
    _exchange: Arc<Exchange>,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
