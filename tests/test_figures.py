"""Fig. 7 and the contact sheet: what is drawn, and that the same results give the same bytes."""

import re
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from made_up import FIGURE, write_history
from tiny import write_dataset
from vreid import contact
from vreid.data.tracklets import write_tracklets
from vreid.errors import InputError
from vreid.figures import curves as fig7
from vreid.results import read_trainings


@pytest.fixture
def histories(tmp_path):
    return [
        write_history(tmp_path, "baseline", 0, [0.04, 0.03], [None, 0.50]),
        write_history(tmp_path, "baseline", 1, [0.05, 0.05], [None, 0.60]),
        write_history(tmp_path, "aitl", 0, [0.04, 0.02], [None, 0.55]),
    ]


def test_lines_are_means_and_bands_are_extremes_over_seeds(histories):
    frame = fig7.curves(FIGURE, read_trainings(histories))
    last = frame[(frame.side == "without") & (frame.epoch == 2)].iloc[0]
    assert last[["dvdp_mean", "dvdp_min", "dvdp_max"]].to_list() == pytest.approx([0.04, 0.03, 0.05])
    assert last[["mAP_mean", "mAP_min", "mAP_max"]].to_list() == pytest.approx([55, 50, 60])
    assert frame.groupby("side").num_seeds.first().to_dict() == {"with": 1, "without": 2}


def test_the_picture_itself_says_that_its_data_are_rendered(histories, tmp_path):
    fig7.dvdp_curves(FIGURE, histories, tmp_path / "fig7")
    assert "synth-mars (rendered), recipe paper" in (tmp_path / "fig7.svg").read_text()


def test_an_epoch_without_validation_has_no_map(histories):
    frame = fig7.curves(FIGURE, read_trainings(histories))
    assert frame[frame.epoch == 1].mAP_mean.isna().all()


def test_curves_end_apart_only_where_the_bands_do_not_touch(histories, tmp_path):
    again = write_history(tmp_path, "aitl", 1, [0.04, 0.02], [None, 0.55])
    dvdp, relative, mAP = fig7.endings(fig7.curves(FIGURE, read_trainings([*histories, again])))
    assert (dvdp["without"], dvdp["with"], dvdp["apart"]) == (pytest.approx(0.04), pytest.approx(0.02), True)
    assert (relative["without"], relative["with"], relative["apart"]) == (pytest.approx(0.1), pytest.approx(0.05), True)
    assert (mAP["epoch"], mAP["apart"]) == (2, False)


def test_one_seed_has_no_band_to_be_apart(histories):
    assert [end["apart"] for end in fig7.endings(fig7.curves(FIGURE, read_trainings(histories)))] == [None] * 3


def test_the_figure_is_written_whole_the_same_every_time(histories, tmp_path):
    for name in "ab":
        fig7.dvdp_curves(FIGURE, histories, tmp_path / name / "fig7")
    for suffix in ("svg", "png", "csv", "json"):
        first, second = ((tmp_path / name / f"fig7.{suffix}").read_bytes() for name in "ab")
        assert first == second and len(first) > 100
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "a" / "fig7.csv"), fig7.curves(FIGURE, read_trainings(histories))
    )


def test_the_svg_keeps_its_text_and_follows_the_ink_around_it(histories, tmp_path):
    fig7.dvdp_curves(FIGURE, histories, tmp_path / "fig7")
    svg = (tmp_path / "fig7.svg").read_text()
    assert re.search(r"<text[^>]*>with AITL</text>", svg)
    assert "currentColor" in svg and "sans-serif" in svg
    assert "<dc:date>" not in svg


@pytest.mark.parametrize(
    ("run", "complaint"),
    [
        ({"model": "itl"}, "draws no model 'itl'"),
        ({"recipe": "released"}, "the recipe is released, but paper"),
        ({"train": "synth-duke"}, "the training dataset is synth-duke, but synth-mars"),
        ({"dvdp": [0.1], "mAP": [0.5]}, "the number of epochs is 1, but 2"),
        ({"mAP": [None, None]}, "no epoch was validated"),
    ],
)
def test_a_history_that_does_not_belong_is_refused_by_its_file(histories, tmp_path, run, complaint):
    path = write_history(tmp_path, **{"model": "aitl", "seed": 2, "dvdp": [0.1, 0.1], "mAP": [None, 0.5]} | run)
    with pytest.raises(InputError, match=complaint) as caught:
        fig7.dvdp_curves(FIGURE, [*histories, path], tmp_path / "fig7")
    assert str(path) in str(caught.value)
    assert not (tmp_path / "fig7.csv").exists()


def test_a_model_without_history_is_named(histories, tmp_path):
    with pytest.raises(InputError, match=r"no history\.csv given is of model 'aitl'"):
        fig7.dvdp_curves(FIGURE, histories[:2], tmp_path / "fig7")


def test_a_history_without_its_train_json_is_refused(histories, tmp_path):
    record = histories[0].with_name("train.json")
    record.unlink()
    with pytest.raises(InputError, match=r"train\.json: no such file"):
        fig7.dvdp_curves(FIGURE, histories, tmp_path / "fig7")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("people")
    table = write_dataset(root)
    write_tracklets(table, root / "annotated.csv.gz")
    return root, table


def test_a_contact_sheet_shows_a_dozen_tracklets_of_different_people(dataset):
    _, table = dataset
    chosen = table.loc[contact.choose(table)]
    assert len(chosen) == 12 and chosen.pid.is_unique
    assert set(chosen.split) == set(table.split) and set(chosen.camid) == set(table.camid)


def test_every_fault_in_the_data_gets_onto_the_sheet():
    rows = [(pid, 1, "train", 0, 0) for pid in range(1, 100)] + [
        (100, 1, "train", 1, 0),
        (101, 1, "train", 0, 1),
    ]
    table = pd.DataFrame(rows, columns=["pid", "camid", "split", "occlusion", "wrong-target"])
    chosen = table.loc[contact.choose(table)]
    assert chosen.occlusion.sum() == 1 and chosen["wrong-target"].sum() == 1


def test_a_sheet_of_few_tracklets_shows_them_all(dataset):
    _, table = dataset
    few = table.head(3)
    assert sorted(contact.choose(few)) == sorted(few.index)


def test_frames_are_spread_from_first_to_last():
    names = [str(number) for number in range(20)]
    assert contact.spread(names, 3) == ["0", "10", "19"]
    assert contact.spread(names[:2], 3) == ["0", "1"]


def test_a_sheet_is_a_picture_with_enlarged_frames_the_same_every_time(dataset, tmp_path):
    root, _ = dataset
    for name in "ab":
        contact.contact_sheet(root / "annotated.csv.gz", root, tmp_path / f"{name}.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    pixels = np.asarray(Image.open(tmp_path / "a.png"))
    height = 12 * (contact.CAPTION + contact.FRAME[1]) + 2 * contact.MARGIN
    assert pixels.shape == (height, 8 * 96 + 7 * contact.GAP + 2 * contact.MARGIN, 3)
    first_frame = pixels[contact.MARGIN // 2 + contact.CAPTION :, contact.MARGIN :][: contact.FRAME[1], :96]
    assert (np.abs(first_frame.astype(int) - pixels[0, 0]).sum(axis=2) > 20).mean() > 0.5


def test_captions_name_what_is_unusual_and_nothing_else():
    table = pd.DataFrame(
        {
            "split": "train",
            "pid": [1, 2, 3],
            "camid": 1,
            "tracklet": [1, 2, 3],
            "num_frames": 2,
            "frames": "a{1..2}.jpg",
            "pose": pd.array([0, 0, 3], dtype="Int64"),
            "occlusion": pd.array([0, 0, 1], dtype="Int64"),
            "hat": pd.array([1, 1, 0], dtype="Int64"),
        }
    )
    assert contact.captions(table, table) == [
        ("person 1 · camera 1 · train · 2 frames", "nothing unusual"),
        ("person 2 · camera 1 · train · 2 frames", "nothing unusual"),
        ("person 3 · camera 1 · train · 2 frames", "pose 3 · occlusion · hat 0"),
    ]


@pytest.mark.parametrize(("content", "complaint"), [(None, "no such frame"), (b"", "cannot be decoded")])
def test_a_missing_or_broken_frame_is_named_and_nothing_written(dataset, tmp_path, content, complaint):
    root, _ = dataset
    shutil.copytree(root, tmp_path / "root")
    victims = list((tmp_path / "root").rglob("*.jpg"))
    for victim in victims:
        victim.unlink() if content is None else victim.write_bytes(content)
    with pytest.raises(InputError, match=complaint):
        contact.contact_sheet(root / "annotated.csv.gz", tmp_path / "root", tmp_path / "sheet.png")
    assert not (tmp_path / "sheet.png").exists()
