//! Vectors for texts, from a service that speaks `OpenAI`'s `POST {url}/embeddings` (Ollama, vLLM and others do).
//!
//! A text is turned into its vector before anything is appended, so the log holds the vector, and nobody who
//! reads the log ever asks the service again. Where it cannot be asked, nothing is written.
//!
//! - `client`: one question, its repetitions included; `answer`: what is taken for one.

mod answer;
mod client;
#[cfg(test)]
mod tests;

use vectorizer_log::{CollectionName, Dimension, Document, Text, Vector};

pub use client::{Embedder, EmbeddingError, UnusableEmbedder};

use crate::tenancy::CollectionFacts;

/// The most texts of one request that are turned into vectors.
pub const TEXTS_MAX: usize = 1_024;

/// Why texts were not turned into vectors. Nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum NotEmbedded {
    /// The service's vectors are not those of the collection.
    #[error(
        "collection {name:?} has dimension {expected}, and the embeddings that this server is configured with have \
         {found}: send vectors, or make a collection of dimension {found}",
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
    /// They are too many for one request.
    #[error("{texts} texts are without a vector, at most {TEXTS_MAX} are embedded for one request")]
    TooMany {
        /// How many.
        texts: usize,
    },
    /// The service has failed.
    #[error(transparent)]
    Failed(#[from] EmbeddingError),
}

impl Embedder {
    /// Whether its vectors are those of this collection.
    pub fn fits(&self, facts: &CollectionFacts) -> bool {
        facts.parameters.is_some_and(|vectors| vectors.dimension == self.dimension())
    }

    /// The vectors of these texts for this collection, one for each.
    pub async fn embed_for(
        &self,
        facts: &CollectionFacts,
        texts: &[&str],
    ) -> Result<Vec<Vector>, NotEmbedded> {
        if let Some(vectors) = facts.parameters
            && vectors.dimension != self.dimension()
        {
            let (expected, found) = (vectors.dimension, self.dimension());
            return Err(NotEmbedded::WrongDimension { name: facts.name.clone(), expected, found });
        }
        if texts.len() > TEXTS_MAX {
            return Err(NotEmbedded::TooMany { texts: texts.len() });
        }
        Ok(self.embed(texts).await?)
    }

    /// Gives a vector to every document that has a text and no vector, if the collection has room for both. What
    /// else a document lacks is left to the writer to refuse.
    pub async fn complete(
        &self,
        facts: &CollectionFacts,
        documents: &mut [Document],
    ) -> Result<(), NotEmbedded> {
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
