"""Rank-k accuracy and mean average precision of re-identification, under the protocols of the literature.

Everything here follows from the ranks of a query's matches in its gallery. Junk (pid -1) is ignored always,
and so are, query by query, the tracklets of the query's own person and camera. Of the rest, the tracklets of
the same person are the matches; all others, distractors (pid 0) among them, are negatives. A query without a
match is skipped, not scored zero.

Ties: among equal distances the negatives come first, so a match has the worst rank that its distance allows.
The numbers do not depend on the order of the gallery, and a model that tells nothing apart gains nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import numpy as np

JUNK = -1
RANKS = (1, 5, 10, 20)

AveragePrecision = Literal["hits", "trapezoid"]
Distance = Callable[..., np.ndarray]  # (B, …), (N, …) → (B, N), with parameters by name where it has any


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
    return _summary(_match_ranks(distances, query_pids, query_camids, gallery), gallery, ap, ranks)


def cosine_distance(queries: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """1 - cosine of queries (B, D) and gallery (G, D), as (B, G), in the precision of the features.

    A feature of zeros is at distance 1 from everything.
    """
    # Dividing the product instead of the gallery keeps a normalised copy of the gallery out of memory.
    block = (queries / _norms(queries)[:, None]) @ gallery.T
    block /= -_norms(gallery)
    block += 1
    return block


def euclidean_distance(queries: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """Euclidean distance of queries (B, D) and gallery (G, D), as (B, G), in the precision of the features."""
    block = queries @ gallery.T
    block *= -2
    block += np.square(_norms(queries))[:, None]
    block += np.square(_norms(gallery))
    return np.sqrt(np.maximum(block, 0, out=block), out=block)


SNIPPET_ATTENTION = ("co", "self", "mean")


def snippet_distance(
    queries: np.ndarray,
    gallery: np.ndarray,
    *,
    attention: str | np.ndarray,
    fraction: float | np.ndarray,
    weight: np.ndarray | None = None,
    bias: np.ndarray | None = None,
) -> np.ndarray:
    """Chen et al. 2018: how far apart the best matching snippets of two tracklets are; queries are the probes.

    `queries` (B, S, D) and `gallery` (N, S', D) hold the snippets of each tracklet, the missing ones NaN; the result
    (B, N), in [0, 1] but for `mean`, is the mean over those of a pair of tracklets' snippet distances that are at most
    their quantile `fraction`. By `attention` a snippet of L frames holds, and two snippets are at distance:

    co: D = W·(1 + 2L), its query q (W), keys k and values v (L, W each). Channel by channel, frames are weighted by
        the softmax of q·k, in both snippets with the probe's q; σ(−w·(x_p − x_g)² − b) of the two weighted sums x of
        the values, with `weight` w (W,) and `bias` b.
    self: D = W, the sum x weighted by its own q; the same function of it.
    mean: D = any, the mean of its values; their cosine distance. There is no `weight` and no `bias`.

    Memory beside the result is bounded, whatever B and N. Raises ValueError where the arrays do not fit each other.
    """
    if queries.ndim != 3 or gallery.ndim != 3:
        raise ValueError(f"features {queries.shape[1:]} a tracklet are not (snippets, channels)")
    if not 0 < (fraction := float(fraction)) <= 1:
        raise ValueError(f"fraction {fraction} is not above 0 and at most 1")
    compare = _snippet_comparison(str(attention), weight, bias)
    tracklets = max(1, _SNIPPETS // gallery.shape[1])
    distances = np.empty((len(queries), len(gallery)))
    for row in range(0, len(queries), _SNIPPETS):
        for column in range(0, len(gallery), tracklets):
            block = slice(row, row + _SNIPPETS), slice(column, column + tracklets)
            found = _snippet_pairs(queries[block[0]], gallery[block[1]], compare)
            distances[block] = _mean_of_nearest(found, fraction)
    return distances


_SNIPPETS = 128  # queries, and gallery snippets, at a time: their keys and values stay in a processor's cache


def _snippet_comparison(attention: str, weight: np.ndarray | None, bias: np.ndarray | None) -> Distance:
    """The distances (P, G) of P probe snippets (P, D) and G gallery snippets (G, D)."""
    if attention not in SNIPPET_ATTENTION:
        raise ValueError(f"attention {attention!r} is none of {', '.join(SNIPPET_ATTENTION)}")
    if attention == "mean":
        if weight is not None or bias is not None:
            raise ValueError("attention 'mean' compares by cosine and has no weight and no bias")
        return cosine_distance
    if weight is None or bias is None or np.ndim(weight) != 1 or not len(weight) or np.ndim(bias):
        raise ValueError(f"attention {attention!r} needs a weight (W,) and one bias")
    return partial(_co_attended if attention == "co" else _self_attended, weight=weight, bias=bias)


def _self_attended(probes: np.ndarray, gallery: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    if probes.shape[1] != len(weight):
        raise ValueError(f"snippets have {probes.shape[1]} channels, and the weight {len(weight)}")
    squares = (np.square(probes) @ weight)[:, None] + np.square(gallery) @ weight
    return _unlike(squares - 2 * (probes * weight) @ gallery.T + bias)


def _co_attended(probes: np.ndarray, gallery: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    frames, odd = divmod(probes.shape[1] // len(weight) - 1, 2)
    if odd or frames < 1 or probes.shape[1] != len(weight) * (1 + 2 * frames):
        raise ValueError(f"snippets of {probes.shape[1]} channels are not {len(weight)} · (1 + 2 · frames)")
    query, keys, values = _unpacked(probes, len(weight), frames)
    own = _attended(query, keys, values)
    _, keys, values = _unpacked(gallery, len(weight), frames)
    logits = np.empty((len(probes), len(gallery)), own.dtype)
    for row, (asked, x) in enumerate(zip(query, own)):
        difference = _attended(asked, keys, values)
        difference -= x
        logits[row] = np.square(difference, out=difference) @ weight
    return _unlike(logits + bias)


def _unpacked(snippets: np.ndarray, width: int, frames: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Snippets (n, W·(1 + 2L)) → their queries (n, W), keys (L, n, W) and values (L, n, W), in memory as said."""
    parts = snippets.reshape(len(snippets), 1 + 2 * frames, width).swapaxes(0, 1)
    return parts[0], np.ascontiguousarray(parts[1 : frames + 1]), np.ascontiguousarray(parts[frames + 1 :])


def _attended(query: np.ndarray, keys: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The values (L, n, W) summed over L by the softmax of query·keys; the query is (n, W), or (W,) for all."""
    weights = keys * query
    weights -= weights.max(axis=0)
    np.exp(weights, out=weights)
    total = weights.sum(axis=0)
    weights *= values
    return weights.sum(axis=0) / total


def _unlike(logits: np.ndarray) -> np.ndarray:
    """1 − σ(logits), in double precision: in single, all unlike snippets would tie at 1."""
    return np.exp(-np.logaddexp(0, logits, dtype=np.float64))


def _snippet_pairs(queries: np.ndarray, gallery: np.ndarray, compare: Distance) -> np.ndarray:
    """All distances of the snippets of (B, S, D) and (n, S', D): (B, n, S·S'), ∞ where one of the two is missing."""
    probe, other = ~np.isnan(queries[..., 0]), ~np.isnan(gallery[..., 0])
    found = np.full((probe.size, other.size), np.inf)
    found[np.ix_(probe.ravel(), other.ravel())] = compare(queries[probe], gallery[other])
    by_tracklet = found.reshape(*probe.shape, *other.shape).swapaxes(1, 2)
    return by_tracklet.reshape(len(queries), len(gallery), -1)


def _mean_of_nearest(values: np.ndarray, fraction: float) -> np.ndarray:
    """The mean over those of the finite values (…, n) that are at most their quantile, as numpy interpolates it."""
    values = np.sort(values, axis=-1)
    last = np.isfinite(values).sum(axis=-1, keepdims=True) - 1
    place = fraction * last
    below = np.floor(place).astype(np.intp)
    lower, upper = (np.take_along_axis(values, np.minimum(at, last), axis=-1) for at in (below, below + 1))
    nearest = values <= lower + (place - below) * (upper - lower)
    return np.where(nearest, values, 0).sum(axis=-1) / nearest.sum(axis=-1)


DISTANCES: Mapping[str, Distance] = {
    "cosine": cosine_distance,
    "euclidean": euclidean_distance,
    "snippets": snippet_distance,
}


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
    and `camids` are (N,). `distance` gets the features of B <= `chunk` queries and those of all N tracklets,
    and returns (B, N). A query in the gallery never meets itself: it has its own person and camera. Returns,
    by protocol name, what `evaluate_rank` returns, queries in the order of `features`; raises what it raises.
    """
    features, is_query = np.asarray(features), np.asarray(is_query, bool)
    pids, camids = _labels("tracklet", pids, camids)
    if not len(features) == len(pids) == len(is_query):
        raise ValueError(f"{len(features)} features, {len(pids)} pids, {len(is_query)} query marks: not one each")
    views = {p.queries_in_gallery for p in protocols}
    galleries = {inside: _Gallery.of(pids, camids, ~is_query | inside) for inside in views}
    found = {inside: [] for inside in views}
    queries = np.flatnonzero(is_query)
    for start in range(0, len(queries), chunk):
        rows = queries[start : start + chunk]
        block = _checked(distance(features[rows], features), (len(rows), len(features)), first_row=start)
        for inside, gallery in galleries.items():
            found[inside] += _match_ranks(block, pids[rows], camids[rows], gallery)
        del block  # or it would be held while the next one is made
    return {
        p.name: _summary(found[p.queries_in_gallery], galleries[p.queries_in_gallery], p.ap, ranks) for p in protocols
    }


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
    """
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


def _match_ranks(distances, query_pids, query_camids, gallery: _Gallery) -> list[np.ndarray]:
    """The ascending 1-based ranks of each query's matches: matches so far + negatives not farther away."""
    starts = np.searchsorted(gallery.pids, query_pids, "left")
    stops = np.searchsorted(gallery.pids, query_pids, "right")
    match_ranks = []
    for row, camid, start, stop in zip(distances, query_camids, starts, stops):
        other_camera = gallery.camids[start:stop] != camid
        if not other_camera.any():
            match_ranks.append(np.empty(0, np.intp))
            continue
        nearest = row[gallery.columns]
        person = np.sort(nearest[start:stop])
        matches = np.sort(nearest[start:stop][other_camera])
        # Counting needs the sorted values only, and sorting values is many times faster than an argsort.
        nearest.sort()
        negatives = nearest.searchsorted(matches, "right") - person.searchsorted(matches, "right")
        match_ranks.append(negatives + np.arange(1, len(matches) + 1))
    return match_ranks


def _summary(match_ranks: list[np.ndarray], gallery: _Gallery, ap: str, ranks: Sequence[int]) -> dict:
    if ap not in get_args(AveragePrecision):
        raise ValueError(f"no average precision is called {ap!r}; there are {get_args(AveragePrecision)}")
    first = np.array([found[0] if len(found) else 0 for found in match_ranks], np.intp)
    valid = first > 0
    if not valid.any():
        sizes = f"{len(first)} queries has a match among the {len(gallery.pids)} gallery tracklets"
        raise ValueError(f"none of the {sizes} (same pid, another camid)")
    precisions = np.array([average_precision(found, ap) for found in match_ranks])
    return {
        "mAP": float(precisions[valid].mean()),
        **{f"R{k}": float((first[valid] <= k).mean()) for k in ranks},
        "average_precision": precisions,
        "first_match_rank": first,
        "num_queries": len(first),
        "num_valid_queries": int(valid.sum()),
        "num_gallery": len(gallery.pids),
    }


def _norms(features: np.ndarray) -> np.ndarray:
    norms = np.sqrt(np.vecdot(features, features))
    return np.where(norms > 0, norms, 1)


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
