//! Writing, reading and deleting vectors.

use vectorizer_engine::admission::{Read, Write};
use vectorizer_engine::tenancy::{Committed, MergePatch, Tenant, VectorChange};
use vectorizer_index::{Filter, StoredPoint};
use vectorizer_log::{CollectionName, Document, PointId, Seq};

use super::answer_memory::{Show, check_answer_size, shown_bytes};
use super::error::Error;
use super::input::{Conditions, Input};
use super::{Service, checked_limit};

/// The most vectors that one request writes or deletes by their ids.
pub const VECTORS_MAX: usize = 100_000;
/// The default number of vectors on a page.
const PAGE_DEFAULT: usize = 100;

/// Which vectors to delete.
#[derive(Clone, Debug)]
pub enum Selection {
    /// The vectors with these ids; missing ones are ignored.
    Ids(Vec<PointId>),
    /// The vectors that match this filter, which must have a condition.
    Matching(Filter),
    /// Every vector of the collection.
    All,
}

/// A page of vectors, in the order of their ids.
#[derive(Debug)]
pub struct Page {
    /// The vectors.
    pub points: Vec<StoredPoint>,
    /// Whether there are more after the last one.
    pub has_more: bool,
    /// The approximate size of the vectors in JSON, in bytes.
    pub bytes: usize,
}

/// The error of too many vectors in one request.
pub fn too_many_vectors(place: &str) -> Error {
    let detail =
        format!("{place}: there are more than {VECTORS_MAX}, the most of one request; send several requests");
    Error::too_large("write-too-large", detail)
}

impl Service {
    /// Inserts vectors, or replaces those with the same ids: all of them or none. If the server makes embeddings, texts
    /// without a vector get one.
    ///
    /// # Errors
    /// `no-such-collection`, a code for each invalid value, `quota-exceeded`, `busy`, `storage-failed`.
    pub async fn upsert_vectors(
        &self,
        tenant: &Tenant<Write>,
        name: CollectionName,
        input: Input<Vec<Document>>,
        conditions: Conditions,
    ) -> Result<Committed, Error> {
        self.expect_target(tenant, &name, input.is_large(), &conditions).await?;
        let check = |documents: Vec<Document>| match documents.len() {
            0 => Err(Error::invalid("no-vectors", "vectors: the list is empty")),
            1..=VECTORS_MAX => Ok(documents),
            _ => Err(too_many_vectors("vectors")),
        };
        let (mut documents, held) = self.read(tenant.share(), input, check).await?;
        // A repeated request gets the first answer, even if the embeddings service is unavailable now.
        let answered = match &conditions.idempotency {
            Some(idempotency) => tenant.has_answered(idempotency).await?,
            None => false,
        };
        if let Some(embedder) = self.embedder()
            && !answered
            && let Some(facts) = tenant.existing(&name).await?
        {
            embedder.complete(&facts, &mut documents).await?;
        }
        Ok(tenant.change_vectors(conditions.write(name, VectorChange::Upsert(documents), held)).await?)
    }

    /// Returns up to `requested` vectors after `after`, in the order of their ids; 100 by default.
    ///
    /// # Errors
    /// `no-such-collection`, `invalid-limit`, `answer-too-large`.
    pub async fn list_vectors(
        &self,
        tenant: &Tenant<Read>,
        name: &CollectionName,
        requested: Option<u64>,
        after: Option<&PointId>,
        show: Show,
    ) -> Result<Page, Error> {
        let limit = checked_limit(requested, PAGE_DEFAULT)?;
        // One more than requested says whether there is a next page.
        let mut points = tenant.page(name, after, limit + 1).await?;
        let has_more = points.len() > limit;
        points.truncate(limit);
        let bytes = points.iter().map(|point| shown_bytes(point, show)).sum();
        check_answer_size(bytes)?;
        Ok(Page { points, has_more, bytes })
    }

    /// Returns a vector.
    ///
    /// # Errors
    /// `no-such-collection`, `no-such-vector`.
    pub async fn get_vector(
        &self,
        tenant: &Tenant<Read>,
        name: &CollectionName,
        id: &PointId,
    ) -> Result<StoredPoint, Error> {
        Ok(tenant.point(name, id).await?)
    }

    /// Returns the vectors with these ids, in order, with `None` for a missing one; and the seq of the collection's
    /// last change in the same state.
    ///
    /// # Errors
    /// `no-such-collection`.
    pub async fn get_vectors(
        &self,
        tenant: &Tenant<Read>,
        name: &CollectionName,
        ids: &[PointId],
    ) -> Result<(Seq, Vec<Option<StoredPoint>>), Error> {
        Ok(tenant.points(name, ids.iter()).await?)
    }

    /// Deletes a vector, which must exist.
    ///
    /// # Errors
    /// `no-such-collection`, `no-such-vector`, `busy`, `storage-failed`.
    pub async fn delete_vector(
        &self,
        tenant: &Tenant<Write>,
        name: CollectionName,
        id: PointId,
        input: Input<()>,
        conditions: Conditions,
    ) -> Result<Committed, Error> {
        let ((), held) = self.read(tenant.share(), input, Ok).await?;
        Ok(tenant.change_vectors(conditions.write(name, VectorChange::DeleteOne(id), held)).await?)
    }

    /// Deletes vectors by their ids, by a filter, or all of them.
    ///
    /// # Errors
    /// `no-such-collection`, `filter-selects-all` for a filter without a condition, `busy`, `storage-failed`.
    pub async fn delete_vectors(
        &self,
        tenant: &Tenant<Write>,
        name: CollectionName,
        input: Input<Selection>,
        conditions: Conditions,
    ) -> Result<Committed, Error> {
        self.expect_target(tenant, &name, input.is_large(), &conditions).await?;
        let check = |selection: Selection| match selection {
            Selection::Ids(ids) if ids.len() > VECTORS_MAX => Err(too_many_vectors("ids")),
            Selection::Ids(ids) => Ok(VectorChange::DeleteMany(ids)),
            Selection::Matching(filter) => match filter.unconditional() {
                None => Ok(VectorChange::DeleteMatching(filter)),
                Some(unconditional) => {
                    let detail = format!("filter: {unconditional}; `\"all\": true` deletes every vector");
                    Err(Error::invalid("filter-selects-all", detail))
                }
            },
            Selection::All => Ok(VectorChange::DeleteMatching(Filter::default())),
        };
        let (change, held) = self.read(tenant.share(), input, check).await?;
        Ok(tenant.change_vectors(conditions.write(name, change, held)).await?)
    }

    /// Changes the payload of one vector by a JSON merge patch (RFC 7396).
    ///
    /// # Errors
    /// `no-such-collection`, `no-such-vector`, a code for an invalid payload, `busy`, `storage-failed`.
    pub async fn change_payload(
        &self,
        tenant: &Tenant<Write>,
        name: CollectionName,
        id: PointId,
        input: Input<MergePatch>,
        conditions: Conditions,
    ) -> Result<Committed, Error> {
        self.expect_target(tenant, &name, input.is_large(), &conditions).await?;
        let (patch, held) = self.read(tenant.share(), input, Ok).await?;
        let change = VectorChange::ChangePayload { id, patch };
        Ok(tenant.change_vectors(conditions.write(name, change, held)).await?)
    }

    /// Rejects large arguments for a missing collection before they are parsed. A request with an idempotency key
    /// passes: it may be a repetition, which gets the first answer even if the collection has been deleted since.
    async fn expect_target(
        &self,
        tenant: &Tenant<Write>,
        name: &CollectionName,
        is_large: bool,
        conditions: &Conditions,
    ) -> Result<(), Error> {
        if is_large && conditions.idempotency.is_none() {
            tenant.collection(name).await?;
        }
        Ok(())
    }
}
