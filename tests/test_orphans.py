"""What a killed Snakemake left in SLURM's queue is found and ended, and nothing else is touched."""

import getpass
import os
from pathlib import Path

import pytest

from vreid.__main__ import main
from vreid.errors import InputError
from vreid.orphans import Job, jobs_of, orphans, refuse_beside_others


class Cluster:
    """Programs called squeue and scancel, the first on PATH: a queue in a file, one job a line."""

    def __init__(self, folder: Path, work: Path, monkeypatch):
        self.folder, self.work, self.queue = folder, work, folder / "queue"
        self.set()
        self.program("squeue", f'echo "$@" > "{folder}/asked"; cat "{self.queue}"')
        self.program("scancel", f'echo "$@" >> "{folder}/cancelled"; : > "{self.queue}"')
        monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
        monkeypatch.chdir(work)

    def program(self, name: str, shell: str) -> None:
        (self.folder / name).write_text(f"#!/bin/sh\n{shell}\n")
        (self.folder / name).chmod(0o755)

    def set(self, *lines: str) -> None:
        self.queue.write_text("".join(f"{line}\n" for line in lines))

    @property
    def cancelled(self) -> str:
        told = self.folder / "cancelled"
        return told.read_text() if told.exists() else ""


@pytest.fixture(params=["work", "my work|rule_x"])
def cluster(request, tmp_path, monkeypatch) -> Cluster:
    for name in ("bin", request.param):
        (tmp_path / name).mkdir()
    return Cluster(tmp_path / "bin", tmp_path / request.param, monkeypatch)


def test_jobs_are_read_with_their_rule_and_wildcards(cluster):
    cluster.set(
        f"7|RUNNING|{cluster.work}|rule_train_wildcards_synth-mars_asta+aitl_0",
        f"8|PENDING|{cluster.work}|rule_all_short",
        f"9_[2-3]|PENDING|{cluster.work}|rule_embed_wildcards_mars_a_1_mars",
    )
    assert jobs_of(Path()) == [
        Job("7", "RUNNING", "train", "synth-mars_asta+aitl_0"),
        Job("8", "PENDING", "all_short", ""),
        Job("9_[2-3]", "PENDING", "embed", "mars_a_1_mars"),
    ]
    assert (cluster.folder / "asked").read_text() == f"-h -u {getpass.getuser()} -o %i|%T|%Z|%k\n"


def test_a_folder_is_the_same_by_every_path(cluster):
    link = cluster.folder / "link"
    link.symlink_to(cluster.work)
    cluster.set(f"7|RUNNING|{link}|rule_train")
    assert [job.number for job in jobs_of(Path())] == ["7"]


def test_jobs_of_other_folders_and_of_no_snakemake_are_left(cluster):
    cluster.set(
        f"7|RUNNING|{cluster.work}|rule_train",
        f"8|RUNNING|{cluster.work}/inside|rule_train",
        f"9|RUNNING|{cluster.work.parent}|rule_train",
        f"10|RUNNING|{cluster.work}|",
        f"11|RUNNING|{cluster.work}|my own rule_train",
        f"12|RUNNING|{cluster.work}|(null)",
    )
    assert orphans(cancel=True) == 0
    assert cluster.cancelled == "7\n"


def test_none_found_is_well(cluster, capsys):
    assert orphans(cancel=True) == 0
    assert f"No job of {cluster.work} is in SLURM's queue" in capsys.readouterr().out
    assert not cluster.cancelled


def test_found_ones_are_listed_with_what_to_do_and_are_not_touched(cluster, capsys):
    cluster.set(f"7|RUNNING|{cluster.work}|rule_train_wildcards_synth-mars_aitl_0")
    with pytest.raises(SystemExit) as done:
        main(["orphans"])
    said = capsys.readouterr().out
    assert done.value.code == 1 and not cluster.cancelled
    assert ["7", "RUNNING", "train", "synth-mars_aitl_0"] in [line.split() for line in said.splitlines()]
    assert said.index("orphans --cancel") < said.index("snakemake --unlock") < said.index("--rerun-incomplete")
    assert "If its Snakemake runs, they are its own" in said


def test_cancelling_waits_until_they_are_gone(cluster, capsys):
    """They are shown twice more, as COMPLETING, after scancel."""
    cluster.set(f"7|RUNNING|{cluster.work}|rule_train", f"8|PENDING|{cluster.work}|rule_embed")
    cluster.program("scancel", f'echo "$@" > "{cluster.folder}/cancelled"; echo 2 > "{cluster.folder}/more"')
    cluster.program(
        "squeue",
        f'cd "{cluster.folder}"; if [ -e more ]; then read n < more; [ $n -gt 0 ] || exit 0; echo $((n-1)) > more; fi;'
        " cat queue",
    )
    assert orphans(cancel=True, pause=0.01) == 0
    assert cluster.cancelled == "7 8\n" and (cluster.folder / "more").read_text() == "0\n"
    assert "none is left" in capsys.readouterr().out


def test_those_that_will_not_go_are_named(cluster, capsys):
    cluster.set(f"7|RUNNING|{cluster.work}|rule_train")
    cluster.program("scancel", "echo 'scancel: error: Kill job error on job id 7: Access denied' >&2; exit 1")
    assert orphans(cancel=True, patience=0.05, pause=0.01) == 1
    said = capsys.readouterr().out
    assert "Still there after 0.05 s: 7." in said and "Access denied" in said


def test_a_queue_that_does_not_answer_is_an_error_with_its_text(cluster):
    cluster.program("squeue", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    with pytest.raises(InputError, match="squeue: slurm_load_jobs error: Unable to contact"):
        orphans(cancel=True)


def test_without_slurm_it_is_said_where_this_is_called(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["orphans"]) == 2
    assert "no squeue here; call this on the login node" in capsys.readouterr().err


def test_who_starts_waits_for_jobs_that_are_ending_but_not_for_ever(cluster, capsys):
    cluster.set(f"7|COMPLETING|{cluster.work}|rule_train")
    refuse_beside_others(Path(), patience=0.05, pause=0.01)
    assert capsys.readouterr().err == "Waiting for 1 jobs of this folder to end …\n"
    cluster.set(f"7|COMPLETING|{cluster.work}|rule_train", f"8|RUNNING|{cluster.work}|rule_train")
    with pytest.raises(InputError, match=r"queue: 8 \(train, RUNNING\)\. They"):
        refuse_beside_others(Path(), patience=5, pause=1)


def test_who_starts_beside_jobs_of_this_folder_is_told_them(cluster):
    refuse_beside_others(Path())
    cluster.set(*(f"{number}|RUNNING|{cluster.work}|rule_train" for number in range(7, 14)))
    with pytest.raises(InputError, match=r"queue: 7 \(train, RUNNING\), .* 11 \(train, RUNNING\) and 2 more\. They"):
        refuse_beside_others(Path())
