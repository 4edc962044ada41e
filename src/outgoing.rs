//! Requests that go out: one place decides how they are encrypted.

/// Starts a client. TLS is rustls with ring: its other provider takes longer to build than anything else.
#[expect(clippy::disallowed_methods, reason = "this is the place")]
pub fn client() -> reqwest::ClientBuilder {
    // The first to come wins, and all who come are these.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
}
