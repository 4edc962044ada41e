//! Documents: the points of a collection with texts.

use serde::{Deserialize, Serialize};

use crate::point::{Payload, Point, PointId, Text, Vector};

/// A point of a collection with texts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// The id, unique within the collection.
    pub id: PointId,
    /// The vector, exactly if the collection has a dimension.
    pub vector: Option<Vector>,
    /// The payload.
    pub payload: Option<Payload>,
    /// The text, always if the collection has no dimension.
    pub text: Option<Text>,
}

impl From<Point> for Document {
    fn from(Point { id, vector, payload }: Point) -> Self {
        Self { id, vector: Some(vector), payload, text: None }
    }
}
