//! The connection to a hub: over HTTP, or in this process on the hub's folder.

use std::path::PathBuf;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, header};
use clap::{ArgGroup, Args};
use http_body_util::BodyExt as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tower::ServiceExt as _;
use vectorizer_http_client::ServiceUrl;
use vectorizer_hub::demo::HUB_FOLDER;
use vectorizer_hub::{Hub, HubStoreError, unguarded_admin};

use super::HubFailure;
use crate::cli::interruption::run_blocking;
use crate::cli::key_client::{KeyHeader, client, secret};
use crate::config::Secret;

const ANSWER_TIME_MAX: Duration = Duration::from_mins(1);
/// A thousand events have less than a mebibyte.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The arguments for the connection.
#[derive(Clone, Debug, Args)]
#[command(
    next_help_heading = "Where the hub is",
    group = ArgGroup::new("place").args(["data_dir", "url"]).required(true),
    after_help = "Exit code: 0 done, 1 the object does not exist or exists already, 2 error"
)]
pub(super) struct ConnectionArgs {
    /// The data folder of the hub, which no hub may have open
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// The address of a running hub
    #[arg(long, value_name = "URL")]
    url: Option<ServiceUrl>,

    // Not required by --url and not in conflict with --data-dir: the environment may have it in both cases.
    /// The operator's key, with --url; safer in the environment, as other users of this machine can see arguments
    #[arg(long, value_name = "KEY", env = "VECTORIZER_KEY", hide_env_values = true, value_parser = secret)]
    key: Option<Secret>,

    /// Print JSON, one object per line, instead of a table
    #[arg(long)]
    pub(super) json: bool,
}

/// A connection to a hub.
pub(super) enum HubConnection {
    /// The hub's folder, opened in this process.
    Folder(Router),
    /// A running hub.
    Server { http: reqwest::Client, url: ServiceUrl },
}

impl ConnectionArgs {
    /// Opens the folder, or prepares the client.
    pub(super) async fn open(&self) -> Result<HubConnection, HubFailure> {
        if let Some(url) = &self.url {
            return HubConnection::at(url.clone(), self.key.as_ref().filter(|key| !key.expose().is_empty()));
        }
        let data = self.data_dir.clone().ok_or(HubFailure::NoSource)?;
        run_blocking(move || {
            let folder = data.join(HUB_FOLDER);
            if !Hub::is_in(&folder) {
                return Err(HubFailure::NoHub(data));
            }
            match Hub::open(&folder) {
                Ok(hub) => Ok(HubConnection::Folder(unguarded_admin(hub))),
                Err(HubStoreError::InUse { .. }) => Err(HubFailure::Running(data)),
                Err(error) => Err(HubFailure::Store(error)),
            }
        })
        .await
    }
}

impl HubConnection {
    fn at(url: ServiceUrl, key: Option<&Secret>) -> Result<Self, HubFailure> {
        let http = client(key, KeyHeader::Bearer).map_err(|_| HubFailure::Key)?;
        let http = http.timeout(ANSWER_TIME_MAX).build().map_err(HubFailure::Client)?;
        Ok(Self::Server { http, url })
    }

    /// Sends a GET request.
    pub(super) async fn get<A: DeserializeOwned>(
        &self,
        path: &str,
        query: &impl Serialize,
    ) -> Result<A, HubFailure> {
        let query = query_string(query)?;
        self.request("GET", path, &query, Vec::new()).await
    }

    /// Sends a request without a body.
    pub(super) async fn call<A: DeserializeOwned>(&self, method: &str, path: &str) -> Result<A, HubFailure> {
        self.request(method, path, "", Vec::new()).await
    }

    /// Sends a request with a body.
    pub(super) async fn send<A: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        body: &impl Serialize,
    ) -> Result<A, HubFailure> {
        let body = serde_json::to_vec(body).map_err(HubFailure::InvalidAnswer)?;
        self.request(method, path, "", body).await
    }

    async fn request<A: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        query: &str,
        body: Vec<u8>,
    ) -> Result<A, HubFailure> {
        let (status, answer) = match self {
            Self::Folder(router) => request_in_process(router.clone(), method, path, query, body).await?,
            Self::Server { http, url } => {
                let mut url = url.join(path);
                url.set_query(Some(query).filter(|query| !query.is_empty()));
                let method = method.parse().unwrap_or(reqwest::Method::GET);
                let mut request = http.request(method, url);
                if !body.is_empty() {
                    request = request.header(header::CONTENT_TYPE, "application/json").body(body);
                }
                let unreachable = |error: reqwest::Error| HubFailure::Unreachable(error.without_url());
                let mut response = request.send().await.map_err(unreachable)?;
                let mut answer = Vec::new();
                while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
                    if answer.len() + chunk.len() > ANSWER_BYTES_MAX {
                        return Err(HubFailure::TooLong(ANSWER_BYTES_MAX));
                    }
                    answer.extend_from_slice(&chunk);
                }
                (response.status().as_u16(), answer)
            }
        };
        if (200..300).contains(&status) {
            return serde_json::from_slice(&answer).map_err(HubFailure::InvalidAnswer);
        }
        Err(HubFailure::of_answer(status, &answer))
    }
}

/// Makes a request in this process.
async fn request_in_process(
    router: Router,
    method: &str,
    path: &str,
    query: &str,
    body: Vec<u8>,
) -> Result<(u16, Vec<u8>), HubFailure> {
    let uri = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
    let refused = |details: String| HubFailure::Status { status: 500, details };
    let request = Request::builder()
        .method(method)
        .uri(uri)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body))
        .map_err(|error| refused(error.to_string()))?;
    let Ok(response) = router.oneshot(request).await;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.map_err(|error| refused(error.to_string()))?;
    Ok((status, body.to_bytes().into()))
}

/// The query string of an object of texts and numbers.
fn query_string(query: &impl Serialize) -> Result<String, HubFailure> {
    let fields = serde_json::to_value(query).map_err(HubFailure::InvalidAnswer)?;
    let mut pairs = Vec::new();
    for (name, value) in fields.as_object().into_iter().flatten() {
        match value {
            Value::Null => {}
            Value::String(text) => pairs.push(format!("{name}={}", percent_encoded(text))),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                pairs.push(format!("{name}={value}"));
            }
        }
    }
    Ok(pairs.join("&"))
}

/// Percent-encodes a text for a query string.
fn percent_encoded(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}
