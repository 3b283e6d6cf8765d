"""From features.npz to metrics.json and per_query.csv.gz."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from vreid.errors import InputError
from vreid.metrics import evaluate_features
from vreid.score import score

PROVENANCE = {
    "distance": "cosine",
    "model": "aitl",
    "seed": 1,
    "device": "cpu",
    "test_dataset": "synth-mars",
    "embed_seconds": 2.5,
    "rendered": True,
}


@pytest.fixture
def arrays():
    """Eight people with a query and two gallery tracklets, one with a query only, distractors and junk."""
    rng = np.random.default_rng(0)
    pids = np.array([1, 2, 3, 4, 5, 6, 7, 8, 9] + [1, 2, 3, 4, 5, 6, 7, 8] * 2 + [0] * 4 + [-1] * 3)
    splits = np.array(["query"] * 9 + ["gallery"] * 20 + ["junk"] * 3)
    camids = np.array([1] * 9 + [2] * 8 + [3] * 8 + [1] * 7)
    features = (np.eye(12)[pids] + 0.5 * rng.standard_normal((len(pids), 12))).astype(np.float32)
    return {
        "features": features,
        "pids": pids,
        "camids": camids,
        "tracklets": np.arange(1, len(pids) + 1),
        "splits": splits,
        "provenance": np.array(json.dumps(PROVENANCE)),
    }


@pytest.fixture
def scored(tmp_path):
    """A function that scores arrays in a folder: (metrics, table)."""

    def run(arrays, headline="queries-removed"):
        np.savez(tmp_path / "features.npz", **arrays)
        score(tmp_path / "features.npz", headline, tmp_path / "metrics.json", tmp_path / "per_query.csv.gz")
        metrics = json.loads((tmp_path / "metrics.json").read_text())
        return metrics, pd.read_csv(tmp_path / "per_query.csv.gz")

    return run


def assert_nothing_written(folder):
    assert {path.name for path in folder.iterdir()} <= {"features.npz"}


def test_metrics_hold_the_three_protocols_the_headline_and_where_they_come_from(arrays, scored):
    metrics, _ = scored(arrays, headline="queries-in-gallery")
    assert metrics["headline"] == "queries-in-gallery"
    assert metrics["feature_length"] == arrays["features"].shape[-1]
    assert list(metrics["protocols"]) == ["queries-removed", "queries-in-gallery", "mars-script"]
    seconds = metrics["provenance"].pop("score_seconds")
    assert set(metrics["provenance"].pop("scored")) == {"code_digest", "commit", "dirty", "host_cpu"}
    assert metrics["provenance"] == PROVENANCE and 0 <= seconds < 60
    results = evaluate_features(arrays["features"], arrays["pids"], arrays["camids"], arrays["splits"] == "query")
    for name, numbers in metrics["protocols"].items():
        fractions = ["mAP", "R1", "R5", "R10", "R20"]
        assert set(numbers) == {*fractions, "num_queries", "num_valid_queries", "num_gallery"}
        assert [numbers[key] for key in fractions] == [results[name][key] for key in fractions]
    removed, inside = metrics["protocols"]["queries-removed"], metrics["protocols"]["queries-in-gallery"]
    assert (removed["num_queries"], removed["num_valid_queries"], removed["num_gallery"]) == (9, 8, 20)
    assert inside["num_gallery"] == 29


def test_every_query_has_a_row_in_every_protocol_blank_where_it_has_no_match(arrays, scored):
    metrics, table = scored(arrays)
    assert list(table) == ["protocol", "pid", "camid", "tracklet", "average_precision", "first_match_rank"]
    assert table.groupby("protocol").size().to_dict() == {name: 9 for name in metrics["protocols"]}
    blank = table[table["average_precision"].isna()]
    assert set(blank["pid"]) == {9} and blank["first_match_rank"].isna().all()
    assert table["first_match_rank"].min() == 1
    means = table.groupby("protocol")["average_precision"].mean()
    for name, numbers in metrics["protocols"].items():
        assert means[name] == pytest.approx(numbers["mAP"], abs=1e-12)


def test_the_order_of_the_tracklets_in_the_file_changes_no_number(arrays, scored):
    order = np.random.default_rng(1).permutation(len(arrays["pids"]))
    metrics, table = scored(arrays)
    shuffled = {name: array[order] if array.ndim else array for name, array in arrays.items()}
    shuffled_metrics, shuffled_table = scored(shuffled)
    for name, numbers in metrics["protocols"].items():
        assert shuffled_metrics["protocols"][name] == pytest.approx(numbers, abs=1e-12)
    keys = ["protocol", "tracklet"]
    pd.testing.assert_frame_equal(
        shuffled_table.sort_values(keys, ignore_index=True), table.sort_values(keys, ignore_index=True)
    )


def test_the_same_features_give_the_same_table_to_the_byte_at_any_time(arrays, scored, tmp_path, monkeypatch):
    scored(arrays)
    before = (tmp_path / "per_query.csv.gz").read_bytes()
    monkeypatch.setattr("time.time", lambda: 1_000_000_000.0)
    scored(arrays)
    assert (tmp_path / "per_query.csv.gz").read_bytes() == before


def with_entry(name, row, value):
    def spoil(arrays):
        array = arrays[name].astype("U9") if name == "splits" else arrays[name].copy()
        array[row] = value
        return arrays | {name: array}

    return spoil


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (with_entry("features", (3, 2), np.nan), r"row 3 \(pid 4, tracklet 4\) is not finite"),
        (with_entry("features", (9, 0), -np.inf), r"row 9 \(pid 1, tracklet 10\) is not finite"),
        (with_entry("splits", 5, "test"), "unknown split 'test'"),
        (with_entry("splits", slice(0, 9), "gallery"), "no tracklet is of the split 'query'"),
        (with_entry("pids", 2, 0), "row 2 has pid 0 in the split 'query'"),
        (with_entry("pids", 30, 7), "row 30 has pid 7 in the split 'junk'"),
        (with_entry("pids", 12, -1), "row 12 has pid -1 in the split 'gallery'"),
        (with_entry("pids", slice(0, 9), 99), "none of the 9 queries has a match"),
        (lambda arrays: {k: v for k, v in arrays.items() if k != "camids"}, "camids"),
        (lambda arrays: arrays | {"pids": arrays["pids"][1:]}, r"pids are \(31,\)"),
        (lambda arrays: arrays | {"features": arrays["features"][:, 0]}, r"features are \(32,\)"),
        (lambda arrays: arrays | {"provenance": np.array("{")}, "not a whole file of features"),
        (lambda arrays: arrays | {"provenance": np.array("[1]")}, "not a JSON object"),
        (lambda arrays: arrays | {"provenance": np.array('{"distance": "taxi"}')}, "the distance 'taxi', none of"),
        (lambda arrays: arrays | {"splits": arrays["splits"].astype(object)}, "not a whole file of features"),
    ],
)
def test_unsound_features_are_named_with_the_file_and_nothing_is_written(arrays, scored, tmp_path, spoil, complaint):
    with pytest.raises(InputError, match=complaint) as caught:
        scored(spoil(arrays))
    assert str(tmp_path / "features.npz") in str(caught.value)
    assert_nothing_written(tmp_path)


@pytest.mark.parametrize("kept", [0, 0.01, 0.3, 0.6, 0.9, 0.999])
def test_a_file_cut_short_is_named_wherever_it_was_cut(arrays, tmp_path, kept):
    path = tmp_path / "features.npz"
    np.savez(path, **arrays)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(InputError, match=r"features\.npz: not a whole file of features .*; embed"):
        score(path, "queries-removed", tmp_path / "metrics.json", tmp_path / "per_query.csv.gz")
    assert_nothing_written(tmp_path)


def test_a_file_with_a_damaged_byte_in_an_array_is_named(arrays, tmp_path):
    path = tmp_path / "features.npz"
    np.savez(path, **arrays)
    damaged = bytearray(path.read_bytes())
    damaged[700] ^= 255
    path.write_bytes(damaged)
    with pytest.raises(InputError, match="not a whole file of features"):
        score(path, "queries-removed", tmp_path / "metrics.json", tmp_path / "per_query.csv.gz")


def test_a_lone_array_in_place_of_the_file_is_named(arrays, tmp_path):
    with open(tmp_path / "features.npz", "wb") as file:
        np.save(file, arrays["features"])
    with pytest.raises(InputError, match="not a whole file of features"):
        score(tmp_path / "features.npz", "queries-removed", tmp_path / "m.json", tmp_path / "q.csv.gz")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"features\.npz: there is no such file"):
        score(tmp_path / "features.npz", "queries-removed", tmp_path / "m.json", tmp_path / "q.csv.gz")


def test_an_unknown_headline_is_an_error_that_lists_the_protocols(arrays, scored, tmp_path):
    with pytest.raises(InputError, match=r"'market'.*queries-removed, queries-in-gallery, mars-script"):
        scored(arrays, headline="market")
    assert_nothing_written(tmp_path)


def test_scoring_never_imports_torch():
    code = "import sys, vreid.score; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
