"""Files that tell a job something are written when it changes."""

import os
from pathlib import Path

import pytest

from vreid.experiment.told import told, told_at_length


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_file_that_tells_a_job_something_is_written_when_that_changes():
    path = Path(told("sources", ["a"]))
    assert path.read_text() == '["a"]'
    os.utime(path, (1, 1))
    assert told("sources", ["a"]) == str(path) and path.stat().st_mtime == 1
    assert told("sources", ["b"]) == str(path) and path.read_text() == '["b"]'
    assert path.stat().st_mtime > 1


def test_what_is_a_reason_to_run_again_is_told_under_another_path():
    one, other = told_at_length("runs", {"a": 1, "b": 2}), told_at_length("runs", {"a": 1, "b": 3})
    assert one != other and Path(one).exists() and Path(other).exists()
    assert told_at_length("runs", {"b": 2, "a": 1}) == one
