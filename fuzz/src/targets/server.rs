//! A whole server without a network: the real router over real logs.

use std::net::SocketAddr;
use std::sync::{LazyLock, Mutex, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tower::ServiceExt as _;
use vectorizer::server::single_tenant;
use vectorizer_engine::admission::AccessCheck;
use vectorizer_engine::tenancy::{Rules, Tenancy};
use vectorizer_limits::HistoryLimits;
use vectorizer_metrics::Metrics;
use vectorizer_rest::{AllowedHosts, App, NetworkRules, PageOrigins, Peer, router};
use vectorizer_service::{Service, SizeLimits, share_size};

use super::closed::folder;

/// How many requests one server answers: what they have written is gone then.
const REQUESTS_MAX: usize = 1_000;
const BODY_BYTES_MAX: usize = 64 << 10;
const JSON_DEPTH_MAX: usize = 32;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("threads can begin")
});
static SERVER: Mutex<Option<Server>> = Mutex::new(None);

struct Server {
    router: Router,
    tenancy: Tenancy,
    asked: usize,
    _data: TempDir,
}

impl Server {
    fn start() -> Self {
        let data = folder();
        let metrics = Metrics::default();
        let limits = SizeLimits { body_bytes_max: BODY_BYTES_MAX, json_depth_max: JSON_DEPTH_MAX };
        let rules =
            Rules { idle: None, memory_bytes_max: u64::MAX, delete_grace: std::time::Duration::from_secs(1) };
        let tenancy = Tenancy::new(data.path(), share_size(&limits), rules, None, metrics.clone())
            .expect("the folder can be written to");
        let access = AccessCheck::keyless(single_tenant(), HistoryLimits::default());
        let network = NetworkRules {
            known_hosts: AllowedHosts::new(peer(), []),
            page_origins: PageOrigins::new(&[]),
            trusted_proxies: Vec::new(),
        };
        let app = App::new(Service::new(tenancy.clone(), access, metrics, limits, None), network);
        Self { router: router(app), tenancy, asked: 0, _data: data }
    }

    async fn answer(&mut self, request: Request<Body>) -> (StatusCode, Vec<u8>) {
        self.asked += 1;
        let answer = self.router.clone().oneshot(request).await.expect("a router does not fail");
        let status = answer.status();
        let body = answer.into_body().collect().await.expect("answers are whole").to_bytes();
        (status, body.to_vec())
    }
}

fn peer() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 1))
}

/// A request with this body.
pub(super) fn request(method: &str, uri: &str, body: &[u8]) -> Option<Request<Body>> {
    let request = Request::builder()
        .method(method)
        .uri(uri)
        .header("host", "localhost")
        .header(
            "content-type",
            if method == "PATCH" { "application/merge-patch+json" } else { "application/json" },
        )
        .header("accept", "application/json, text/event-stream")
        .extension(Peer(peer()));
    request.body(Body::from(body.to_vec())).ok()
}

/// The answer to a request: at once, and never that something is wrong here.
pub(super) fn answer(request: Request<Body>) -> (StatusCode, Vec<u8>) {
    let mut server = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
    RUNTIME.block_on(async {
        if let Some(old) = server.take_if(|server| server.asked >= REQUESTS_MAX) {
            old.tenancy.stop().await;
        }
        if server.is_none() {
            let mut fresh = Server::start();
            for (method, uri, body) in BEGINNING {
                let request = self::request(method, uri, body.as_bytes()).expect("it is a request");
                let (status, answer) = fresh.answer(request).await;
                assert!(status.is_success(), "{status} {}", String::from_utf8_lossy(&answer));
            }
            *server = Some(fresh);
        }
        let server = server.as_mut().expect("it was started");
        let (status, body) = server.answer(request).await;
        assert!(!status.is_server_error(), "{status} {}", String::from_utf8_lossy(&body));
        (status, body)
    })
}

/// What there is to ask about.
const BEGINNING: [(&str, &str, &str); 4] = [
    ("POST", "/api/v1/collections", r#"{"name": "points", "dimension": 3, "metric": "cosine"}"#),
    ("POST", "/api/v1/collections", r#"{"name": "texts", "dimension": 2, "metric": "dot", "text": true}"#),
    (
        "PUT",
        "/api/v1/collections/points/vectors",
        r#"{"vectors": [{"id": "a", "vector": [1, 2, 3], "payload": {"n": 1, "s": ["x"]}}, {"id": "b", "vector": [3, 2, 1]}]}"#,
    ),
    (
        "PUT",
        "/api/v1/collections/texts/vectors",
        r#"{"vectors": [{"id": "a", "vector": [1, 2], "text": "blue hills", "payload": {"n": 1}}]}"#,
    ),
];
