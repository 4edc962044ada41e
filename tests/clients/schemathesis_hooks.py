"""What Schemathesis is told about this API beside its description."""

import json
import os
from itertools import cycle

import schemathesis
from hypothesis import strategies as st
from schemathesis.core.parameters import ParameterLocation

# A line of NDJSON, whose schema is no part of OpenAPI 3.1.
lines = st.lists(
    st.builds(
        lambda id, vector: json.dumps({"id": id, "vector": vector}),
        st.text("abcdefgh", min_size=1, max_size=8),
        st.lists(st.integers(-9, 9), min_size=3, max_size=3),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda line: json.loads(line)["id"],
)
schemathesis.openapi.media_type("application/x-ndjson", lines.map(lambda it: "\n".join(it).encode()))

# Of a collection that is there (the test makes it), and of those that are drawn.
taken = cycle([True, True, False])


@schemathesis.serializer("application/x-ndjson")
def ndjson(ctx, value):
    return value if isinstance(value, bytes) else str(value).encode()


@schemathesis.serializer("application/merge-patch+json")
def merge_patch(ctx, value):
    return json.dumps(value).encode()


@schemathesis.hook
def before_load_schema(ctx, schema):
    # A server without keys takes none, so none is missing.
    if os.environ.get("VECTORIZER_WITHOUT_KEYS"):
        schema["security"] = []
        del schema["components"]["securitySchemes"]
    # Values in double quotes are drawn without them.
    schema["components"]["parameters"]["IfMatch"]["schema"] = {"type": "string", "enum": ["*"]}


@schemathesis.hook
def before_call(ctx, case, kwargs):
    # An answer that has no end is another test's.
    if case.query:
        case.query.pop("follow", None)
    if case.operation.path == "/mcp":
        # MCP asks for both, and OpenAPI has no parameter of this name.
        case.headers["Accept"] = "application/json, text/event-stream"
    names = case.path_parameters
    if names and "name" in names and not case.meta.is_negative_at(ParameterLocation.PATH):
        is_deleted = case.method == "DELETE" and case.operation.path.endswith("{name}")
        if is_deleted and names["name"] == "words":
            names["name"] = "others"
        elif not is_deleted and next(taken):
            names["name"] = "words"
