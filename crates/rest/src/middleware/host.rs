//! The `Host` check of a server without keys.
//!
//! A web page can make a browser send requests to a server on loopback by resolving its own name to that
//! address (DNS rebinding). Such requests have that name in `Host`, so the server rejects unknown names.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::{App, Problem};

/// The allowed host names.
#[derive(Clone, Debug)]
pub struct AllowedHosts {
    names: Vec<String>,
    listen: IpAddr,
}

impl AllowedHosts {
    /// Allows loopback, the listening address, and these names.
    pub fn new(listen: SocketAddr, names: impl IntoIterator<Item = String>) -> Self {
        Self { names: names.into_iter().collect(), listen: listen.ip() }
    }

    /// Whether names are configured.
    pub(crate) fn has_names(&self) -> bool {
        !self.names.is_empty()
    }

    /// Whether the host of this origin (RFC 6454) is allowed.
    pub(crate) fn allow_origin(&self, origin: &str) -> bool {
        let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        authority.is_some_and(|authority| !authority.contains(['/', '@']) && self.allow(authority))
    }

    /// Whether this host, with or without a port, is allowed.
    pub(crate) fn allow(&self, host: &str) -> bool {
        let name = match host.rsplit_once(':') {
            // The colon of a port, not one within an IPv6 address.
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => {
                name
            }
            _ => host,
        };
        if let Ok(address) = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            return address.is_loopback()
                || address == self.listen
                || self.names.iter().any(|known| known == name);
        }
        name.eq_ignore_ascii_case("localhost")
            || self.names.iter().any(|known| name.eq_ignore_ascii_case(known))
    }
}

/// The value of the only `Host` header.
fn host_header(headers: &HeaderMap) -> Option<&str> {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok(),
        _ => None,
    }
}

/// Rejects requests whose `Host` is not allowed.
pub(crate) fn check_name(allowed: &AllowedHosts, headers: &HeaderMap) -> Result<(), Problem> {
    let host = host_header(headers).unwrap_or_default();
    if allowed.allow(host) {
        return Ok(());
    }
    let detail = format!("host {host:?} is not allowed; server.allowed_hosts lists the allowed hosts");
    Err(Problem::new(StatusCode::FORBIDDEN, "host-not-allowed", detail))
}

/// Middleware: rejects requests whose `Host` is not allowed by the configuration.
pub async fn check(State(app): State<App>, request: Request, next: Next) -> Response {
    check_against(app.shared.allowed_hosts.as_ref(), request, next).await
}

/// Rejects requests whose `Host` is not in `allowed`; `None` allows any.
pub async fn check_against(allowed: Option<&AllowedHosts>, request: Request, next: Next) -> Response {
    if let Some(allowed) = allowed
        && let Err(problem) = check_name(allowed, request.headers())
    {
        return problem.into_response();
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_and_named_hosts_are_served() {
        let allowed = AllowedHosts::new("127.0.0.1:1".parse().unwrap(), ["db.internal".to_owned()]);
        for host in [
            "localhost",
            "LOCALHOST:15002",
            "127.0.0.1",
            "127.0.0.1:80",
            "[::1]",
            "[::1]:80",
            "db.internal:1",
        ] {
            assert!(allowed.allow(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "10.0.0.1",
            "127.0.0.1.evil.example:80",
            ":80",
            "[::2]",
        ] {
            assert!(!allowed.allow(host), "{host}");
        }
    }
}
