"""What SLURM would refuse, or let wait for ever, of what a profile asks of it."""

import math
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

ATTEMPTS = 3  # of a job, with the retries of our profile
LEAST_AGE = 200  # seconds, more than Snakemake ever waits before it asks for a job again
PATIENCE = 30.0  # seconds


class Asked(NamedTuple):
    """What an attempt of a rule's jobs asks of SLURM."""

    rule: str  # or OTHERS
    partition: str  # or several, with commas
    minutes: int  # 0: nothing is said


OTHERS = "default-resources"


def asked_of_slurm(defaults: Mapping[str, Any], by_rule: Mapping[str, Mapping[str, Any]]) -> list[Asked]:
    """From Snakemake's `--default-resources` and `--set-resources`; nothing where no partition is named.

    Left out is what depends on more than the attempt, and the time of a rule for which only the defaults say one: it
    may have its own.
    """
    asked = {}
    for rule, own in {OTHERS: defaults, **by_rule}.items():
        own = {**own}  # whose `get` is not that of a mapping
        partition = {**defaults, **own}.get("slurm_partition")
        for attempt in range(1, ATTEMPTS + 1):
            if isinstance(name := _value(partition, rule, attempt), str):
                minutes = _value(own.get("runtime"), rule, attempt)
                asked[Asked(rule, name, minutes if isinstance(minutes, int) else 0)] = None
    return list(asked)


def _value(resource: Any, rule: str, attempt: int) -> Any:
    """Of one of Snakemake's resources; None where there is none, or where it depends on more than these."""
    if resource is None:
        return None
    try:
        return resource.evaluate(None, input=[], attempt=attempt, threads=1, rulename=rule, async_run=None).value
    except Exception:  # whatever an expression of wildcards or inputs raises without them
        return None


def refused_by_slurm(asked: Iterable[Asked]) -> Iterator[str]:
    """A line for every partition that is not there, and every job that asks for more time than its own allows."""
    asked = list(asked)
    limits = limits_of_partitions() if asked else {}
    for rule, names, minutes in asked if limits else ():
        unknown = [name for name in names.split(",") if name not in limits]
        if unknown:
            yield f"slurm_partition of {rule}: {', '.join(unknown)} is none of {', '.join(limits)}; correct the profile"
        elif minutes > (limit := max(limits[name] for name in names.split(","))):
            yield (
                f"runtime of {rule}: {minutes} minutes, and a job of the partition {names} may take {limit:g};"
                " ask for no more, in the profile (a training goes on from its checkpoint in the next attempt)"
            )


def traps_of_slurm() -> Iterator[str]:
    """What may let jobs fail, or Snakemake wait for ever, on a cluster that is set up so."""
    age = re.search(r"^MinJobAge\s*=\s*(\d+)", said_by("scontrol", "show", "config"), re.M)
    if age and int(age[1]) < LEAST_AGE:
        yield (
            f"SLURM forgets jobs {age[1]} s after their end (MinJobAge), and Snakemake, which asks every 40 to 180 s,"
            f" would wait for them for ever; have it raised to {LEAST_AGE} or more, or, where SLURM has an accounting"
            " database, let the profile's slurm-status-command be sacct"
        )
    if "SLURM_CONF" in os.environ:
        yield (
            "SLURM_CONF is set, and what Snakemake starts on a node forgets it (its plugin 2.8): if jobs fail at once"
            " since srun finds no configuration, put a script called srun first on PATH that sets it and calls SLURM's"
        )


def limits_of_partitions() -> dict[str, float]:
    """The minutes that a job of each partition may take; {} where there is no SLURM, or none that answers."""
    lines = said_by("sinfo", "--all", "--noheader", "-o", "%R|%l").splitlines()
    return {name: minutes_of(limit) for name, _, limit in (line.strip().partition("|") for line in lines)}


def said_by(*command: str) -> str:
    """What a program of SLURM prints; "" where there is none, or where it fails or does not answer in time."""
    if not shutil.which(command[0]):
        return ""
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return ""
    return "" if said.returncode else said.stdout


def minutes_of(limit: str) -> float:
    """Of a time limit as SLURM writes it, [days-]hours:minutes:seconds; ∞ of one that is no time, such as infinite."""
    days, _, clock = limit.rpartition("-")
    try:
        seconds = sum(int(part) * 60**place for place, part in enumerate(reversed(clock.split(":"))))
        return 1440 * int(days or 0) + seconds / 60
    except ValueError:
        return math.inf
