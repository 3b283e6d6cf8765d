"""What stands for a dataset that is rendered, completed, fetched, or put in place by hand."""

import hashlib
import json
from pathlib import Path

import pytest

from vreid.experiment.datasets import datasets_of
from vreid.experiment.runs import Run

RENDERED = {"layout": "mars", "root": "drawn", "attributes": "drawn/a.csv", "render": {"train_people": 10}}
FILMED = {"layout": "mars", "root": "filmed", "attributes": "filmed/a.csv", "expect": {"train": {"people": 625}}}
COMPLETED = {"layout": "mars", "root": "completed", "attributes": "completed/a.csv"}


def datasets(**entries: dict) -> dict:
    known = {
        "drawn": RENDERED,
        "drawn-completed": COMPLETED | {"completed": {"from": "drawn", "scorer": "baseline"}},
        "filmed": FILMED,
        "filmed-completed": COMPLETED | {"completed": {"from": "filmed", "scorer": "baseline"}},
        "fetched": FILMED | {"fetch": ["archive.zip"]},
    }
    return datasets_of({"datasets": known | entries})


def whose(fact: str) -> set[str]:
    return {name for name, dataset in datasets().items() if getattr(dataset, fact)}


def test_each_kind_is_known_by_its_entry():
    assert whose("has_world") == {"drawn"}
    assert whose("is_completed") == {"drawn-completed", "filmed-completed"}
    assert whose("is_made") == {"drawn", "drawn-completed", "filmed-completed"}
    assert whose("is_fetched") == {"fetched"}
    assert whose("is_rendered") == {"drawn", "drawn-completed"}


def test_a_completed_dataset_is_of_its_source():
    completed = datasets()["filmed-completed"]
    assert completed.source.name == "filmed" and completed.scorer == Run("filmed", "baseline", 0)
    assert completed.expected == {"train": {"people": 625}}
    assert datasets()["drawn-completed"].expected == {"train": {"people": 10}}


def test_the_order_is_that_of_the_configuration():
    assert list(datasets()) == ["drawn", "drawn-completed", "filmed", "filmed-completed", "fetched"]


@pytest.mark.parametrize("source", ["nobody", "drawn-completed"])
def test_a_source_that_is_none_is_left_out_and_named_by_who_checks_names(source):
    odd = datasets(odd=COMPLETED | {"completed": {"from": source, "scorer": "baseline"}})["odd"]
    assert odd.source is None and odd.is_completed


def test_a_manifest_or_a_record_or_the_lists_say_that_a_dataset_has_changed():
    known = datasets()
    assert known["drawn"].source_files == ["results/data/drawn.json"]
    assert known["filmed-completed"].source_files == ["results/data/filmed-completed.json"]
    assert known["fetched"].source_files == ["results/fetched/fetched.json"]
    lists = ["train_name.txt", "test_name.txt", "tracks_train_info.mat", "tracks_test_info.mat", "query_IDX.mat"]
    assert known["filmed"].source_files == [f"filmed/info/{name}" for name in lists]


def test_where_a_layout_has_no_lists_its_folders_do():
    duke = datasets(duke=FILMED | {"layout": "duke", "root": "d"})["duke"]
    assert duke.source_files == ["d/train", "d/query", "d/gallery"]


def test_attributes_that_come_with_a_dataset_change_with_it():
    elsewhere = {"attributes": "elsewhere.csv"}
    known = datasets(
        drawn_elsewhere=RENDERED | elsewhere, fetched_elsewhere=FILMED | elsewhere | {"fetch": ["archive.zip"]}
    )
    assert known["drawn"].annotations == ["results/data/drawn.json"]
    assert known["drawn_elsewhere"].annotations == ["elsewhere.csv"]
    assert known["fetched_elsewhere"].annotations == ["results/fetched/fetched_elsewhere.json"]
    assert known["filmed"].annotations == ["filmed/a.csv"]


def test_frames_are_read_from_packs_where_they_are_packed():
    known = datasets(packed=FILMED | {"pack": True}, loose=FILMED | {"pack": False})
    assert known["packed"].packs == ["results/packs/packed/train.pack", "results/packs/packed/test.pack"]
    assert known["packed"].frames_root == "results/packs/packed"
    for name in ("loose", "filmed"):
        assert known[name].packs == [] and known[name].frames_root == "filmed"


def test_lists_are_known_by_what_they_say(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert datasets()["filmed"].lists_digest == ""  # nothing is there
    lists = [Path(path) for path in datasets()["filmed"].source_files]
    lists[0].parent.mkdir(parents=True)
    for path in lists:
        path.write_text(path.name)
    before = datasets()["filmed"].lists_digest
    assert before == hashlib.sha256("".join(path.name for path in lists).encode()).hexdigest()
    lists[1].touch()
    assert datasets()["filmed"].lists_digest == before
    lists[1].write_text("other")
    assert datasets()["filmed"].lists_digest not in ("", before)
    assert datasets()["fetched"].lists_digest == datasets()["drawn"].lists_digest == ""


def test_annotations_that_were_edited_after_they_were_fetched_have_a_digest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    attributes, record = Path("filmed/a.csv"), Path(datasets()["fetched"].record)
    for path in (attributes, record):
        path.parent.mkdir(parents=True)
    attributes.write_text("as fetched")
    assert datasets()["fetched"].edited_attributes == ""  # not fetched yet
    record.write_text(json.dumps({"a.csv": hashlib.sha256(b"as fetched").hexdigest()}))
    assert datasets()["fetched"].edited_attributes == ""
    attributes.write_text("edited")
    assert datasets()["fetched"].edited_attributes == hashlib.sha256(b"edited").hexdigest()
    assert datasets()["filmed"].edited_attributes == ""
