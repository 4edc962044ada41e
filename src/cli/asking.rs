//! Clients that show a key.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, InvalidHeaderValue};
use reqwest::{ClientBuilder, redirect};

use crate::config::Secret;

const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);

/// How a key is shown.
#[derive(Clone, Debug)]
pub(super) enum Shown {
    /// As a bearer token.
    Bearer,
    /// In a header of its own.
    In(HeaderName),
}

/// A client that shows `key` with every request.
///
/// Redirects are not followed and the environment's proxies not used: the key goes to the given address and
/// nowhere else.
pub(super) fn client(key: Option<&Secret>, shown: Shown) -> Result<ClientBuilder, InvalidHeaderValue> {
    let mut headers = HeaderMap::new();
    if let Some(key) = key {
        let (name, value) = match shown {
            Shown::Bearer => (AUTHORIZATION, format!("Bearer {}", key.expose())),
            Shown::In(name) => (name, key.expose().to_owned()),
        };
        let mut value = HeaderValue::from_str(&value)?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(crate::http_client::client()
        .user_agent(concat!("vectorizer/", env!("CARGO_PKG_VERSION")))
        .default_headers(headers)
        .redirect(redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_TIME_MAX))
}
