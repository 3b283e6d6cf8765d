"""The rules of indexing and joining, on MARS's real split and the real annotations of both datasets."""

import gzip
import hashlib
import re

import pytest

import realdata
from vreid.data.attributes import GROUPS, annotate_file, targets, vocabulary_of
from vreid.data.layouts import index
from vreid.data.tracklets import read_tracklets

MARS = {
    "train": {"tracklets": 8298, "people": 625, "frames": 509_914},
    "query": {"tracklets": 1980, "people": 626},
    "gallery": {"tracklets": 9330, "people": 621},
    "junk": {"tracklets": 870, "people": 1},
    "test": {"tracklets": 12_180, "frames": 681_089},
}
DUKE = {
    "train": {"tracklets": 2196, "people": 702},
    "query": {"tracklets": 702, "people": 702},
    "gallery": {"tracklets": 1934, "people": 1110},
    "test": {"tracklets": 2636},
}


@pytest.fixture(scope="module")
def mars(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mars")
    realdata.write_mars_info(folder)
    index("mars", folder, True, MARS, folder / "tracklets.csv.gz")
    annotate_file(folder / "tracklets.csv.gz", realdata.MARS_ATTRIBUTES, folder / "annotated.csv.gz")
    return read_tracklets(folder / "annotated.csv.gz")


@pytest.fixture(scope="module")
def duke(tmp_path_factory):
    folder = tmp_path_factory.mktemp("duke")
    realdata.write_duke_tree(folder)
    index("duke", folder, True, DUKE, folder / "tracklets.csv.gz")
    annotate_file(folder / "tracklets.csv.gz", realdata.DUKE_ATTRIBUTES, folder / "annotated.csv.gz")
    return read_tracklets(folder / "annotated.csv.gz")


def test_the_files_are_the_published_ones():
    listed = re.findall(r"`([0-9a-f]{64})` \| `(\S+)`(, unpacked)?", (realdata.DATA / "README.md").read_text())
    assert len(listed) == 7
    for digest, name, unpacked in listed:
        content = (realdata.DATA / name).read_bytes()
        assert hashlib.sha256(gzip.decompress(content) if unpacked else content).hexdigest() == digest, name


def test_mars_has_the_published_counts(mars):
    assert mars["split"].value_counts().to_dict() == {
        "train": 8298,
        "query": 1980,
        "gallery": 9330,
        "junk": 870,
    }
    assert mars.groupby("split")["pid"].nunique().to_dict() == {
        "train": 625,
        "query": 626,
        "gallery": 621,
        "junk": 1,
    }
    assert mars[mars["split"] == "train"]["num_frames"].sum() == 509_914
    assert mars[mars["split"] != "train"]["num_frames"].sum() == 681_089
    assert mars["num_frames"].agg(["min", "max"]).tolist() == [2, 920]
    assert (mars["pid"] == 0).sum() == 3248


def test_every_tracklet_of_a_person_in_mars_is_annotated_and_no_other(mars):
    assert mars["motion"].notna().sum() == 16_360
    assert (mars["motion"].notna() == (mars["pid"] > 0)).all()
    assert (mars["motion"] == 0).sum() == 14_677
    assert (mars["wrong-target"] == 1).sum() == 24


def test_the_published_rows_of_the_annotation_arrive_at_their_tracklets(mars, duke):
    in_mars = mars.set_index(["pid", "camid", "tracklet"]).loc[(1, 5, 95)]  # line 4 of the file
    assert in_mars["frames"].startswith("bbox_train/0001/0001C5T0095F{001..")
    assert in_mars[["motion", "pose", "top color", "bottom color", "age"]].tolist() == [1, 3, 8, 0, 1]
    in_duke = duke.set_index(["pid", "camid", "tracklet"]).loc[(1, 6, 3)]  # line 4 of the file
    assert in_duke["frames"] == "train/0001/0003/0001_C6_F0001_X00001.jpg"
    assert in_duke[["pose", "backpack", "shoes", "top color"]].tolist() == [1, 1, 1, 0]


def test_duke_divides_as_published_and_every_row_of_its_annotation_joins(duke):
    assert duke["split"].value_counts().to_dict() == {"train": 2196, "gallery": 1934, "query": 702}
    assert duke["motion"].notna().sum() == 4832
    assert duke["pid"].nunique() == 1812


@pytest.mark.parametrize(("dataset", "outputs"), [("mars", [25, 41]), ("duke", [25, 33])])
def test_targets_have_one_hot_class_of_each_attribute(dataset, outputs, request):
    table = request.getfixturevalue(dataset)
    vocabulary = vocabulary_of(table.columns)
    assert [vocabulary.outputs(group) for group in GROUPS] == outputs
    for group, width in zip(GROUPS, outputs):
        onehot, mask = targets(table, vocabulary, group)
        assert onehot.shape == (len(table), width)
        assert (mask == (table["pid"] > 0)).all()
        assert set(onehot[mask].sum(axis=1)) == {len(vocabulary.group(group))}
        assert not onehot[~mask].any()
