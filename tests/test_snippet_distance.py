"""The distance of two tracklets by their best matching snippets, against loops written from the formulas."""

import json
import tracemalloc

import numpy as np
import pytest

from vreid import distances
from vreid.distances import snippet_distance
from vreid.errors import InputError
from vreid.metrics import evaluate_features
from vreid.score import read_features, score

WIDTH, FRAMES = 5, 3
SIZE = {"co": WIDTH * (1 + 2 * FRAMES), "self": WIDTH, "mean": WIDTH}
ATTENTION = list(SIZE)


def tracklets(counts, size, seed=0):
    """Random snippets (N, most, size), of which the n-th tracklet has counts[n]; the others are NaN."""
    found = np.random.default_rng(seed).standard_normal((len(counts), max(counts), size)).astype(np.float32)
    found[np.arange(max(counts)) >= np.array(counts)[:, None]] = np.nan
    return found


def parameters(attention, fraction=0.2, seed=9):
    rng = np.random.default_rng(seed)
    found = {"attention": np.array(attention), "fraction": np.array(fraction)}
    if attention != "mean":
        found |= {"weight": rng.standard_normal(WIDTH).astype(np.float32), "bias": np.float32(0.3)}
    return found


def attended(query, keys, values):
    """Channel by channel, the frames' values weighted by the softmax of query · key."""
    x = np.zeros(WIDTH)
    for c in range(WIDTH):
        powers = [np.exp(query[c] * keys[t][c]) for t in range(FRAMES)]
        x[c] = sum(power / sum(powers) * values[t][c] for t, power in enumerate(powers))
    return x


def one_pair(probe, other, attention, weight=None, bias=None):
    """The distance of two snippets."""
    probe, other = probe.astype(float), other.astype(float)
    if attention == "mean":
        return 1 - probe @ other / np.sqrt((probe @ probe) * (other @ other))
    if attention == "co":
        query, *parts = probe.reshape(-1, WIDTH)
        _, *others = other.reshape(-1, WIDTH)
        probe = attended(query, parts[:FRAMES], parts[FRAMES:])
        other = attended(query, others[:FRAMES], others[FRAMES:])
    return 1 - 1 / (1 + np.exp(-(np.square(probe - other) @ weight + bias)))


def naive(queries, gallery, attention, fraction, **pair):
    found = np.zeros((len(queries), len(gallery)))
    for i, probes in enumerate(queries):
        for j, others in enumerate(gallery):
            here = [p for p in probes if not np.isnan(p).any()], [g for g in others if not np.isnan(g).any()]
            values = np.array([one_pair(p, g, str(attention), **pair) for p in here[0] for g in here[1]])
            found[i, j] = values[values <= np.percentile(values, 100 * fraction)].mean()
    return found


@pytest.mark.parametrize("attention", ATTENTION)
@pytest.mark.parametrize("fraction", [0.2, 0.5, 1.0])
def test_it_is_what_the_formulas_say_where_tracklets_have_one_to_four_snippets(attention, fraction):
    queries = tracklets([3, 1, 4, 2], SIZE[attention], seed=1)
    gallery = tracklets([1, 3, 3, 2, 1, 4, 4, 1, 2], SIZE[attention], seed=2)
    given = parameters(attention, fraction)
    assert snippet_distance(queries, gallery, **given) == pytest.approx(naive(queries, gallery, **given), abs=2e-6)


@pytest.mark.parametrize("attention", ATTENTION)
@pytest.mark.parametrize("block", [1, 2, 5, 1000])
def test_the_size_of_the_blocks_changes_nothing(attention, block, monkeypatch):
    queries, gallery = (tracklets(counts, SIZE[attention]) for counts in ([3, 1, 2], [1, 3, 3, 2, 1, 2, 3]))
    expected = snippet_distance(queries, gallery, **parameters(attention))
    monkeypatch.setattr(distances, "_SNIPPETS", block)
    assert snippet_distance(queries, gallery, **parameters(attention)) == pytest.approx(expected, abs=1e-6)


def at_distance(logits):
    """One tracklet, whose snippets have these logits with one at 0 where the first channel alone has weight, of 1."""
    return np.array([[[np.sqrt(logit), 0] for logit in logits]])


FIRST_CHANNEL = {"attention": "self", "weight": np.array([1.0, 0.0]), "bias": 0.0}


def test_of_ten_snippet_pairs_the_two_nearest_count():
    """The 20th percentile of ten values lies between the second and the third smallest."""
    logits = np.arange(10.0)  # the larger, the more alike
    distance = snippet_distance(np.zeros((1, 1, 2)), at_distance(logits), fraction=0.2, **FIRST_CHANNEL)
    values = np.sort(1 - 1 / (1 + np.exp(-logits)))
    assert distance == pytest.approx(values[:2].mean(), rel=1e-6)


@pytest.mark.parametrize("pairs, counted", [(1, 1), (2, 1), (5, 1), (6, 2), (11, 3), (16, 4)])
def test_how_many_snippet_pairs_count(pairs, counted):
    """One more than a fifth of the others, rounded down: with 6, 11 and 16 pairs the percentile is itself a value."""
    logits = np.arange(float(pairs))
    distance = snippet_distance(np.zeros((1, 1, 2)), at_distance(logits), fraction=0.2, **FIRST_CHANNEL)
    values = np.sort(1 - 1 / (1 + np.exp(-logits)))
    assert distance == pytest.approx(values[:counted].mean(), rel=1e-6)


def test_two_probe_and_three_gallery_snippets_make_six_pairs():
    probes, gallery = np.array([[[0.0, 0], [1, 0]]]), np.array([[[0.0, 0], [3, 0], [4, 0]]])
    logits = sorted(-np.array([0, 9, 16, 1, 4, 9.0]))[::-1]  # −(p − g)²
    distance = snippet_distance(
        probes, gallery, fraction=0.2, attention="self", weight=np.array([-1.0, 0]), bias=np.array(0.0)
    )
    assert distance == pytest.approx(np.mean([1 / (1 + np.exp(logit)) for logit in logits[:2]]))


def test_equal_distances_at_the_percentile_all_count():
    distance = snippet_distance(np.zeros((1, 1, 2)), at_distance([2, 2, 2, 1, 0]), fraction=0.2, **FIRST_CHANNEL)
    assert distance == pytest.approx(1 / (1 + np.exp(2)))


def test_with_the_whole_fraction_every_pair_counts():
    logits = [0, 1, 2, 3]
    distance = snippet_distance(np.zeros((1, 1, 2)), at_distance(logits), fraction=1.0, **FIRST_CHANNEL)
    assert distance == pytest.approx(np.mean([1 / (1 + np.exp(logit)) for logit in logits]))


def test_missing_snippets_change_nothing():
    queries, gallery = tracklets([2, 2], SIZE["co"]), tracklets([3, 1, 3], SIZE["co"], seed=1)
    more = np.pad(gallery, ((0, 0), (0, 4), (0, 0)), constant_values=np.nan)
    expected = snippet_distance(queries, gallery, **parameters("co"))
    assert np.array_equal(snippet_distance(queries, more, **parameters("co")), expected)


def test_the_frames_of_the_gallery_s_snippet_are_weighted_by_what_the_probe_asks_for():
    """The probe asks for frames of high keys; the gallery's own query, which asks for the others, is not read."""
    probe = np.array([10.0, 1, 0, 0.7, 0])  # query, keys, values: it sees its first frame, 0.7
    gallery = np.array([-10.0, 0, 1, 0.3, 0.9])  # by the probe's query its second frame counts, 0.9
    given = {"attention": "co", "fraction": 1.0, "weight": np.array([-30.0]), "bias": np.array(2.0)}
    logit = -30 * (0.7 - 0.9) ** 2 + 2
    assert snippet_distance(probe[None, None], gallery[None, None], **given) == pytest.approx(
        1 / (1 + np.exp(logit)), rel=1e-3
    )
    backwards = -30 * (0.3 - 0) ** 2 + 2  # as probe it sees its first frame, 0.3, and of the other the second, 0
    assert snippet_distance(gallery[None, None], probe[None, None], **given) == pytest.approx(
        1 / (1 + np.exp(backwards)), rel=1e-3
    )


def test_large_queries_and_keys_do_not_overflow():
    snippets = 1e4 * tracklets([2, 1], SIZE["co"])
    with np.errstate(over="raise", invalid="raise"):
        distances = snippet_distance(snippets, snippets, **parameters("co"))
    assert np.isfinite(distances).all()


def test_very_unlike_snippets_are_still_told_apart():
    """In single precision 1 − σ(−20) is 1, and so is 1 − σ(−30)."""
    far = np.array([[[np.sqrt(20.0), 0]], [[np.sqrt(30.0), 0]]], np.float32)
    given = FIRST_CHANNEL | {"weight": np.array([-1.0, 0.0], np.float32), "fraction": 0.2}
    nearer, farther = snippet_distance(np.zeros((1, 1, 2), np.float32), far, **given)[0]
    assert nearer < farther < 1


def test_memory_beside_the_result_does_not_grow_with_the_gallery():
    queries, gallery = tracklets([4] * 3, SIZE["co"]), tracklets([4] * 4000, SIZE["co"])
    peaks = []
    for size in (1000, 4000):
        tracemalloc.start()
        snippet_distance(queries, gallery[:size], **parameters("co"))
        peaks.append(tracemalloc.get_traced_memory()[1] - 8 * 3 * size)
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


# ---- from a file of features to scores ----


@pytest.fixture
def stored():
    """Four people with a query and two gallery tracklets of one to three snippets, and what the distance needs."""
    pids = np.array([1, 2, 3, 4] * 3)
    features = tracklets([1, 3, 2, 3] * 3, SIZE["co"])
    return {
        "features": features + np.random.default_rng(5).standard_normal((5, 1, SIZE["co"]))[pids].astype(np.float32),
        "pids": pids,
        "camids": np.repeat([1, 2, 3], 4),
        "tracklets": np.arange(12),
        "splits": np.repeat(["query", "gallery", "gallery"], 4),
        "provenance": np.array(json.dumps({"distance": "snippets"})),
        **{f"distance_{name}": value for name, value in parameters("co").items()},
    }


def read(stored, folder):
    np.savez(folder / "features.npz", **stored)
    return read_features(folder / "features.npz")


def test_a_file_of_snippets_is_scored_by_their_distance(stored, tmp_path):
    read(stored, tmp_path)
    score(tmp_path / "features.npz", "queries-removed", tmp_path / "metrics.json", tmp_path / "per_query.csv.gz")
    found = json.loads((tmp_path / "metrics.json").read_text())["protocols"]
    expected = evaluate_features(
        stored["features"],
        stored["pids"],
        stored["camids"],
        stored["splits"] == "query",
        distance=lambda queries, gallery: naive(queries, gallery, **parameters("co")),
    )
    assert found["queries-removed"]["mAP"] == pytest.approx(expected["queries-removed"]["mAP"])
    assert found["queries-removed"]["R1"] == expected["queries-removed"]["R1"]


def without(*names):
    return lambda stored: {name: value for name, value in stored.items() if name not in names}


def with_value(name, place, value):
    def spoil(stored):
        changed = stored[name].copy()
        changed[place] = value
        return stored | {name: changed}

    return spoil


@pytest.mark.parametrize(
    "spoil, told",
    [
        (
            without("distance_weight"),
            r"'snippets' does not work with .* \(attention, bias, fraction\): .* needs a weight",
        ),
        (without("distance_fraction"), "missing 1 required keyword-only argument: 'fraction'"),
        (
            without("distance_attention", "distance_fraction", "distance_weight", "distance_bias"),
            r"parameters \(none\)",
        ),
        (lambda stored: stored | {"distance_colour": np.array(1)}, "unexpected keyword argument 'colour'"),
        (lambda stored: stored | {"distance_attention": np.array("cross")}, "'cross' is none of co, self, mean"),
        (lambda stored: stored | {"distance_attention": np.array("mean")}, "'mean' .* has no weight"),
        (lambda stored: stored | {"distance_attention": np.array("self")}, "35 channels, and the weight 5"),
        (lambda stored: stored | {"distance_weight": np.ones(4)}, r"35 channels are not 4 · \(1 \+ 2 · frames\)"),
        (lambda stored: stored | {"distance_weight": np.ones(35)}, r"are not 35 · \(1"),
        (lambda stored: stored | {"distance_weight": np.ones((5, 2))}, r"needs a weight \(W,\)"),
        (lambda stored: stored | {"distance_weight": np.ones(0)}, r"needs a weight \(W,\)"),
        (
            lambda stored: stored | {"distance_bias": np.array(np.nan)},
            "the parameter 'bias' of the distance 'snippets' is not finite",
        ),
        (lambda stored: stored | {"distance_fraction": np.array(0.0)}, "fraction 0.0 is not above 0"),
        (lambda stored: stored | {"distance_fraction": np.array([0.2, 0.3])}, "does not work with"),
        (lambda stored: stored | {"features": np.nan_to_num(stored["features"])[:, 0]}, r"\(35,\) .* not \(snippets"),
        (lambda stored: stored | {"features": stored["features"][:, :0]}, r"features are \(12, 0, 35\)"),
        (with_value("features", (2, 0), np.nan), r"row 2 \(pid 3, tracklet 2\) is not finite"),
        (with_value("features", (1, 2, 7), np.nan), r"row 1 \(pid 2, tracklet 1\) is not finite"),
        (with_value("features", (4, 1, 3), 0.0), r"row 4 \(pid 1, tracklet 4\) is not finite"),
        (with_value("features", (3, 1, 0), np.inf), r"row 3 \(pid 4, tracklet 3\) is not finite"),
        (lambda s: without("distance_attention")(s) | {"provenance": np.array('{"distance": "cosine"}')}, "'cosine'"),
    ],
)
def test_features_and_parameters_that_do_not_fit_are_refused_with_the_mend(stored, tmp_path, spoil, told):
    with pytest.raises(InputError, match=rf"features\.npz: .*{told}.*; embed the test set again"):
        read(spoil(stored), tmp_path)


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_several_clips_a_tracklet_are_no_features_for_a_distance_of_single_ones(stored, tmp_path, distance):
    kept = {name: value for name, value in stored.items() if not name.startswith("distance_")}
    kept |= {"provenance": np.array(json.dumps({"distance": distance}))}
    with pytest.raises(InputError, match=f"the distance '{distance}'"):
        read(kept, tmp_path)


def test_sound_features_of_snippets_are_read_as_they_are(stored, tmp_path):
    arrays, _ = read(stored, tmp_path)
    assert np.array_equal(arrays["features"], stored["features"], equal_nan=True)
