//! What is taken for an answer.

use serde::Deserialize;
use vectorizer_log::{Dimension, Vector};

/// The answer to a question for embeddings; fields that nobody needs are passed over.
#[derive(Deserialize)]
pub(super) struct EmbeddingsAnswer {
    data: Vec<Embedding>,
}

#[derive(Deserialize)]
struct Embedding {
    /// Which text it is of; its place in the answer if that is not said.
    index: Option<usize>,
    embedding: Vec<f32>,
}

/// What is wrong with an answer. Nothing of its text is repeated.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Unfit {
    /// Not the JSON of an answer.
    #[error("it is not the JSON of embeddings")]
    NotJson,
    /// More bytes than any answer needs.
    #[error("it is too long")]
    TooLong,
    /// Not one vector for each text.
    #[error("it has {found} embeddings for {expected} texts, or two for one of them")]
    Count {
        /// How many texts there were.
        expected: usize,
        /// How many vectors came.
        found: usize,
    },
    /// A vector of another dimension than the configuration says.
    #[error("an embedding has dimension {found}, embedding.dimension is {expected}")]
    Dimension {
        /// What the configuration says.
        expected: usize,
        /// What came.
        found: usize,
    },
    /// A vector of something else than finite numbers, or of zeros only.
    #[error("an embedding is zero or has numbers beyond f32")]
    Numbers,
}

impl EmbeddingsAnswer {
    /// The vectors of `texts` texts, in their order.
    pub(super) fn vectors(self, texts: usize, dimension: Dimension) -> Result<Vec<Vector>, Unfit> {
        let count = Unfit::Count { expected: texts, found: self.data.len() };
        if self.data.len() != texts {
            return Err(count);
        }
        let mut vectors: Vec<Option<Vector>> = vec![None; texts];
        for (place, Embedding { index, embedding }) in self.data.into_iter().enumerate() {
            let (expected, found) = (dimension.get(), embedding.len());
            if found != expected {
                return Err(Unfit::Dimension { expected, found });
            }
            if embedding.iter().all(|number| *number == 0.0) {
                return Err(Unfit::Numbers);
            }
            let vector = Vector::dense(embedding).map_err(|_| Unfit::Numbers)?;
            match vectors.get_mut(index.unwrap_or(place)) {
                Some(empty @ None) => *empty = Some(vector),
                Some(Some(_)) | None => return Err(count),
            }
        }
        Ok(vectors.into_iter().flatten().collect())
    }
}
