"""Section 3's premise: a correlation within people, known beforehand."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from tiny import write_dataset
from vreid.data.attributes import IRRELEVANT, RELEVANT_MARS
from vreid.data.tracklets import KEY, write_tracklets
from vreid.errors import InputError
from vreid.premise import annotations, correlations, interval, premise, within_people

ABOUT = {
    "model": "baseline",
    "seed": 0,
    "train_dataset": "synth-mars",
    "test_dataset": "synth-mars",
    "rendered": True,
    "distance": "cosine",
}


def write(folder, attributes=None, features=None, about=ABOUT, **more):
    """features.npz and index.csv.gz of 4 people with 4 tracklets each; the first camera's are queries."""
    rows = [(pid, camid) for pid in (1, 2, 3, 4) for camid in (1, 2, 3, 4)]
    table = pd.DataFrame(rows, columns=["pid", "camid"]).assign(tracklet=1, num_frames=1)
    table.insert(0, "split", np.where(table["camid"] == 1, "query", "gallery"))
    table["frames"] = [f"{pid}-{camid}.jpg" for pid, camid in rows]
    for name in (*IRRELEVANT, *RELEVANT_MARS):
        table[name] = 0
    rng = np.random.default_rng(1)
    for name in list(IRRELEVANT)[:6] if attributes is None else attributes:
        table[name] = rng.integers(0, 2, len(table))
    write_tracklets(table, folder / "index.csv.gz")
    labels = {f"{name}s": table[name].to_numpy() for name in KEY} | {"splits": table["split"].to_numpy(str)}
    features = np.random.default_rng(2).normal(size=(len(table), 5)) if features is None else features
    np.savez(folder / "features.npz", features=features, provenance=json.dumps(about), **labels, **more)
    return folder / "features.npz", folder / "index.csv.gz", table, features


def test_pairs_and_correlations_are_those_of_naive_loops(tmp_path):
    features, index, table, values = write(tmp_path)
    names = [*IRRELEVANT, *RELEVANT_MARS]
    expected, gaps = [], []
    for _, own in table.groupby("pid"):
        apart, differ, each = [], [], {tracklet: [] for tracklet in own.index}
        for a, b in itertools.combinations(own.index, 2):
            differ.append(sum(own.loc[a, n] != own.loc[b, n] for n in names) / len(names))
            cosine = values[a] @ values[b] / np.linalg.norm(values[a]) / np.linalg.norm(values[b])
            apart.append(1 - cosine)
            each[a].append(1 - cosine)
            each[b].append(1 - cosine)
        gaps.append(np.mean([max(others) - min(others) for others in each.values()]))
        expected.append(spearmanr(differ, apart).statistic)
    premise(features, index, tmp_path / "out.json")
    record = json.loads((tmp_path / "out.json").read_text())
    assert record["correlation"] == pytest.approx(np.mean(expected), abs=1e-5)
    assert (record["num_people"], record["num_pairs"]) == (4, 24)
    assert list(record["people"]) == ["1", "2", "3", "4"]
    assert list(record["people"].values()) == pytest.approx(expected, abs=1e-5)
    assert list(record["gaps"].values()) == pytest.approx(gaps, abs=1e-5) and record["spread"] > 0
    assert record["low"] <= record["correlation"] <= record["high"]
    assert {record[key] for key in ("model", "train", "test")} == {"baseline", "synth-mars"}


def test_distances_that_go_together_correlate_fully():
    pairs = pd.DataFrame({"pid": 1, "attribute_distance": [0.1, 0.2, 0.3, 0.4], "feature_distance": [1, 2, 5, 9]})
    assert correlations(pairs)["correlation"].to_list() == [pytest.approx(1)]


def test_people_with_few_pairs_or_one_distance_do_not_count():
    few = pd.DataFrame({"pid": 1, "attribute_distance": [0.1, 0.2, 0.3], "feature_distance": [1, 2, 3]})
    even = pd.DataFrame({"pid": 2, "attribute_distance": [0.1] * 5, "feature_distance": [1, 2, 3, 4, 5]})
    assert correlations(pd.concat([few, even])).empty


def test_attributes_that_one_of_two_lacks_are_not_compared():
    attributes = np.array([[0, 1, np.nan], [1, 1, 0]])
    (pair,) = within_people(np.eye(2), np.array([1, 1]), attributes).itertuples()
    assert pair.attribute_distance == 0.5 and pair.feature_distance == pytest.approx(1)


def test_the_interval_is_that_of_resampled_means_and_does_not_change():
    values = np.random.default_rng(0).normal(0.3, 0.2, 400)
    low, high = interval(values)
    half = 1.96 * values.std() / 20
    assert (low, high) == (
        pytest.approx(values.mean() - half, abs=0.004),
        pytest.approx(values.mean() + half, abs=0.004),
    )
    assert interval(values) == (low, high)


def test_the_same_files_give_the_same_bytes(tmp_path):
    features, index, *_ = write(tmp_path)
    for name in "ab":
        premise(features, index, tmp_path / f"{name}.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_files_that_do_not_belong_together_are_refused(tmp_path):
    features, *_ = write(tmp_path)
    write_tracklets(write_dataset(tmp_path / "other"), tmp_path / "other.csv.gz")
    with pytest.raises(InputError, match=r"other\.csv\.gz: lacks tracklets of .*features\.npz"):
        premise(features, tmp_path / "other.csv.gz", tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()


def test_nobody_to_measure_on_is_said(tmp_path):
    features, index, *_ = write(tmp_path, attributes=[])
    with pytest.raises(InputError, match=r"index\.csv\.gz: no person has 4 pairs"):
        premise(features, index, tmp_path / "out.json")


def test_features_of_clips_are_refused(tmp_path):
    whose = ABOUT | {"distance": "snippets"}
    clips = np.random.default_rng(3).normal(size=(16, 2, 3))
    features, index, *_ = write(tmp_path, features=clips, about=whose, distance_attention="mean", distance_fraction=0.2)
    with pytest.raises(InputError, match=r"features\.npz: holds a feature a clip"):
        premise(features, index, tmp_path / "out.json")


def test_tracklets_without_annotation_have_no_values(tmp_path):
    features, index, table, _ = write(tmp_path)
    table.loc[0, [*IRRELEVANT, *RELEVANT_MARS]] = pd.NA
    write_tracklets(table, index)
    arrays = {f"{name}s": table[name].to_numpy() for name in KEY}
    assert np.isnan(annotations(arrays, features, index)).any(axis=1).sum() == 1
