"""An agent's session with the official Python SDK: `session.py URL KEY [legacy|auto|2026-07-28]`."""

import asyncio
import sys

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

TEXTS = [
    "The queen wears the crown.", "A tree has a crown, too.", "Rust compiles slowly and runs fast.",
    "Sharks have no bones.", "The river is frozen in January.", "Bread needs flour, water, salt and time.",
    "A violin has four strings.", "The comet returns every 76 years.", "Bees dance to show the way.",
    "Concrete was known to the Romans.", "Olives are picked in autumn.", "The train leaves at noon.",
    "A glacier moves a metre a day.", "Coffee was first drunk in Yemen.", "The library burned twice.",
    "Salt was once a wage.", "Lightning is hotter than the sun's surface.", "An octopus has three hearts.",
    "The bridge swings in the wind.", "Chess has more games than atoms.",
]


async def main(url: str, key: str, mode: str) -> None:
    http = httpx2.AsyncClient(headers={"Authorization": f"Bearer {key}"}, timeout=30)
    async with http, Client(streamable_http_client(url, http_client=http), mode=mode) as client:

        async def call(tool, **arguments):
            result = await client.call_tool(tool, arguments)
            assert not result.is_error, (tool, result)
            return result.structured_content

        tools = {tool.name for tool in (await client.list_tools()).tools}
        assert {"list_collections", "search", "upsert", "delete", "create_collection"} <= tools, tools
        name = f"facts-{mode}"
        assert name not in [it["name"] for it in (await call("list_collections"))["collections"]]
        await call("create_collection", collection=name, text=True)
        records = [{"id": f"f{n:02}", "text": text, "payload": {"number": n}} for n, text in enumerate(TEXTS)]
        assert (await call("upsert", collection=name, records=records))["upserted"] == 20
        found = (await call("search", collection=name, text="queen crown", limit=2))["results"]
        assert [it["id"] for it in found] == ["f00", "f01"], found
        odd = {"must": [{"key": "number", "range": {"gte": 1}}]}
        found = (await call("search", collection=name, text="crown", filter=odd))["results"]
        assert [it["id"] for it in found] == ["f01"], found
        assert (await call("delete", collection=name, ids=["f00", "f01"]))["deleted"] == 2
        assert (await call("search", collection=name, text="crown"))["results"] == []
        assert (await call("count", collection=name))["count"] == 18
        refused = await client.call_tool("search", {"collection": "nowhere", "text": "crown"})
        assert refused.is_error and "list_collections" in str(refused.structured_content), refused
        await call("delete_collection", collection=name)
    print("ok", mode)


asyncio.run(main(*sys.argv[1:]))
