import gzip
from itertools import chain

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vreid.data.frame_names import ranges
from vreid.data.tracklets import compress_frames, expand_frames, read_tracklets, write_tracklets
from vreid.errors import InputError


def tracklets(**changes) -> pd.DataFrame:
    rows = {
        "split": ["train", "query", "gallery", "gallery", "junk"],
        "pid": [7, 8, 8, 0, -1],
        "camid": [1, 1, 2, 3, 1],
        "tracklet": [1, 1, 1, 1, 1],
        "num_frames": [3, 1, 2, 2, 1],
        "frames": ["a{1..3}.jpg", "b1.jpg", "c{1,5}.jpg", "d{1..2}.jpg", "e1.jpg"],
    }
    return pd.DataFrame(rows | changes)


# ---- templates ----


def test_successive_frames_are_one_range():
    names = [f"0001C1T0001F{n:03d}.jpg" for n in range(1, 35)]
    assert compress_frames(names) == "0001C1T0001F{001..034}.jpg"


def test_a_missing_frame_divides_the_range():
    names = [f"F{n:03d}.jpg" for n in range(1, 35) if n != 11]
    assert compress_frames(names) == "F{001..010,012..034}.jpg"


def test_two_numbers_advance_together():
    names = [f"C2_F{i + 1:04d}_X{123 + 8 * i:05d}.jpg" for i in range(34)]
    template = compress_frames(names)
    assert template == "C2_F{0001..0034}_X{00123..00387..8}.jpg"
    assert expand_frames(template) == names


def test_a_lone_frame_is_its_name():
    assert compress_frames(["0001C1T0001F001.jpg"]) == "0001C1T0001F001.jpg"
    assert expand_frames("0001C1T0001F001.jpg") == ["0001C1T0001F001.jpg"]


def test_the_order_of_frames_is_kept():
    names = ["F3", "F1", "F2", "F9", "F8", "F7"]
    assert expand_frames(compress_frames(names)) == names


def test_numbers_without_padding_are_ranges_of_each_width():
    names = [f"F{n}" for n in range(8, 13)]
    assert compress_frames(names) == "F{8..9,10..12}"
    assert expand_frames("F{8..9,10..12}") == names


def test_a_percent_sign_in_a_name_is_itself():
    assert expand_frames("100%s/F{1..2}") == ["100%s/F1", "100%s/F2"]


def test_a_step_costs_less_than_a_list_from_three_numbers_on():
    assert ranges([1, 5], 3) == ["001", "005"]
    assert ranges([1, 5, 9, 10, 11], 3) == ["001..009..4", "010..011"]


@st.composite
def lists_of_names(draw):
    """Distinct names of one shape: numbers, padded or not, with gaps and jumps, between literals."""
    literal = st.text(st.characters(exclude_characters="{}0123456789", exclude_categories=["Cs"]), max_size=4)
    fields = draw(st.integers(1, 3))
    inner = [draw(literal.filter(bool)) for _ in range(fields - 1)]
    literals = [draw(literal), *inner, draw(literal)]
    widths = [draw(st.integers(0, 5)) for _ in range(fields)]
    number = st.one_of(st.integers(0, 30), st.integers(0, 10**12))
    progression = st.builds(
        lambda first, step, count: [first + step * i for i in range(count)],
        number, st.integers(1, 9), st.integers(1, 12),
    )  # fmt: skip
    columns = [list(chain(*draw(st.lists(progression, min_size=1, max_size=4)))) for _ in range(fields)]
    rows = zip(*columns)
    form = "".join(f"{text}{{:0{width}d}}" for text, width in zip(literals, widths))
    names = [form.format(*row) + literals[-1] for row in rows]
    return list(dict.fromkeys(names))


@settings(deadline=None)
@given(lists_of_names())
def test_a_template_stands_for_the_names_it_was_made_of(names):
    assert expand_frames(compress_frames(names)) == names


@pytest.mark.parametrize(
    "names",
    [[], ["F1", "F1"], ["F1", "G2"], ["F1.jpg", "F2.png"], ["F{1}", "F{2}"]],
    ids=["none", "twice the same", "another letter", "another suffix", "braces"],
)
def test_names_that_no_template_can_stand_for_are_refused(names):
    with pytest.raises(ValueError):
        compress_frames(names)


@pytest.mark.parametrize(
    "template",
    [
        "F{1..2}_X{1..3}",
        "F{}",
        "F{a}",
        "F{1..2..}",
        "F{3..1}",
        "F{01..100}",
        "F{1..9..0}",
        "F{1..2",
        "F1..2}",
    ],
)
def test_a_template_that_cannot_be_read_is_an_error_that_shows_it(template):
    with pytest.raises(InputError) as error:
        expand_frames(template)
    assert repr(template) in str(error.value)


# ---- the table on disk ----


def test_a_table_comes_back_as_it_was_written(tmp_path):
    write_tracklets(tracklets(), tmp_path / "t.csv.gz")
    pd.testing.assert_frame_equal(read_tracklets(tmp_path / "t.csv.gz"), tracklets())


def test_attributes_come_back_with_their_blanks(tmp_path):
    table = tracklets(motion=pd.array([4, 0, 1, None, None], "Int64"))
    write_tracklets(table, tmp_path / "t.csv.gz")
    pd.testing.assert_frame_equal(read_tracklets(tmp_path / "t.csv.gz"), table)


def test_the_same_table_is_the_same_bytes_under_any_name(tmp_path):
    for name in ("a.csv.gz", "b.csv.gz"):
        write_tracklets(tracklets(), tmp_path / name)
    content = (tmp_path / "a.csv.gz").read_bytes()
    assert content == (tmp_path / "b.csv.gz").read_bytes()
    assert content[4:8] == bytes(4), "the time of writing must not be in the file"


def complaint(path) -> str:
    with pytest.raises(InputError) as error:
        read_tracklets(path)
    assert str(path) in str(error.value)
    return str(error.value)


def test_a_missing_table_is_named(tmp_path):
    assert "no such file" in complaint(tmp_path / "t.csv.gz")


def test_a_torn_table_is_named(tmp_path):
    write_tracklets(tracklets(), tmp_path / "whole.csv.gz")
    whole = (tmp_path / "whole.csv.gz").read_bytes()
    for length in (1, 9, len(whole) // 2, len(whole) - 1):
        (tmp_path / "t.csv.gz").write_bytes(whole[:length])
        assert "torn" in complaint(tmp_path / "t.csv.gz")


def test_a_corrupt_byte_in_the_table_is_noticed(tmp_path):
    write_tracklets(tracklets(), tmp_path / "t.csv.gz")
    content = bytearray((tmp_path / "t.csv.gz").read_bytes())
    content[len(content) // 2] ^= 0xFF
    (tmp_path / "t.csv.gz").write_bytes(content)
    assert "torn" in complaint(tmp_path / "t.csv.gz")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"\n\n", "empty"),
        (b"\xff\xfe\x00\x01", "not a readable"),
        (b"epoch,loss\n1,0.5\n", "no column 'split'"),
        (b"split,pid,camid,tracklet,num_frames,frames\n", "without rows"),
        (b"split,pid\ntrain,1\ntrain,1,2\n", "line 3"),
        (b"split,pid\ntrain,1,2\ntrain,1,2\n", "more cells than the header"),
    ],
)
def test_a_file_that_is_no_tracklet_table_is_an_error(tmp_path, content, words):
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(content))
    assert words in complaint(tmp_path / "t.csv.gz")


def test_a_plain_file_under_a_gzip_name_is_an_error(tmp_path):
    tracklets().to_csv(tmp_path / "t.csv.gz", index=False, compression=None)
    assert "not a readable gzipped CSV" in complaint(tmp_path / "t.csv.gz")


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("pid", "x", "line 3: 'pid' is 'x'"),
        ("pid", None, "line 3: 'pid' is blank"),
        ("camid", 0, "line 3: 'camid' is '0'"),
        ("num_frames", 1.5, "line 3: 'num_frames' is '1.5'"),
        ("motion", "calm", "line 3: 'motion' is 'calm'"),
        ("split", "test", "split is none of"),
        ("split", "junk", "pid -1 and split junk must go together"),
        ("pid", 0, "must show a person"),
        ("frames", None, "no frames are named"),
    ],
)
def test_a_wrong_cell_is_named(tmp_path, column, value, words):
    table = tracklets(motion=[0] * 5).astype(object)
    table.loc[1, column] = value
    write_tracklets(table, tmp_path / "t.csv.gz")
    assert words in complaint(tmp_path / "t.csv.gz")


def test_a_key_that_stands_twice_is_named(tmp_path):
    write_tracklets(tracklets(camid=[1, 1, 1, 3, 1]), tmp_path / "t.csv.gz")
    assert "tracklet 1 of person 8 in camera 1 (c{1,5}.jpg)" in complaint(tmp_path / "t.csv.gz")


def test_a_blank_line_does_not_shift_the_lines_that_errors_name(tmp_path):
    header = "split,pid,camid,tracklet,num_frames,frames\n"
    text = header + "train,1,1,1,1,a1.jpg\n\ntrain,1,1,2,1,a2.jpg\n"
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(text.encode()))
    assert "line 3" in complaint(tmp_path / "t.csv.gz")
