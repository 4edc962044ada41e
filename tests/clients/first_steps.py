"""The README's first steps with a client that was generated from the description: `first_steps.py FOLDER URL KEY`."""

import sys

folder, url, key = sys.argv[1:]
sys.path.insert(0, folder)

from vectorizer_client import AuthenticatedClient  # noqa: E402
from vectorizer_client.api.collections import create_collection, delete_collection, describe_collection  # noqa: E402
from vectorizer_client.api.log import read_log_head  # noqa: E402
from vectorizer_client.api.search import count, search  # noqa: E402
from vectorizer_client.api.vectors import delete_vectors, list_vectors, upsert_vectors  # noqa: E402
from vectorizer_client import models  # noqa: E402
from vectorizer_client.models import Problem  # noqa: E402
from vectorizer_client.types import UNSET  # noqa: E402

VECTORS = [
    {"id": "king", "vector": [0.9, 0.1, 0.3], "payload": {"kind": "person", "reign": 40}},
    {"id": "queen", "vector": [0.8, 0.3, 0.3], "payload": {"kind": "person", "reign": 63}},
    {"id": "apple", "vector": [0.1, 0.9, 0.2], "payload": {"kind": "fruit"}},
]
LONG_REIGN = {"must": [{"key": "reign", "range": {"gt": 50}}]}


def is_(status, answer):
    assert answer.status_code == status, (answer.status_code, answer.content)
    return answer.parsed


with AuthenticatedClient(base_url=url, token=key) as client:
    new = models.NewCollection.from_dict({"name": "words", "dimension": 3, "metric": "cosine"})
    made = is_(201, create_collection.sync_detailed(client=client, body=new, idempotency_key="make-words"))
    assert made.name == "words", made
    again = is_(201, create_collection.sync_detailed(client=client, body=new, idempotency_key="make-words"))
    assert again.seq == made.seq, again
    taken = is_(409, create_collection.sync_detailed(client=client, body=new))
    assert isinstance(taken, Problem) and taken.type_.endswith(":collection-exists"), taken

    body = models.Upsert.from_dict({"vectors": VECTORS})
    written = is_(200, upsert_vectors.sync_detailed("words", client=client, body=body))
    assert (written.upserted, written.seq > made.seq) == (3, True), written

    sought = models.SearchInput.from_dict({"vector": [0.9, 0.1, 0.3], "limit": 2})
    found = is_(200, search.sync_detailed("words", client=client, body=sought)).results
    assert [it.id for it in found] == ["king", "queen"], found
    assert found[0].payload["reign"] == 40 and found[0].score > 0.99, found
    assert found[0].vector is UNSET, found
    sought = models.SearchInput.from_dict({"vector": [0.9, 0.1, 0.3], "filter": LONG_REIGN, "with_vector": True})
    assert sought.to_dict()["filter"] == LONG_REIGN, sought
    found = is_(200, search.sync_detailed("words", client=client, body=sought)).results
    assert [(it.id, len(it.vector)) for it in found] == [("queen", 3)], found
    packed = models.SearchInput.from_dict({"vector": "AACAPwAAAAAAAAAA"})
    assert len(is_(200, search.sync_detailed("words", client=client, body=packed)).results) == 3

    counted = models.CountInput.from_dict({"filter": LONG_REIGN})
    assert is_(200, count.sync_detailed("words", client=client, body=counted)).count == 1

    ids, cursor = [], UNSET
    while cursor is not None:
        page = is_(200, list_vectors.sync_detailed("words", client=client, limit=2, cursor=cursor))
        ids += [it.id for it in page.vectors]
        cursor = page.next_cursor
    assert ids == ["apple", "king", "queen"], ids

    gone = models.DeleteSelection.from_dict({"filter": LONG_REIGN})
    assert is_(200, delete_vectors.sync_detailed("words", client=client, body=gone)).deleted == 1
    gone = models.DeleteSelection.from_dict({"ids": ["king", "never"]})
    assert is_(200, delete_vectors.sync_detailed("words", client=client, body=gone)).deleted == 1
    left = is_(200, describe_collection.sync_detailed("words", client=client))
    assert (left.count, left.dimension, left.metric) == (1, 3, "cosine"), left
    stale = is_(412, delete_collection.sync_detailed("words", client=client, if_match=f'"{made.seq}"'))
    assert stale.type_.endswith(":precondition-failed"), stale

    head = is_(200, read_log_head.sync_detailed(client=client))
    assert head.data_seq == left.last_change and len(head.chain) == 64, head
    assert is_(200, delete_collection.sync_detailed("words", client=client)).vectors_deleted == 1
    missing = is_(404, search.sync_detailed("words", client=client, body=sought))
    assert missing.status == 404 and missing.request_id, missing

with AuthenticatedClient(base_url=url, token="hh_live_wrong") as client:
    refused = is_(401, describe_collection.sync_detailed("words", client=client))
    assert isinstance(refused, Problem), refused

print("ok")
