//! Creating, describing and deleting collections, and declaring payload indexes.

use vectorizer_engine::admission::{Admin, Read};
use vectorizer_engine::tenancy::{CollectionChange, CollectionFacts, Committed, Tenant};
use vectorizer_index::Indexes;
use vectorizer_log::{CollectionName, IndexParameters, PayloadPath, TextParameters, VectorParameters};

use super::Service;
use super::answer_memory::check_answer_size;
use super::error::Error;
use super::input::{Conditions, Input};

/// The approximate size of a collection's description in JSON, in bytes.
const SHOWN_BYTES: usize = 352;

/// A collection to create. It has vectors, texts or both.
#[derive(Clone, Debug)]
pub struct NewCollection {
    /// Its name, which must be unique.
    pub name: CollectionName,
    /// The parameters of its vectors; `None` if its points have only texts.
    pub vectors: Option<VectorParameters>,
    /// The parameters of its texts; `None` if its points have none.
    pub texts: Option<TextParameters>,
}

/// Checks the parameters of a vector index.
///
/// # Errors
/// `invalid-index` if a value is out of bounds.
pub fn index_parameters(
    m: Option<u16>,
    ef_construction: Option<u16>,
    ef: Option<u16>,
) -> Result<IndexParameters, Error> {
    for (field, value, least, most) in
        [("m", m, 2, 128), ("ef_construction", ef_construction, 4, 4_096), ("ef", ef, 1, 4_096)]
    {
        if let Some(value) = value.filter(|value| !(least..=most).contains(value)) {
            let detail = format!("index.{field} is {value}, it must be {least} to {most}");
            return Err(Error::invalid("invalid-index", detail));
        }
    }
    Ok(IndexParameters { m, ef_construction, ef })
}

impl Service {
    /// Creates a collection.
    ///
    /// # Errors
    /// `collection-exists`, a code for each invalid value, `quota-exceeded`, `storage-failed`.
    pub async fn create_collection(
        &self,
        tenant: &Tenant<Admin>,
        input: Input<NewCollection>,
        conditions: Conditions,
    ) -> Result<(CollectionName, Committed), Error> {
        let (NewCollection { name, vectors, texts }, held) = self.read(tenant.share(), input, Ok).await?;
        let change = CollectionChange::Create { vectors, texts };
        let committed = tenant.change_collections(conditions.write(name.clone(), change, held)).await?;
        Ok((name, committed))
    }

    /// Returns all collections by name, and the approximate size of the answer in JSON.
    ///
    /// # Errors
    /// `answer-too-large`.
    pub async fn list_collections(
        &self,
        tenant: &Tenant<Read>,
    ) -> Result<(Vec<CollectionFacts>, usize), Error> {
        let count = usize::try_from(tenant.collection_count()).unwrap_or(usize::MAX);
        let bytes = SHOWN_BYTES.saturating_mul(count);
        check_answer_size(bytes)?;
        Ok((tenant.collections().await?, bytes))
    }

    /// Describes a collection.
    ///
    /// # Errors
    /// `no-such-collection`.
    pub async fn describe_collection(
        &self,
        tenant: &Tenant<Read>,
        name: &CollectionName,
    ) -> Result<CollectionFacts, Error> {
        Ok(tenant.collection(name).await?)
    }

    /// Deletes a collection with all its vectors.
    ///
    /// # Errors
    /// `no-such-collection`, `storage-failed`.
    pub async fn delete_collection(
        &self,
        tenant: &Tenant<Admin>,
        name: CollectionName,
        input: Input<()>,
        conditions: Conditions,
    ) -> Result<Committed, Error> {
        self.change_collection(tenant, name, CollectionChange::Delete, input, conditions).await
    }

    /// Declares an index of a payload path, so that the path is always indexed.
    ///
    /// # Errors
    /// `no-such-collection`, `too-many-indexes`, `storage-failed`.
    pub async fn declare_index(
        &self,
        tenant: &Tenant<Admin>,
        name: CollectionName,
        path: PayloadPath,
        input: Input<()>,
        conditions: Conditions,
    ) -> Result<Committed, Error> {
        self.change_collection(tenant, name, CollectionChange::DeclareIndex(path), input, conditions).await
    }

    /// Drops the declaration of an index. The path stays indexed while there is room.
    ///
    /// # Errors
    /// `no-such-collection`, `no-such-index`, `storage-failed`.
    pub async fn drop_index(
        &self,
        tenant: &Tenant<Admin>,
        name: CollectionName,
        path: PayloadPath,
        input: Input<()>,
        conditions: Conditions,
    ) -> Result<Committed, Error> {
        self.change_collection(tenant, name, CollectionChange::DropIndex(path), input, conditions).await
    }

    /// Lists the payload indexes of a collection.
    ///
    /// # Errors
    /// `no-such-collection`.
    pub async fn list_indexes(&self, tenant: &Tenant<Read>, name: &CollectionName) -> Result<Indexes, Error> {
        Ok(tenant.indexes(name).await?)
    }

    async fn change_collection(
        &self,
        tenant: &Tenant<Admin>,
        name: CollectionName,
        change: CollectionChange,
        input: Input<()>,
        conditions: Conditions,
    ) -> Result<Committed, Error> {
        let ((), held) = self.read(tenant.share(), input, Ok).await?;
        Ok(tenant.change_collections(conditions.write(name, change, held)).await?)
    }
}
