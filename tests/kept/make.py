#!/usr/bin/env python3
"""Makes a kept data folder with a released program.

    tests/kept/make.py PROGRAM NAME [stop|kill|sealed]

Starts PROGRAM as `vectorizer dev` in an empty folder, writes a history over HTTP, records what the program answers, and
ends it with SIGTERM (`stop`) or SIGKILL in the middle of writes (`kill`). With `sealed` the history is large enough that
`stop` seals it, and more is written by a second process that is stopped too. Writes NAME.tar.gz with the data folder and
NAME.json with the answers beside this script. `tests/kept.rs` opens the folder with the program of today.
"""

import io
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
DIMENSION = 8
# Enough for a graph, in programs that link collections. Scores of whole numbers by `dot` are exact in every program.
VECTORS = 4_500


class Client:
    def __init__(self, url, key):
        self.url, self.key = url, key

    def send(self, method, path, body=None, headers=()):
        data = None if body is None else json.dumps(body).encode()
        head = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json", **dict(headers)}
        request = urllib.request.Request(f"{self.url}/api/v1{path}", data, head, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def try_send(self, *arguments):
        """For what earlier programs did not have."""
        try:
            return self.send(*arguments)
        except (urllib.error.URLError, OSError):
            return None


def start(program, data):
    command = [program, "dev", "--data-dir", str(data), "--listen", "127.0.0.1:0", "--hub-listen", "127.0.0.1:0"]
    described = subprocess.run([program, "dev", "--help"], capture_output=True, text=True).stdout
    if "--usage-report-interval" in described:
        command += ["--usage-report-interval", "2"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    for line in process.stdout:
        if match := re.search(r"http://127\.0\.0\.1:\d+", line):
            threading.Thread(target=process.stdout.read, daemon=True).start()
            return process, match.group(0)
    raise SystemExit("the program did not start")


def stop(process, how):
    process.send_signal(how)
    process.wait(timeout=60)


def write(acme, globex):
    numbers = random.Random(7)
    vector = lambda: [numbers.randint(-3, 3) for _ in range(DIMENSION)]
    acme.send("POST", "/collections", {"name": "words", "dimension": DIMENSION, "metric": "dot"})
    for first in range(0, VECTORS, 500):
        points = [
            {"id": f"v{number}", "vector": vector(), "payload": {"number": number, "even": number % 2 == 0}}
            for number in range(first, first + 500)
        ]
        acme.send("PUT", "/collections/words/vectors", {"vectors": points}, {"Idempotency-Key": f"batch-{first}"}.items())
    for number in range(0, VECTORS, 100):
        acme.send("DELETE", f"/collections/words/vectors/v{number}")
    acme.send("PATCH", "/collections/words/vectors/v1/payload", {"patched": True})
    acme.send("POST", "/collections", {"name": "dropped", "dimension": 2, "metric": "dot"})
    acme.send("DELETE", "/collections/dropped")
    acme.try_send("POST", "/collections", {"name": "texts", "text": True})
    acme.try_send("PUT", "/collections/texts/vectors", {"vectors": [{"id": "t", "text": "Crowns and elephants"}]})
    acme.try_send("PUT", "/collections/words/indexes/number")
    globex.send("POST", "/collections", {"name": "words", "dimension": 2, "metric": "euclidean"})
    globex.send("PUT", "/collections/words/vectors", {"vectors": [{"id": "g", "vector": [3, 4]}]})
    # Long enough for a graph and for the end of a window.
    time.sleep(5)


def write_much(client):
    """More than a tail may have when its log is closed."""
    client.send("POST", "/collections", {"name": "much", "dimension": 1, "metric": "dot"})
    for number in range(50):
        point = {"id": f"m{number}", "vector": [1], "payload": {"text": f"{number} " * 12_000}}
        client.send("PUT", "/collections/much/vectors", {"vectors": [point]})
    client.send("DELETE", "/collections/much")


def answers(acme, globex):
    search = {"vector": [1, 0.5, -0.5, 0.25, 0, 0, -1, 1], "limit": 10, "exact": True, "with_vector": True}
    texts = acme.try_send("POST", "/collections/texts/search", {"text": "elephant"})
    return {
        "collections": sorted(it["name"] for it in acme.send("GET", "/collections")["collections"]),
        "count": acme.send("POST", "/collections/words/count", {})["count"],
        "search": acme.send("POST", "/collections/words/search", search)["results"],
        "point": acme.send("GET", "/collections/words/vectors/v1"),
        "texts": texts and texts["results"],
        "heads": [client.send("GET", "/log/head") for client in (acme, globex)],
        "globex": globex.send("GET", "/collections/words/vectors/g"),
    }


def main():
    program, name = sys.argv[1:3]
    ends = (sys.argv + ["stop"])[3]
    with tempfile.TemporaryDirectory() as folder:
        data = pathlib.Path(folder) / "data"
        process, url = start(program, data)
        keys = json.loads((data / "dev-keys.json").read_text())
        acme, globex = (Client(url, tenant["keys"]["admin"]) for tenant in keys["tenants"])
        write(acme, globex)
        if ends == "sealed":
            write_much(acme)
            stop(process, signal.SIGTERM)
            process, url = start(program, data)
            acme, globex = (Client(url, client.key) for client in (acme, globex))
            acme.send("DELETE", "/collections/words/vectors/v2")
        expected = answers(acme, globex)
        if ends == "kill":
            # Writes are under way when the process ends; whether they are there afterwards is open.
            body = {"vectors": [{"id": f"late{number}", "vector": [1] * DIMENSION} for number in range(200)]}
            for _ in range(4):
                threading.Thread(target=acme.try_send, args=("PUT", "/collections/words/vectors", body), daemon=True).start()
            time.sleep(0.01)
        stop(process, signal.SIGKILL if ends == "kill" else signal.SIGTERM)
        expected["ends"] = ends
        (HERE / f"{name}.json").write_text(json.dumps(expected, indent=1, sort_keys=True) + "\n")
        with tarfile.open(HERE / f"{name}.tar.gz", "w:gz", compresslevel=9) as archive:
            archive.add(data, "data")
    print(f"{name}: {os.path.getsize(HERE / f'{name}.tar.gz')} bytes")


main()
