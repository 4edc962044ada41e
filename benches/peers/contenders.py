"""The indexes that are measured. Each is built once by `build` and then searched round after round by `run`."""

import ctypes
import json
import os
import shlex
import subprocess
import time
from pathlib import Path

import faiss
import hnswlib
import numpy as np
from usearch.index import Index

from datasets import unit

# How many results a query asks for; recall is the share of the exact ones among them.
RESULTS = 10


class Library:
    """A library of this process: built on all threads, searched on one by its own call for many queries."""

    def __init__(self, setting):
        self.setting = setting

    def build(self, dataset):
        base = unit(np.load(dataset.base))
        self.queries = unit(np.load(dataset.queries))
        self.exact = np.load(dataset.neighbours)[:, :RESULTS]
        before = resident_bytes()
        start = time.perf_counter()
        self.add(base)
        seconds = time.perf_counter() - start
        return {"built": seconds, "bytes_per_vector": (resident_bytes() - before) / len(base)}

    def run(self):
        runs = []
        for ef in self.setting.ef:
            self.search(ef)
            start = time.perf_counter()
            found = self.search(ef)
            seconds = time.perf_counter() - start
            runs.append(
                {"ef": ef, "recall": recall(found, self.exact), "queries_per_second": len(self.queries) / seconds}
            )
        return runs

    def close(self):
        pass


class Hnswlib(Library):
    name = "hnswlib"

    def add(self, base):
        self.index = hnswlib.Index(space="ip", dim=base.shape[1])
        self.index.init_index(len(base), M=self.setting.m, ef_construction=self.setting.ef_construction)
        self.index.add_items(base, num_threads=self.setting.threads)

    def search(self, ef):
        self.index.set_ef(ef)
        return self.index.knn_query(self.queries, RESULTS, num_threads=1)[0]


class Faiss(Library):
    name = "faiss"

    def add(self, base):
        faiss.omp_set_num_threads(self.setting.threads)
        self.index = faiss.IndexHNSWFlat(base.shape[1], self.setting.m, faiss.METRIC_INNER_PRODUCT)
        self.index.hnsw.efConstruction = self.setting.ef_construction
        self.index.add(base)
        faiss.omp_set_num_threads(1)

    def search(self, ef):
        self.index.hnsw.efSearch = ef
        return self.index.search(self.queries, RESULTS)[1]


class Usearch(Library):
    name = "usearch"

    def add(self, base):
        self.index = Index(
            ndim=base.shape[1],
            metric="cos",
            dtype="f32",
            connectivity=self.setting.m,
            expansion_add=self.setting.ef_construction,
        )
        self.index.add(np.arange(len(base), dtype=np.uint64), base, threads=self.setting.threads)

    def search(self, ef):
        self.index.expansion_search = ef
        return self.index.search(self.queries, RESULTS, threads=1).keys


class Ours:
    """A program that speaks the protocol described in compare.py."""

    name = "ours"

    def __init__(self, setting):
        self.setting = setting

    def build(self, dataset):
        setting = self.setting
        self.program = subprocess.Popen(
            shlex.split(setting.ours)
            + ["--base", dataset.base, "--queries", dataset.queries, "--neighbours", dataset.neighbours]
            + ["--metric", "cosine", "--m", str(setting.m), "--ef-construction", str(setting.ef_construction)]
            + ["--threads", str(setting.threads), "--ef", ",".join(map(str, setting.ef))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self.answer()

    def run(self):
        self.program.stdin.write("run\n")
        self.program.stdin.flush()
        runs = self.answer()["runs"]
        if [run["ef"] for run in runs] != self.setting.ef:
            raise SystemExit(f"ours answered for other values of ef: {runs}")
        return runs

    def answer(self):
        line = self.program.stdout.readline()
        try:
            return json.loads(line)
        except ValueError:
            raise SystemExit(f"ours should have printed a line of JSON, but: {line!r}") from None

    def close(self):
        self.program.stdin.close()
        self.program.wait()


PEERS = [Hnswlib, Faiss, Usearch]


def recall(found, exact):
    hits = (found.astype(np.int64)[:, :, None] == exact[:, None, :]).any(axis=2)
    return float(hits.mean())


def resident_bytes():
    """The memory this process holds, without what was freed and could be used again. Linux with glibc."""
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
