"""Time and memory of the metrics at MARS's size, one thread; writes ranking.md beside this file.

    uv run python benchmarks/ranking.py [--rounds N]

The competitors are written here in the field's two usual ways. Candidates take turns within a round, and a
ratio is the median over the rounds of the ratio within a round: other work on the machine slows both sides.
"""

import argparse
import os
import statistics
import time
import tracemalloc

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"  # read once, when numpy is imported

import numpy as np  # noqa: E402
from measure import aim, write_page  # noqa: E402

from vreid.distances import cosine_distance, snippet_distance  # noqa: E402
from vreid.metrics import evaluate_features, evaluate_rank  # noqa: E402
from vreid.progress import Progress  # noqa: E402

NUM_QUERIES, NUM_PEOPLE, NUM_MATCHABLE, NUM_DISTRACTORS, NUM_JUNK = 1980, 626, 6082, 3248, 870
NUM_TRACKLETS = NUM_QUERIES + NUM_MATCHABLE + NUM_DISTRACTORS + NUM_JUNK
LARGE_ROUNDS, MOST_CHANNELS = 2, 6144
SNIPPETS, SNIPPET_FRAMES, SNIPPET_WIDTH, SNIPPET_QUERIES = 8, 8, 128, 20  # as config.yaml has them for CASE


def mars_like_labels(rng, times=1):
    """Pids, camids and query marks of 1,980 queries, 9,330 gallery tracklets and 870 junk, in that order, `times`."""
    pids = np.concatenate(
        [
            rng.integers(1, NUM_PEOPLE + 1, times * (NUM_QUERIES + NUM_MATCHABLE)),
            np.zeros(times * NUM_DISTRACTORS, int),
            np.full(times * NUM_JUNK, -1),
        ]
    )
    return pids, rng.integers(1, 7, len(pids)), np.arange(len(pids)) < times * NUM_QUERIES


def mars_like_features(rng, pids, channels):
    """Noise around one centre a person, as far apart whatever the number of channels."""
    features = rng.standard_normal((len(pids), channels), np.float32)
    people = pids > 0
    centres = rng.standard_normal((NUM_PEOPLE + 1, channels), np.float32)
    features[people] += 1.7 / channels**0.25 * centres[pids[people]]
    return features


def argsort_evaluator(distances, query_pids, gallery_pids, query_camids, gallery_camids):
    """One argsort of the whole matrix, then array operations on each row."""
    order = np.argsort(distances, axis=1)
    matches = gallery_pids[order] == query_pids[:, None]
    precisions = []
    for row, row_matches, pid, camid in zip(order, matches, query_pids, query_camids):
        hits = row_matches[(gallery_pids[row] != pid) | (gallery_camids[row] != camid)]
        if hits.any():
            precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
            precisions.append(precision[hits].mean())
    return float(np.mean(precisions))


def loop_evaluator(distances, query_pids, gallery_pids, query_camids, gallery_camids):
    """One query at a time, with the precision at every rank as a Python list."""
    order = np.argsort(distances, axis=1)
    precisions = []
    for query in range(len(distances)):
        row = order[query]
        dropped = (gallery_pids[row] == query_pids[query]) & (gallery_camids[row] == query_camids[query])
        hits = (gallery_pids[row] == query_pids[query])[~dropped].astype(np.int32)
        if not hits.any():
            continue
        found = [total / (rank + 1.0) for rank, total in enumerate(hits.cumsum())]
        precisions.append((np.asarray(found) * hits).sum() / hits.sum())
    return float(np.mean(precisions))


def measure(candidates, rounds, label):
    """Rows of (name, median seconds, fastest, slowest, median ratio to the first, peak extra MiB, mAP)."""
    progress = Progress(label, (rounds + 1) * len(candidates))
    peaks, scores = {}, {}
    for name, run in candidates.items():
        tracemalloc.start()
        scores[name] = run()
        peaks[name] = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
        progress.step(note=name)
    seconds = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, run in candidates.items():
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
            progress.step(note=name)
    first = next(iter(candidates))
    rows = []
    for name, times in seconds.items():
        ratio = statistics.median(mine / base for mine, base in zip(times, seconds[first]))
        spread = (statistics.median(times), min(times), max(times))
        rows.append((name, *spread, ratio, peaks[name], scores[name]))
    return rows


def measure_ranking(rounds):
    rng = np.random.default_rng(0)
    pids, camids, is_query = mars_like_labels(rng)
    gallery = ~is_query & (pids >= 0)
    features = mars_like_features(rng, pids, 64)
    distances = cosine_distance(features[is_query], features[gallery])
    case = (distances, pids[is_query], pids[gallery], camids[is_query], camids[gallery])
    rows = measure(
        {
            "vreid.metrics.evaluate_rank": lambda: evaluate_rank(*case)["mAP"],
            "argsort of the matrix": lambda: argsort_evaluator(*case),
            "argsort, Python loop over ranks": lambda: loop_evaluator(*case),
        },
        rounds,
        "ranking",
    )
    # Ties fall differently, and nothing else may.
    assert max(row[-1] for row in rows) - min(row[-1] for row in rows) < 1e-4
    return rows


def measure_features(rounds, channels, times):
    rng = np.random.default_rng(0)
    pids, camids, is_query = mars_like_labels(rng, times)
    features = mars_like_features(rng, pids, channels)

    def streamed():
        return evaluate_features(features, pids, camids, is_query)["queries-removed"]["mAP"]

    def bare_product():
        features[is_query] @ features.T

    name = "vreid.metrics.evaluate_features, three protocols"
    return measure({"the bare product Q @ T.T": bare_product, name: streamed}, rounds, f"{channels}-d")


def measure_snippets(rng):
    """Seconds of CASE's distance from some queries to all test tracklets, each of as many snippets as are compared."""
    shape = (NUM_TRACKLETS, SNIPPETS, SNIPPET_WIDTH * (1 + 2 * SNIPPET_FRAMES))
    features = rng.standard_normal(shape, np.float32)
    weight = rng.standard_normal(SNIPPET_WIDTH, np.float32)
    started = time.perf_counter()
    snippet_distance(
        features[:SNIPPET_QUERIES], features, attention="co", fraction=0.2, weight=weight, bias=np.float32(0)
    )
    return time.perf_counter() - started


def table(rows):
    lines = [
        "| | median s | min | max | ratio | peak extra MiB | mAP |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, median, fastest, slowest, ratio, peak, score in rows:
        shown = "" if score is None else f"{score:.6f}"
        times = f"{median:.3f} | {fastest:.3f} | {slowest:.3f}"
        lines.append(f"| {name} | {times} | {ratio:.2f} | {peak:.1f} | {shown} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    lines = [
        f"On one core, numpy {np.__version__}. Random features with some identity in them: the mAP compares "
        "evaluators, and says nothing about models. Candidates take turns; a ratio is the median over rounds of the "
        f"ratio to the first row in a round; there are {rounds} rounds, {LARGE_ROUNDS} of the largest size. Peak extra "
        "memory is what numpy and Python allocate beyond the input.",
        "",
        "## Distances given: 1,980 queries by 9,330 gallery tracklets, float32",
        "",
        table(measure_ranking(rounds)),
        "",
        "The evaluators may differ in the last digits of mAP: they break ties in different ways.",
        "",
        "## From features",
        "",
        "All queries against all test tracklets, float32. The product is what no evaluator can do without; it holds "
        "the whole matrix, the streamed form a part of its rows.",
    ]
    for times, channels, own in ((1, 2048, rounds), (1, MOST_CHANNELS, rounds), (4, MOST_CHANNELS, LARGE_ROUNDS)):
        sizes = f"{times * NUM_QUERIES:,} queries, {times * NUM_TRACKLETS:,} tracklets"
        measured = measure_features(own, channels, times)
        lines += ["", f"{sizes}, {channels:,} channels:", "", table(measured), ""]
        *_, ratio, peak, _ = measured[-1]
        if channels == MOST_CHANNELS:
            lines += [aim(f"the ratio, {sizes}, {channels:,} channels", ratio, at_most=1.3) + "  "]
            lines += [aim(f"peak extra MiB, {sizes}, {channels:,} channels", peak, at_most=200)]
    some = measure_snippets(np.random.default_rng(0))
    every = some * NUM_QUERIES / SNIPPET_QUERIES
    lines += [
        "",
        "## CASE's distance",
        "",
        f"{SNIPPETS} snippets a tracklet of {SNIPPET_FRAMES} frames each, compared one by one by what the query asks "
        f"for: {SNIPPET_QUERIES} queries against all {NUM_TRACKLETS:,} test tracklets take {some:.1f} s; all "
        f"{NUM_QUERIES:,} will take {every / 60:.0f} minutes, or less, for many tracklets have fewer.",
    ]
    write_page("ranking.md", "Ranking at MARS's size, and at 16 times", "uv run python benchmarks/ranking.py", lines)


if __name__ == "__main__":
    main()
