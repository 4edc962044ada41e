//! Schemas of values that Rust's types do not describe: texts with a grammar, and JSON that is read or written
//! elsewhere. They are in `schemas.json`; tests hold them against what the server takes and answers.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// All of them, by name.
pub(crate) static SCHEMAS: LazyLock<BTreeMap<String, RefOr<Schema>>> = LazyLock::new(|| {
    serde_json::from_str(include_str!("schemas.json")).expect("the file has schemas, as a test holds")
});

/// Types that stand for schemas of the file where a field or a body is described.
macro_rules! stand_for {
    ($($name:ident)*) => {$(
        #[doc = concat!("Stands for the schema `", stringify!($name), "`.")]
        pub(crate) struct $name;

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                SCHEMAS[stringify!($name)].clone()
            }
        }

        impl ToSchema for $name {}
    )*};
}

stand_for! {
    CollectionName Filter LogRecord MergePatch MessageId Payload PayloadPath Vector VectorId WholeNumber
}
