import numpy as np
import pandas as pd
import pytest

from vreid.data.attributes import (
    GROUPS,
    IRRELEVANT,
    RELEVANT_DUKE,
    RELEVANT_MARS,
    annotate,
    annotate_file,
    targets,
    vocabulary_of,
)
from vreid.data.tracklets import COLUMNS, read_tracklets, write_tracklets
from vreid.errors import InputError

IDS = ["person_id", "camera_id", "tracklets_id"]
MARS_COLUMNS = [*IRRELEVANT, *RELEVANT_MARS]
DUKE_COLUMNS = [name.replace("multi-person", "muti-person") for name in IRRELEVANT] + list(RELEVANT_DUKE)


@pytest.fixture
def table() -> pd.DataFrame:
    """Two tracklets of person 7, one of person 8, a distractor and a junk one."""
    rows = [
        ["train", 7, 1, 4, 2, "a{1..2}"],
        ["train", 7, 2, 4, 1, "b1"],
        ["query", 8, 1, 1, 1, "c1"],
        ["gallery", 0, 1, 1, 1, "d1"],
        ["junk", -1, 1, 1, 1, "e1"],
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


@pytest.fixture
def rows() -> pd.DataFrame:
    """The annotation of the three, not in the table's order, all zeros but for a few."""
    rows = pd.DataFrame(0, index=range(3), columns=[*IDS, *MARS_COLUMNS])
    rows[IDS] = [[8, 1, 1], [7, 1, 4], [7, 2, 4]]
    rows.loc[0, ["motion", "bottom color", "bottom type"]] = [4, 9, 1]
    rows.loc[1, "pose"] = 5
    return rows


@pytest.fixture
def complaint(table, tmp_path):
    """The one message that an annotation file of these rows gets."""

    def complaint(rows: pd.DataFrame) -> str:
        path = tmp_path / "attributes.csv"
        rows.to_csv(path, index=False)
        with pytest.raises(InputError) as error:
            annotate(table, path)
        assert str(path) in str(error.value)
        return str(error.value)

    return complaint


# ---- vocabularies ----


def test_the_header_tells_mars_from_duke():
    mars, duke = vocabulary_of(MARS_COLUMNS), vocabulary_of([*IRRELEVANT, *RELEVANT_DUKE])
    assert [len(mars.group(group)) for group in GROUPS] == [9, 12]
    assert [len(duke.group(group)) for group in GROUPS] == [9, 10]
    assert [mars.outputs(group) for group in GROUPS] == [25, 41]
    assert [duke.outputs(group) for group in GROUPS] == [25, 33]


def test_the_order_of_columns_and_the_tracklet_tables_own_do_not_matter():
    assert vocabulary_of([*reversed(MARS_COLUMNS), *COLUMNS]) == vocabulary_of(MARS_COLUMNS)


def test_a_table_without_attributes_has_no_vocabulary():
    with pytest.raises(InputError, match=r"index\.csv: no attribute columns"):
        vocabulary_of(COLUMNS, "index.csv")


# ---- the join ----


def test_each_row_arrives_at_its_tracklet(table, rows, tmp_path):
    rows.to_csv(tmp_path / "attributes.csv", index=False)
    annotated = annotate(table, tmp_path / "attributes.csv")
    pd.testing.assert_frame_equal(annotated[COLUMNS], table)
    assert list(annotated.columns) == [*COLUMNS, *MARS_COLUMNS]
    assert annotated["pose"].tolist() == [5, 0, 0, pd.NA, pd.NA]
    assert annotated["bottom color"].tolist() == [0, 0, 9, pd.NA, pd.NA]


def test_dukes_misspelt_column_gets_its_name(table, tmp_path):
    rows = pd.DataFrame(1, index=range(3), columns=[*IDS, *DUKE_COLUMNS])
    rows[IDS] = [[8, 1, 1], [7, 1, 4], [7, 2, 4]]
    rows.to_csv(tmp_path / "attributes.csv", index=False)
    annotated = annotate(table, tmp_path / "attributes.csv")
    assert "muti-person" not in annotated
    assert annotated["multi-person"].tolist()[:3] == [1, 1, 1]


def test_an_annotated_distractor_is_joined_too(table, rows, tmp_path):
    rows.loc[3] = [0, 1, 1, *[1] * len(MARS_COLUMNS)]
    rows.to_csv(tmp_path / "attributes.csv", index=False)
    assert annotate(table, tmp_path / "attributes.csv")["hat"].tolist() == [0, 0, 0, 1, pd.NA]


def test_values_written_as_floats_are_integers_still(table, rows, tmp_path):
    rows.astype({"pose": float}).to_csv(tmp_path / "attributes.csv", index=False)
    assert annotate(table, tmp_path / "attributes.csv")["pose"].tolist()[:3] == [5, 0, 0]


def test_an_annotation_of_an_unknown_tracklet_is_named(rows, complaint):
    rows.loc[3] = rows.loc[2].replace(4, 5)
    assert "line 5: tracklet 5 of person 7 in camera 2 is not in the index" in complaint(rows)


def test_a_missing_annotation_is_named(rows, complaint):
    assert "no row for tracklet 4 of person 7 in camera 2 (b1); every" in complaint(rows.drop(2))
    assert "no row for tracklet 4 of person 7 in camera 1 (a{1..2}) (and 1 more)" in complaint(rows.drop([1, 2]))


def test_a_second_annotation_is_named(rows, complaint):
    rows.loc[3] = rows.loc[0]
    assert "line 5: tracklet 1 of person 8 in camera 1 is annotated a second time" in complaint(rows)


def test_unknown_and_missing_columns_are_named(rows, complaint):
    assert "unknown column 'shoes'" in complaint(rows.assign(shoes=0))
    assert "missing column 'hat'" in complaint(rows.drop(columns="hat"))
    message = complaint(rows.rename(columns={"hat": "helmet"}))
    assert "unknown column 'helmet', missing column 'hat'" in message
    assert "missing column 'camera_id'" in complaint(rows.drop(columns="camera_id"))


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("motion", 5, "line 3: 'motion' is '5'; expected an integer from 0 to 4"),
        ("hat", 2, "line 3: 'hat' is '2'; expected an integer from 0 to 1"),
        ("hat", -1, "line 3: 'hat' is '-1'; expected"),
        ("pose", 1.5, "line 3: 'pose' is '1.5'; expected"),
        ("pose", "side", "line 3: 'pose' is 'side'; expected"),
        ("pose", "NA", "line 3: 'pose' is 'NA'; expected"),
        ("pose", True, "line 3: 'pose' is 'True'; expected"),
        ("pose", None, "line 3: 'pose' is blank; expected"),
        ("pose", 10**30, f"line 3: 'pose' is '{10**30}'; expected"),
        ("tracklets_id", None, "line 3: 'tracklets_id' is blank; expected"),
    ],
)
def test_a_value_that_is_no_class_is_named(rows, complaint, column, value, words):
    rows = rows.astype(object)
    rows.loc[1, column] = value
    assert words in complaint(rows)


def test_a_column_of_truth_values_is_none_of_integers(rows, complaint):
    assert "line 2: 'hat' is 'True'; expected an integer from 0 to 1" in complaint(rows.assign(hat=True))


def test_a_missing_and_an_empty_annotation_file_are_named(table, tmp_path):
    with pytest.raises(InputError, match=r"none\.csv: no such file"):
        annotate(table, tmp_path / "none.csv")
    (tmp_path / "empty.csv").touch()
    with pytest.raises(InputError, match=r"empty\.csv: the file is empty"):
        annotate(table, tmp_path / "empty.csv")


# ---- the verb ----


def test_annotate_writes_what_can_be_read(table, rows, tmp_path):
    write_tracklets(table, tmp_path / "index.csv.gz")
    rows.to_csv(tmp_path / "attributes.csv", index=False)
    annotate_file(tmp_path / "index.csv.gz", tmp_path / "attributes.csv", tmp_path / "out" / "annotated.csv.gz")
    annotated = read_tracklets(tmp_path / "out" / "annotated.csv.gz")
    pd.testing.assert_frame_equal(annotated, annotate(table, tmp_path / "attributes.csv"))


def test_an_error_leaves_nothing_written(table, rows, tmp_path):
    write_tracklets(table, tmp_path / "index.csv.gz")
    rows.drop(2).to_csv(tmp_path / "attributes.csv", index=False)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError):
        annotate_file(tmp_path / "index.csv.gz", tmp_path / "attributes.csv", tmp_path / "annotated.csv.gz")
    assert sorted(tmp_path.iterdir()) == before


def test_annotating_twice_is_an_error(table, rows, tmp_path):
    rows.to_csv(tmp_path / "attributes.csv", index=False)
    write_tracklets(annotate(table, tmp_path / "attributes.csv"), tmp_path / "annotated.csv.gz")
    with pytest.raises(InputError, match=r"annotated\.csv\.gz: annotated already"):
        annotate_file(tmp_path / "annotated.csv.gz", tmp_path / "attributes.csv", tmp_path / "out.csv.gz")


def test_an_annotation_given_as_the_index_is_an_error(rows, tmp_path):
    rows.to_csv(tmp_path / "attributes.csv", index=False)
    with pytest.raises(InputError, match=r"attributes\.csv: not a tracklet table"):
        annotate_file(tmp_path / "attributes.csv", tmp_path / "attributes.csv", tmp_path / "out.csv.gz")


# ---- targets ----


def test_targets_are_one_hot_vectors_side_by_side(table, rows, tmp_path):
    rows.to_csv(tmp_path / "attributes.csv", index=False)
    annotated = annotate(table, tmp_path / "attributes.csv")
    vocabulary = vocabulary_of(annotated.columns)
    onehot, mask = targets(annotated, vocabulary, "irrelevant")
    assert (onehot.shape, onehot.dtype, mask.dtype) == ((5, 25), np.float32, bool)
    assert mask.tolist() == [True, True, True, False, False]
    pose_of_first, motion_of_third = 5 + 5, 4
    assert onehot[0].nonzero()[0].tolist() == [0, pose_of_first, 11, 13, 15, 17, 19, 21, 23]
    assert onehot[2].nonzero()[0].tolist() == [motion_of_third, 5, 11, 13, 15, 17, 19, 21, 23]
    assert not onehot[3:].any()
    relevant, _ = targets(annotated, vocabulary, "relevant")
    assert relevant.shape == (5, 41)
    assert relevant[2, 9:19].argmax() == 9, "bottom color stands after top color's nine outputs"
    assert relevant[2, 40] == 1, "bottom type is last"


def test_targets_of_rows_in_any_selection_keep_their_order(table, rows, tmp_path):
    rows.to_csv(tmp_path / "attributes.csv", index=False)
    annotated = annotate(table, tmp_path / "attributes.csv")
    vocabulary = vocabulary_of(annotated.columns)
    whole, mask = targets(annotated, vocabulary, "relevant")
    some, some_mask = targets(annotated.iloc[[4, 2, 0]], vocabulary, "relevant")
    assert (some == whole[[4, 2, 0]]).all()
    assert (some_mask == mask[[4, 2, 0]]).all()


@pytest.mark.parametrize("value", [pd.NA, 6, -2])
def test_a_tracklet_annotated_in_part_or_out_of_range_is_no_target(table, rows, tmp_path, value):
    rows.to_csv(tmp_path / "attributes.csv", index=False)
    annotated = annotate(table, tmp_path / "attributes.csv")
    annotated.loc[1, "pose"] = value
    with pytest.raises(InputError, match=r"in camera 2 \(b1\): attributes blank in part"):
        targets(annotated, vocabulary_of(annotated.columns), "irrelevant")
