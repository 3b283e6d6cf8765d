"""Metrics learned on labelled features: KISSME (Köstinger et al. 2012) and XQDA (Liao et al. 2015), as on MARS.

Both end in a Mahalanobis form (a − b)ᵀ M (a − b) with M = L Lᵀ, which is the squared Euclidean distance of Lᵀa and
Lᵀb. So what is learned is a linear map, and features that went through it are compared by Euclidean distance.

N tracklets have features (N, D), pids (N,) and camids (N,). Only pairs of different cameras count, as in a test. All
is computed in float64.
"""

from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from vreid.errors import InputError


class LinearMap(NamedTuple):
    """Features (N, D) → (N, E): the origin moved to `centre` (D,), which changes no distance, then `matrix` (D, E)."""

    centre: np.ndarray
    matrix: np.ndarray

    def __call__(self, features: np.ndarray) -> np.ndarray:
        return (features - self.centre) @ self.matrix


def kissme(
    features: np.ndarray,
    pids: np.ndarray,
    camids: np.ndarray,
    rng: Generator,
    dimensions: int = 200,
    draws: int = 150_000,
    ridge: float = 1e-4,
) -> LinearMap:
    """PCA, then M = C_S⁻¹ − C_D⁻¹ with negative eigenvalues clipped (Köstinger et al. 2012).

    C_S and C_D are the covariances of the differences in pairs of one person and of different people; `draws` and
    `ridge` are those of `cross_camera_pairs` and `with_ridge`. Raises InputError where there are no such pairs.
    """
    components = pca(features, dimensions)
    reduced = components(features)
    similar, dissimilar = (
        covariance(reduced[pairs[:, 0]] - reduced[pairs[:, 1]])
        for pairs in cross_camera_pairs(pids, camids, rng, draws)
    )
    matrix = kissme_map(with_ridge(similar, ridge), with_ridge(dissimilar, ridge))
    return LinearMap(components.centre, components.matrix @ matrix)


def kissme_map(similar: np.ndarray, dissimilar: np.ndarray) -> np.ndarray:
    """L (D, E) with L Lᵀ = the positive part of C_S⁻¹ − C_D⁻¹, both covariances (D, D) and invertible."""
    values, vectors = np.linalg.eigh(np.linalg.inv(similar) - np.linalg.inv(dissimilar))
    return _scaled(vectors, values)


def xqda(features: np.ndarray, pids: np.ndarray, camids: np.ndarray, rng: Generator, ridge: float = 1e-3) -> LinearMap:
    """The discriminative subspace, and KISSME's metric in it (Liao et al. 2015).

    A person's tracklets are split at random into two views, and pairs are of one view with the other. `ridge` is added
    to the diagonal of C_I; its value goes with features of length 1. Raises InputError where there are no such pairs.
    """
    centre = features.mean(0, dtype=np.float64)
    first = first_view(pids, rng)
    one, other = (features[view] - centre for view in (first, ~first))
    same = pids[first][:, None] == pids[~first]
    across = camids[first][:, None] != camids[~first]
    intra, extra = pair_covariance(one, other, same & across), pair_covariance(one, other, ~same & across)
    return LinearMap(centre, xqda_map(intra + ridge * np.eye(len(intra)), extra))


def xqda_map(intra: np.ndarray, extra: np.ndarray) -> np.ndarray:
    """L (D, E) of the covariances of differences within a person and between people, both (D, D).

    The subspace W is spanned by the generalised eigenvectors of (C_E, C_I) with λ > 1. Scaled to Wᵀ C_I W = I they have
    Wᵀ C_E W = diag(λ), so that the metric (Wᵀ C_I W)⁻¹ − (Wᵀ C_E W)⁻¹ is diag(1 − 1/λ): positive, nothing to clip.
    """
    root = np.linalg.inv(np.linalg.cholesky(intra))
    values, vectors = np.linalg.eigh(root @ extra @ root.T)
    return _scaled(root.T @ vectors, 1 - 1 / np.maximum(values, 1e-12))


def pca(features: np.ndarray, dimensions: int) -> LinearMap:
    """The directions (D, E) of largest variance: `dimensions` of them, or as many as the features span."""
    centre = features.mean(0, dtype=np.float64)
    values, vectors = np.linalg.eigh(covariance(features - centre))
    kept = np.flatnonzero(values > 1e-10 * values[-1])[::-1][:dimensions]
    return LinearMap(centre, vectors[:, kept])


def cross_camera_pairs(
    pids: np.ndarray, camids: np.ndarray, rng: Generator, draws: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows (n, 2) of pairs of one person, and as many (n, 2) of different people, of different cameras all.

    All pairs of one person stand against those of `draws` random pairs that are of different people; of the more
    numerous kind a random part is taken. Raises InputError where either is missing.
    """
    across = camids[:, None] != camids
    similar = np.argwhere(np.triu((pids[:, None] == pids) & across))
    drawn = rng.integers(len(pids), size=(draws, 2))
    first, second = drawn.T
    dissimilar = drawn[(pids[first] != pids[second]) & (camids[first] != camids[second])]
    fewest = min(len(similar), len(dissimilar))
    _need(fewest)
    return tuple(pairs[rng.permutation(len(pairs))[:fewest]] for pairs in (similar, dissimilar))


def first_view(pids: np.ndarray, rng: Generator) -> np.ndarray:
    """Which tracklets (N,) are of the first view: half of each person's, chosen at random, the smaller half if odd."""
    first = np.zeros(len(pids), bool)
    for pid in np.unique(pids):
        own = rng.permutation(np.flatnonzero(pids == pid))
        first[own[: len(own) // 2]] = True
    return first


def covariance(differences: np.ndarray) -> np.ndarray:
    """Mean outer product (D, D) of differences (n, D), whose mean is 0 as each pair could stand the other way round."""
    return differences.T @ differences / len(differences)


def pair_covariance(one: np.ndarray, other: np.ndarray, paired: np.ndarray) -> np.ndarray:
    """`covariance` of one[i] − other[j] over all pairs (i, j) of the mask, without forming them.

    (n, D), (m, D), (n, m) → (D, D), from (a − b)(a − b)ᵀ = aaᵀ + bbᵀ − abᵀ − baᵀ. Raises InputError for an empty mask.
    """
    _need(paired.sum())
    mixed = one.T @ paired.astype(np.float64) @ other
    own = (one.T * paired.sum(1)) @ one + (other.T * paired.sum(0)) @ other
    return (own - mixed - mixed.T) / paired.sum()


def with_ridge(matrix: np.ndarray, share: float) -> np.ndarray:
    """The matrix (D, D) with `share` of its mean eigenvalue added to each, so that it can be inverted."""
    return matrix + share * np.trace(matrix) / max(len(matrix), 1) * np.eye(len(matrix))


def _scaled(vectors: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The columns whose weight is positive, times its root, those of the largest weight first."""
    kept = np.flatnonzero(weights > 0)
    if not len(kept):
        raise InputError(
            "no metric can be learned: training tracklets of one person differ as much as those of different people; "
            "train longer, or choose `metric: euclidean`"
        )
    kept = kept[np.argsort(-weights[kept], kind="stable")]
    return vectors[:, kept] * np.sqrt(weights[kept])


def _need(pairs: int) -> None:
    if not pairs:
        raise InputError(
            "no metric can be learned: among the training tracklets, no pair of one person, or none of different "
            "people, is of two cameras; choose `metric: euclidean`"
        )
