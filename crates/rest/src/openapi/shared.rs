//! The parameters, headers and errors that operations share. They are added from the table of operations, so a new
//! operation gets them, too.

use std::collections::BTreeMap;

use axum::http::Method;
use utoipa::Modify;
use utoipa::openapi::extensions::ExtensionsBuilder;
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::path::{Operation as Described, Parameter, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::{Schema, Type};
use utoipa::openapi::{Components, Content, ContentBuilder, ObjectBuilder, OpenApi, Ref, RefOr, Required};
use vectorizer_access::{Level, Operation, Requirement};
use vectorizer_wire::schema::SCHEMAS;

use crate::location;

const NDJSON: &str = "application/x-ndjson";
const PROBLEM: &str = "application/problem+json";

/// Every error status, with the name and the description of its response component.
const PROBLEMS: [(u16, &str, &str); 16] = [
    (400, "BadRequest", "The request cannot be read: its JSON, a parameter or a header is malformed."),
    (401, "Unauthorized", "The key is missing or is not valid."),
    (
        403,
        "Forbidden",
        "The key does not permit the operation, its tenant is suspended, or the host is not allowed.",
    ),
    (404, "NotFound", "The resource of the path does not exist."),
    (408, "RequestTimeout", "The body did not arrive in time."),
    (409, "Conflict", "The resource exists already."),
    (
        410,
        "Gone",
        "The tenant was deleted on this node and can be restored during the grace period, or the requested records \
     were dropped by its retention.",
    ),
    (412, "PreconditionFailed", "`If-Match` does not match: the collection has changed."),
    (413, "PayloadTooLarge", "The request exceeds a limit of the server or of the plan."),
    (415, "UnsupportedMediaType", "The operation does not support the body's media type or encoding."),
    (422, "UnprocessableEntity", "A value of the request is not valid: `detail` names the field."),
    (429, "TooManyRequests", "A rate limit or a quota of the plan is exceeded."),
    (500, "InternalError", "The server failed to process the request."),
    (
        503,
        "Unavailable",
        "The request cannot be processed now: `type` says why, `Retry-After` when to try again.",
    ),
    (507, "StorageFull", "The server's disk is full."),
    (421, "Misdirected", "The tenant is served by another deployment."),
];

/// Completes the document from the table of operations.
pub(super) struct Shared;

impl Modify for Shared {
    fn modify(&self, document: &mut OpenApi) {
        let components = document.components.get_or_insert_default();
        add_components(components);
        for operation in Operation::ALL {
            let (method, path) = location(operation);
            let item = document.paths.paths.get_mut(path);
            if let Some(described) = item.and_then(|item| operation_mut(item, &method)) {
                let facts = Facts::of(operation, &method, path, described);
                complete(described, &facts, components);
            }
        }
    }
}

fn operation_mut<'a>(item: &'a mut PathItem, method: &Method) -> Option<&'a mut Described> {
    match *method {
        Method::GET => item.get.as_mut(),
        Method::PUT => item.put.as_mut(),
        Method::POST => item.post.as_mut(),
        Method::DELETE => item.delete.as_mut(),
        Method::PATCH => item.patch.as_mut(),
        _ => None,
    }
}

/// The facts about an operation that its route and its requirement imply.
struct Facts {
    tag: &'static str,
    path: &'static str,
    requirement: Requirement,
    /// Whether it has a body of a documented type.
    body: bool,
    /// Whether it writes to the tenant's log and supports the conditions of writes.
    write: bool,
    /// Whether it has query parameters.
    query: bool,
}

impl Facts {
    fn of(operation: Operation, method: &Method, path: &'static str, described: &Described) -> Self {
        let requirement = operation.requirement();
        let write =
            matches!(requirement, Requirement::Tenant(Level::Write | Level::Admin)) && *method != Method::GET;
        let parameters = described.parameters.as_deref().unwrap_or_default();
        let query = parameters.iter().any(|parameter| match parameter {
            RefOr::T(parameter) => parameter.parameter_in == ParameterIn::Query,
            RefOr::Ref(_) => false,
        });
        Self { tag: tag(path), path, requirement, body: described.request_body.is_some(), write, query }
    }

    fn is_keyed(&self) -> bool {
        self.requirement != Requirement::Nothing
    }

    /// Whether it uses a tenant's data or limits.
    fn is_of_a_tenant(&self) -> bool {
        match self.requirement {
            Requirement::Tenant(_) | Requirement::TenantOrCluster | Requirement::AnyTenant => true,
            Requirement::Nothing | Requirement::Cluster | Requirement::AnyKey => false,
        }
    }

    /// The statuses of its errors that other operations have, too.
    fn problems(&self) -> Vec<u16> {
        let (keyed, named) = (self.is_keyed(), self.path.contains('{'));
        let reads = self.body || self.write;
        [
            (400, keyed),
            (401, keyed),
            (403, true),
            (404, named),
            (408, reads),
            (410, self.is_of_a_tenant()),
            (412, self.write),
            (413, reads),
            (415, self.body),
            (421, keyed && self.requirement != Requirement::Cluster),
            (422, self.body || named || self.query),
            (429, keyed),
            (500, true),
            (503, keyed),
            (507, self.write || self.is_of_a_tenant()),
        ]
        .into_iter()
        .filter_map(|(status, occurs)| occurs.then_some(status))
        .collect()
    }
}

/// The tag of an operation.
fn tag(path: &str) -> &'static str {
    if path.contains("/search") || path.ends_with("/count") {
        "search"
    } else if path.contains("/vectors") {
        "vectors"
    } else if path.contains("/collections") {
        "collections"
    } else if path.contains("/log") {
        "log"
    } else if path.contains("/cluster") {
        "cluster"
    } else if path == "/mcp" {
        "agents"
    } else {
        "server"
    }
}

fn complete(described: &mut Described, facts: &Facts, components: &Components) {
    described.tags = Some(vec![facts.tag.to_owned()]);
    let parameters = described.parameters.get_or_insert_default();
    for parameter in parameters.iter_mut() {
        if let RefOr::T(parameter) = parameter
            && parameter.parameter_in == ParameterIn::Path
        {
            describe_path_parameter(parameter, facts.path);
        }
    }
    if facts.write {
        parameters.push(RefOr::Ref(Ref::new("#/components/parameters/IdempotencyKey")));
        parameters.push(RefOr::Ref(Ref::new("#/components/parameters/IfMatch")));
    }
    parameters.push(RefOr::Ref(Ref::new("#/components/parameters/RequestId")));
    if let Some(RefOr::T(body)) = &mut described.request_body {
        body.required = Some(Required::True);
        if let Some(content) = body.content.get_mut(NDJSON) {
            describe_ndjson(content);
        }
    }
    let responses = &mut described.responses.responses;
    for status in facts.problems() {
        responses.entry(status.to_string()).or_insert_with(|| shared_response(status));
    }
    for (status, response) in responses {
        let status: u16 = status.parse().unwrap_or_default();
        let RefOr::T(response) = response else { continue };
        if status >= 400 {
            let description = std::mem::take(&mut response.description);
            *response = problem(
                status,
                if description.is_empty() { status_description(status) } else { &description },
            );
        } else {
            if response.description.is_empty() {
                response.description = schema_description(response, components)
                    .or_else(|| described.summary.clone())
                    .unwrap_or_default();
            }
            if let Some(content) = response.content.get_mut(NDJSON) {
                describe_ndjson(content);
            }
            response.headers.insert("X-Request-Id".into(), header("RequestId"));
            if facts.write {
                response.headers.insert("Idempotency-Replayed".into(), header("IdempotencyReplayed"));
            }
            if facts.is_keyed() {
                response.headers.extend(rate_headers());
            }
        }
    }
}

/// OpenAPI 3.1 treats NDJSON as text. An extension has the schema of a line.
fn describe_ndjson(content: &mut RefOr<Content>) {
    if let RefOr::T(content) = content
        && let Some(line) = content.schema.take()
    {
        let text =
            ObjectBuilder::new().schema_type(Type::String).description(Some("A JSON value on each line."));
        content.schema = Some(text.into());
        content.extensions =
            Some(ExtensionsBuilder::new().add("x-item-schema", serde_json::json!(line)).build());
    }
}

/// The description of an answer's schema.
fn schema_description(response: &Response, components: &Components) -> Option<String> {
    let RefOr::T(content) = response.content.values().next()? else { return None };
    let RefOr::Ref(reference) = content.schema.as_ref()? else { return None };
    let name = reference.ref_location.rsplit('/').next()?;
    match components.schemas.get(name)? {
        RefOr::T(Schema::Object(object)) => object.description.clone(),
        RefOr::T(_) | RefOr::Ref(_) => None,
    }
}

/// Adds the schema and the description of a path parameter.
fn describe_path_parameter(parameter: &mut Parameter, path: &str) {
    let (schema, description) = match parameter.name.as_str() {
        "name" => ("CollectionName", "The collection."),
        "path" => ("PayloadPath", "The payload path, in the form of filter keys: `a.b`, `a[].b`, `\"a.b\"`."),
        "id" if path.contains("/tenants/") => ("TenantId", "The tenant."),
        "id" => ("VectorId", "The vector."),
        _ => return,
    };
    parameter.schema = Some(Ref::from_schema_name(schema).into());
    parameter.description.get_or_insert_with(|| description.to_owned());
}

/// The shared response for this status.
fn shared_response(status: u16) -> RefOr<Response> {
    match PROBLEMS.iter().find(|(known, ..)| *known == status) {
        Some((_, name, _)) => Ref::from_response_name(*name).into(),
        None => problem(status, status_description(status)).into(),
    }
}

fn status_description(status: u16) -> &'static str {
    PROBLEMS
        .iter()
        .find(|(known, ..)| *known == status)
        .map_or("The request failed.", |(.., description)| description)
}

fn problem(status: u16, description: &str) -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let mut response = ResponseBuilder::new().description(description).content(PROBLEM, content).build();
    response.headers.insert("X-Request-Id".into(), header("RequestId"));
    response.headers.extend(rate_headers());
    if matches!(status, 401 | 403) {
        response.headers.insert("WWW-Authenticate".into(), header("Challenge"));
    }
    if matches!(status, 429 | 503 | 507) {
        response.headers.insert("Retry-After".into(), header("RetryAfter"));
    }
    response
}

fn header(name: &str) -> RefOr<Header> {
    RefOr::Ref(Ref::new(format!("#/components/headers/{name}")))
}

fn rate_headers() -> BTreeMap<String, RefOr<Header>> {
    ["RateLimit", "RateLimit-Policy"].map(|name| (name.to_owned(), header(&name.replace('-', "")))).into()
}

fn add_components(components: &mut Components) {
    components.schemas.extend(SCHEMAS.clone());
    for (status, name, description) in PROBLEMS {
        components.responses.insert(name.into(), problem(status, description).into());
    }
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let number = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1));
    for (name, description, schema) in [
        ("RequestId", "The id of the request in the server's log and in the audit log.", text()),
        (
            "IdempotencyReplayed",
            "`true` if a write with this Idempotency-Key was done before.",
            text().enum_values(Some(["true"])),
        ),
        (
            "RateLimit",
            "The remaining requests of the minute and of the hour (draft-ietf-httpapi-ratelimit-headers). Absent if the tenant has no such limits.",
            text(),
        ),
        ("RateLimitPolicy", "The limits on requests per minute and per hour.", text()),
        ("RetryAfter", "The seconds to wait before the next try.", number),
        ("Challenge", "The problem with the key (RFC 6750).", text()),
    ] {
        let header = HeaderBuilder::new().description(Some(description)).schema(Some(schema)).build();
        components.headers.insert(name.into(), header.into());
    }
    let etag = r#"^(\*|(W/)?"[0-9]{1,19}"(, *(W/)?"[0-9]{1,19}")*)$"#;
    for (key, name, description, schema) in [
        (
            "IdempotencyKey",
            "Idempotency-Key",
            "The write is done once with this key. A repetition within 24 hours gets the first answer.",
            text().min_length(Some(1)).max_length(Some(255)).pattern(Some("^[ -~]+$")),
        ),
        (
            "IfMatch",
            "If-Match",
            "The write is done only if the seq of the collection's last change is one of these, in double quotes. `*` requires that the collection exists.",
            text().pattern(Some(etag)).examples(["\"5\""]),
        ),
        (
            "RequestId",
            "X-Request-Id",
            "The client's id for the request: 1 to 64 letters, digits, `-`, `_` and `.`. The server replaces an invalid id.",
            text(),
        ),
    ] {
        let parameter = ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some(description))
            .schema(Some(schema))
            .build();
        components.parameters.insert(key.into(), parameter.into());
    }
}
