"""Vectorizer's HNSW side by side with hnswlib, faiss and usearch.

    pip install -r requirements.txt
    python compare.py --glove GLOVE_FOLDER --ours target/release/deps/graph-... --out results/

prints a table for each data set and writes results.json and one picture a set into --out. Without
--ours only the three libraries run. To look quickly: --vectors 10000, or --sets with one of them. On
a noisy machine take more --rounds, and read the spreads.

Every index is built once, one after the other, on the same number of threads; then they take turns
in rounds. In a round each index searches all queries for every ef on one thread, once unmeasured and
once measured. The libraries get their queries in one call, so Python's own time does not count.
Vectors are scaled to length one beforehand for them, outside the measured time. Their bytes are what
the process grew by, vectors included; ours are what the program says, so it should count them too.

Data sets:

    glove       word vectors: base.npy and queries.npy (f32, rows) and neighbours.npy (i32, the 100
                nearest by cosine for each query, exact, best first) in the folder --glove
    embeddings  100,000 x 768, made up to resemble embeddings of texts; always the same ones.
                With --cache they are made only once.

--ours is a program, or a command line, that is started as

    OURS --base base.npy --queries queries.npy --neighbours neighbours.npy --metric cosine --m 16
         --ef-construction 200 --threads 2 --ef 10,16,...

It builds once and prints a line {"built": seconds, "bytes_per_vector": x, "compact_bytes_per_vector": y}.
For each line `run` that it reads it makes an unmeasured and a measured pass over all queries for
every ef and prints a line {"runs": [{"ef": 10, "recall": 0.71, "queries_per_second": 12345.0}, ...]}.
It ends when its input does. Recall is that of 10 results.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np

import datasets
import report
from contenders import PEERS, Ours


def main():
    setting = arguments()
    Path(setting.out).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        cache = setting.cache or temporary
        results = {
            "machine": machine(),
            "versions": {name: version(name) for name in ("hnswlib", "faiss-cpu", "usearch", "numpy")},
            "parameters": {name: getattr(setting, name) for name in ("m", "ef_construction", "threads", "rounds")},
            "sets": [],
        }
        for name in setting.sets:
            if name == "glove":
                dataset = datasets.glove(setting.glove, setting.vectors, cache)
            else:
                dataset = datasets.embeddings(setting.vectors, cache)
            measured = measure(dataset, setting)
            # After every set, so that an interrupted run leaves what it has.
            results["sets"].append(measured)
            (Path(setting.out) / "results.json").write_text(json.dumps(results, indent=1) + "\n")
            report.write(measured, setting.out)


def measure(dataset, setting):
    """Builds every index on `dataset` and lets them take turns."""
    vectors, dimension = np.load(dataset.base, mmap_mode="r").shape
    contenders = [kind(setting) for kind in ([Ours] if setting.ours else []) + PEERS]
    measured = {}
    loads = []
    for contender in contenders:
        note(f"{dataset.name}: building {contender.name}")
        measured[contender.name] = {**contender.build(dataset), "rounds": []}
    for number in range(setting.rounds):
        # Each begins a round in its turn.
        first = number % len(contenders)
        for contender in contenders[first:] + contenders[:first]:
            measured[contender.name]["rounds"].append(contender.run())
        # One thread searches at any time: a load well above 1 means that others were running.
        loads.append(os.getloadavg()[0])
        note(f"{dataset.name}: round {number + 1} of {setting.rounds} done, load {loads[-1]:.1f}")
    for contender in contenders:
        contender.close()
    return {
        "name": dataset.name,
        "vectors": vectors,
        "dimension": dimension,
        "loads": loads,
        "contenders": measured,
    }


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", type=lambda text: text.split(","), default=["glove", "embeddings"])
    parser.add_argument("--glove", metavar="FOLDER", help="base.npy, queries.npy and neighbours.npy")
    parser.add_argument("--vectors", type=int, metavar="N", help="only the first N of each set")
    parser.add_argument("--ours", metavar="COMMAND", help="a program that speaks the protocol above")
    parser.add_argument("--out", metavar="FOLDER", required=True, help="for results.json and the pictures")
    parser.add_argument("--cache", metavar="FOLDER", help="where made and cut sets are kept")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2, help="for building; searching takes one")
    parser.add_argument("--m", type=int, default=16)
    parser.add_argument("--ef-construction", type=int, default=200)
    parser.add_argument(
        "--ef",
        type=lambda text: sorted(int(ef) for ef in text.split(",")),
        default=[10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512],
    )
    setting = parser.parse_args()
    if not set(setting.sets) <= {"glove", "embeddings"}:
        parser.error("--sets takes glove, embeddings or both")
    if "glove" in setting.sets and not setting.glove:
        parser.error("the set glove needs --glove FOLDER (or leave it out: --sets embeddings)")
    return setting


def machine():
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {"processor": models[0].split(":")[1].strip() if models else platform.machine(), "cores": len(models)}


def note(text):
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
