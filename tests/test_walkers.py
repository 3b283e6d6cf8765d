"""The rendered worlds: what they promise to whoever trains, indexes and measures on them."""

import hashlib
import json
import re
from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.io import loadmat

from vreid.errors import InputError
from vreid.walkers import draw, write
from vreid.walkers.marginals import load
from vreid.walkers.population import tracklets
from vreid.walkers.world import World

IRRELEVANT = (
    "motion,pose,occlusion,cut-out,{},"  # the two files spell multi-person differently
    "background-dominant,target-change,target-miss,wrong-target"
)
HEADERS = {
    "mars": f"person_id,camera_id,tracklets_id,{IRRELEVANT.format('multi-person')},top color,bottom color,"
    "age,top length,bottom length,shoulder bag,backpack,hat,hand bag,hair,gender,bottom type",
    "duke": f"person_id,camera_id,tracklets_id,{IRRELEVANT.format('muti-person')},backpack,bag,handbag,boots,"
    "gender,hat,shoes,top,bottom color,top color",
}
CLASSES = {  # of the attributes with more than two codes
    "mars": {"motion": 5, "pose": 6, "top color": 9, "bottom color": 10, "age": 4},
    "duke": {"motion": 5, "pose": 6, "top color": 9, "bottom color": 8},
}
FAULTS = IRRELEVANT.format("multi-person").split(",")[2:]
MAPPING = {
    "layout": "mars",
    "seed": 3,
    "train_people": 3,
    "test_people": 4,
    "height": 64,
    "width": 32,
    "mean_frames": 4,
    "tracklets_per_person": 0.3,
    "camera_strength": 1.0,
    "jitter": 1.0,
    "fault_rate": 1.0,
    "identity_detail": 1.0,
}
SIZES = {
    "mars": {"layout": "mars", "train_people": 150, "test_people": 100, "tracklets_per_person": 0.6},
    "duke": {"layout": "duke", "train_people": 170, "test_people": 170, "tracklets_per_person": 1.0},
}


def world(**changes) -> World:
    return World.from_mapping(MAPPING | changes)


@pytest.fixture(scope="module", params=["mars", "duke"])
def rendered(request, tmp_path_factory):
    """A tiny world of either layout on disk."""
    small, root = world(layout=request.param), tmp_path_factory.mktemp("walkers") / "tiny"
    write.render(small, root, workers=1)
    return small, root


@pytest.fixture(params=["mars", "duke"])
def walk(request):
    """A tracklet of eight frames, half from the front, without a fault, of somebody in trousers."""
    small = world(layout=request.param, mean_frames=8, camera_strength=0)
    somebody = next(t for t in tracklets(small) if t.split == "train")
    codes = dict.fromkeys(somebody.attributes, 0) | {"pose": 1}
    if request.param == "mars":
        codes |= {"bottom type": 1, "top length": 1}
    return small, replace(somebody, num_frames=8, attributes=codes)


def pixels(small, tracklet) -> np.ndarray:
    return np.stack([np.asarray(image, np.int16) for image in draw.frames(small, tracklet)])


@pytest.mark.parametrize("rendered", ["mars"], indirect=True)
def test_the_bytes_do_not_depend_on_the_number_of_workers(rendered, tmp_path, monkeypatch):
    monkeypatch.setattr(write, "CHUNK", 7)
    small, root = rendered
    write.render(small, tmp_path / "tiny", workers=2)
    assert (tmp_path / "tiny.json").read_text() == root.with_name("tiny.json").read_text()


def test_the_manifest_digests_the_bytes_on_disk_and_counts_what_is_there(rendered):
    small, root = rendered
    manifest = json.loads(root.with_name("tiny.json").read_text())
    files = sorted((p.relative_to(root).as_posix(), p) for p in root.rglob("*") if p.is_file())
    whole = hashlib.sha256()
    for name, path in files:
        whole.update(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    assert manifest["sha256"] == whole.hexdigest() and manifest["files"] == len(files)
    assert sum(split["frames"] for split in manifest["splits"].values()) == len(list(root.rglob("*.jpg")))
    assert manifest["splits"]["train"]["people"] == 3
    assert World.from_mapping(manifest["world"]) == small


def test_another_seed_is_another_population():
    one, other = (tracklets(world(seed=seed)) for seed in (3, 4))
    assert [t.attributes for t in one] != [t.attributes for t in other]
    first = next(t for t in one if t.split == "train")
    assert not np.array_equal(pixels(world(seed=3), first), pixels(world(seed=4), first))


def test_mars_layout_has_name_lists_whose_lines_the_track_tables_share_out(tmp_path):
    root = tmp_path / "tiny"
    write.render(world(), root, workers=1)
    for split in ("train", "test"):
        names = (root / f"info/{split}_name.txt").read_text().split()
        table = loadmat(root / f"info/tracks_{split}_info.mat")[f"track_{split}_info"].astype(int)
        assert table[0, 0] == 1 and table[-1, 1] == len(names)
        assert (table[1:, 0] == table[:-1, 1] + 1).all()
        for first, last, pid, camera in table.tolist():
            person = "00-1" if pid < 0 else f"{pid:04d}"
            assert 1 <= camera <= 6 and (pid > 0 or split == "test")
            for k, name in enumerate(names[first - 1 : last], start=1):
                assert re.fullmatch(rf"{person}C{camera}T\d{{4}}F{k:03d}\.jpg", name)
                assert (root / f"bbox_{split}" / person / name).is_file()
        assert len(list((root / f"bbox_{split}").rglob("*.jpg"))) == len(names)


def test_mars_queries_are_one_tracklet_of_each_person_and_camera(tmp_path):
    root = tmp_path / "tiny"
    write.render(world(), root, workers=1)
    table = loadmat(root / "info/tracks_test_info.mat")["track_test_info"].astype(int)
    queries = loadmat(root / "info/query_IDX.mat")["query_IDX"].ravel().astype(int)
    pairs = [tuple(pair) for pair in table[queries - 1, 2:].tolist()]
    assert len(pairs) == len(set(pairs))
    assert set(pairs) == {tuple(pair) for pair in table[:, 2:].tolist() if pair[0] > 0}


def test_duke_layout_has_one_query_a_person_and_marks_distractors(tmp_path):
    root = tmp_path / "tiny"
    write.render(world(layout="duke"), root, workers=1)
    people = {split: {p.name for p in (root / split).iterdir()} for split in ("train", "query", "gallery")}
    assert not people["train"] & (people["query"] | people["gallery"])
    assert all(len(list(person.iterdir())) == 1 for person in (root / "query").iterdir())
    marks = defaultdict(set)
    for path in root.rglob("*.jpg"):
        split, person, tracklet, name = path.relative_to(root).parts
        found = re.fullmatch(rf"{person}_C([1-8])_F\d{{4}}_([XD])\d{{5}}\.jpg", name)
        assert found and re.fullmatch(r"\d{4}", tracklet)
        marks[split, person].add(found[2])
    assert {key for key, mark in marks.items() if "D" in mark} == {
        ("gallery", person) for person in people["gallery"] - people["query"]
    }


def test_the_attribute_file_has_the_real_columns_and_a_row_for_each_real_person_s_tracklet(rendered):
    small, root = rendered
    path = root / f"{small.layout}_attributes.csv"
    assert path.read_text().splitlines()[0] == HEADERS[small.layout]
    table = pd.read_csv(path)
    keys = [(t.pid, t.camid, t.number) for t in tracklets(small) if t.pid > 0]
    assert list(table.iloc[:, :3].itertuples(index=False, name=None)) == keys and len(set(keys)) == len(keys)
    for name in table.columns[3:]:
        assert table[name].between(0, CLASSES[small.layout].get(name, 2) - 1).all()


def test_every_code_of_every_attribute_is_drawn_differently(walk):
    small, base = walk
    for name in base.attributes:
        seen = [
            pixels(small, replace(base, attributes=base.attributes | {name: code})).tobytes()
            for code in range(CLASSES[small.layout].get(name, 2))
        ]
        assert len(set(seen)) == len(seen), name


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_hits_a_part_of_the_frames(walk, fault):
    small, base = walk
    for frames in (2, 3, 8):
        quiet = replace(base, num_frames=frames)
        faulty = replace(quiet, attributes=base.attributes | {fault: 1})
        differs = (pixels(small, quiet) != pixels(small, faulty)).any(axis=(1, 2, 3))
        assert 1 <= differs.sum() < frames


def test_the_front_is_not_seen_from_behind():
    small = world(camera_strength=0, jitter=0)
    base = next(t for t in tracklets(small) if t.split == "train")
    codes = dict.fromkeys(base.attributes, 0) | {"bottom type": 1}

    def skin(pose):
        shot = draw.shot(small, replace(base, attributes=codes | {"pose": pose}), 0)
        red, _, blue = (np.asarray(shot.image, np.int16)[..., i] for i in range(3))
        return ((red - blue > 40) & shot.target).sum()

    assert skin(0) > skin(4) + 10


def test_the_mask_is_where_the_person_is(walk):
    small, base = walk
    undressed = replace(base, attributes=base.attributes | {"top color": 1, "bottom color": 1})
    for i in range(4):
        one, other = draw.shot(small, base, i), draw.shot(small, undressed, i)
        changed = (np.asarray(one.image) != np.asarray(other.image)).any(axis=2)
        near = np.zeros_like(one.target)
        for down in (-1, 0, 1):
            for right in (-1, 0, 1):
                near |= np.roll(one.target, (down, right), (0, 1))  # an edge pixel is partly the person's
        assert np.array_equal(one.target, other.target)
        assert not (changed & ~near).any()
        assert (changed & one.target).sum() > 0.4 * one.target.sum()
        assert 0.05 < one.target.mean() < 0.5


def test_a_shot_is_the_frame_that_was_rendered(walk):
    small, base = walk
    assert np.array_equal(pixels(small, base)[5], np.asarray(draw.shot(small, base, 5).image))


def test_what_hides_the_target_is_told_apart_from_what_does_not(walk):
    small, base = walk
    behind_things = replace(base, attributes=base.attributes | {"occlusion": 1})
    hidden = []
    for i in range(base.num_frames):
        free, covered = draw.shot(small, base, i), draw.shot(small, behind_things, i)
        assert not free.hidden.any() and not (covered.target & covered.hidden).any()
        same = np.array_equal(np.asarray(free.image), np.asarray(covered.image))
        assert covered.hidden.any() != same
        hidden.append(covered.hidden.any())
    assert 1 <= sum(hidden) < base.num_frames


def test_nobody_is_marked_where_the_target_is_missing(walk):
    small, base = walk
    gone = replace(base, attributes=base.attributes | {"target-miss": 1})
    marked = [draw.shot(small, gone, i).target.any() for i in range(base.num_frames)]
    assert 1 <= marked.count(False) < base.num_frames


def test_a_person_keeps_the_own_traits_before_every_camera():
    small = world(train_people=20)
    wardrobes = defaultdict(list)
    for t in tracklets(small):
        if t.split == "train":
            wardrobes[t.pid].append(tuple(t.attributes[name] for name in load()["mars"]["relevant columns"]))
    changes = sum(len(set(codes)) - 1 for codes in wardrobes.values())
    assert changes < 0.3 * sum(map(len, wardrobes.values()))
    assert len({codes[0] for codes in wardrobes.values()}) > 10


def test_duke_people_have_as_few_tracklets_as_the_real_ones():
    people = Counter(t.pid for t in tracklets(world(**SIZES["duke"])))
    assert np.mean([count < 3 for count in people.values()]) == pytest.approx(0.425, abs=0.02)


def test_mars_splits_have_the_real_proportions():
    walks = tracklets(world(**SIZES["mars"]))
    splits = Counter(t.split for t in walks)
    assert splits["train"] / 150 == pytest.approx(0.6 * 8298 / 625, rel=0.05)
    assert splits["query"] / 100 == pytest.approx(1980 / 626, rel=0.05)
    assert splits["distractor"] / splits["junk"] == pytest.approx(3248 / 870, rel=0.02)
    met = {(t.pid, t.camid) for t in walks if t.split == "gallery"}
    queries = [t for t in walks if t.split == "query"]
    alone = [q for q in queries if not any(pid == q.pid and camid != q.camid for pid, camid in met)]
    assert 0.02 < len(alone) / len(queries) < 0.12  # 7 % of the real ones


@pytest.mark.parametrize("layout", ["mars", "duke"])
def test_codes_are_as_frequent_as_in_the_real_annotations(layout):
    walks = [t for t in tracklets(world(**SIZES[layout])) if t.pid > 0]
    facts = load()[layout]
    for camid, combinations in enumerate(facts["irrelevant"], start=1):
        here = [t for t in walks if t.camid == camid]
        for k, name in enumerate(facts["irrelevant columns"]):
            real = sum(n for codes, n in combinations.items() if codes[k] != "0") / sum(combinations.values())
            assert np.mean([t.attributes[name] != 0 for t in here]) == pytest.approx(real, abs=0.04)
    gender = next(group["people"] for group in facts["relevant"] if group["columns"][0] == "gender")
    women = sum(n for codes, n in gender.items() if codes[0] == "1") / sum(gender.values())
    assert np.mean([t.attributes["gender"] for t in walks]) == pytest.approx(women, abs=0.1)


def test_the_fault_rate_multiplies_the_faults():
    def faulty(rate):
        walks = [t for t in tracklets(world(**SIZES["mars"], fault_rate=rate)) if t.pid > 0]
        return np.mean([any(t.attributes[name] for name in FAULTS) for t in walks])

    assert faulty(0) == 0 < faulty(1) < 0.2 < faulty(4)


@pytest.mark.parametrize("layout", ["mars", "duke"])
def test_lengths_keep_to_the_mean_and_to_the_bounds(layout):
    frames = [t.num_frames for t in tracklets(world(**SIZES[layout], mean_frames=12)) if t.pid > 0]
    assert np.mean(frames) == pytest.approx(12, rel=0.05)
    assert min(frames) == 2 and 30 < max(frames) <= 48


@pytest.mark.parametrize(
    "key, value",
    [
        ("layout", "market"),
        ("seed", -1),
        ("seed", 1.5),
        ("train_people", 0),
        ("test_people", "many"),
        ("height", 8),
        ("mean_frames", 1),
        ("tracklets_per_person", 1.5),
        ("camera_strength", -0.1),
        ("jitter", float("nan")),
        ("fault_rate", True),
        ("identity_detail", None),
    ],
)
def test_a_bad_value_is_refused_by_name(key, value):
    with pytest.raises(InputError, match=rf"\b{key}\b"):
        world(**{key: value})


@pytest.mark.parametrize("key", MAPPING)
def test_a_missing_key_is_refused_by_name(key):
    with pytest.raises(InputError, match=rf"'{key}' is missing"):
        World.from_mapping({name: value for name, value in MAPPING.items() if name != key})


def test_an_unknown_key_is_refused_by_name():
    with pytest.raises(InputError, match="'colour'"):
        world(colour=1)


def test_an_interrupted_render_leaves_what_was_there(tmp_path, monkeypatch):
    old, begun = tmp_path / "data" / "old.txt", []
    old.parent.mkdir()
    old.write_text("kept")

    def interrupted(small, root, walks):
        if begun:
            raise KeyboardInterrupt
        begun.append(walks)
        (root / "bbox_train").mkdir(parents=True)
        return {}

    monkeypatch.setattr(write, "CHUNK", 5)
    monkeypatch.setattr(write, "write_chunk", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write.render(world(), tmp_path / "data", workers=1)
    assert begun and [path.name for path in tmp_path.iterdir()] == ["data"] and old.read_text() == "kept"


def test_a_complete_render_replaces_the_tree_that_was_there(tmp_path):
    stale = tmp_path / "data" / "bbox_train" / "stale.jpg"
    stale.parent.mkdir(parents=True)
    stale.touch()
    write.render(world(train_people=1, test_people=1, mean_frames=2), tmp_path / "data", workers=1)
    assert not stale.exists() and (tmp_path / "data" / "info").is_dir() and (tmp_path / "data.json").is_file()
