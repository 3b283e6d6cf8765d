"""Fig. 6: where a network looks, what of it falls on the person, and that bad input is refused by name."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tiny import write_dataset
from vreid.attend import annotated, attend, attention
from vreid.data.frame_maps import PLACE, FrameMaps, read_frame_maps, write_frame_maps
from vreid.data.frames import FrameReader
from vreid.data.tracklets import KEY, expand_frames, read_tracklets, write_tracklets
from vreid.errors import InputError
from vreid.figures import attention as fig6
from vreid.focus import focus
from vreid.models.method import Outputs
from vreid.spec import Spec
from vreid.walkers.draw import shot
from vreid.walkers.population import tracklets
from vreid.walkers.truth import cells, write_cells
from vreid.walkers.world import World

ABOUT = {
    "model": "asta",
    "seed": 0,
    "recipe": "paper",
    "train_dataset": "synth-mars",
    "test_dataset": "synth-mars",
    "rendered": True,
}
FIGURE = {"number": 6, "title": "Attention", "model": "asta", "tracklets_per_kind": 1}
WORLD = {
    "layout": "mars",
    "seed": 3,
    "train_people": 1,
    "test_people": 4,
    "height": 32,
    "width": 16,
    "mean_frames": 3,
    "tracklets_per_person": 0.2,
    "camera_strength": 1,
    "jitter": 1,
    "fault_rate": 5,
    "identity_detail": 0.5,
}


def maps_of(places: pd.DataFrame, seed=0, grid=(4, 2), names=("irrelevant", "relevant")) -> FrameMaps:
    rng = np.random.default_rng(seed)
    return FrameMaps(places, {name: rng.random((len(places), *grid), np.float32) for name in names}, ABOUT)


def places_of(table: pd.DataFrame) -> pd.DataFrame:
    rows = [(row.pid, row.camid, row.tracklet, k + 1) for row in table.itertuples() for k in range(row.num_frames)]
    return pd.DataFrame(rows, columns=PLACE)


@pytest.fixture
def dataset(tmp_path):
    """Index, root and maps of a few people; every fault is among them."""
    table = write_dataset(tmp_path / "root")
    people = table[table["pid"] > 0]
    for place, kind in enumerate(fig6.KINDS):
        table.loc[people.index[place], kind] = 1
    write_tracklets(table, tmp_path / "index.csv.gz")
    maps = maps_of(places_of(people))
    write_frame_maps(maps, tmp_path / "maps.npz")
    rng = np.random.default_rng(9)
    target, hidden = (rng.random((len(maps.places), 4, 2)) / 2 for _ in range(2))
    write_frame_maps(FrameMaps(maps.places, {"target": target, "hidden": hidden}, {}), tmp_path / "cells.npz")
    return tmp_path


def draw(dataset: Path, out: Path, **changed) -> None:
    paths = {"maps_path": dataset / "maps.npz", "cells_path": dataset / "cells.npz"}
    given = {"spec": FIGURE, **paths, "index_path": dataset / "index.csv.gz", "root": dataset / "root"} | changed
    fig6.attention(**given, out_stem=out)


def test_the_share_on_the_target_is_that_of_naive_loops():
    places = pd.DataFrame([(1, 1, 1, 1), (1, 1, 1, 2), (2, 1, 1, 1)], columns=PLACE)
    found, rng = maps_of(places), np.random.default_rng(4)
    target, hidden = rng.random((3, 4, 2)), np.zeros((3, 4, 2))
    target[2] = 0  # nobody there
    shuffled = [2, 0, 1]
    truth = FrameMaps(places.iloc[shuffled], {"target": target[shuffled], "hidden": hidden}, {})
    table = fig6.shares(found, truth, "cells.npz")
    assert table[PLACE].to_numpy().tolist() == places[:2].to_numpy().tolist()
    for frame in range(2):
        for stream, maps in found.maps.items():
            on = sum(float(maps[frame, y, x]) * target[frame, y, x] for y in range(4) for x in range(2))
            assert table[stream][frame] == pytest.approx(on / float(maps[frame].sum()), rel=1e-5)


def test_even_attention_gives_the_targets_share_of_the_area():
    places = pd.DataFrame([(1, 1, 1, 1)], columns=PLACE)
    target = np.zeros((1, 4, 2))
    target[0, 1:3, 0] = 1
    found = FrameMaps(places, {"relevant": np.full((1, 4, 2), 0.7)}, ABOUT)
    (row,) = fig6.shares(found, FrameMaps(places, {"target": target, "hidden": 0 * target}, {}), "x").itertuples()
    assert row.target == row.relevant == pytest.approx(0.25)


def test_frames_are_occluded_by_what_is_hidden_of_the_target():
    table = pd.DataFrame({"target": [0.9, 0.8, 0.0], "hidden": [0.1, 0.2, 0.1]})
    groups = fig6.mean_shares(table)
    assert [len(part) for part in groups.values()] == [1, 2, 3]


def test_a_cell_holds_the_mean_of_its_pixels():
    mask = np.zeros((4, 4), bool)
    mask[0, 0] = mask[2:, 2:] = True
    assert cells(mask, (2, 2)).tolist() == [[0.25, 0], [0, 1]]


def test_what_the_target_takes_is_that_of_its_drawn_frames(tmp_path):
    world = World.from_mapping(WORLD)
    walks = [walk for walk in tracklets(world) if walk.pid > 0][:3]
    places = pd.DataFrame([(walk.pid, walk.camid, walk.number, 2) for walk in walks], columns=PLACE)
    write_frame_maps(maps_of(places), tmp_path / "maps.npz")
    write_cells(world, tmp_path / "maps.npz", tmp_path / "cells.npz")
    found = read_frame_maps(tmp_path / "cells.npz")
    assert found.grid == (4, 2)
    for place, walk in enumerate(walks):
        truly = shot(world, walk, 1)
        assert found.maps["target"][place].mean() == pytest.approx(truly.target.mean(), abs=1e-6)
        assert found.maps["hidden"][place].mean() == pytest.approx(truly.hidden.mean(), abs=1e-6)


def test_maps_of_another_world_are_refused(tmp_path):
    write_frame_maps(maps_of(pd.DataFrame([(999, 1, 1, 1)], columns=PLACE)), tmp_path / "maps.npz")
    with pytest.raises(InputError, match=r"maps\.npz: the world has no tracklet \(999, 1, 1\)"):
        write_cells(World.from_mapping(WORLD), tmp_path / "maps.npz", tmp_path / "cells.npz")


def test_the_figure_is_written_whole_the_same_every_time(dataset, tmp_path):
    for name in "ab":
        draw(dataset, tmp_path / name / "fig6")
    for suffix in ("svg", "png", "csv", "json"):
        first, second = ((tmp_path / name / f"fig6.{suffix}").read_bytes() for name in "ab")
        assert first == second and len(first) > 100
    assert "synth-mars (rendered), model asta, seed 0, recipe paper" in (tmp_path / "a/fig6.svg").read_text()
    (table,) = json.loads((tmp_path / "a/fig6.json").read_text())["tables"]
    assert [row[0] for row in table["rows"]] == ["without occlusion", "with occlusion", "all"]


def test_filmed_frames_are_drawn_without_the_number(dataset, tmp_path):
    maps = read_frame_maps(dataset / "maps.npz")
    write_frame_maps(maps._replace(about=ABOUT | {"rendered": False}), dataset / "maps.npz")
    draw(dataset, tmp_path / "fig6", cells_path=None)
    said = json.loads((tmp_path / "fig6.json").read_text())
    assert not said["tables"] and "(filmed)" in said["caption"]


def test_each_kind_is_shown_by_tracklets_of_that_kind(dataset):
    index, maps = read_tracklets(dataset / "index.csv.gz"), read_frame_maps(dataset / "maps.npz")
    chosen = fig6.choose(index, maps, 2, "index")
    assert [kind for kind, *_ in chosen] == [kind for kind in fig6.KINDS for _ in range(2)]
    assert all(row[kind] == 1 for kind, row, _ in chosen)
    assert len({row["pid"] for _, row, _ in chosen}) == len(chosen)


def test_what_is_drawn_is_what_the_maps_hold(dataset):
    index, maps = read_tracklets(dataset / "index.csv.gz"), read_frame_maps(dataset / "maps.npz")
    chosen = fig6.choose(index, maps, 1, "index")
    table = fig6.drawn(maps, chosen)
    for row in table.sample(20, random_state=0).itertuples():
        here = (maps.places[PLACE] == [row.pid, row.camid, row.tracklet, row.frame]).all(axis=1)
        value = maps.maps[row.stream][here.to_numpy()][0, row.row - 1, row.column - 1]
        assert row.attention == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"spec": FIGURE | {"model": "other"}}, "maps of 'asta', but the figure is of 'other'"),
        ({"maps_path": Path("absent.npz")}, "absent.npz: no such file"),
        ({"cells_path": "maps.npz"}, "not the target's share of the cells"),
        ({"root": Path("elsewhere")}, "is this the root of the index"),
    ],
)
def test_what_does_not_belong_is_refused(dataset, tmp_path, changed, complaint):
    if changed.get("cells_path"):
        changed = {"cells_path": dataset / "maps.npz"}
    with pytest.raises(InputError, match=complaint):
        draw(dataset, tmp_path / "out" / "fig6", **changed)
    assert not (tmp_path / "out" / "fig6.csv").exists()


def test_focus_is_what_falls_on_the_person_and_off_what_hides_them_beyond_the_mean_map(dataset):
    focus(dataset / "maps.npz", dataset / "cells.npz", dataset / "focus.json")
    record = json.loads((dataset / "focus.json").read_text())
    maps, known = (read_frame_maps(dataset / name) for name in ("maps.npz", "cells.npz"))
    assert record["streams"].keys() == maps.maps.keys() and record["model"] == ABOUT["model"]
    names = ["C".join(map(str, place)) for place in maps.places[KEY].to_numpy()]
    for stream, own in record["streams"].items():
        even = [mass / mass.sum() for mass in maps.maps[stream].astype(float)]
        on, off = {}, {}
        for name, mass, target, hidden in zip(names, even, known.maps["target"], known.maps["hidden"]):
            beyond = mass - np.mean([other for whose, other in zip(names, even) if whose != name], axis=0)
            on.setdefault(name, []).append(100 * (beyond * target).sum())
            if hidden.sum() > 0.1 * (hidden + target).sum():
                off.setdefault(name, []).append(-100 * (beyond * hidden).sum())
        for side, expected in (("on", on), ("off", off)):
            assert own[side] == pytest.approx({name: np.mean(values) for name, values in expected.items()}, abs=1e-3)


def test_attention_that_knows_the_place_and_not_the_picture_has_no_focus(dataset):
    maps = read_frame_maps(dataset / "maps.npz")
    placed = {name: np.broadcast_to(values[:1], values.shape).copy() for name, values in maps.maps.items()}
    write_frame_maps(maps._replace(maps=placed), dataset / "placed.npz")
    focus(dataset / "placed.npz", dataset / "cells.npz", dataset / "focus.json")
    for sides in json.loads((dataset / "focus.json").read_text())["streams"].values():
        assert sides["on"] and sides["off"]
        assert all(value == pytest.approx(0, abs=1e-4) for own in sides.values() for value in own.values())


def test_a_torn_file_of_maps_is_refused(dataset):
    path = dataset / "maps.npz"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=r"maps\.npz: not a whole file of maps"):
        read_frame_maps(path)


class Looks(torch.nn.Module):
    """Attention that is the mean brightness of each half of a frame."""

    def forward(self, clips):
        halves = clips.mean(2).unflatten(2, (2, -1)).mean((3, 4))
        return Outputs(clips, clips, None, attention={"relevant": halves[..., None].sigmoid()})


@pytest.fixture(scope="module")
def spec():
    clip = {"frames": 2, "height": 64, "width": 32}
    return Spec.from_mapping({"method": "multitask", "model": "asta", "seed": 0, "clips": clip})


def test_every_annotated_tracklet_gives_one_clip_each_frame_once(dataset, spec):
    rows = annotated(read_tracklets(dataset / "index.csv.gz"), "index")
    assert (rows["pid"] > 0).all()
    reader = FrameReader(dataset / "root", 64, 32)
    places, maps = attention(Looks(), rows, reader, spec)
    assert not places.duplicated().any()
    assert places.groupby(PLACE[:3], sort=False).size().to_list() == [min(2, n) for n in rows["num_frames"]]
    assert maps["relevant"].shape == (len(places), 2, 1)
    row = rows[rows["num_frames"] > 1].iloc[0]
    here = (places["pid"] == row["pid"]) & (places["camid"] == row["camid"])
    names = expand_frames(row["frames"])
    frames = reader([names[k - 1] for k in places[here]["frame"]]).float() / 255
    brighter = frames.mean(1).unflatten(1, (2, -1)).mean((2, 3))
    order = maps["relevant"][here.to_numpy()][..., 0]
    assert (np.argsort(order.ravel()) == np.argsort(brighter.numpy().ravel())).all()


def test_an_index_without_annotation_is_refused(dataset):
    bare = read_tracklets(dataset / "index.csv.gz").drop(columns="occlusion")
    with pytest.raises(InputError, match=r"index\.csv: no test tracklet is annotated"):
        annotated(bare, "index.csv")


def test_a_run_that_was_not_trained_is_named(dataset, spec):
    spec.save(dataset / "spec.json")
    with pytest.raises(InputError, match=r"train\.json"):
        attend(
            dataset / "spec.json",
            dataset / "weights.pt",
            dataset / "index.csv.gz",
            dataset / "root",
            "tiny",
            dataset / "out.npz",
        )


def test_a_network_without_attention_is_refused(dataset, spec, monkeypatch):
    class Blind(torch.nn.Module):
        def forward(self, clips):
            return Outputs(clips, clips, None)

    spec.save(dataset / "spec.json")
    monkeypatch.setattr("vreid.attend.train_record", lambda path, spec: {})
    monkeypatch.setattr("vreid.attend.load_network", lambda *_: (None, None, Blind()))
    given = [dataset / name for name in ("spec.json", "weights.pt", "index.csv.gz", "root")]
    with pytest.raises(InputError, match=r"spec\.json: the network of 'asta' has no attention; name a model"):
        attend(*given, "tiny", dataset / "out.npz")
    assert not (dataset / "out.npz").exists()
