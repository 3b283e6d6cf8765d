"""How far apart two tracklets are by their features: what a model's `distance` may name.

All are pure functions of numpy arrays: features of B queries and of N tracklets → (B, N).
"""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

Distance = Callable[..., np.ndarray]  # (B, …), (N, …) → (B, N), with parameters by name where it has any


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


def _norms(features: np.ndarray) -> np.ndarray:
    norms = np.sqrt(np.vecdot(features, features))
    return np.where(norms > 0, norms, 1)
