"""Checkpoints are whole, or known not to be."""

import pytest
import torch

from vreid import checkpoints


def state(step):
    return {
        "step": step,
        "weights": {"w": torch.full((50,), float(step))},
        "history": [{"loss": 0.5}],
        "run": "a b",
    }


def save(folder, *steps):
    for step in steps:
        checkpoints.save(folder, step, state(step))


def newest(folder):
    return max(folder.glob("step-*"))


def test_a_state_is_read_as_it_was_written(tmp_path):
    save(tmp_path, 7)
    found = checkpoints.load_newest(tmp_path)
    assert torch.equal(found.pop("weights")["w"], torch.full((50,), 7.0))
    assert found == {"step": 7, "history": [{"loss": 0.5}], "run": "a b"}


def test_the_newest_is_used_and_two_are_kept(tmp_path):
    save(tmp_path, 1, 2, 9, 10, 100)
    assert checkpoints.load_newest(tmp_path)["step"] == 100
    assert sorted(path.name[:13] for path in tmp_path.iterdir()) == ["step-00000010", "step-00000100"]


def test_without_checkpoints_there_is_none(tmp_path):
    assert checkpoints.load_newest(tmp_path) is None
    assert checkpoints.load_newest(tmp_path / "never made") is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:-1],
        lambda content: content[: len(content) // 2],
        lambda content: content[:300] + bytes([content[300] ^ 1]) + content[301:],
        lambda content: content + b"\0",
    ],
)
def test_of_a_torn_or_altered_checkpoint_the_one_before_is_used(tmp_path, damage):
    save(tmp_path, 3, 4)
    newest(tmp_path).write_bytes(damage(newest(tmp_path).read_bytes()))
    assert checkpoints.load_newest(tmp_path)["step"] == 3


def test_when_both_are_torn_there_is_none(tmp_path):
    save(tmp_path, 3, 4)
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    assert checkpoints.load_newest(tmp_path) is None


def test_a_torn_checkpoint_does_not_take_the_place_of_a_whole_one(tmp_path):
    save(tmp_path, 10, 20)
    newest(tmp_path).write_bytes(b"torn")
    assert checkpoints.load_newest(tmp_path)["step"] == 10
    save(tmp_path, 12, 14)
    assert [path.name[:13] for path in sorted(tmp_path.iterdir())] == ["step-00000012", "step-00000014"]


def test_a_step_that_is_written_again_stands_once(tmp_path):
    save(tmp_path, 3, 4, 4)
    assert len(list(tmp_path.iterdir())) == 2
    assert checkpoints.load_newest(tmp_path)["step"] == 4


def test_a_writing_that_fails_leaves_the_older_checkpoints(tmp_path, monkeypatch):
    save(tmp_path, 3)

    def full_disk(*paths):
        raise OSError("No space left on device")

    monkeypatch.setattr("os.replace", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save(tmp_path, 4)
    assert checkpoints.load_newest(tmp_path)["step"] == 3
    assert len(list(tmp_path.iterdir())) == 1


class RunsCode:
    def __reduce__(self):
        return (exec, ("raise SystemExit('a pickle was run')",))


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    checkpoints.save(tmp_path, 1, {"step": RunsCode()})
    with pytest.raises(Exception, match="Weights only load failed"):
        checkpoints.load_newest(tmp_path)
