"""The retrieval gallery: who is shown, what is ranked first, the gaps, and that bad input is refused by name."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tiny import CAMERAS, write_dataset
from vreid import losses
from vreid.data.tracklets import KEY, write_tracklets
from vreid.distances import cosine_distance, euclidean_distance
from vreid.errors import InputError
from vreid.figures import retrieval
from vreid.gaps import anchor_gaps, largest, mean_gap, measured_again, spread
from vreid.metrics import PROTOCOLS, evaluate_features

REMOVED, INSIDE = PROTOCOLS[:2]
FIGURE = {
    "title": "Retrieval gallery",
    "train": "synth-mars",
    "test": "synth-mars",
    "seed": 0,
    "models": ["baseline", "aitl"],
    "queries_per_side": 1,
    "people": 2,
}
ABOUT = {
    "seed": 0,
    "recipe": "paper",
    "train_dataset": "synth-mars",
    "test_dataset": "synth-mars",
    "rendered": True,
    "distance": "cosine",
}


def write_features(path: Path, rows: pd.DataFrame, model: str, seed: int, **about) -> Path:
    """Noise around a direction of each person's own, so that some queries find it first and others do not."""
    rng = np.random.default_rng(seed)
    people = {pid: np.random.default_rng(pid + 2).normal(size=6) for pid in rows["pid"].unique()}
    features = np.stack([people[pid] for pid in rows["pid"]]) + rng.normal(0, 0.9, (len(rows), 6))
    labels = {f"{name}s": rows[name].to_numpy() for name in KEY} | {"splits": rows["split"].to_numpy(str)}
    np.savez(path, features=features, provenance=json.dumps(ABOUT | {"model": model} | about), **labels)
    return path


@pytest.fixture
def dataset(tmp_path):
    """Index, frames, and the features of two models, of eight test people."""
    table = write_dataset(tmp_path / "root", train_people=1, test_people=8)
    write_tracklets(table, tmp_path / "index.csv.gz")
    rows = table[table["split"] != "train"].reset_index(drop=True)
    for place, model in enumerate(FIGURE["models"]):
        write_features(tmp_path / f"{model}.npz", rows, model, place)
    return tmp_path


def given(dataset: Path) -> dict:
    features = [dataset / f"{model}.npz" for model in FIGURE["models"]]
    paths = {"index_path": dataset / "index.csv.gz", "root": dataset / "root"}
    return {"spec": FIGURE, "features": features, "headline": "queries-removed", **paths}


def draw(dataset: Path, out: Path, **changed) -> tuple[pd.DataFrame, dict, str]:
    """CSV, words and SVG of the gallery."""
    retrieval.retrieval(**given(dataset) | changed, out_stem=out / "gallery")
    words = json.loads((out / "gallery.json").read_text())
    return pd.read_csv(out / "gallery.csv"), words, (out / "gallery.svg").read_text()


def queries_of(pids) -> dict[str, np.ndarray]:
    return {"pids": np.array(pids), "splits": np.full(len(pids), "query")}


def test_the_ends_and_the_median_are_chosen_on_neither_side_a_person_twice():
    difference = np.array([0.9, 0.8, 0.5, np.nan, 0.0, 0.1, -0.2, -0.6, -0.7])
    chosen = retrieval.choose(difference, queries_of([1, 1, 2, 3, 4, 5, 6, 7, 7]), 2, "features")
    assert [(which, place) for which, place, _ in chosen] == [
        ("highest", 0),
        ("highest", 2),
        ("median", 4),  # the median of eight is 0.05; of equally near ones the first
        ("lowest", 6),
        ("lowest", 8),
    ]


def test_exchanging_the_models_exchanges_the_ends_and_chooses_the_same_queries():
    difference = np.random.default_rng(0).normal(size=31)
    arrays = queries_of(np.arange(31) // 2 + 1)
    ours = retrieval.choose(difference, arrays, 3, "features")
    theirs = retrieval.choose(-difference, arrays, 3, "features")
    assert [query for *_, query in ours] == [query for *_, query in reversed(theirs)]


def test_a_query_without_a_match_is_never_chosen_and_too_few_with_one_are_refused():
    arrays = queries_of([1, 2, 3, 4])
    assert retrieval.choose(np.array([0.1, np.nan, 0.0, -0.1]), arrays, 1, "features")[1][1] == 2
    with pytest.raises(InputError, match=r"f\.npz: 2 queries have a match.* lower `queries_per_side`"):
        retrieval.choose(np.array([0.1, np.nan, np.nan, -0.1]), arrays, 1, "f.npz")


def test_junk_the_own_camera_and_by_protocol_the_queries_are_left_out():
    arrays = {
        "pids": np.array([1, 1, 1, 2, -1, 0, 2]),
        "camids": np.array([1, 1, 2, 1, 1, 1, 2]),
        "splits": np.array(["query", "gallery", "gallery", "gallery", "junk", "gallery", "query"]),
    }
    assert retrieval.ranked(arrays, 0, REMOVED).tolist() == [2, 3, 5]
    assert retrieval.ranked(arrays, 0, INSIDE).tolist() == [2, 3, 5, 6]


@pytest.mark.parametrize("headline", [protocol.name for protocol in PROTOCOLS])
def test_what_comes_first_is_what_is_scored(dataset, headline):
    run, _ = retrieval.read_runs(FIGURE, given(dataset)["features"], headline)
    labels = [run.arrays[name] for name in ("pids", "camids")]
    is_query = run.arrays["splits"] == "query"
    found = evaluate_features(run.features, *labels, is_query)[headline]
    assert np.array_equal(run.precision, found["average_precision"])
    for query, first in zip(np.flatnonzero(is_query), found["first_match_rank"]):
        rows, distances = run.first(query)
        right = run.arrays["pids"][rows] == run.arrays["pids"][query]
        assert (right.argmax() + 1 if right.any() else 0) == (first if first <= retrieval.TOP else 0)
        assert len(rows) == retrieval.TOP and (np.diff(distances) >= 0).all()
        others = np.setdiff1d(retrieval.ranked(run.arrays, query, run.protocol), rows)
        assert cosine_distance(run.features[[query]], run.features[others]).min() >= distances[-1] - 1e-12


def test_among_equal_distances_the_others_come_first(dataset):
    run, _ = retrieval.read_runs(FIGURE, given(dataset)["features"], "queries-removed")
    run.arrays["features"][:] = 1.0
    query = int(np.flatnonzero(run.arrays["splits"] == "query")[0])
    rows, _ = run.first(query)
    assert not (run.arrays["pids"][rows] == run.arrays["pids"][query]).any()


def test_what_is_drawn_is_marked_right_if_it_is_the_querys_person(dataset, tmp_path):
    frame, words, svg = draw(dataset, tmp_path / "out")
    blocks = [block for _, block in frame[frame["panel"] == "query"].groupby("block")]
    assert [block["chosen"].iloc[0] for block in blocks] == ["Highest ΔAP", "Median ΔAP", "Lowest ΔAP"]
    for block in blocks:
        query, found = block.iloc[0], block.iloc[1:]
        assert query["role"] == "query" and query["split"] == "query"
        assert query["matches"] == len(CAMERAS) - 1
        assert found["rank"].to_list() == [1, 2, 3, 4, 5] * 2
        assert (found["right"] == (found["pid"] == query["pid"])).all()
        assert not ((found["pid"] == query["pid"]) & (found["camid"] == query["camid"])).any()
        assert (found["pid"] >= 0).all() and (found["split"] == "gallery").all()
    gallery = frame[frame["role"] == "gallery"]
    rights = int(gallery["right"].sum())
    assert 0 < rights < len(gallery)
    for mark, count in ((retrieval.RIGHT, rights), (retrieval.WRONG, len(gallery) - rights)):
        assert svg.count(f">{mark}</text>") == count + 1  # the badges, one of them in the legend
        assert svg.count(f" {mark}</text>") == count  # beside the distance
    assert words["tables"][0]["rows"][0][-2:] == [
        f"{int(blocks[0][blocks[0]['model'] == model]['right'].sum())} of 5" for model in FIGURE["models"]
    ]


def test_a_difference_too_small_to_print_has_no_minus():
    assert str(retrieval.points([0.30001, 0.3])) == "0.0"
    assert retrieval.points([0.5, 0.25]) == -25.0


def test_the_middle_frame_of_a_tracklet_is_shown(dataset, tmp_path):
    frame, *_ = draw(dataset, tmp_path / "out")
    for row in frame.itertuples():
        folder = dataset / "root" / Path(row.frame).parent
        names = sorted(path.name for path in folder.iterdir())
        assert Path(row.frame).name == names[len(names) // 2]


def test_gaps_are_those_of_a_naive_loop():
    rng = np.random.default_rng(5)
    pids = rng.permutation(np.repeat([-1, 0, 1, 2, 3, 4], [3, 4, 5, 3, 2, 6]))
    features = rng.normal(size=(len(pids), 4))
    found = anchor_gaps(features, pids, euclidean_distance).set_index("anchor")
    expected = {}
    for anchor in range(len(pids)):
        others = [j for j in range(len(pids)) if j != anchor and pids[j] == pids[anchor]]
        if pids[anchor] > 0 and len(others) >= 2:
            far = [float(np.linalg.norm(features[anchor] - features[j])) for j in others]
            expected[anchor] = (others[int(np.argmin(far))], others[int(np.argmax(far))], max(far) - min(far))
    assert found.index.sort_values().to_list() == sorted(expected)
    for anchor, (nearest, farthest, gap) in expected.items():
        assert found.loc[anchor, ["nearest", "farthest"]].to_list() == [nearest, farthest]
        assert found.loc[anchor, "gap"] == pytest.approx(gap)
    means = [np.mean([expected[a][2] for a in expected if pids[a] == pid]) for pid in (1, 2, 4)]
    assert mean_gap(found) == pytest.approx(np.mean(means))


def test_of_people_with_equally_many_tracklets_it_is_the_dvdp_of_the_losses():
    rng = np.random.default_rng(6)
    pids, features = np.repeat([1, 2, 3], 4), rng.normal(size=(12, 5))
    apart = losses.cosine_distances(torch.from_numpy(features))
    labels = torch.from_numpy(pids)
    assert mean_gap(anchor_gaps(features, pids, cosine_distance)) == pytest.approx(
        float(losses.dvdp(apart, labels)), abs=1e-6
    )
    assert spread(features, pids, cosine_distance) == pytest.approx(float(losses.spread(apart, labels)), abs=1e-6)


def test_the_spread_is_of_people_alone_whatever_the_chunks(monkeypatch):
    rng = np.random.default_rng(7)
    pids, features = np.array([1, 0, 1, 2, -1, 2, 3]), rng.normal(size=(7, 5))
    people = pids > 0
    whole = spread(features[people], pids[people], cosine_distance)
    monkeypatch.setattr("vreid.gaps.CHUNK", 2)
    assert spread(features, pids, cosine_distance) == pytest.approx(whole)
    assert spread(features[pids == 2], pids[pids == 2], cosine_distance) == 0


def test_the_largest_gaps_are_one_a_person_and_measured_again_on_the_same_pairs():
    rng = np.random.default_rng(8)
    pids, features, others = np.repeat([1, 2, 3], 5), rng.normal(size=(15, 4)), rng.normal(size=(15, 4))
    every = anchor_gaps(features, pids, cosine_distance)
    chosen = largest(every, 2)
    best = every.groupby("pid")["gap"].max().sort_values(ascending=False)[:2]
    assert chosen["pid"].to_list() == best.index.to_list() and chosen["gap"].to_list() == best.to_list()
    again = measured_again(chosen, others, cosine_distance)
    for row in again.itertuples():
        near, far = cosine_distance(others[[row.anchor]], others[[row.nearest, row.farthest]])[0]
        assert (row.near, row.far, row.gap) == pytest.approx((near, far, far - near))


def test_the_pairs_of_the_first_model_are_shown_with_the_distances_of_both(dataset, tmp_path):
    frame, words, _ = draw(dataset, tmp_path / "out")
    runs = retrieval.read_runs(FIGURE, given(dataset)["features"], "queries-removed")
    chosen = largest(anchor_gaps(runs[0].features, runs[0].arrays["pids"], cosine_distance), 2)
    shown = frame[frame["panel"] == "gap"]
    assert shown[shown["role"] == "anchor"]["pid"].to_list() == chosen["pid"].to_list()
    for run in runs:
        again = measured_again(chosen, run.features, cosine_distance)
        for role, column in (("nearest", "near"), ("farthest", "far")):
            part = shown[(shown["role"] == role) & (shown["model"] == run.model)]
            assert part["distance"].to_numpy() == pytest.approx(again[column].to_numpy(), abs=1e-6)
    means = [mean_gap(anchor_gaps(run.features, run.arrays["pids"], cosine_distance)) for run in runs]
    assert [cell["text"] for cell in words["tables"][1]["rows"][0][1:]] == [f"{mean:.4f}" for mean in means]


def test_the_figure_is_written_whole_the_same_every_time_and_says_what_it_is(dataset, tmp_path):
    for name in "ab":
        _, words, svg = draw(dataset, tmp_path / name)
    for suffix in ("svg", "png", "csv", "json"):
        first, second = ((tmp_path / name / f"gallery.{suffix}").read_bytes() for name in "ab")
        assert first == second and len(first) > 100
    assert "synth-mars (rendered), seed 0, recipe paper, protocol queries-removed" in svg
    for told in ("people are rendered", "One seed", "1 with the highest ΔAP", "favours no model"):
        assert told in words["caption"]
    assert words["number"] == "" and "Person" in words["alt"]


def test_filmed_people_are_not_called_rendered(dataset, tmp_path):
    for path in given(dataset)["features"]:
        change(path, rendered=False)
    _, words, svg = draw(dataset, tmp_path / "out")
    assert "(filmed)" in svg and "rendered" not in json.dumps(words)


def change(path: Path, arrays: dict | None = None, **about) -> None:
    """Write features anew with other arrays or another provenance."""
    with np.load(path) as stored:
        found = {name: stored[name] for name in stored.files}
    found |= arrays or {}
    found["provenance"] = json.dumps(json.loads(str(found["provenance"])) | about)
    np.savez(path, **found)


@pytest.mark.parametrize(
    ("about", "complaint"),
    [
        ({"model": "asta"}, r"aitl\.npz: its model is 'asta', but the figure is of 'aitl'"),
        ({"seed": 1}, r"aitl\.npz: its seed is 1, but the figure is of 0"),
        ({"test_dataset": "synth-duke"}, r"aitl\.npz: its test_dataset is 'synth-duke', but the figure is of"),
    ],
)
def test_features_of_another_run_or_dataset_are_refused(dataset, tmp_path, about, complaint):
    change(dataset / "aitl.npz", **about)
    with pytest.raises(InputError, match=complaint):
        draw(dataset, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_features_of_other_tracklets_are_refused(dataset, tmp_path):
    with np.load(dataset / "aitl.npz") as stored:
        tracklets = stored["tracklets"] + 1
    change(dataset / "aitl.npz", {"tracklets": tracklets})
    with pytest.raises(InputError, match=r"aitl\.npz: its tracklets are not those of .*baseline\.npz"):
        draw(dataset, tmp_path / "out")


def test_queries_none_of_which_has_a_match_are_refused(dataset, tmp_path):
    for path in given(dataset)["features"]:
        change(path, {"camids": np.ones_like(np.load(path)["camids"])})
    with pytest.raises(InputError, match=r"none of the 8 queries has a match"):
        draw(dataset, tmp_path / "out")


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"headline": "mine"}, "no protocol is called 'mine'"),
        ({"spec": FIGURE | {"models": ["baseline"]}}, "compares two models"),
        ({"spec": FIGURE | {"queries_per_side": 9}}, "lower `queries_per_side`"),
        ({"root": Path("elsewhere")}, "is this the root of the index"),
    ],
)
def test_what_does_not_belong_is_refused(dataset, tmp_path, changed, complaint):
    with pytest.raises(InputError, match=complaint):
        draw(dataset, tmp_path / "out", **changed)
    assert not (tmp_path / "out").exists()


def test_an_index_without_the_tracklets_is_refused(dataset, tmp_path):
    table = write_dataset(tmp_path / "other", train_people=1, test_people=2)
    write_tracklets(table, dataset / "index.csv.gz")
    with pytest.raises(InputError, match=r"index\.csv\.gz: lacks tracklets of .*baseline\.npz"):
        draw(dataset, tmp_path / "out")


def test_people_with_two_tracklets_have_no_gap_and_a_set_of_them_is_refused(dataset, tmp_path):
    assert anchor_gaps(np.eye(4), np.array([1, 1, 2, 2]), cosine_distance).empty
    for path in given(dataset)["features"]:
        stored = np.load(path)
        keep = ~((stored["camids"] == 3) & (stored["pids"] > 0))
        names = ("features", "pids", "camids", "tracklets", "splits")
        change(path, {name: stored[name][keep] for name in names})
    with pytest.raises(InputError, match=r"baseline\.npz: no person has three test tracklets"):
        draw(dataset, tmp_path / "out")
