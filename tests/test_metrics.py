"""The metrics against a walk down each ranking, written from the definitions, and against cases by hand."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from vreid.distances import DISTANCES, cosine_distance
from vreid.metrics import PROTOCOLS, average_precision, evaluate_features, evaluate_rank

KINDS = ("hits", "trapezoid")
TOLERANCE = 1e-12


def walk_down(row, pid, camid, gallery_pids, gallery_camids, ap):
    """One query: (average precision, first match's rank), or None if it has no match."""
    ranking = []
    for distance, other_pid, other_camid in zip(row, gallery_pids, gallery_camids):
        if other_pid == -1 or (other_pid == pid and other_camid == camid):
            continue
        ranking.append((float(distance), bool(other_pid == pid)))
    ranking.sort()  # of equal distances those that are no match come first
    num_matches = sum(is_match for _, is_match in ranking)
    if num_matches == 0:
        return None
    hits, first, total, recall_before, precision_before = 0, None, 0.0, 0.0, 1.0
    for rank, (_, is_match) in enumerate(ranking, start=1):
        if is_match:
            hits += 1
            first = first or rank
        recall, precision = hits / num_matches, hits / rank
        if ap == "trapezoid":
            total += (recall - recall_before) * (precision_before + precision) / 2
        elif is_match:
            total += precision / num_matches
        recall_before, precision_before = recall, precision
    return total, first


def walk_all(distances, query_pids, gallery_pids, query_camids, gallery_camids, ap):
    walks = [
        walk_down(row, pid, camid, gallery_pids, gallery_camids, ap)
        for row, pid, camid in zip(distances, query_pids, query_camids)
    ]
    valid = [walk for walk in walks if walk is not None]
    if not valid:
        return None
    return {
        "mAP": sum(precision for precision, _ in valid) / len(valid),
        **{f"R{k}": sum(first <= k for _, first in valid) / len(valid) for k in (1, 5, 10, 20)},
        "average_precision": [np.nan if walk is None else walk[0] for walk in walks],
        "first_match_rank": [0 if walk is None else walk[1] for walk in walks],
        "num_valid_queries": len(valid),
    }


def assert_same(result, expected):
    for name, value in expected.items():
        np.testing.assert_allclose(result[name], value, rtol=0, atol=TOLERANCE, err_msg=name)


def random_case(seed, num_queries=40, num_gallery=120, num_people=12, levels=30):
    """Distances of few levels (ties), junk, distractors, and people who are queries only (no match)."""
    rng = np.random.default_rng(seed)
    return (
        rng.integers(0, levels, (num_queries, num_gallery)) / 7,
        rng.integers(1, num_people + 4, num_queries),
        rng.integers(-1, num_people + 1, num_gallery),
        rng.integers(1, 4, num_queries),
        rng.integers(1, 4, num_gallery),
    )


@st.composite
def small_cases(draw):
    num_queries, num_gallery = draw(st.integers(1, 4)), draw(st.integers(1, 24))

    def vector(values, size):
        return np.array(draw(st.lists(values, min_size=size, max_size=size)))

    people, cameras = st.integers(1, 3), st.integers(1, 3)
    levels = st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 1.0, 1.5, np.inf])
    distances = vector(levels, num_queries * num_gallery).reshape(num_queries, num_gallery)
    gallery_pids = vector(st.integers(-1, 3), num_gallery)
    return (
        distances,
        vector(people, num_queries),
        gallery_pids,
        vector(cameras, num_queries),
        vector(cameras, num_gallery),
    )


def one_query(distances, pids, camids, **options):
    """Person 1 in camera 1 against a gallery."""
    return evaluate_rank(np.array([distances], float), [1], pids, [1], camids, **options)


@pytest.mark.parametrize("ap", KINDS)
@pytest.mark.parametrize("num_gallery", [120, 15, 8])
@pytest.mark.parametrize("seed", range(5))
def test_the_numbers_are_those_of_a_walk_down_each_ranking(seed, num_gallery, ap):
    case = random_case(seed, num_gallery=num_gallery, num_people=12 if num_gallery > 8 else 2)
    expected = walk_all(*case, ap)
    assert expected["num_valid_queries"] < len(case[1])
    assert_same(evaluate_rank(*case, ap=ap), expected)


@given(small_cases(), st.sampled_from(KINDS))
def test_any_small_case_is_scored_as_by_the_walk(case, ap):
    expected = walk_all(*case, ap)
    if expected is None:
        with pytest.raises(ValueError, match="has a match"):
            evaluate_rank(*case, ap=ap)
    else:
        assert_same(evaluate_rank(*case, ap=ap), expected)


@given(small_cases(), st.randoms())
def test_the_order_of_the_gallery_changes_nothing_though_there_are_ties(case, random):
    distances, query_pids, gallery_pids, query_camids, gallery_camids = case
    assume(walk_all(*case, "hits") is not None)
    order = random.sample(range(len(gallery_pids)), len(gallery_pids))
    permuted = evaluate_rank(distances[:, order], query_pids, gallery_pids[order], query_camids, gallery_camids[order])
    for name, value in evaluate_rank(*case).items():
        np.testing.assert_array_equal(permuted[name], value)


def test_average_precision_is_the_mean_precision_at_the_matches():
    result = one_query([0.1, 0.2, 0.3], [1, 2, 1], [2, 2, 3])
    assert result["mAP"] == pytest.approx((1 / 1 + 2 / 3) / 2, abs=TOLERANCE)


def test_mars_script_averages_the_precision_at_and_just_before_each_match():
    assert average_precision(np.array([1, 3]), "trapezoid") == pytest.approx(
        ((1 + 1) / 2 + (1 / 2 + 2 / 3) / 2) / 2, abs=TOLERANCE
    )
    assert average_precision(np.array([2]), "trapezoid") == pytest.approx((0 + 1 / 2) / 2, abs=TOLERANCE)


@pytest.mark.parametrize("ap", KINDS)
def test_a_perfect_ranking_scores_one(ap):
    result = one_query([0.1, 0.2, 0.3, 0.4], [1, 1, 0, 2], [2, 3, 1, 1], ap=ap)
    assert (result["mAP"], result["R1"]) == (1, 1)


def test_a_match_that_ties_with_a_negative_ranks_behind_it():
    assert one_query([0.5, 0.5], [1, 2], [2, 2])["first_match_rank"] == [2]
    assert one_query([0.5, 0.5], [2, 1], [2, 2])["first_match_rank"] == [2]


def test_a_model_that_tells_nothing_apart_gets_the_worst_score():
    result = one_query([1.0] * 5, [1, 1, 2, 3, 0], [2, 3, 1, 1, 1])
    assert result["mAP"] == pytest.approx((1 / 4 + 2 / 5) / 2, abs=TOLERANCE)
    assert result["R1"] == 0


def test_the_queries_own_camera_is_dropped_and_junk_ignored_but_distractors_count():
    same_camera = one_query([0.1, 0.2], [1, 1], [1, 2])
    junk = one_query([0.1, 0.2], [-1, 1], [2, 2])
    distractor = one_query([0.1, 0.2], [0, 1], [2, 2])
    assert (same_camera["R1"], junk["R1"], distractor["R1"]) == (1, 1, 0)
    assert (same_camera["num_gallery"], junk["num_gallery"], distractor["num_gallery"]) == (2, 1, 2)


def test_another_person_in_the_queries_own_camera_stays_a_negative():
    assert one_query([0.1, 0.2], [2, 1], [1, 2])["first_match_rank"] == [2]


def test_queries_without_a_match_are_skipped_not_scored_zero():
    distances = np.array([[0.1, 0.2], [0.1, 0.2], [0.1, 0.2]])
    result = evaluate_rank(distances, [1, 2, 3], [1, 2], [1, 2, 1], [2, 2])
    assert result["mAP"] == result["R1"] == 1
    np.testing.assert_array_equal(result["average_precision"], [1, np.nan, np.nan])
    np.testing.assert_array_equal(result["first_match_rank"], [1, 0, 0])
    assert (result["num_queries"], result["num_valid_queries"]) == (3, 1)


def test_rank_k_of_a_gallery_shorter_than_k_asks_for_a_match_in_what_there_is():
    result = one_query([0.1, 0.2, 0.3], [2, 3, 1], [2, 2, 2])
    assert [result[f"R{k}"] for k in (1, 5, 10, 20)] == [0, 1, 1, 1]


def test_rank_k_is_given_for_the_ranks_asked_for():
    result = one_query([0.1, 0.2, 0.3], [2, 1, 3], [2, 2, 2], ranks=(1, 2, 3))
    assert [result["R1"], result["R2"], result["R3"]] == [0, 1, 1]


def test_whole_numbers_and_infinity_are_distances_too():
    assert one_query([3, 1, 2], [2, 1, 3], [2, 2, 2])["R1"] == 1
    assert evaluate_rank([[3, 1, 2]], [1], [2, 1, 3], [1], [2, 2, 2])["R1"] == 1
    assert one_query([np.inf, np.inf, 0.0], [1, 2, 3], [2, 2, 2])["first_match_rank"] == [3]


def test_the_distances_given_are_left_as_they_were():
    case = random_case(0)
    before = case[0].copy()
    evaluate_rank(*case)
    np.testing.assert_array_equal(case[0], before)


def test_no_query_with_a_match_is_an_error_not_a_score():
    with pytest.raises(ValueError, match="none of the 1 queries has a match among the 2 gallery tracklets"):
        one_query([0.1, 0.2], [1, 2], [1, 2])
    with pytest.raises(ValueError, match="0 gallery tracklets"):
        one_query([], [], [])


def test_a_nan_among_the_distances_is_an_error_that_names_the_row():
    case = random_case(0)
    case[0][17, 5] = np.nan
    with pytest.raises(ValueError, match="row 17 "):
        evaluate_rank(*case)


def test_shapes_that_disagree_are_errors():
    distances, query_pids, gallery_pids, query_camids, gallery_camids = random_case(0)
    with pytest.raises(ValueError, match=r"\(120, 40\).*\(40, 120\)"):
        evaluate_rank(distances.T, query_pids, gallery_pids, query_camids, gallery_camids)
    with pytest.raises(ValueError, match="query pids"):
        evaluate_rank(distances, query_pids, gallery_pids, query_camids[1:], gallery_camids)


def test_an_unknown_average_precision_is_an_error():
    with pytest.raises(ValueError, match="interpolated"):
        one_query([0.1], [1], [2], ap="interpolated")


def test_ranking_takes_no_memory_beyond_a_row():
    case = random_case(0, num_queries=300, num_gallery=4000, num_people=600)
    tracemalloc.start()
    evaluate_rank(*case)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < case[0].nbytes / 20


def test_cosine_distance_is_one_minus_the_cosine_and_one_for_a_zero_feature():
    queries, gallery = np.array([[2.0, 0.0], [0.0, 0.0]]), np.array([[5.0, 0.0], [0.0, 3.0], [-1.0, 0.0]])
    np.testing.assert_allclose(cosine_distance(queries, gallery), [[0, 1, 2], [1, 1, 1]], atol=TOLERANCE)
    assert cosine_distance(queries.astype(np.float32), gallery.astype(np.float32)).dtype == np.float32


def city_block(queries, everyone):
    return np.abs(queries[:, None] - everyone[None]).sum(-1)


def world(seed=0, num_tracklets=90):
    """A test set with queries, gallery, distractors and junk in mixed order."""
    rng = np.random.default_rng(seed)
    pids = rng.integers(-1, 8, num_tracklets)
    is_query = (rng.random(num_tracklets) < 0.4) & (pids > 0)
    features = rng.integers(-2, 3, (num_tracklets, 5)).astype(float)
    return features, pids, rng.integers(1, 4, num_tracklets), is_query


@pytest.mark.parametrize("chunk", [1, 7, 1000])
@pytest.mark.parametrize("distance", [city_block, cosine_distance])
def test_the_streamed_form_equals_the_matrix_form_under_every_protocol(distance, chunk):
    features, pids, camids, is_query = world()
    if distance is cosine_distance:
        features = features + np.random.default_rng(1).random(features.shape)
    streamed = evaluate_features(features, pids, camids, is_query, distance=distance, chunk=chunk)
    assert list(streamed) == [protocol.name for protocol in PROTOCOLS]
    for protocol in PROTOCOLS:
        gallery = ~is_query | protocol.queries_in_gallery
        expected = evaluate_rank(
            distance(features[is_query], features[gallery]),
            pids[is_query],
            pids[gallery],
            camids[is_query],
            camids[gallery],
            ap=protocol.ap,
        )
        assert_same(streamed[protocol.name], expected)


def test_where_there_are_many_tracklets_a_block_holds_fewer_queries():
    many, asked = 200_000, []
    pids, camids = np.arange(many) % 90_000 + 1, np.arange(many) // 90_000 + 1

    def watched(queries, gallery):
        asked.append((len(queries), len(gallery)))
        return np.zeros((len(queries), len(gallery)), np.float32)

    evaluate_features(np.zeros((many, 1), np.float32), pids, camids, np.arange(many) < 150, distance=watched)
    assert sum(rows for rows, _ in asked) == 150 and all(rows * columns <= 2**24 for rows, columns in asked)


def test_each_distance_block_is_of_at_most_chunk_queries_and_asked_for_once():
    features, pids, camids, is_query = world()
    shapes = []

    def watched(queries, everyone):
        shapes.append((len(queries), len(everyone)))
        return city_block(queries, everyone)

    evaluate_features(features, pids, camids, is_query, distance=watched, chunk=8)
    assert sum(queries for queries, _ in shapes) == is_query.sum()
    assert max(queries for queries, _ in shapes) <= 8 and {everyone for _, everyone in shapes} == {90}


def test_the_three_protocols_differ_in_the_queries_and_in_the_average_precision():
    # Person 1 on a line: queries at 0 (camera 1) and 1 (camera 2), a gallery tracklet at 3 (camera 3);
    # a distractor at 2.25 and junk at 0.5.
    features = np.array([[0.0], [1.0], [3.0], [2.25], [0.5]])
    pids, camids = np.array([1, 1, 1, 0, -1]), np.array([1, 2, 3, 1, 2])
    is_query = np.array([True, True, False, False, False])
    results = evaluate_features(features, pids, camids, is_query, distance=city_block)
    summary = {name: (r["mAP"], r["R1"], r["num_gallery"]) for name, r in results.items()}
    assert summary == {
        "queries-removed": (pytest.approx(1 / 2), 0, 2),
        "queries-in-gallery": (pytest.approx((1 + 2 / 3) / 2), 1, 4),
        "mars-script": (pytest.approx((1 + (1 / 2 + 2 / 3) / 2) / 2), 1, 4),
    }


def test_tracklets_may_be_sets_of_snippets_with_a_distance_of_their_own():
    features, pids, camids, is_query = world()
    snippets = np.stack([features, features + 10], axis=1)

    def nearest_pair(queries, everyone):
        pairs = np.abs(queries[:, None, :, None] - everyone[None, :, None, :]).sum(-1)
        return pairs.min(axis=(2, 3))

    whole = evaluate_features(features, pids, camids, is_query, distance=city_block)
    in_snippets = evaluate_features(snippets, pids, camids, is_query, distance=nearest_pair, chunk=16)
    for name, result in whole.items():
        assert_same(in_snippets[name], result)


def test_a_nan_in_a_block_names_the_query_not_the_row_of_the_block():
    features, pids, camids, is_query = world()
    fourteenth = features[np.flatnonzero(is_query)[13]] = 99

    def nan_for_the_fourteenth(queries, everyone):
        block = city_block(queries, everyone)
        block[queries[:, 0] == fourteenth] = np.nan
        return block

    with pytest.raises(ValueError, match="row 13 "):
        evaluate_features(features, pids, camids, is_query, distance=nan_for_the_fourteenth, chunk=8)


def test_streaming_never_holds_the_whole_matrix():
    rng = np.random.default_rng(0)
    features = rng.standard_normal((3000, 8), np.float32)
    pids, camids = rng.integers(1, 200, 3000), rng.integers(1, 4, 3000)
    is_query = np.arange(3000) < 1500
    tracemalloc.start()
    evaluate_features(features, pids, camids, is_query, chunk=50)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    block = 50 * 3000 * 4
    assert peak < 2 * block + 2**20


def test_a_distance_that_returns_another_shape_is_an_error():
    features, pids, camids, is_query = world()
    with pytest.raises(ValueError, match="queries by gallery tracklets"):
        evaluate_features(features, pids, camids, is_query, distance=lambda q, g: city_block(q, g)[:, 1:])
    with pytest.raises(ValueError, match="not one each"):
        evaluate_features(features[1:], pids, camids, is_query)


def test_euclidean_distances_are_those_of_the_definition():
    rng = np.random.default_rng(0)
    queries, gallery = rng.normal(size=(5, 7)), rng.normal(size=(9, 7))
    naive = [[sum((a - b) ** 2 for a, b in zip(q, g)) ** 0.5 for g in gallery] for q in queries]
    np.testing.assert_allclose(DISTANCES["euclidean"](queries, gallery), naive, atol=1e-12)


def test_a_feature_is_at_euclidean_distance_zero_from_itself_despite_rounding():
    features = np.full((3, 100), 1e3, np.float32)
    assert (DISTANCES["euclidean"](features, features) >= 0).all()
