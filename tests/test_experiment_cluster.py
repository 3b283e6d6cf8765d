"""What a profile asks of SLURM, and what SLURM allows, which its programs say."""

import math

import pytest
from snakemake.resources import Resource, Resources

from vreid.experiment import cluster
from vreid.experiment.cluster import (
    OTHERS,
    Asked,
    asked_of_slurm,
    limits_of_partitions,
    minutes_of,
    refused_by_slurm,
    traps_of_slurm,
)


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Have a program say something; before it is called, there is none."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def say(name: str, text: str, status: int = 0, waits: float = 0) -> None:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n/bin/sleep {waits}\necho '{text}'\nexit {status}\n")
        path.chmod(0o755)

    return say


def resources(**values) -> Resources:
    """As Snakemake reads them of its command line and of profiles."""
    return Resources(
        {
            name: Resource.from_cli_expression(name, value) if isinstance(value, str) else Resource(name, value)
            for name, value in values.items()
        }
    )


def test_of_every_rule_what_its_attempts_ask_for():
    defaults = resources(slurm_partition="cpu", runtime="60 * attempt")
    by_rule = {
        "train": resources(slurm_partition="gpu", runtime="min(720 * attempt, 1440)"),
        "pack": resources(runtime=240),
    }
    assert asked_of_slurm(defaults, by_rule) == [
        *(Asked(OTHERS, "cpu", minutes) for minutes in (60, 120, 180)),
        Asked("train", "gpu", 720),
        Asked("train", "gpu", 1440),
        Asked("pack", "cpu", 240),
    ]


def test_where_no_partition_is_named_nothing_is_asked():
    assert asked_of_slurm({}, {}) == []
    assert asked_of_slurm({}, {"train": resources(runtime=5)}) == []
    assert asked_of_slurm({}, {"train": resources(slurm_partition="gpu")}) == [Asked("train", "gpu", 0)]


def test_expressions_are_what_they_come_to_or_are_left_out(monkeypatch):
    monkeypatch.setenv("MINE", "hers")
    by_rule = {
        "quoted": resources(slurm_partition="'all'", runtime=5),
        "first": resources(slurm_partition="'gpu' if attempt == 1 else 'long'"),
        "named": resources(slurm_partition="$MINE"),
        "sized": resources(slurm_partition="gpu", runtime="1440 if wildcards.model == 'gltr' else input.size_mb"),
        "placed": resources(slurm_partition="wildcards.model"),
    }
    assert asked_of_slurm({}, by_rule) == [
        Asked("quoted", "all", 5),
        Asked("first", "gpu", 0),
        Asked("first", "long", 0),
        Asked("named", "hers", 0),
        Asked("sized", "gpu", 0),
    ]


def test_the_time_of_a_rule_that_the_profile_gives_none_may_be_its_own():
    assert asked_of_slurm(resources(slurm_partition="cpu", runtime=60), {"train": resources(mem_mb=1)}) == [
        Asked(OTHERS, "cpu", 60),
        Asked("train", "cpu", 0),
    ]


@pytest.mark.parametrize(
    ("limit", "minutes"),
    [("30:00", 30), ("1:30:00", 90), ("2-00:00:30", 2880.5), ("infinite", math.inf), ("n/a", math.inf)],
)
def test_limits_are_read_as_slurm_writes_them(limit, minutes):
    assert minutes_of(limit) == minutes


def test_partitions_have_their_limits_where_slurm_answers(program):
    assert limits_of_partitions() == {}
    program("sinfo", "gpu|1-00:00:00\ncpu|infinite")
    assert limits_of_partitions() == {"gpu": 1440, "cpu": math.inf}
    program("sinfo", "gpu|1-00:00:00", status=1)
    assert limits_of_partitions() == {}


def test_who_does_not_answer_is_not_waited_for(program, monkeypatch):
    monkeypatch.setattr(cluster, "PATIENCE", 0.05)
    program("sinfo", "gpu|1-00:00:00", waits=5)
    assert limits_of_partitions() == {}


def test_traps_are_remarked_where_they_are(program, monkeypatch):
    monkeypatch.delenv("SLURM_CONF", raising=False)
    assert list(traps_of_slurm()) == []
    program("scontrol", "MessageTimeout          = 10 sec\nMinJobAge               = 300 sec")
    assert list(traps_of_slurm()) == []
    program("scontrol", "MessageTimeout          = 10 sec\nMinJobAge               = 60 sec")
    (forgets,) = traps_of_slurm()
    assert forgets.startswith("SLURM forgets jobs 60 s after their end (MinJobAge)")
    monkeypatch.setenv("SLURM_CONF", "/opt/slurm.conf")
    assert [remark.split()[0] for remark in traps_of_slurm()] == ["SLURM", "SLURM_CONF"]


def test_what_slurm_would_refuse_is_said_and_nothing_else(program):
    asked = [Asked("train", "gpu", 1440), Asked("embed", "gpu,long", 360), Asked(OTHERS, "cpu", 60)]
    assert list(refused_by_slurm(asked)) == []  # there is no SLURM
    program("sinfo", "gpu|1-00:00:00\nlong|7-00:00:00\ncpu|infinite")
    assert list(refused_by_slurm(asked)) == []
    program("sinfo", "gpu|12:00:00\nlong|7-00:00:00\nserial|infinite")
    too_long, unknown = refused_by_slurm(asked)
    assert too_long.startswith("runtime of train: 1440 minutes, and a job of the partition gpu may take 720;")
    assert unknown == f"slurm_partition of {OTHERS}: cpu is none of gpu, long, serial; correct the profile"
