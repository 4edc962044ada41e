//! What operations have in common, added to each from the table of operations: a new operation has it too.

use std::collections::BTreeMap;

use axum::http::Method;
use utoipa::Modify;
use utoipa::openapi::extensions::ExtensionsBuilder;
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::path::{Operation as Described, Parameter, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::{Schema, Type};
use utoipa::openapi::{Components, Content, ContentBuilder, ObjectBuilder, OpenApi, Ref, RefOr, Required};

use crate::auth::{Level, Operation, Requirement};
use crate::rest::location;
use crate::wire::schema::SCHEMAS;

const NDJSON: &str = "application/x-ndjson";
const PROBLEM: &str = "application/problem+json";

/// Every status of an error, the name of its response among the components, and what it says.
const PROBLEMS: [(u16, &str, &str); 16] = [
    (400, "BadRequest", "The request cannot be read: its JSON, a parameter or a header is malformed."),
    (401, "Unauthorized", "The key is missing or is not valid."),
    (
        403,
        "Forbidden",
        "The key does not reach this far, its tenant is suspended, or the host is not served.",
    ),
    (404, "NotFound", "What the path names does not exist."),
    (408, "RequestTimeout", "The body did not arrive in time."),
    (409, "Conflict", "It exists already."),
    (410, "Gone", "The tenant was deleted on this node; it can be had back within the grace."),
    (412, "PreconditionFailed", "The collection was changed since: `If-Match` does not hold."),
    (413, "PayloadTooLarge", "The request can never fit: it exceeds a limit of the server or of the plan."),
    (
        415,
        "UnsupportedMediaType",
        "The body has a media type or an encoding that the operation does not take.",
    ),
    (422, "UnprocessableEntity", "The request can be read and cannot be done: `detail` names the field."),
    (429, "TooManyRequests", "The plan's requests are used up, or one of its quotas is reached."),
    (500, "InternalError", "The server failed at this request."),
    (503, "Unavailable", "Not at the moment: `type` says why, `Retry-After` when to try again."),
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
            if let Some(described) = item.and_then(|item| place(item, &method)) {
                let facts = Facts::of(operation, &method, path, described);
                complete(described, &facts, components);
            }
        }
    }
}

fn place<'a>(item: &'a mut PathItem, method: &Method) -> Option<&'a mut Described> {
    match *method {
        Method::GET => item.get.as_mut(),
        Method::PUT => item.put.as_mut(),
        Method::POST => item.post.as_mut(),
        Method::DELETE => item.delete.as_mut(),
        Method::PATCH => item.patch.as_mut(),
        _ => None,
    }
}

/// What is known of an operation without a word of its own.
struct Facts {
    tag: &'static str,
    path: &'static str,
    requirement: Requirement,
    /// Whether it takes a body of a documented type.
    body: bool,
    /// Whether it writes to the tenant's log, under the conditions that any write takes.
    write: bool,
    /// Whether it takes parameters in the query.
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

    /// Whether a tenant's own data or limits are behind it.
    fn is_of_a_tenant(&self) -> bool {
        match self.requirement {
            Requirement::Tenant(_) | Requirement::TenantOrCluster | Requirement::AnyTenant => true,
            Requirement::Nothing | Requirement::Cluster | Requirement::AnyKey => false,
        }
    }

    /// The statuses of its errors, beside those that are its own.
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

/// Operations by what they are about.
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
            name_in_path(parameter, facts.path);
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
            lines(content);
        }
    }
    let responses = &mut described.responses.responses;
    for status in facts.problems() {
        responses.entry(status.to_string()).or_insert_with(|| shared(status));
    }
    for (status, response) in responses {
        let status: u16 = status.parse().unwrap_or_default();
        let RefOr::T(response) = response else { continue };
        if status >= 400 {
            let description = std::mem::take(&mut response.description);
            *response = problem(status, if description.is_empty() { words(status) } else { &description });
        } else {
            if response.description.is_empty() {
                response.description =
                    said(response, components).or_else(|| described.summary.clone()).unwrap_or_default();
            }
            if let Some(content) = response.content.get_mut(NDJSON) {
                lines(content);
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

/// NDJSON is text to OpenAPI 3.1; what a line is stands beside it.
fn lines(content: &mut RefOr<Content>) {
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

/// What the schema of an answer says it is.
fn said(response: &Response, components: &Components) -> Option<String> {
    let RefOr::T(content) = response.content.values().next()? else { return None };
    let RefOr::Ref(reference) = content.schema.as_ref()? else { return None };
    let name = reference.ref_location.rsplit('/').next()?;
    match components.schemas.get(name)? {
        RefOr::T(Schema::Object(object)) => object.description.clone(),
        RefOr::T(_) | RefOr::Ref(_) => None,
    }
}

/// The schema of a name in a path.
fn name_in_path(parameter: &mut Parameter, path: &str) {
    let (schema, description) = match parameter.name.as_str() {
        "name" => ("CollectionName", "The collection."),
        "path" => (
            "PayloadPath",
            "The path of payloads, as the keys of filters are written: `a.b`, `a[].b`, `\"a.b\"`.",
        ),
        "id" if path.contains("/tenants/") => ("TenantId", "The tenant."),
        "id" => ("VectorId", "The vector."),
        _ => return,
    };
    parameter.schema = Some(Ref::from_schema_name(schema).into());
    parameter.description.get_or_insert_with(|| description.to_owned());
}

/// The response that all operations have for this status.
fn shared(status: u16) -> RefOr<Response> {
    match PROBLEMS.iter().find(|(known, ..)| *known == status) {
        Some((_, name, _)) => Ref::from_response_name(*name).into(),
        None => problem(status, words(status)).into(),
    }
}

fn words(status: u16) -> &'static str {
    PROBLEMS.iter().find(|(known, ..)| *known == status).map_or("The request failed.", |(.., words)| words)
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
        ("RequestId", "The id of the request, as in the server's log and in the audit log.", text()),
        (
            "IdempotencyReplayed",
            "`true` if the write was done before under this Idempotency-Key.",
            text().enum_values(Some(["true"])),
        ),
        (
            "RateLimit",
            "What is left of the requests of the minute and of the hour (draft-ietf-httpapi-ratelimit-headers). Absent where the tenant has no such limits.",
            text(),
        ),
        ("RateLimitPolicy", "The limits of requests in a minute and in an hour.", text()),
        ("RetryAfter", "Seconds until another try makes sense.", number),
        ("Challenge", "What is wrong with the key (RFC 6750).", text()),
    ] {
        let header = HeaderBuilder::new().description(Some(description)).schema(Some(schema)).build();
        components.headers.insert(name.into(), header.into());
    }
    let etag = r#"^(\*|(W/)?"[0-9]{1,19}"(, *(W/)?"[0-9]{1,19}")*)$"#;
    for (key, name, description, schema) in [
        (
            "IdempotencyKey",
            "Idempotency-Key",
            "The write is done once under this key; a repetition within 24 hours gets the first answer.",
            text().min_length(Some(1)).max_length(Some(255)).pattern(Some("^[ -~]+$")),
        ),
        (
            "IfMatch",
            "If-Match",
            "The write is done only if the seq of the collection's last change is one of these, in double quotes; `*` asks that the collection exists.",
            text().pattern(Some(etag)).examples(["\"5\""]),
        ),
        (
            "RequestId",
            "X-Request-Id",
            "The client's own name for the request: 1 to 64 letters, digits, `-`, `_` and `.`. Any other is replaced by a new one.",
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
