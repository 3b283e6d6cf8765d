"""Jobs that a killed Snakemake left in SLURM's queue, and their end.

A Snakemake that dies of SIGKILL or with its login node leaves its jobs running; the next one knows nothing of them and
would submit the same work again beside them. SLURM knows each by its work dir and by its comment, which Snakemake's
executor plugin for SLURM sets (2.8.0): `rule_<rule or group>`, with `_wildcards_<values>` where there are any.
"""

import getpass
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from tabulate import tabulate

from vreid.errors import InputError

QUEUE_FORMAT = "%i|%T|%Z|%k"  # job id, state, work dir (which may hold what it likes), comment
LINE = re.compile(r"(?P<number>[^|]+)\|(?P<state>[^|]*)\|(?P<folder>.*)\|(?P<comment>[^|]*)")
ENDED = (
    "If some ended by themselves after their Snakemake was killed, it does not know what made their results\n"
    "(`missing provenance`), and would not see later changes. If nothing was changed since they were submitted,\n"
    "unlock, and call `uv run snakemake --touch --cores 1` on the weights.pt of each; if something was, delete that\n"
    "file. Touch nothing else."
)
ENDING = "COMPLETING"
COMMENT = re.compile(r"rule_(?P<rule>.+?)(?:_wildcards_(?P<wildcards>.*))?")


class Job(NamedTuple):
    """One job of Snakemake's in the queue."""

    number: str  # as scancel takes it; of an array, with its tasks
    state: str
    rule: str  # or group of rules
    wildcards: str  # their values, joined by _


def orphans(cancel: bool, folder: Path = Path(), patience: float = 120.0, pause: float = 1.0) -> int:
    """Print the jobs of `folder`; with `cancel` cancel them, and wait until they are gone. The status to exit with.

    0: there are none, or none any more. 1: there are some, or some still after `patience` seconds, asked for every
    `pause` seconds. Raises InputError where SLURM cannot be asked.
    """
    found = jobs_of(folder)
    if not found:
        print(f"No job of {folder.resolve()} is in SLURM's queue.\n{ENDED}")
        return 0
    print(tabulate(found, headers=["job", "state", "rule", "wildcards"], disable_numparse=True))
    if not cancel:
        print(
            f"\n{len(found)} of this folder's jobs are in SLURM's queue. If its Snakemake runs, they are its own:\n"
            "leave them. If it was killed, cancel them, unlock the folder and run again:\n"
            "    uv run python -m vreid orphans --cancel\n"
            "    uv run snakemake --unlock\n"
            f"and then what was run, with --rerun-incomplete.\n\n{ENDED}"
        )
        return 1
    said = ask("scancel", *(job.number for job in found)).stderr.strip()
    end = time.monotonic() + patience
    while (left := jobs_of(folder)) and time.monotonic() < end:
        time.sleep(pause)
    if left:
        numbers = ", ".join(job.number for job in left)
        print(f"\nStill there after {patience:g} s: {numbers}. {said or 'Call this again until none is left.'}")
        return 1
    print("\nCancelled; none is left. Next: uv run snakemake --unlock, and then what was run, with --rerun-incomplete.")
    return 0


def refuse_beside_others(folder: Path, patience: float = 60.0, pause: float = 2.0) -> None:
    """For a Snakemake that has submitted nothing so far: raises InputError where jobs of `folder` are in the queue.

    Those that are ending (they may still save) are waited for, as long as `patience` seconds, and then left alone.
    """
    end, told = time.monotonic() + patience, False
    while (found := jobs_of(folder)) and all(job.state == ENDING for job in found) and time.monotonic() < end:
        if not told:
            print(f"Waiting for {len(found)} jobs of this folder to end …", file=sys.stderr)
        told = True
        time.sleep(pause)
    if found := [job for job in found if job.state != ENDING]:
        names = ", ".join(f"{job.number} ({job.rule}, {job.state})" for job in found[:5])
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        raise InputError(
            f"jobs of another Snakemake in this folder are in SLURM's queue: {names}{more}. They write what this one"
            " would submit again. If it was killed: uv run python -m vreid orphans --cancel. Nothing was submitted."
        )


def jobs_of(folder: Path) -> list[Job]:
    """This user's jobs that Snakemake submitted from `folder`, by whichever path it was called."""
    answer = ask("squeue", "-h", "-u", getpass.getuser(), "-o", QUEUE_FORMAT)
    if answer.returncode:
        raise InputError(f"squeue: {answer.stderr.strip() or f'exit status {answer.returncode}'}; try again later")
    here = folder.resolve()
    lines = filter(None, map(LINE.fullmatch, answer.stdout.splitlines()))
    ours = [(line, COMMENT.fullmatch(line["comment"])) for line in lines if Path(line["folder"]).resolve() == here]
    return [Job(line["number"], line["state"], said["rule"], said["wildcards"] or "") for line, said in ours if said]


def ask(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run([program, *arguments], capture_output=True, text=True)
    except FileNotFoundError:
        raise InputError(f"there is no {program} here; call this on the login node of the SLURM cluster") from None
