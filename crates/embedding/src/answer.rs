//! The answer of the embeddings service, and its validation.

use serde::Deserialize;
use vectorizer_log::{Dimension, Vector};

/// The body of an answer. Unknown fields are ignored.
#[derive(Deserialize)]
pub(super) struct EmbeddingsAnswer {
    data: Vec<Embedding>,
}

#[derive(Deserialize)]
struct Embedding {
    /// The position of its text in the request; by default its own position in the answer.
    index: Option<usize>,
    embedding: Vec<f32>,
}

/// Why an answer is invalid. It never quotes the answer's text.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidAnswer {
    /// The body is not the JSON of an answer.
    #[error("it is not the JSON of embeddings")]
    NotJson,
    /// The body is longer than any valid answer.
    #[error("it is too long")]
    TooLong,
    /// The answer does not have exactly one vector for each text.
    #[error("it has {found} embeddings for {expected} texts, or two for one of them")]
    Count {
        /// The number of texts.
        expected: usize,
        /// The number of vectors.
        found: usize,
    },
    /// A vector has another dimension than the configured one.
    #[error("an embedding has dimension {found}, embedding.dimension is {expected}")]
    Dimension {
        /// The configured dimension.
        expected: usize,
        /// The vector's dimension.
        found: usize,
    },
    /// A vector is zero or has a number that is not finite in f32.
    #[error("an embedding is zero or has numbers beyond f32")]
    Numbers,
}

impl EmbeddingsAnswer {
    /// The vectors of `texts` texts, in their order.
    pub(super) fn vectors(self, texts: usize, dimension: Dimension) -> Result<Vec<Vector>, InvalidAnswer> {
        let count = InvalidAnswer::Count { expected: texts, found: self.data.len() };
        if self.data.len() != texts {
            return Err(count);
        }
        let mut vectors: Vec<Option<Vector>> = vec![None; texts];
        for (place, Embedding { index, embedding }) in self.data.into_iter().enumerate() {
            let (expected, found) = (dimension.get(), embedding.len());
            if found != expected {
                return Err(InvalidAnswer::Dimension { expected, found });
            }
            if embedding.iter().all(|number| *number == 0.0) {
                return Err(InvalidAnswer::Numbers);
            }
            let vector = Vector::dense(embedding).map_err(|_| InvalidAnswer::Numbers)?;
            match vectors.get_mut(index.unwrap_or(place)) {
                Some(empty @ None) => *empty = Some(vector),
                Some(Some(_)) | None => return Err(count),
            }
        }
        Ok(vectors.into_iter().flatten().collect())
    }
}
