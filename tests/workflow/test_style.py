"""The workflow and the sources are in the form that their communities' tools ask for."""

import re
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


def test_every_rule_that_works_long_enough_for_a_node_of_its_own_is_benchmarked():
    blocks = [
        block
        for path in [REPOSITORY / "Snakefile", *(REPOSITORY / "workflow/rules").glob("*.smk")]
        for block in re.split(r"^(?=rule )", path.read_text(), flags=re.M)
        if block.startswith("rule ") and not block.startswith("rule all:")
    ]
    assert len(blocks) > 15
    bare = [block.split(":")[0] for block in blocks if "benchmark:" not in block and "localrule: True" not in block]
    assert not bare


def test_the_workflow_is_formatted():
    said_by("snakefmt", "--check", "Snakefile", "workflow")


@pytest.mark.parametrize("task", [["check"], ["format", "--check"]], ids=" ".join)
def test_the_sources_are_clean(task):
    said_by("ruff", *task, ".")
