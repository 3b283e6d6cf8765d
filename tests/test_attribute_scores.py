"""How well attributes are recognised: from logits to the accuracies and F1 of metrics.json."""

import json

import numpy as np
import pandas as pd
import pytest

import tiny
from vreid.data.attributes import IRRELEVANT, QUALITY, RELEVANT_DUKE, RELEVANT_MARS
from vreid.data.tracklets import COLUMNS
from vreid.embed import embed, recognised
from vreid.errors import InputError
from vreid.metrics import attribute_scores
from vreid.score import score
from vreid.spec import Spec
from vreid.train import train

MARS = {"irrelevant": IRRELEVANT, "relevant": RELEVANT_MARS}


# ---- one attribute ----


def naive_scores(said, true):
    """Accuracy, macro F1 and the share of the commonest class, from a confusion matrix counted by hand."""
    pairs = [(int(s), int(t)) for s, t in zip(said, true) if t >= 0]
    classes = sorted({c for pair in pairs for c in pair})
    matrix = {(s, t): sum(pair == (s, t) for pair in pairs) for s in classes for t in classes}
    f1 = []
    for c in classes:
        right = matrix[c, c]
        said_c, true_c = sum(matrix[c, t] for t in classes), sum(matrix[s, c] for s in classes)
        precision = right / said_c if said_c else 0
        recall = right / true_c if true_c else 0
        f1.append(2 * precision * recall / (precision + recall) if precision + recall else 0)
    commonest = max(sum(t == c for _, t in pairs) for c in classes)
    return {
        "accuracy": sum(matrix[c, c] for c in classes) / len(pairs),
        "F1": sum(f1) / len(f1),
        "majority": commonest / len(pairs),
        "tracklets": len(pairs),
    }


@pytest.mark.parametrize("classes", [2, 4, 10])
@pytest.mark.parametrize("unannotated", [0.0, 0.4])
def test_accuracy_and_f1_are_those_of_the_confusion_matrix(classes, unannotated):
    rng = np.random.default_rng(classes)
    for _ in range(20):
        true = np.where(rng.random(30) < unannotated, -1, rng.integers(0, rng.integers(1, classes + 1), 30))
        said = np.where(rng.random(30) < 0.5, np.maximum(true, 0), rng.integers(0, classes, 30))
        assert attribute_scores(said, true) == pytest.approx(naive_scores(said, true))


def test_macro_f1_of_an_example_that_sklearn_documents():
    """f1_score([0, 1, 2, 0, 1, 2], [0, 2, 1, 0, 0, 1], average="macro") is 0.26…"""
    scores = attribute_scores(np.array([0, 2, 1, 0, 0, 1]), np.array([0, 1, 2, 0, 1, 2]))
    assert scores["F1"] == pytest.approx(0.8 / 3)


def test_to_say_always_the_commonest_class_is_accurate_and_has_half_the_f1_of_that_class():
    true = np.array([0] * 9 + [1])
    scores = attribute_scores(np.zeros(10, int), true)
    assert scores["accuracy"] == scores["majority"] == 0.9
    assert scores["F1"] == pytest.approx((2 * 9 / 19 + 0) / 2)


def test_a_class_that_no_tracklet_has_counts_only_where_it_is_recognised():
    true = np.array([0, 0, 3, 3])
    assert attribute_scores(true, true)["F1"] == 1  # classes 1 and 2 do not count
    assert attribute_scores(np.array([0, 0, 3, 1]), true)["F1"] == pytest.approx((1 + 2 / 3 + 0) / 3)


def test_what_is_said_of_unannotated_tracklets_changes_nothing():
    true = np.array([1, -1, 0, -1, 1])
    scores = [attribute_scores(np.array([1, x, 1, x, 1]), true) for x in (0, 1, 5)]
    assert scores[0] == scores[1] == scores[2]
    assert scores[0]["tracklets"] == 3 and scores[0]["accuracy"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("true", [np.full(3, -1), np.empty(0, int)])
def test_where_nothing_is_annotated_there_is_no_score(true):
    with pytest.raises(ValueError, match="no tracklet is annotated"):
        attribute_scores(np.zeros(len(true), int), true)


# ---- logits to classes ----


def some_rows(relevant, number=6):
    """Rows of a test index, the last not annotated, and the classes of the others."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({name: range(number) for name in COLUMNS})
    for name, n in {**IRRELEVANT, **relevant}.items():
        table[name] = pd.Series(rng.integers(0, n, number), dtype="Int64").where(table.index < number - 1)
    return table


def logits_of(rows, classes):
    """Logits whose largest is the annotated class; class 0 where there is none."""
    rng, found = np.random.default_rng(1), []
    for name, n in classes.items():
        right = np.arange(n) == rows[name].fillna(0).to_numpy(int)[:, None]
        found.append(np.where(right, 2, 0) + rng.uniform(-0.9, 0.9, right.shape))
    return np.concatenate(found, axis=1).astype(np.float32)


def test_the_largest_logit_of_each_attribute_is_its_recognised_class_whatever_the_others_are():
    rows = some_rows(RELEVANT_MARS)
    logits = {group: logits_of(rows, classes) for group, classes in MARS.items()}
    logits["relevant"][:, :9] += 50  # of one attribute all
    arrays = recognised(logits, MARS, rows, "index")
    for group, classes in MARS.items():
        expected = rows[list(classes)].fillna(-1).to_numpy(int)
        assert (arrays[f"annotated_{group}"] == expected).all()
        assert (arrays[f"recognised_{group}"] == np.maximum(expected, 0)).all()
        assert (arrays[f"annotated_{group}"][-1] == -1).all()


def test_an_attribute_without_logits_is_not_recognised_and_the_others_are():
    rows = some_rows(RELEVANT_MARS)
    logits = logits_of(rows, IRRELEVANT)
    logits[:, 11:13] = np.nan  # motion 5, pose 6, occlusion 2
    found = recognised({"irrelevant": logits}, MARS, rows, "index")["recognised_irrelevant"]
    assert (found[:, 2] == -1).all()
    assert (np.delete(found, 2, axis=1) >= 0).all()


def test_attributes_that_the_test_set_has_not_are_left_out():
    rows = some_rows(RELEVANT_DUKE)
    logits = {"irrelevant": logits_of(rows, IRRELEVANT), "relevant": np.zeros((6, 41), np.float32)}
    assert set(recognised(logits, MARS, rows, "index")) == {"recognised_irrelevant", "annotated_irrelevant"}
    assert recognised(logits, MARS, rows[list(COLUMNS)], "index") == {}
    assert recognised({}, MARS, rows, "index") == {}


# ---- features.npz to metrics.json ----

KNOWN = {"irrelevant": {"motion": 5, "occlusion": 2, "pose": 6}, "relevant": {"hat": 2, "age": 4}}
PROVENANCE = {"distance": "cosine", "attributes": KNOWN}


@pytest.fixture
def arrays():
    """Three people in two cameras, a distractor and junk, which are not annotated."""
    rng = np.random.default_rng(3)
    person = np.array([1, 2, 3, 1, 2, 3, 0, -1])
    arrays = {
        "features": rng.standard_normal((8, 5)).astype(np.float32),
        "pids": person,
        "camids": np.array([1, 1, 1, 2, 2, 2, 1, 1]),
        "tracklets": np.arange(8),
        "splits": np.array(["query"] * 3 + ["gallery"] * 4 + ["junk"]),
        "provenance": np.array(json.dumps(PROVENANCE)),
    }
    for group, classes in KNOWN.items():
        most = np.array(list(classes.values()))
        arrays[f"recognised_{group}"] = rng.integers(0, most, (8, len(most)))
        arrays[f"annotated_{group}"] = np.where(person[:, None] > 0, rng.integers(0, most, (8, len(most))), -1)
    return arrays


@pytest.fixture
def scored(tmp_path):
    def run(arrays):
        np.savez(tmp_path / "features.npz", **arrays)
        score(tmp_path / "features.npz", "queries-removed", tmp_path / "metrics.json", tmp_path / "per_query.csv.gz")
        return json.loads((tmp_path / "metrics.json").read_text())

    return run


def column(arrays, group, name):
    place = list(KNOWN[group]).index(name)
    return arrays[f"recognised_{group}"][:, place], arrays[f"annotated_{group}"][:, place]


def test_every_attribute_is_scored_on_queries_and_gallery_and_the_mean_leaves_quality_out(arrays, scored):
    metrics = scored(arrays)
    found = metrics["attributes"]
    assert {group: list(own) for group, own in found.items()} == {g: list(own) for g, own in KNOWN.items()}
    for group, own in found.items():
        for name, scores in own.items():
            assert scores == pytest.approx(naive_scores(*column(arrays, group, name)))
            assert scores["tracklets"] == 6
    kept = [found["irrelevant"]["motion"], found["irrelevant"]["pose"], *found["relevant"].values()]
    assert metrics["recognition"].pop("num_attributes") == 4
    assert metrics["recognition"] == {
        key: pytest.approx(sum(own[key] for own in kept) / 4) for key in ("accuracy", "F1", "majority")
    }


def test_an_attribute_without_a_head_has_no_score_and_no_part_in_the_mean(arrays, scored):
    arrays["recognised_irrelevant"][:, 2] = -1
    metrics = scored(arrays)
    assert list(metrics["attributes"]["irrelevant"]) == ["motion", "occlusion"]
    assert metrics["recognition"]["num_attributes"] == 3


def test_an_attribute_that_no_tracklet_is_annotated_with_has_no_score(arrays, scored):
    arrays["annotated_relevant"][:] = -1
    assert list(scored(arrays)["attributes"]) == ["irrelevant"]
    arrays["annotated_irrelevant"][:] = -1
    assert not {"attributes", "recognition"} & set(scored(arrays))


def test_a_network_that_recognises_quality_alone_has_scores_but_no_mean(arrays, scored):
    arrays["recognised_irrelevant"][:, [0, 2]] = -1
    arrays["recognised_relevant"][:] = -1
    metrics = scored(arrays)
    assert list(metrics["attributes"]) == ["irrelevant"] and list(metrics["attributes"]["irrelevant"]) == ["occlusion"]
    assert "recognition" not in metrics


def test_features_without_recognised_classes_have_no_attribute_scores(arrays, scored):
    bare = {name: array for name, array in arrays.items() if not name.startswith(("recognised_", "annotated_"))}
    assert not {"attributes", "recognition"} & set(scored(bare))


def with_class(name, row, column, value):
    def spoil(arrays):
        array = arrays[name].copy()
        array[row, column] = value
        return arrays | {name: array}

    return spoil


def without(name):
    return lambda arrays: {key: array for key, array in arrays.items() if key != name}


def with_provenance(**changes):
    record = {key: value for key, value in {**PROVENANCE, **changes}.items() if value is not None}
    return lambda arrays: arrays | {"provenance": np.array(json.dumps(record))}


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (without("annotated_relevant"), "attributes 'relevant' only the recognised or only the annotated"),
        (without("recognised_irrelevant"), "attributes 'irrelevant' only the recognised or only the annotated"),
        (with_provenance(attributes=None), "does not say what the attributes 'irrelevant' are"),
        (with_provenance(attributes={"irrelevant": KNOWN["irrelevant"]}), "what the attributes 'relevant' are"),
        (with_provenance(attributes={"irrelevant": 13, "relevant": 6}), "what the attributes 'irrelevant' are"),
        (with_provenance(attributes={**KNOWN, "relevant": {"hat": 2}}), r"_relevant are \(8, 2\) .* integers \(8, 1\)"),
        (lambda a: a | {"recognised_relevant": a["recognised_relevant"][1:]}, r"recognised_relevant are \(7, 2\)"),
        (lambda a: a | {"annotated_relevant": a["annotated_relevant"][:, 0]}, r"annotated_relevant are \(8,\)"),
        (lambda a: a | {"annotated_relevant": a["annotated_relevant"] * 1.0}, "float64, not integers"),
        (with_class("recognised_relevant", 2, 0, 2), "recognised_relevant hold a class that its attribute has not"),
        (with_class("annotated_relevant", 2, 1, 4), "annotated_relevant hold a class that its attribute has not"),
        (with_class("annotated_irrelevant", 0, 0, -2), "annotated_irrelevant hold a class"),
        (with_class("recognised_irrelevant", 5, 1, -1), "recognised_irrelevant lack the classes of some tracklets"),
    ],
)
def test_classes_that_do_not_fit_are_named_with_the_file_and_nothing_is_written(
    arrays, scored, tmp_path, spoil, complaint
):
    with pytest.raises(InputError, match=complaint) as caught:
        scored(spoil(arrays))
    assert str(tmp_path / "features.npz") in str(caught.value) and "embed the test set again" in str(caught.value)
    assert {path.name for path in tmp_path.iterdir()} == {"features.npz"}


# ---- a network end to end ----

METHODS = {
    "multitask": {"streams": ["reid", "irrelevant", "relevant"], "losses": ["softmax", "triplet", "attributes"]},
    "disentangling": {},
    "attribute_recognition": {},
}


@pytest.fixture(scope="module")
def mars(tmp_path_factory):
    root = tmp_path_factory.mktemp("mars")
    return root, tiny.write_dataset(root)


def in_duke_s_words(table):
    """The same tracklets annotated as those of DukeMTMC-VideoReID."""
    rng = np.random.default_rng(5)
    table = table[[*COLUMNS, *IRRELEVANT]].copy()
    for name, n in RELEVANT_DUKE.items():
        table[name] = pd.Series(rng.integers(0, n, len(table)), dtype="Int64").where(table["pid"] > 0)
    return table


@pytest.mark.parametrize("method", METHODS)
def test_from_frames_to_scores_on_the_same_vocabulary_and_across_two(mars, tmp_path, method):
    root, table = mars
    spec = Spec.from_mapping(
        {
            "model": "m",
            "seed": 0,
            "method": method,
            "options": METHODS[method],
            "trunk": {"name": "small", "width": 8, "weights": "none"},
            "clips": {"frames": 2, "height": tiny.HEIGHT, "width": tiny.WIDTH},
            "training": {"epochs": 1, "people": 4, "clips": 2, "lr": 1e-3, "precision": "float32"},
        }
    )
    spec.save(tmp_path / "spec.json")
    index = tiny.index(table, tmp_path / "mars.csv.gz")
    train(tmp_path / "spec.json", index, root, "mars", "queries-removed", tmp_path)
    metrics = {}
    for name, rows in {"mars": table, "duke": in_duke_s_words(table)}.items():
        features = tmp_path / f"{name}.npz"
        index = tiny.index(rows, tmp_path / f"{name}.csv.gz")
        embed(tmp_path / "spec.json", tmp_path / "weights.pt", index, root, name, features)
        score(features, "queries-removed", tmp_path / f"{name}.json", tmp_path / "per_query.csv.gz")
        metrics[name] = json.loads((tmp_path / f"{name}.json").read_text())
    no_head = set(QUALITY) if method == "attribute_recognition" else set()
    irrelevant = [name for name in IRRELEVANT if name not in no_head]
    same, other = metrics["mars"], metrics["duke"]
    assert {g: list(a) for g, a in same["attributes"].items()} == {
        "irrelevant": irrelevant,
        "relevant": [*RELEVANT_MARS],
    }
    assert {g: list(a) for g, a in other["attributes"].items()} == {"irrelevant": irrelevant}
    assert other["attributes"]["irrelevant"] == same["attributes"]["irrelevant"]
    assert (same["recognition"]["num_attributes"], other["recognition"]["num_attributes"]) == (14, 2)
    assert {scores["tracklets"] for own in same["attributes"].values() for scores in own.values()} == {12}
