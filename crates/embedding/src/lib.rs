//! Vectors for texts, from a service that speaks `OpenAI`'s `POST {url}/embeddings` (Ollama, vLLM and others do).
//!
//! The vector of a text is made before the write is appended. The log holds the vector, so replaying it does not need
//! the service. A write fails if the service is unavailable.
//!
//! - `service`: which service; `client`: calls and retries; `answer`: the answer's format and validation.

mod answer;
mod client;
mod service;
#[cfg(test)]
mod tests;

use vectorizer_engine::tenancy::CollectionFacts;
use vectorizer_log::{CollectionName, Dimension, Document, Text, Vector};

pub use client::{CallError, Embedder, UnusableEmbedder};
pub use service::{EmbeddingService, ModelName};

/// The most texts of one request that are embedded.
pub const TEXTS_MAX: usize = 1_024;

/// Why texts were not embedded. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddingError {
    /// The service's vectors do not have the collection's dimension.
    #[error(
        "collection {name:?} has dimension {expected}, and this server's embeddings have dimension {found}: send \
         vectors, or create a collection of dimension {found}",
        name = .name.as_str(), expected = .expected, found = .found
    )]
    WrongDimension {
        /// The collection.
        name: CollectionName,
        /// Its dimension.
        expected: Dimension,
        /// The service's.
        found: Dimension,
    },
    /// The request has too many texts.
    #[error("{texts} texts have no vector, at most {TEXTS_MAX} are embedded for one request")]
    TooMany {
        /// The number of texts without a vector.
        texts: usize,
    },
    /// The service has failed.
    #[error(transparent)]
    Failed(#[from] CallError),
}

impl Embedder {
    /// Whether its vectors have the collection's dimension.
    pub fn fits(&self, facts: &CollectionFacts) -> bool {
        facts.parameters.is_some_and(|vectors| vectors.dimension == self.dimension())
    }

    /// Returns one vector for each text, of the collection's dimension.
    pub async fn embed_for(
        &self,
        facts: &CollectionFacts,
        texts: &[&str],
    ) -> Result<Vec<Vector>, EmbeddingError> {
        if let Some(vectors) = facts.parameters
            && vectors.dimension != self.dimension()
        {
            let (expected, found) = (vectors.dimension, self.dimension());
            return Err(EmbeddingError::WrongDimension { name: facts.name.clone(), expected, found });
        }
        if texts.len() > TEXTS_MAX {
            return Err(EmbeddingError::TooMany { texts: texts.len() });
        }
        Ok(self.embed(texts).await?)
    }

    /// Gives a vector to every document that has a text and no vector, if the collection has both. The writer rejects
    /// documents that lack anything else.
    pub async fn complete(
        &self,
        facts: &CollectionFacts,
        documents: &mut [Document],
    ) -> Result<(), EmbeddingError> {
        if facts.texts.is_none() || facts.parameters.is_none() {
            return Ok(());
        }
        let text = |document: &Document| document.text.clone().filter(|_| document.vector.is_none());
        let texts: Vec<Text> = documents.iter().filter_map(text).collect();
        if texts.is_empty() {
            return Ok(());
        }
        let texts: Vec<&str> = texts.iter().map(Text::as_str).collect();
        let vectors = self.embed_for(facts, &texts).await?;
        let lacking =
            documents.iter_mut().filter(|document| document.vector.is_none() && document.text.is_some());
        for (document, vector) in lacking.zip(vectors) {
            document.vector = Some(vector);
        }
        Ok(())
    }
}
