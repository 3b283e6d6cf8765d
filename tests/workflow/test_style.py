"""The workflow and the sources are in the form that their communities' tools ask for."""

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


def said_by(*module_and_arguments: str) -> str:
    command = [sys.executable, "-m", *module_and_arguments]
    run = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    said = run.stdout + run.stderr
    assert run.returncode == 0, said
    return said


def test_snakemake_finds_nothing_to_improve():
    assert "Congratulations" in said_by("snakemake", "--lint")


def test_the_workflow_is_formatted():
    said_by("snakefmt", "--check", "Snakefile", "workflow")


@pytest.mark.parametrize("task", [["check"], ["format", "--check"]], ids=" ".join)
def test_the_sources_are_clean(task):
    said_by("ruff", *task, ".")
