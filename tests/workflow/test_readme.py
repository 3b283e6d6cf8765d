"""The commands that the README gives are ones that Snakemake takes, and the files that it names are there."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY

README = (REPOSITORY / "README.md").read_text()
COMMANDS = {" ".join(said.split()) for said in re.findall(r"uv run snakemake ([^`#]+?)(?:`|  +#|\n\n)", README)}
AFTER_A_RUN = {"--report results/report.zip", "--unlock", "--touch --cores 1 results/runs/…/weights.pt"}
NEED_DATA = {said for said in COMMANDS if "config/paper.yaml" in said}


def test_the_commands_are_found():
    assert {
        "--cores all",
        "--cores 1 plan",
        "--workflow-profile workflow/profiles/slurm --configfile config/paper.yaml",
    } | AFTER_A_RUN <= COMMANDS
    assert len(NEED_DATA) == 3


@pytest.mark.parametrize("said", sorted(COMMANDS - AFTER_A_RUN))
def test_a_command_of_the_readme_is_one_that_snakemake_takes(fresh, said):
    command = [sys.executable, "-m", "snakemake", "--dry-run", *shlex.split(said)]
    run = subprocess.run(command, cwd=fresh.root, env=fresh.env, text=True, capture_output=True, timeout=600)
    printed = run.stdout + run.stderr  # a dry run has errors in its output
    if said in NEED_DATA:
        assert run.returncode and "needed by table1" in printed, printed
    else:
        assert run.returncode == 0 and "This was a dry-run" in printed, printed


def test_the_files_that_it_names_are_there():
    pages = {"README.md": README, "benchmarks/README.md": (REPOSITORY / "benchmarks/README.md").read_text()}
    links = [
        str(Path(page).parent / link) for page, text in pages.items() for link in re.findall(r"\]\(([^)#]+)\)", text)
    ]
    code = [
        word
        for word in re.findall(r"`([\w./-]+)`", README)
        if word.startswith(("config/", "src/", "tests/", "workflow/"))
    ]
    assert len(links) > 3 and len(code) > 5
    assert not [name for name in links + code if not (REPOSITORY / name).exists()]
