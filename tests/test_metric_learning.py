"""Learned metrics, against answers known in closed form and against loops over pairs."""

import numpy as np
import pytest
from numpy.random import default_rng
from numpy.testing import assert_allclose

from vreid.errors import InputError
from vreid.models import metric_learning as ml


def rotation(dimensions, seed=0):
    return np.linalg.qr(default_rng(seed).normal(size=(dimensions, dimensions)))[0]


def people(within, between, number, tracklets, seed=0):
    """Gaussian people around Gaussian centres, every tracklet of a person in a camera of its own."""
    rng = default_rng(seed)
    dimensions = len(within)
    centres = rng.multivariate_normal(np.zeros(dimensions), between, number)
    features = centres.repeat(tracklets, 0) + rng.multivariate_normal(np.zeros(dimensions), within, number * tracklets)
    return features, np.arange(number).repeat(tracklets), np.tile(np.arange(tracklets), number)


def mahalanobis(features, metric):
    differences = features[:, None] - features
    return np.einsum("ijd,de,ije->ij", differences, metric, differences)


def squared_distances(features):
    return np.square(features[:, None] - features).sum(-1)


def positive_part(symmetric):
    values, vectors = np.linalg.eigh(symmetric)
    return sum(value * np.outer(v, v) for value, v in zip(values, vectors.T) if value > 0)


def few_people(seed=0, dimensions=5):
    """Six people with one to four tracklets in three cameras."""
    rng = default_rng(seed)
    pids = np.repeat(np.arange(10, 16), [4, 3, 4, 2, 1, 4])
    centres = rng.normal(size=(16, dimensions))
    return centres[pids] + 0.4 * rng.normal(size=(18, dimensions)), pids, rng.integers(0, 3, 18)


# ---- KISSME ----


def test_kissme_is_the_difference_of_inverses_with_the_negative_part_cut_off():
    turn = rotation(3)
    similar = turn @ np.diag([1.0, 4.0, 2.0]) @ turn.T
    dissimilar = turn @ np.diag([4.0, 4.0, 1.0]) @ turn.T  # the last is wider within people than between them
    found = ml.kissme_map(similar, dissimilar)
    assert_allclose(found @ found.T, turn @ np.diag([1 - 1 / 4, 0, 0]) @ turn.T, atol=1e-12)


def test_kissme_of_gaussian_people_is_that_of_their_covariances():
    turn = rotation(3, seed=1)
    within = turn @ np.diag([0.2, 1.0, 0.5]) @ turn.T
    between = turn @ np.diag([2.0, 1.0, 0.0]) @ turn.T
    learned = ml.kissme(*people(within, between, 1500, 3), default_rng(0), ridge=0.0)
    metric = learned.matrix @ learned.matrix.T
    expected = np.linalg.inv(2 * within) - np.linalg.inv(2 * (within + between))
    assert np.linalg.norm(metric - expected) < 0.05 * np.linalg.norm(expected)


def test_the_squared_distance_after_the_map_is_the_learned_form_of_every_pair():
    features, pids, cams = few_people()
    learned = ml.kissme(features, pids, cams, default_rng(5), dimensions=3, draws=400)
    pairs = ml.cross_camera_pairs(pids, cams, default_rng(5), 400)
    components = ml.pca(features, 3).matrix
    forms = []
    for chosen in pairs:
        total = np.zeros((3, 3))
        for i, j in chosen:
            difference = (features[i] - features[j]) @ components
            total += np.outer(difference, difference) / len(chosen)
        forms.append(np.linalg.inv(total + 1e-4 * np.trace(total) / 3 * np.eye(3)))
    metric = components @ positive_part(forms[0] - forms[1]) @ components.T
    assert learned.matrix.shape == (5, (np.linalg.eigvalsh(forms[0] - forms[1]) > 0).sum())
    assert_allclose(squared_distances(learned(features)), mahalanobis(features, metric), atol=1e-9)


def test_the_pairs_of_one_person_are_all_those_of_two_cameras():
    _, pids, cams = few_people()
    similar, _ = ml.cross_camera_pairs(pids, cams, default_rng(0), 10_000)
    expected = {(i, j) for j in range(18) for i in range(j) if pids[i] == pids[j] and cams[i] != cams[j]}
    assert len(similar) == len(expected) and {tuple(pair) for pair in similar} == expected


def test_the_pairs_of_different_people_are_of_two_cameras_and_as_many():
    _, pids, cams = few_people()
    similar, dissimilar = ml.cross_camera_pairs(pids, cams, default_rng(0), 10_000)
    first, second = dissimilar.T
    assert (pids[first] != pids[second]).all() and (cams[first] != cams[second]).all()
    assert len(dissimilar) == len(similar) and len(np.unique(dissimilar, axis=0)) > 10


def test_with_few_draws_the_pairs_of_one_person_are_cut_down_at_random():
    _, pids, cams = few_people()
    similar, dissimilar = ml.cross_camera_pairs(pids, cams, default_rng(0), 10)
    assert 0 < len(dissimilar) == len(similar) <= 10
    other, _ = ml.cross_camera_pairs(pids, cams, default_rng(1), 10)
    assert {tuple(pair) for pair in similar} != {tuple(pair) for pair in other}


# ---- XQDA ----


def test_xqda_of_one_trait_that_tells_people_apart_is_fisher_s_direction():
    """C_E = C_I + β b bᵀ has one eigenvalue above 1, λ = 1 + β bᵀ C_I⁻¹ b, in the direction C_I⁻¹ b."""
    turn = rotation(4, seed=2)
    intra = turn @ np.diag([0.5, 1.0, 2.0, 4.0]) @ turn.T
    trait, strength = np.array([1.0, -2.0, 0.5, 1.0]), 3.0
    found = ml.xqda_map(intra, intra + strength * np.outer(trait, trait) - 1e-6 * np.eye(4))
    assert found.shape == (4, 1)
    direction = np.linalg.solve(intra, trait)
    largest = 1 + strength * trait @ direction
    unit = direction / np.sqrt(direction @ intra @ direction)
    assert_allclose(found @ found.T, (1 - 1 / largest) * np.outer(unit, unit), atol=1e-5)


def test_xqda_is_the_difference_of_inverses_in_the_subspace_whatever_its_basis():
    """The form of its definition, on the eigenvectors at a length of their own."""
    rng = default_rng(3)
    intra, extra = (np.cov(rng.normal(size=(5, 30))) for _ in range(2))
    values, vectors = np.linalg.eig(np.linalg.solve(intra, extra))
    basis = vectors[:, values > 1] * np.array([2.0, 0.1, 30.0, 1.0, 7.0])[: (values > 1).sum()]
    assert 0 < basis.shape[1] < 5
    inner = np.linalg.inv(basis.T @ intra @ basis) - np.linalg.inv(basis.T @ extra @ basis)
    assert np.linalg.eigvalsh(inner).min() > 0  # so that it is a linear map
    found = ml.xqda_map(intra, extra)
    assert_allclose(found @ found.T, basis @ inner @ basis.T, atol=1e-9)


def test_xqda_of_gaussian_people_finds_the_trait_in_which_they_differ():
    turn = rotation(4, seed=4)
    within = turn @ np.diag([0.5, 1.0, 2.0, 4.0]) @ turn.T
    trait = np.array([1.0, -2.0, 0.5, 1.0])
    learned = ml.xqda(*people(within, 3 * np.outer(trait, trait), 1500, 4), default_rng(0))
    strongest, direction = learned.matrix[:, 0], np.linalg.solve(within, trait)
    cosine = strongest @ direction / np.linalg.norm(strongest) / np.linalg.norm(direction)
    assert abs(cosine) > 0.99
    assert np.linalg.norm(learned.matrix[:, 1:]) < 0.5 * np.linalg.norm(strongest)


def test_the_covariance_of_masked_pairs_is_that_of_a_loop():
    rng = default_rng(6)
    one, other, paired = rng.normal(size=(5, 3)), rng.normal(size=(7, 3)), rng.random((5, 7)) < 0.4
    outer = [np.outer(one[i] - other[j], one[i] - other[j]) for i in range(5) for j in range(7) if paired[i, j]]
    assert 3 < len(outer) < 35
    assert_allclose(ml.pair_covariance(one, other, paired), np.mean(outer, axis=0), atol=1e-12)


def test_xqda_pairs_one_view_with_the_other_across_cameras():
    features, pids, cams = few_people(seed=1)
    first = ml.first_view(pids, default_rng(5))
    forms = {True: [], False: []}
    for i in np.flatnonzero(first):
        for j in np.flatnonzero(~first):
            if cams[i] != cams[j]:
                forms[pids[i] == pids[j]].append(np.outer(features[i] - features[j], features[i] - features[j]))
    intra, extra = np.mean(forms[True], axis=0) + 1e-3 * np.eye(5), np.mean(forms[False], axis=0)
    expected = ml.xqda_map(intra, extra)
    learned = ml.xqda(features, pids, cams, default_rng(5))
    assert_allclose(learned.matrix @ learned.matrix.T, expected @ expected.T, rtol=1e-6, atol=1e-9)


def test_half_of_each_person_s_tracklets_are_of_the_first_view():
    _, pids, _ = few_people()
    first = ml.first_view(pids, default_rng(0))
    assert [int(first[pids == pid].sum()) for pid in range(10, 16)] == [2, 1, 2, 1, 0, 2]
    assert (first != ml.first_view(pids, default_rng(1))).any()


# ---- both ----


BOTH = pytest.mark.parametrize("learn", [ml.kissme, ml.xqda])


@BOTH
def test_a_metric_ignores_what_varies_within_people(learn):
    """One trait of ten tells people apart, and it is the smallest of all; plain distance does not see it."""
    within = np.diag([0.01] + [1.0] * 9)
    between = np.diag([0.25] + [0.0] * 9)
    train, test = people(within, between, 100, 4), people(within, between, 40, 2, seed=1)
    learned = learn(*train, default_rng(0))

    def found_first(features):
        distances = squared_distances(features)[0::2, 1::2]
        return float(np.mean(distances.argmin(1) == np.arange(40)))

    assert found_first(learned(test[0])) > 3 * found_first(test[0])


@BOTH
def test_with_fewer_tracklets_than_dimensions_a_metric_is_learned_all_the_same(learn):
    features, pids, cams = few_people(dimensions=60)
    found = learn(features.astype(np.float32), pids, cams, default_rng(0))(features)
    assert np.isfinite(found).all() and 0 < found.shape[1] <= 60
    distances = squared_distances(found)
    same = pids[:, None] == pids
    assert distances[same].mean() < distances[~same].mean()


def test_principal_components_are_no_more_than_the_features_span():
    features = default_rng(0).normal(size=(7, 50))
    assert ml.pca(features, 200).matrix.shape == (50, 6)
    assert_allclose(squared_distances(ml.pca(features, 200)(features)), squared_distances(features))
    assert ml.pca(features, 2).matrix.shape == (50, 2)


def test_principal_components_are_the_directions_of_largest_variance():
    turn = rotation(4)
    features = default_rng(0).normal(size=(5000, 4)) * [1, 5, 0.1, 2] @ turn.T
    assert_allclose(np.abs(ml.pca(features, 2).matrix.T @ turn), [[0, 1, 0, 0], [0, 0, 0, 1]], atol=0.05)


@BOTH
def test_where_the_origin_lies_means_nothing(learn):
    features, pids, cams = few_people()
    here, there = (learn(moved, pids, cams, default_rng(0))(moved) for moved in (features, features + 100))
    assert_allclose(squared_distances(here), squared_distances(there), rtol=1e-6, atol=1e-6)


@BOTH
def test_the_same_random_numbers_give_the_same_metric(learn):
    matrices = [learn(*few_people(), default_rng(seed)).matrix for seed in (0, 0, 1)]
    assert np.array_equal(matrices[0], matrices[1])
    assert matrices[0].shape != matrices[2].shape or not np.allclose(matrices[0], matrices[2])


@BOTH
@pytest.mark.parametrize("pids, cams", [([1, 1, 2, 2], [5, 5, 5, 5]), ([1, 2, 3, 4], [5, 6, 7, 8]), ([1, 1], [5, 6])])
def test_without_pairs_across_cameras_no_metric_is_learned(learn, pids, cams):
    features = default_rng(0).normal(size=(len(pids), 3))
    with pytest.raises(InputError, match=r"no metric can be learned: .* two cameras; choose `metric: euclidean`"):
        learn(features, np.array(pids), np.array(cams), default_rng(0))


@pytest.mark.parametrize("found", [ml.kissme_map, ml.xqda_map])
def test_people_who_differ_as_their_own_tracklets_do_teach_no_metric(found):
    within, between = np.diag([2.0, 1.0]), np.diag([1.0, 1.0])
    with pytest.raises(InputError, match="one person differ as much as those of different people"):
        found(within, between)


@BOTH
def test_features_that_are_all_alike_teach_no_metric(learn):
    _, pids, cams = few_people()
    with pytest.raises(InputError, match="one person differ as much as those of different people"):
        learn(np.ones((18, 4)), pids, cams, default_rng(0))
