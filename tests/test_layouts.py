import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.io import savemat

from vreid.data.duke import index_duke
from vreid.data.layouts import check_counts, index
from vreid.data.mars import index_mars
from vreid.data.tracklets import COLUMNS, expand_frames, read_tracklets
from vreid.errors import InputError

INFO = ["train_name.txt", "test_name.txt", "tracks_train_info.mat", "tracks_test_info.mat", "query_IDX.mat"]
TRAIN = [("0001", 1, 1, [1, 2, 3]), ("0001", 2, 5, [1, 2, 4]), ("0003", 1, 2, [7])]
TEST = [
    ("00-1", 1, 1, [1, 2]),
    ("0000", 1, 1, [1, 2, 3]),
    ("0002", 1, 1, [1, 2]),
    ("0002", 3, 1, [1, 2, 3, 4]),
    ("0004", 2, 7, [1, 2]),
]


@dataclass
class Mars:
    """A small dataset in MARS's layout, to be spoilt."""

    root: Path
    names: dict = field(default_factory=dict)
    tracks: dict = field(default_factory=dict)

    def __post_init__(self):
        (self.root / "info").mkdir(parents=True)
        for side, tracklets in (("train", TRAIN), ("test", TEST)):
            self.names[side], self.tracks[side] = [], []
            for label, camid, number, frames in tracklets:
                names = [f"{label}C{camid}T{number:04d}F{frame:03d}.jpg" for frame in frames]
                folder = self.root / f"bbox_{side}" / label
                folder.mkdir(parents=True, exist_ok=True)
                for name in names:
                    (folder / name).write_bytes(b"frame")
                first = len(self.names[side]) + 1
                self.names[side] += names
                pid = -1 if label == "00-1" else int(label)
                self.tracks[side].append([first, len(self.names[side]), pid, camid])
        self.write()
        self.write_queries([3, 5])

    def info(self, name: str) -> Path:
        return self.root / "info" / name

    def write(self):
        for side in ("train", "test"):
            self.info(f"{side}_name.txt").write_text("".join(f"{name}\n" for name in self.names[side]))
            savemat(
                self.info(f"tracks_{side}_info.mat"),
                {f"track_{side}_info": np.array(self.tracks[side], float)},
            )

    def write_queries(self, rows: list):
        savemat(self.info("query_IDX.mat"), {"query_IDX": np.array([rows], float)})

    def frames(self, table: pd.DataFrame) -> list[Path]:
        return [self.root / name for template in table["frames"] for name in expand_frames(template)]

    def complaint(self, names_only: bool = True) -> str:
        return complaint("mars", self.root, names_only)


@pytest.fixture
def mars(tmp_path) -> Mars:
    return Mars(tmp_path / "mars")


@pytest.fixture
def duke(tmp_path) -> Path:
    """A small dataset in DukeMTMC-VideoReID's layout; the gallery holds person 3's query tracklet too."""
    root = tmp_path / "duke"
    for split, pid, camid, tracklet, letter, frames in [
        ("train", 1, 2, 1, "X", 4),
        ("train", 1, 5, 2, "X", 3),
        ("query", 3, 1, 3, "X", 2),
        ("gallery", 3, 1, 3, "X", 2),
        ("gallery", 3, 4, 4, "X", 2),
        ("gallery", 9, 8, 5, "D", 1),
    ]:
        folder = root / split / f"{pid:04d}" / f"{tracklet:04d}"
        folder.mkdir(parents=True)
        for frame in range(1, frames + 1):
            (folder / f"{pid:04d}_C{camid}_F{frame:04d}_{letter}{115 + 8 * frame:05d}.jpg").write_bytes(b"frame")
    return root


def complaint(layout: str, root: Path, names_only: bool = True) -> str:
    """The one message that indexing ends with; nothing may be written."""
    out = root.parent / "out" / "tracklets.csv.gz"
    with pytest.raises(InputError) as error:
        index(layout, root, names_only, None, out)
    assert not out.parent.exists()
    return str(error.value)


# ---- MARS: what an index says ----


def test_mars_divides_by_lists_labels_and_query_rows(mars):
    table = index_mars(mars.root)
    assert list(table.columns) == COLUMNS
    assert table[COLUMNS[:-1]].to_numpy().tolist() == [
        ["train", 1, 1, 1, 3],
        ["train", 1, 2, 5, 3],
        ["train", 3, 1, 2, 1],
        ["junk", -1, 1, 1, 2],
        ["gallery", 0, 1, 1, 3],
        ["query", 2, 1, 1, 2],
        ["gallery", 2, 3, 1, 4],
        ["query", 4, 2, 7, 2],
    ]


def test_mars_frames_are_templates_that_tell_of_gaps(mars):
    assert index_mars(mars.root)["frames"].tolist() == [
        "bbox_train/0001/0001C1T0001F{001..003}.jpg",
        "bbox_train/0001/0001C2T0005F{001..002,004}.jpg",
        "bbox_train/0003/0003C1T0002F007.jpg",
        "bbox_test/00-1/00-1C1T0001F{001..002}.jpg",
        "bbox_test/0000/0000C1T0001F{001..003}.jpg",
        "bbox_test/0002/0002C1T0001F{001..002}.jpg",
        "bbox_test/0002/0002C3T0001F{001..004}.jpg",
        "bbox_test/0004/0004C2T0007F{001..002}.jpg",
    ]


def test_the_templates_stand_for_every_frame_on_disk(mars):
    assert sorted(mars.frames(index_mars(mars.root))) == sorted(mars.root.glob("bbox_*/*/*.jpg"))


def test_tracks_may_stand_in_any_order(mars):
    table = index_mars(mars.root).iloc[:3]
    mars.tracks["train"].reverse()
    mars.write()
    pd.testing.assert_frame_equal(index_mars(mars.root).iloc[:3], table.iloc[::-1].reset_index(drop=True))


def test_frames_in_a_lists_order_stay_in_it(mars):
    mars.names["train"][:3] = reversed(mars.names["train"][:3])
    mars.write()
    assert index_mars(mars.root)["frames"][0] == "bbox_train/0001/0001C1T0001F{003,002,001}.jpg"


@pytest.mark.parametrize(("between", "after"), [("\r\n", "\r\n"), ("\n", "\n\n"), ("\n", "")])
def test_line_endings_of_other_systems_do_not_matter(mars, between, after):
    table = index_mars(mars.root)
    mars.info("test_name.txt").write_bytes((between.join(mars.names["test"]) + after).encode())
    pd.testing.assert_frame_equal(index_mars(mars.root), table)


def test_queries_may_stand_in_a_column(mars):
    table = index_mars(mars.root)
    savemat(mars.info("query_IDX.mat"), {"query_IDX": np.array([[3], [5]])})
    pd.testing.assert_frame_equal(index_mars(mars.root), table)


def test_names_only_needs_no_image(mars):
    table = index_mars(mars.root)
    shutil.rmtree(mars.root / "bbox_train")
    shutil.rmtree(mars.root / "bbox_test")
    pd.testing.assert_frame_equal(index_mars(mars.root, names_only=True), table)
    assert "no such frame, and 19 more frames" in mars.complaint(names_only=False)


def test_the_same_dataset_gives_the_same_bytes(mars, tmp_path):
    for out in ("a.csv.gz", "b.csv.gz"):
        index("mars", mars.root, False, None, tmp_path / out)
    assert (tmp_path / "a.csv.gz").read_bytes() == (tmp_path / "b.csv.gz").read_bytes()
    pd.testing.assert_frame_equal(read_tracklets(tmp_path / "a.csv.gz"), index_mars(mars.root))


# ---- MARS: what is not an index ----


@pytest.mark.parametrize("name", INFO)
def test_a_missing_file_is_named_with_what_belongs_there(mars, name):
    mars.info(name).unlink()
    message = mars.complaint()
    assert str(mars.info(name)) in message
    assert "MARS's info folder holds" in message


def test_a_root_that_is_not_there_is_named(tmp_path):
    assert str(tmp_path / "nowhere") in complaint("mars", tmp_path / "nowhere")


@pytest.mark.parametrize(
    "line",
    [
        "",
        "0001C1T0001F01.jpg",
        "0001C1T0001F0001.jpg",
        "0001C1T0001F001.png",
        "0001c1T0001F001.jpg",
        "00-2C1T0001F001.jpg",
        "000xC1T0001F001.jpg",
        "0001C1T00/1F001.jpg",
        "a line of prose",
        "0001C1T0001Fäö.jpg",
    ],
)
def test_a_line_that_is_no_frame_name_is_named(mars, line):
    mars.names["train"][4] = line
    mars.write()
    message = mars.complaint()
    assert f"{mars.info('train_name.txt')}, line 5: {line!r} is not a frame name" in message


def test_an_empty_name_list_is_named(mars):
    mars.info("test_name.txt").write_bytes(b"")
    assert f"{mars.info('test_name.txt')}, line 1: ''" in mars.complaint()


@pytest.mark.parametrize("name", INFO[2:])
def test_a_torn_mat_file_is_named_wherever_it_is_torn(mars, name):
    whole = mars.info(name).read_bytes()
    for length in [0, 1, 64, 127, 128, 136, 160, len(whole) // 2, len(whole) - 1]:
        mars.info(name).write_bytes(whole[:length])
        assert str(mars.info(name)) in mars.complaint(), length


def test_a_torn_compressed_mat_file_is_named(mars):
    savemat(mars.info("query_IDX.mat"), {"query_IDX": np.array([[3, 5]])}, do_compression=True)
    assert len(index_mars(mars.root)) == 8
    whole = mars.info("query_IDX.mat").read_bytes()
    for length in range(0, len(whole), 7):
        mars.info("query_IDX.mat").write_bytes(whole[:length])
        assert str(mars.info("query_IDX.mat")) in mars.complaint(), length


@pytest.mark.parametrize("content", [b"no MATLAB file at all" * 20, b"\x89HDF\r\n\x1a\n" + bytes(600)])
def test_a_foreign_file_under_a_mat_name_is_named(mars, content):
    mars.info("tracks_test_info.mat").write_bytes(content)
    message = mars.complaint()
    assert f"{mars.info('tracks_test_info.mat')}: " in message
    assert "MATLAB" in message


def test_the_other_sides_mat_file_is_told_by_its_variable(mars):
    shutil.copy(mars.info("tracks_train_info.mat"), mars.info("tracks_test_info.mat"))
    assert "holds no variable 'track_test_info' (found: track_train_info)" in mars.complaint()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.ones((2, 3)), "3 columns, not first line, last line, pid and camera"),
        (np.ones((0, 4)), "not a matrix of numbers"),
        (np.ones((1, 4, 2)), "not a matrix of numbers"),
        (np.array([["a", "b"]], object), "not a matrix of numbers"),
        ("text", "not a matrix of numbers"),
        ({"a": 1}, "not a matrix of numbers"),
        (np.array([[1, 2.5, 1, 1]]), "numbers that are not whole"),
        (np.array([[1, np.nan, 1, 1]]), "numbers that are not whole"),
        (np.array([[1, np.inf, 1, 1]]), "numbers that are not whole"),
        (np.array([[1, 1e30, 1, 1]]), "or beyond 2^31"),
    ],
)
def test_a_mat_variable_of_another_kind_is_named(mars, value, words):
    savemat(mars.info("tracks_train_info.mat"), {"track_train_info": value})
    message = mars.complaint()
    assert str(mars.info("tracks_train_info.mat")) in message
    assert words in message


@pytest.mark.parametrize("lines", [(7, 8), (0, 3), (3, 1), (100, 200)])
def test_a_track_that_leaves_the_name_list_is_named(mars, lines):
    mars.tracks["train"][2][:2] = lines
    mars.write()
    message = mars.complaint()
    assert f"row 3: lines {lines[0]} to {lines[1]} are no part of train_name.txt with its 7 lines" in message


def test_two_tracks_that_share_lines_are_named(mars):
    mars.tracks["train"][1][0] = 3
    mars.write()
    assert "rows 1 and 2: both claim the same lines of train_name.txt" in mars.complaint()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("0003C1T0001F002.jpg", "two persons in one track: person 1 in line 1, person 3 in line 2"),
        ("0001C4T0001F002.jpg", "two cameras in one track: camera 1 in line 1, camera 4 in line 2"),
        ("0001C1T0009F002.jpg", "two tracklets in one track: tracklet 1 in line 1, tracklet 9 in line 2"),
    ],
)
def test_frames_of_two_in_one_track_are_named(mars, name, words):
    mars.names["train"][1] = name
    mars.write()
    message = mars.complaint()
    assert f"{mars.info('tracks_train_info.mat')}, row 1: frames of {words} of train_name.txt" in message


@pytest.mark.parametrize(("column", "words"), [(2, "person 5, but person 1"), (3, "camera 5, but camera 2")])
def test_names_that_disagree_with_the_row_are_named(mars, column, words):
    mars.tracks["train"][1][column] = 5
    mars.write()
    assert f"row 2: the row says {words} in line 4 of train_name.txt" in mars.complaint()


def test_a_frame_named_twice_is_named(mars):
    mars.names["train"][2] = mars.names["train"][0]
    mars.write()
    assert "row 1: train_name.txt names frame 1 of this tracklet twice" in mars.complaint()


def test_two_tracks_of_one_key_are_named(mars):
    mars.tracks["train"][0:1] = [[1, 2, 1, 1], [3, 3, 1, 1]]
    mars.write()
    message = mars.complaint()
    assert f"{mars.root}, tracklet 1 of person 1 in camera 1 (bbox_train/0001/0001C1T0001F003.jpg)" in message
    assert "stand twice" in message


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([3, 6], "entry 2: 6 is none of the 5 test tracks"),
        ([0, 3], "entry 1: 0 is none of the 5 test tracks"),
        ([3, 5, 3], "test track 3 is listed 2 times"),
    ],
)
def test_a_query_out_of_range_or_listed_twice_is_named(mars, rows, words):
    mars.write_queries(rows)
    message = mars.complaint()
    assert str(mars.info("query_IDX.mat")) in message
    assert words in message


def test_a_camera_zero_is_named(mars):
    mars.names["train"][6] = "0003C0T0002F007.jpg"
    mars.tracks["train"][2][3] = 0
    mars.write()
    assert "tracklet 2 of person 3 in camera 0 (bbox_train/0003/0003C0T0002F007.jpg)" in mars.complaint()


@pytest.mark.parametrize("row", [1, 2])
def test_junk_and_distractors_are_no_queries(mars, row):
    mars.write_queries([row])
    assert "a training or query tracklet must show a person" in mars.complaint()


def test_a_missing_frame_is_named_with_the_number_of_others(mars):
    (mars.root / "bbox_test/0002/0002C3T0001F002.jpg").unlink()
    message = mars.complaint(names_only=False)
    assert f"{mars.root / 'bbox_test/0002/0002C3T0001F002.jpg'}: no such frame; unpack" in message
    (mars.root / "bbox_test/0004/0004C2T0007F001.jpg").write_bytes(b"")
    assert "no such frame, and 1 more frames missing or without bytes" in mars.complaint(names_only=False)


def test_a_zero_byte_frame_is_named(mars):
    (mars.root / "bbox_train/0003/0003C1T0002F007.jpg").write_bytes(b"")
    message = mars.complaint(names_only=False)
    assert f"{mars.root / 'bbox_train/0003/0003C1T0002F007.jpg'}: the file has zero bytes" in message


# ---- DukeMTMC-VideoReID ----


def test_duke_follows_its_folders_and_a_query_in_the_gallery_is_one_row(duke):
    table = index_duke(duke)
    assert list(table.columns) == COLUMNS
    assert table.to_numpy().tolist() == [
        ["train", 1, 2, 1, 4, "train/0001/0001/0001_C2_F{0001..0004}_X{00123..00147..8}.jpg"],
        ["train", 1, 5, 2, 3, "train/0001/0002/0001_C5_F{0001..0003}_X{00123..00139..8}.jpg"],
        ["query", 3, 1, 3, 2, "query/0003/0003/0003_C1_F{0001..0002}_X{00123,00131}.jpg"],
        ["gallery", 3, 4, 4, 2, "gallery/0003/0004/0003_C4_F{0001..0002}_X{00123,00131}.jpg"],
        ["gallery", 9, 8, 5, 1, "gallery/0009/0005/0009_C8_F0001_D00123.jpg"],
    ]


def test_a_gallery_without_the_queries_gives_the_same_index(duke):
    table = index_duke(duke)
    shutil.rmtree(duke / "gallery/0003/0003")
    pd.testing.assert_frame_equal(index_duke(duke), table)


def test_frames_of_duke_come_in_the_order_of_their_numbers(duke):
    folder = duke / "train/0001/0001"
    (folder / "0001_C2_F9999_X00155.jpg").write_bytes(b"frame")
    (folder / "0001_C2_F10000_X00163.jpg").write_bytes(b"frame")
    template = index_duke(duke)["frames"][0]
    assert template.endswith("F{0001..0004,9999,10000}_X{00123..00163..8}.jpg")


def test_the_first_naming_of_duke_is_read_as_the_later_one(duke):
    later = index_duke(duke)
    for path in sorted(duke.rglob("*.jpg")):
        path.rename(path.with_name(path.name.replace("_", "")))
    first = index_duke(duke)
    assert first["frames"][0] == "train/0001/0001/0001C2F{0001..0004}X{00123..00147..8}.jpg"
    pd.testing.assert_frame_equal(first.drop(columns="frames"), later.drop(columns="frames"))


def test_what_file_managers_leave_behind_is_passed_over(duke):
    table = index_duke(duke)
    for name in (".DS_Store", "train/.DS_Store", "train/0001/Thumbs.db", "train/0001/0001/._0001"):
        (duke / name).touch()
    pd.testing.assert_frame_equal(index_duke(duke), table)


def test_empty_frames_pass_by_name_only(duke):
    (duke / "train/0001/0002/0001_C5_F0002_X00131.jpg").write_bytes(b"")
    assert len(index_duke(duke, names_only=True)) == 5
    message = complaint("duke", duke, names_only=False)
    assert f"{duke / 'train/0001/0002/0001_C5_F0002_X00131.jpg'}: the file has zero bytes" in message


@pytest.mark.parametrize("folder", ["train", "query", "gallery"])
def test_a_missing_folder_is_named_with_what_belongs_there(duke, folder):
    shutil.rmtree(duke / folder)
    message = complaint("duke", duke)
    assert str(duke / folder) in message
    assert "root holds train, query and gallery" in message


@pytest.mark.parametrize("folder", ["train", "train/0001", "train/0001/0001"])
def test_an_empty_folder_is_named(duke, folder):
    shutil.rmtree(duke / folder)
    (duke / folder).mkdir()
    assert f"{duke / folder}: the folder is empty" in complaint("duke", duke)


@pytest.mark.parametrize(
    "stray", ["train/readme.txt", "train/0001/frames.zip", "train/0001/0001/0001_C2_F0005.jpg.part"]
)
def test_a_stray_file_is_named(duke, stray):
    (duke / stray).touch()
    message = complaint("duke", duke)
    assert f"{(duke / stray).parent}: {Path(stray).name!r}" in message


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("0002_C2_F0009_X00300.jpg", "frames of two people in one tracklet: 0001 and 0002"),
        ("0001_C3_F0009_X00300.jpg", "frames of two cameras in one tracklet: 2 and 3"),
        ("0001_C2_F0009_D00300.jpg", "frames of two letters in one tracklet: D and X"),
        ("0001C2F0009X00300.jpg", "frames of two namings in one tracklet: with underscores and without"),
    ],
)
def test_frames_of_two_in_one_tracklet_are_named(duke, name, words):
    (duke / "train/0001/0001" / name).write_bytes(b"frame")
    assert f"{duke / 'train/0001/0001'}: {words}" in complaint("duke", duke)


def test_a_folder_of_another_persons_frames_is_named(duke):
    (duke / "train/0001").rename(duke / "train/0002")
    assert f"{duke / 'train/0002/0001'}: frames of two people in one tracklet: 0001 and 0002" in complaint("duke", duke)


def test_a_query_that_differs_from_its_copy_in_the_gallery_is_named(duke):
    (duke / "gallery/0003/0003/0003_C1_F0002_X00131.jpg").unlink()
    message = complaint("duke", duke)
    assert "query/0003/0003/0003_C1" in message
    assert "are one tracklet, but not the same frames" in message


# ---- layouts and counts ----


def test_an_unknown_layout_is_an_error_that_lists_the_known(tmp_path):
    assert "unknown layout 'ilids'; known: mars, duke" in complaint("ilids", tmp_path / "root")


EXPECTED = {
    "train": {"tracklets": 3, "people": 2, "frames": 7},
    "query": {"tracklets": 2, "people": 2},
    "gallery": {"tracklets": 2, "people": 2, "frames": 7},
    "junk": {"tracklets": 1},
    "test": {"tracklets": 5, "frames": 13},
}


def test_counts_as_expected_pass_with_the_distractors_as_one_person(mars, tmp_path):
    index("mars", mars.root, False, EXPECTED, tmp_path / "tracklets.csv.gz")
    assert len(read_tracklets(tmp_path / "tracklets.csv.gz")) == 8


@pytest.mark.parametrize(
    ("split", "what", "found"),
    [(split, what, count) for split, counts in EXPECTED.items() for what, count in counts.items()],
)
def test_a_count_that_is_off_is_named_with_both_numbers(mars, tmp_path, split, what, found):
    expected = {**EXPECTED, split: {**EXPECTED[split], what: found + 1}}
    with pytest.raises(InputError) as error:
        index("mars", mars.root, False, expected, tmp_path / "tracklets.csv.gz")
    assert f"{mars.root}: {split} has {found} {what}, expected {found + 1};" in str(error.value)
    assert not (tmp_path / "tracklets.csv.gz").exists()


def test_every_count_that_is_off_is_named(mars):
    with pytest.raises(InputError, match="train has 7 frames, expected 8; junk has 1 tracklets, expected 0;"):
        check_counts(index_mars(mars.root), {"train": {"frames": 8}, "junk": {"tracklets": 0}})


@pytest.mark.parametrize("expected", [{"validation": {"tracklets": 1}}, {"train": {"images": 1}}])
def test_an_expectation_of_something_unknown_is_an_error(mars, expected):
    with pytest.raises(InputError, match=r"expected counts.*known:"):
        check_counts(index_mars(mars.root), expected)
