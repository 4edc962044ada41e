//! The API's description (OpenAPI 3.1), generated from the handlers.
//!
//! - `shared`: the parts that all operations have, from the table of operations.

mod shared;

use std::sync::LazyLock;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use self::shared::Shared;
use super::problem;
pub(super) use vectorizer_wire::schema::{LogRecord, MergePatch, MessageId};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Vectorizer",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
        description = "A multi-tenant vector database. Errors are application/problem+json \
                       (RFC 9457). Writes support Idempotency-Key and If-Match, and return the seq of their \
                       record in the log.",
    ),
    components(schemas(problem::ProblemBody)),
    tags(
        (name = "collections", description = "Create, describe and delete collections, and declare payload indexes."),
        (name = "vectors", description = "Write, read and delete vectors."),
        (name = "search", description = "Search and count vectors."),
        (name = "log", description = "The tenant's audit log."),
        (name = "cluster", description = "The node and its tenants, for the operator; usage and keys, for every key."),
        (name = "agents", description = "Tools for agents."),
        (name = "server", description = "Health, metrics and this description."),
    ),
    servers((url = "/", description = "The server that serves this description.")),
    modifiers(&BearerKey),
    security(("key" = [])),
)]
struct Description;

/// The description of the security scheme.
const KEYLESS: &str =
    "The key of a tenant or of the operator. A server without keys (`vectorizer serve`) needs none.";

struct BearerKey;

impl Modify for BearerKey {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("hh_…")
            .description(Some(KEYLESS))
            .build();
        document.components.get_or_insert_default().add_security_scheme("key", SecurityScheme::Http(scheme));
    }
}

/// The OpenAPI document.
pub fn document() -> utoipa::openapi::OpenApi {
    let mut document = Description::openapi();
    document.merge(super::Described::openapi());
    Shared.modify(&mut document);
    document
}

static TEXT: LazyLock<String> = LazyLock::new(|| document().to_json().expect("a description is JSON"));

/// Read this description of the API.
#[utoipa::path(get, path = "/api/v1/openapi.json", operation_id = "openapi",
    security(()), responses((status = 200, body = Object)))]
pub(super) async fn serve() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], TEXT.as_str()).into_response()
}
