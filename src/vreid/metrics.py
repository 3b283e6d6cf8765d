"""Rank-k accuracy and mean average precision of re-identification, under the protocols of the literature.

Everything here follows from the ranks of a query's matches in its gallery. Junk (pid -1) is ignored always,
and so are, query by query, the tracklets of the query's own person and camera. Of the rest, the tracklets of
the same person are the matches; all others, distractors (pid 0) among them, are negatives. A query without a
match is skipped, not scored zero.

Ties: among equal distances the negatives come first, so a match has the worst rank that its distance allows.
The numbers do not depend on the order of the gallery, and a model that tells nothing apart gains nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from vreid.distances import Distance, cosine_distance

JUNK = -1
RANKS = (1, 5, 10, 20)

AveragePrecision = Literal["hits", "trapezoid"]


@dataclass(frozen=True)
class Protocol:
    """How a test set is scored: are the queries in the gallery too, and which average precision is meant."""

    name: str
    queries_in_gallery: bool
    ap: AveragePrecision


PROTOCOLS = (
    Protocol("queries-removed", queries_in_gallery=False, ap="hits"),  # MARS: a gallery of 9,330 tracklets
    Protocol("queries-in-gallery", queries_in_gallery=True, ap="hits"),  # MARS: 11,310
    Protocol("mars-script", queries_in_gallery=True, ap="trapezoid"),  # MARS: 12,180, less 870 junk
)


def evaluate_rank(
    distances: np.ndarray,
    query_pids: np.ndarray,
    gallery_pids: np.ndarray,
    query_camids: np.ndarray,
    gallery_camids: np.ndarray,
    *,
    ap: AveragePrecision = "hits",
    ranks: Sequence[int] = RANKS,
) -> Mapping:
    """Score the distances (Q, G) of Q queries to G gallery tracklets; pids and camids are (Q,) and (G,).

    Returns `mAP` and an `R<k>` for each k of `ranks`, as fractions of the queries that have a match (where
    fewer than k tracklets are ranked, R<k> says whether a match is among them); `average_precision` (Q,), NaN
    for a query without a match; `first_match_rank` (Q,), 1-based, 0 for a query without a match;
    `num_queries`, `num_valid_queries` (those with a match) and `num_gallery` (without junk). The function
    `average_precision` explains `ap`. Needs no memory beyond one row of distances.

    Raises ValueError for NaN distances (naming the row), for shapes that disagree, and for no match at all.
    """
    query_pids, query_camids = _labels("query", query_pids, query_camids)
    gallery_pids, gallery_camids = _labels("gallery", gallery_pids, gallery_camids)
    distances = _checked(distances, (len(query_pids), len(gallery_pids)))
    gallery = _Gallery.of(gallery_pids, gallery_camids)
    scores = [_score(found, ap) for found in _match_ranks(distances, query_pids, query_camids, gallery)]
    return _summary(scores, gallery, ranks)


def evaluate_features(
    features: np.ndarray,
    pids: np.ndarray,
    camids: np.ndarray,
    is_query: np.ndarray,
    *,
    protocols: Sequence[Protocol] = PROTOCOLS,
    distance: Distance = cosine_distance,
    chunk: int = 256,
    ranks: Sequence[int] = RANKS,
) -> dict[str, Mapping]:
    """Score the N tracklets of a test set under all `protocols` in one pass, never holding all distances.

    `features` (N, ...) has queries, gallery and junk in any order; `is_query` (N,) marks the queries; `pids`
    and `camids` are (N,). `distance` gets the features of B <= `chunk` queries (fewer where N is large, so that no
    block is over 128 MiB) and those of all N tracklets, and returns (B, N). A query in the gallery never meets itself:
    it has its own person and camera. Returns, by protocol name, what `evaluate_rank` returns, queries in the order of
    `features`; raises what it raises.
    """
    features, is_query = np.asarray(features), np.asarray(is_query, bool)
    pids, camids = _labels("tracklet", pids, camids)
    if not len(features) == len(pids) == len(is_query):
        raise ValueError(f"{len(features)} features, {len(pids)} pids, {len(is_query)} query marks: not one each")
    views = {p.queries_in_gallery for p in protocols}
    galleries = {inside: _Gallery.of(pids, camids, ~is_query | inside) for inside in views}
    scores = {protocol.name: [] for protocol in protocols}
    queries = np.flatnonzero(is_query)
    chunk = max(1, min(chunk, 2**24 // max(1, len(features))))
    for start in range(0, len(queries), chunk):
        rows = queries[start : start + chunk]
        block = _checked(distance(features[rows], features), (len(rows), len(features)), first_row=start)
        for inside, gallery in galleries.items():
            for found in _match_ranks(block, pids[rows], camids[rows], gallery):
                for protocol in protocols:
                    if protocol.queries_in_gallery == inside:
                        scores[protocol.name].append(_score(found, protocol.ap))
        del block  # or it would be held while the next one is made
    return {p.name: _summary(scores[p.name], galleries[p.queries_in_gallery], ranks) for p in protocols}


def attribute_scores(recognised: np.ndarray, annotated: np.ndarray) -> dict[str, float]:
    """Accuracy and macro F1 of one attribute from the classes (N,) that were recognised and that are annotated.

    Unannotated rows (-1) do not count. F1 is 2PR / (P + R) of each class that is annotated or recognised somewhere,
    0 where nothing of it is right, and its mean over these classes. `majority` is the accuracy of always saying the
    commonest class. Raises ValueError where nothing is annotated.
    """
    known = annotated >= 0
    if not known.any():
        raise ValueError("no tracklet is annotated")
    said, true = recognised[known], annotated[known]
    classes = np.union1d(said, true)
    right = np.array([((said == c) & (true == c)).sum() for c in classes])
    either = np.array([(said == c).sum() + (true == c).sum() for c in classes])
    return {
        "accuracy": float((said == true).mean()),
        "F1": float((2 * right / either).mean()),
        "majority": float(np.bincount(true).max() / len(true)),
        "tracklets": len(true),
    }


def average_precision(ranks: np.ndarray, kind: AveragePrecision) -> float:
    """Average precision of one query from the ascending 1-based ranks (n,) of its matches; NaN where n is 0.

    With the precision P(r) = matches at ranks up to r / r, the mean over the ranks r of the matches of
    P(r) for "hits", and of (P(r - 1) + P(r)) / 2 with P(0) = 1 for "trapezoid" (MARS's own script).
    Raises ValueError for any other `kind`.
    """
    if kind not in get_args(AveragePrecision):
        raise ValueError(f"no average precision is called {kind!r}; there are {get_args(AveragePrecision)}")
    if not len(ranks):
        return float("nan")
    hits = np.arange(1, len(ranks) + 1)
    precision = hits / ranks
    if kind == "trapezoid":
        before = np.where(ranks > 1, (hits - 1) / np.maximum(ranks - 1, 1), 1)
        precision = (before + precision) / 2
    return float(precision.sum() / len(ranks))


@dataclass(frozen=True)
class _Gallery:
    """The columns of the distances that are ranked, sorted by pid so that each person's stand together."""

    columns: np.ndarray
    pids: np.ndarray
    camids: np.ndarray

    @classmethod
    def of(cls, pids: np.ndarray, camids: np.ndarray, included: np.ndarray | bool = True) -> "_Gallery":
        columns = np.flatnonzero((pids != JUNK) & included)
        columns = columns[np.argsort(pids[columns], kind="stable")]
        return cls(columns, pids[columns], camids[columns])


def _match_ranks(distances, query_pids, query_camids, gallery: _Gallery) -> Iterator[np.ndarray]:
    """The ascending 1-based ranks of each query's matches: matches so far + negatives not farther away."""
    starts = np.searchsorted(gallery.pids, query_pids, "left")
    stops = np.searchsorted(gallery.pids, query_pids, "right")
    for row, camid, start, stop in zip(distances, query_camids, starts, stops):
        other_camera = gallery.camids[start:stop] != camid
        if not other_camera.any():
            yield np.empty(0, np.intp)
            continue
        nearest = row[gallery.columns]
        person = np.sort(nearest[start:stop])
        matches = np.sort(nearest[start:stop][other_camera])
        # Counting needs the sorted values only, and sorting values is many times faster than an argsort.
        nearest.sort()
        negatives = nearest.searchsorted(matches, "right") - person.searchsorted(matches, "right")
        yield negatives + np.arange(1, len(matches) + 1)


def _score(match_ranks: np.ndarray, ap: AveragePrecision) -> tuple[int, float]:
    """What is kept of one query: the rank of its first match, 0 without one, and its average precision."""
    return int(match_ranks[0]) if len(match_ranks) else 0, average_precision(match_ranks, ap)


def _summary(scores: list[tuple[int, float]], gallery: _Gallery, ranks: Sequence[int]) -> dict:
    first = np.array([found for found, _ in scores], np.intp)
    precisions = np.array([precision for _, precision in scores])
    valid = first > 0
    if not valid.any():
        sizes = f"{len(first)} queries has a match among the {len(gallery.pids)} gallery tracklets"
        raise ValueError(f"none of the {sizes} (same pid, another camid)")
    return {
        "mAP": float(precisions[valid].mean()),
        **{f"R{k}": float((first[valid] <= k).mean()) for k in ranks},
        "average_precision": precisions,
        "first_match_rank": first,
        "num_queries": len(first),
        "num_valid_queries": int(valid.sum()),
        "num_gallery": len(gallery.pids),
    }


def _labels(of: str, pids, camids) -> tuple[np.ndarray, np.ndarray]:
    pids, camids = np.asarray(pids), np.asarray(camids)
    if pids.ndim != 1 or pids.shape != camids.shape:
        raise ValueError(f"{of} pids {pids.shape} and camids {camids.shape} are not two vectors of one length")
    return pids, camids


def _checked(distances, shape: tuple[int, int], first_row: int = 0) -> np.ndarray:
    distances = np.asarray(distances)
    if distances.shape != shape:
        raise ValueError(f"the distances are {distances.shape}, not queries by gallery tracklets {shape}")
    if not np.issubdtype(distances.dtype, np.floating):
        distances = distances.astype(np.float64)
    nans = np.flatnonzero(np.isnan(distances.min(axis=1, initial=np.inf)))
    if len(nans):
        raise ValueError(f"the distances of query row {first_row + nans[0]} hold NaN")
    return distances
