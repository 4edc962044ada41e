//! HTTP clients that send a key with every request.

use std::convert::Infallible;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, InvalidHeaderValue};
use reqwest::{ClientBuilder, redirect};

use crate::config::Secret;

const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);

/// The header that has the key.
#[derive(Clone, Debug)]
pub(super) enum KeyHeader {
    /// `Authorization`, as a bearer token.
    Bearer,
    /// A header with this name.
    Named(HeaderName),
}

/// Parses a key argument. It cannot fail, so that no error message shows the key.
#[expect(clippy::unnecessary_wraps, reason = "clap requires a Result")]
pub(super) fn secret(text: &str) -> Result<Secret, Infallible> {
    Ok(Secret::new(text))
}

/// Builds a client that sends `key` with every request.
///
/// It follows no redirects and uses no proxies from the environment: the key goes to the given address and nowhere
/// else.
pub(super) fn client(key: Option<&Secret>, header: KeyHeader) -> Result<ClientBuilder, InvalidHeaderValue> {
    let mut headers = HeaderMap::new();
    if let Some(key) = key {
        let (name, value) = match header {
            KeyHeader::Bearer => (AUTHORIZATION, format!("Bearer {}", key.expose())),
            KeyHeader::Named(name) => (name, key.expose().to_owned()),
        };
        let mut value = HeaderValue::from_str(&value)?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(vectorizer_http_client::client()
        .user_agent(concat!("vectorizer/", env!("CARGO_PKG_VERSION")))
        .default_headers(headers)
        .redirect(redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_TIME_MAX))
}
