//! The client for requests to other services: `HiveHub`, embeddings, a server that the command line asks.
//!
//! One place decides how requests are encrypted, and what an address of a service is. The crate knows no service.

mod url;

pub use self::url::ServiceUrl;

/// Starts a client. TLS is rustls with ring: its other provider takes longer to build than anything else.
#[expect(clippy::disallowed_methods, reason = "every other place calls this function")]
pub fn client() -> reqwest::ClientBuilder {
    // The first provider that is installed stays, and all callers install the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
}
