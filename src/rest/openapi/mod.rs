//! The description of the API (OpenAPI 3.1), written from the handlers themselves.
//!
//! - `shared`: what operations have in common, from the table of operations.

mod shared;

use std::sync::LazyLock;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use self::shared::Shared;
use super::problem;
pub(super) use crate::wire::schema::{LogRecord, MergePatch, MessageId};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Vectorizer",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
        description = "A vector database that many tenants share safely. Errors are application/problem+json \
                       (RFC 9457). Writes take Idempotency-Key and If-Match, and answer with the seq of the \
                       record that did them.",
    ),
    components(schemas(problem::ProblemBody)),
    tags(
        (name = "collections", description = "Make, see and delete collections, and say how their payloads are indexed."),
        (name = "vectors", description = "Write, read and delete vectors."),
        (name = "search", description = "Find and count vectors."),
        (name = "log", description = "The tenant's audit log."),
        (name = "cluster", description = "The node and its tenants, for its operator; usage and keys, for everyone."),
        (name = "agents", description = "Tools for agents."),
        (name = "server", description = "Health, metrics and this description."),
    ),
    servers((url = "/", description = "The server that serves this description.")),
    modifiers(&BearerKey),
    security(("key" = [])),
)]
struct Description;

/// What stands beside the security scheme.
const KEYLESS: &str =
    "A key of a tenant or of the operator. A server without keys (`vectorizer serve`) takes none.";

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

/// The document.
pub fn document() -> utoipa::openapi::OpenApi {
    let mut document = Description::openapi();
    document.merge(super::Described::openapi());
    Shared.modify(&mut document);
    document
}

static TEXT: LazyLock<String> = LazyLock::new(|| document().to_json().expect("a description is JSON"));

/// The description of this API.
#[utoipa::path(get, path = "/api/v1/openapi.json", operation_id = "openapi",
    security(()), responses((status = 200, body = Object)))]
pub(super) async fn serve() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], TEXT.as_str()).into_response()
}
