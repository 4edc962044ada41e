"""The vectors that the libraries are measured on, as .npy files that any program can read."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

# How many exact neighbours are kept for each query.
NEIGHBOURS = 100

# The made-up text embeddings.
SEED = 20240607
VECTORS = 100_000
QUERIES = 1_000
DIMENSION = 768
TOPICS = 3_000
BLOCK = 10_000
# Standard deviation of the i-th principal direction: (i + 1) ** -DECAY.
DECAY = 0.6
# Length of a vector's own part, of its topic's part being 1, and of the part that all share.
OWN = 1.2
SHARED = 0.5


@dataclass
class Dataset:
    """Paths of three files: base and queries (f32, rows), neighbours (i32, row numbers, best first)."""

    name: str
    base: Path
    queries: Path
    neighbours: Path

    @classmethod
    def inside(cls, name, folder):
        return cls(name, *(Path(folder) / f"{part}.npy" for part in ("base", "queries", "neighbours")))

    def complete(self):
        return self.base.exists() and self.queries.exists() and self.neighbours.exists()

    def write(self, base, queries):
        self.base.parent.mkdir(parents=True, exist_ok=True)
        np.save(self.base, base)
        np.save(self.queries, queries)
        # Last, so that an interrupted run does not leave a folder that looks complete.
        np.save(self.neighbours, exact_neighbours(base, queries))


def glove(folder, vectors, cache):
    """The word vectors in `folder`, or the first `vectors` of them."""
    whole = Dataset.inside("glove", folder)
    base = np.load(whole.base, mmap_mode="r")
    if vectors is None or vectors >= len(base):
        return whole
    cut = Dataset.inside("glove", Path(cache) / f"glove-{vectors}")
    if not cut.complete():
        cut.write(base[:vectors], np.load(whole.queries))
    return cut


def embeddings(vectors, cache):
    """Made-up text embeddings: `vectors` of them, of which fewer are the beginning of more."""
    vectors = min(vectors or VECTORS, VECTORS)
    made = Dataset.inside("embeddings", Path(cache) / f"embeddings-{vectors}")
    if not made.complete():
        draw = embedding_source()
        blocks = [draw(1 + block, min(BLOCK, vectors - start)) for block, start in enumerate(range(0, vectors, BLOCK))]
        made.write(np.concatenate(blocks), draw(0, QUERIES))
    return made


def embedding_source():
    """A function (block number, rows) -> unit vectors, always the same ones for the same block.

    A vector is what all texts share, plus its topic, plus its own part. Topics are of very unequal
    size. Topic and own part are normal with a spectrum that decays by a power law, and everything is
    rotated at random so that no coordinate is special.
    """
    random = np.random.default_rng(SEED)
    spectrum = np.arange(1, DIMENSION + 1) ** -DECAY
    spectrum = (spectrum / np.linalg.norm(spectrum)).astype(np.float32)
    rotation = np.linalg.qr(random.standard_normal((DIMENSION, DIMENSION)))[0].astype(np.float32)
    topics = random.standard_normal((TOPICS, DIMENSION), dtype=np.float32) * spectrum
    share = random.lognormal(sigma=1.5, size=TOPICS)
    share /= share.sum()
    common = unit(random.standard_normal((1, DIMENSION), dtype=np.float32)) * SHARED

    def draw(block, rows):
        random = np.random.default_rng([SEED, block])
        topic = random.choice(TOPICS, size=rows, p=share)
        own = random.standard_normal((rows, DIMENSION), dtype=np.float32) * spectrum * OWN
        return unit((topics[topic] + own) @ rotation + common)

    return draw


def unit(vectors):
    """Each row scaled to length one."""
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def exact_neighbours(base, queries):
    """For each query the rows of `base` with the greatest cosine, best first."""
    queries = unit(queries)
    scores = np.empty((len(queries), 0), dtype=np.float32)
    rows = np.empty((len(queries), 0), dtype=np.int32)
    for start in range(0, len(base), BLOCK):
        block = queries @ unit(base[start : start + BLOCK]).T
        numbers = np.arange(start, start + block.shape[1], dtype=np.int32)
        scores = np.hstack([scores, block])
        rows = np.hstack([rows, np.broadcast_to(numbers, block.shape)])
        best = np.argsort(-scores, axis=1, kind="stable")[:, :NEIGHBOURS]
        scores = np.take_along_axis(scores, best, axis=1)
        rows = np.take_along_axis(rows, best, axis=1)
    return rows
