//! Which service makes the vectors.

use vectorizer_access::Secret;
use vectorizer_http_client::ServiceUrl;
use vectorizer_log::Dimension;

/// The service and its model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbeddingService {
    /// The URL of the service, to which `/embeddings` is appended.
    pub url: ServiceUrl,
    /// The model.
    pub model: ModelName,
    /// This server's key for the service.
    pub key: Option<Secret>,
    /// The dimension of the model's vectors.
    pub dimension: Dimension,
}

/// The name of an embedding model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelName(Box<str>);

impl ModelName {
    /// The longest name, in bytes.
    pub const BYTES_MAX: usize = 256;
    /// Completes the sentence "this is not …".
    pub const WANTED: &'static str = "a model's name of 1 to 256 bytes without control characters";

    /// Parses a name.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=Self::BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control);
        fits.then(|| Self(text.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
