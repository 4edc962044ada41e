//! Schemas that cannot be derived from Rust types: texts with a grammar, and JSON that other modules parse or write.
//! They are in `schemas.json`. Tests compare them with the server's requests and answers.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// All schemas, by name.
pub static SCHEMAS: LazyLock<BTreeMap<String, RefOr<Schema>>> = LazyLock::new(|| {
    serde_json::from_str(include_str!("schemas.json")).expect("the file has valid schemas, as a test checks")
});

/// Declares types that refer to the schemas of the file in the description of a field or a body.
macro_rules! refer_to {
    ($($name:ident)*) => {$(
        #[doc = concat!("Refers to the schema `", stringify!($name), "`.")]
        pub struct $name;

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                SCHEMAS[stringify!($name)].clone()
            }
        }

        impl ToSchema for $name {}
    )*};
}

refer_to! {
    CollectionName Filter LogRecord MergePatch MessageId Payload PayloadPath Vector VectorId WholeNumber
}
