//! A hub that listens, and somebody to ask it.

use axum::Router;
use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use vectorizer_access::Secret;
use vectorizer_listener::Serving;

use super::contract::{assert_fits, assert_request_fits};
use crate::demo::{Demo, DemoKeys, HUB_FOLDER};
use crate::{Hub, router};

/// The folder is kept beside what uses it, so that a hub can be opened on it again.
pub(super) struct Served {
    pub(super) hub: Hub,
    pub(super) keys: DemoKeys,
    pub(super) url: String,
    pub(super) folder: TempDir,
    client: reqwest::Client,
}

/// By which key a request is made.
#[derive(Clone, Copy, Debug)]
pub(super) enum By<'a> {
    Nobody,
    Service,
    Operator,
    /// What else is shown as a service key.
    Header(&'a str),
    /// What else is shown as an operator's.
    Bearer(&'a str),
}

impl Served {
    /// The demo's hub.
    pub(super) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let Demo { hub, keys } = Demo::open(folder.path()).unwrap();
        let keys = keys.unwrap();
        let url = serve(hub.clone());
        let client = vectorizer_http_client::client().no_proxy().build().unwrap();
        Self { hub, keys, url, folder, client }
    }

    /// A second hub on the files as they are now: what a start would find after a SIGKILL.
    pub(super) fn killed_and_started_again(&self) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join(HUB_FOLDER);
        std::fs::create_dir(&copy).unwrap();
        for entry in std::fs::read_dir(self.folder.path().join(HUB_FOLDER)).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
        }
        let hub = Hub::open(&copy).unwrap();
        let url = serve(hub.clone());
        let client = vectorizer_http_client::client().no_proxy().build().unwrap();
        Self { hub, keys: self.keys.clone(), url, folder, client }
    }

    pub(super) fn request(&self, by: By<'_>, method: &str, path: &str) -> RequestBuilder {
        let request = self.client.request(method.parse().unwrap(), format!("{}{path}", self.url));
        match by {
            By::Nobody => request,
            By::Service => request.header("X-Service-Key", self.keys.hivehub_api_key.expose()),
            By::Operator => request.bearer_auth(self.keys.operator.expose()),
            By::Header(key) => request.header("X-Service-Key", key),
            By::Bearer(key) => request.bearer_auth(key),
        }
    }

    /// Asks, and holds the answer against the contract.
    pub(super) async fn ask(
        &self,
        by: By<'_>,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> (u16, Value) {
        let mut request = self.request(by, method, path);
        if let Some(body) = &body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let answer = response.json().await.unwrap();
        assert_fits(method, path, status, &answer);
        assert_request_fits(method, path, status, body.as_ref());
        (status, answer)
    }

    /// Asks for something that is given.
    pub(super) async fn ok(&self, by: By<'_>, method: &str, path: &str, body: Option<Value>) -> Value {
        let (status, answer) = self.ask(by, method, path, body).await;
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    /// Asks for something that is refused, for this reason.
    pub(super) async fn refused(&self, method: &str, path: &str, body: Option<Value>, expected: (u16, &str)) {
        let (status, answer) = self.ask(By::Operator, method, path, body).await;
        assert_eq!((status, answer["error"].as_str()), (expected.0, Some(expected.1)), "{answer}");
    }

    /// Reports usage, all at once, and gets the receipts.
    pub(super) async fn report(&self, lines: &str) -> Vec<Value> {
        let response = self
            .request(By::Service, "POST", vectorizer_hivehub::USAGE_PATH)
            .body(lines.to_owned())
            .send()
            .await;
        let receipts = receipts(response.unwrap()).await;
        let events = lines.lines().filter(|line| !line.trim().is_empty());
        for (event, receipt) in events.zip(&receipts) {
            let status = if receipt["outcome"] == "rejected" { 422 } else { 200 };
            let event = serde_json::from_str(event).unwrap_or(Value::Null);
            assert_request_fits("POST", vectorizer_hivehub::USAGE_PATH, status, Some(&event));
        }
        receipts
    }
}

fn serve(hub: Hub) -> String {
    serve_router(router(hub))
}

/// Serves on a free port until the test ends, and answers where.
pub(super) fn serve_router(router: Router) -> String {
    let listener = vectorizer_listener::listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let grace = std::time::Duration::from_secs(1);
    let serving = Serving { tls: None, discarded_bytes_max: 0, grace, head_answer: |_| Vec::new() };
    tokio::spawn(vectorizer_listener::serve(listener, router, serving, std::future::pending()));
    url
}

pub(super) async fn receipts(response: Response) -> Vec<Value> {
    assert_eq!(response.status(), StatusCode::OK);
    let text = response.text().await.unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let receipts: Vec<Value> = lines.collect();
    for receipt in &receipts {
        assert_fits("POST", vectorizer_hivehub::USAGE_PATH, 200, receipt);
    }
    receipts
}

pub(super) fn outcomes(receipts: &[Value]) -> Vec<&str> {
    receipts.iter().map(|receipt| receipt["outcome"].as_str().unwrap()).collect()
}

pub(super) const LOG: &str = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff";

/// An event of acme's.
pub(super) fn event(meter: &str, seq: u64, value: u64) -> Value {
    let unit = match meter {
        "storage_bytes" => "bytes",
        "storage_byte_seconds" => "byte_seconds",
        "vectors_upserted" | "vectors_deleted" => "vectors",
        other => other,
    };
    json!({
        "specversion": "1.0", "id": format!("{LOG}:{seq}:{meter}"),
        "source": "/vectorizer/tenants/acme", "type": "io.hivehub.vectorizer.usage.v1",
        "time": "2026-01-02T03:05:00.000000Z", "datacontenttype": "application/json",
        "data": {
            "meter": meter, "value": value, "unit": unit,
            "window": {
                "from": "2026-01-02T03:00:00.000000Z",
                "to": format!("2026-01-02T03:{:02}:{:02}.000000Z", 5 + seq / 60 % 50, seq % 60),
            },
            "first_seq": seq, "last_seq": seq, "chain": format!("{seq:064x}"),
        },
    })
}

pub(super) fn lines(events: impl IntoIterator<Item = Value>) -> String {
    events.into_iter().map(|event| event.to_string() + "\n").collect()
}

/// A service key like the demo's, for another hub.
pub(super) fn other_service_key() -> Secret {
    Secret::new("hh_service_of_another_hub")
}
