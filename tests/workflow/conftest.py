"""Copies of the repository to run Snakemake in, one of them run to its end on the few people of tiny.yaml."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from vreid.spec import resolve

REPOSITORY = Path(__file__).parents[2]
TINY = "tests/workflow/tiny.yaml"
JOB = re.compile(r"^(?:local)?rule (\w+):$|^    wildcards: (.*)$", re.M)


def variants(config: dict, overlay: dict) -> list[dict]:
    """The rows of `variants`: those of the overlay, and the first model of every method that has a row nowhere."""
    tables = [config["tables"][name] | (overlay["tables"][name] or {}) for name in ("table3", "recognition")]
    rows = overlay["tables"]["variants"]["rows"]
    method = {model: resolve(config, model, 0).method for model in config["models"]}
    seen = {method[row["model"]] for row in rows + [row for table in tables for row in table["rows"]]}
    first = {name: model for model, name in reversed(method.items()) if name not in seen}
    return rows + [{"model": model, "label": model} for model in sorted(first.values())]


class Checkout:
    """A copy of the repository, whose package is imported from the copy, and which sees no GPU."""

    def __init__(self, root: Path, overlay: str = TINY):
        self.root, self.overlay = root, overlay
        self.env = os.environ | {"PYTHONPATH": str(root / "src"), "CUDA_VISIBLE_DEVICES": ""}

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "snakemake", *arguments, "--configfile", *self.overlay.split()]

    def snakemake(self, *arguments: str, succeeds: bool = True) -> str:
        """What Snakemake prints; `succeeds` is what must become of it."""
        run = subprocess.run(
            self.command(*arguments), cwd=self.root, env=self.env, text=True, capture_output=True, timeout=1200
        )
        said = run.stdout + run.stderr
        assert (run.returncode == 0) == succeeds, said
        return said

    def plan(self) -> set[str]:
        """The jobs that a dry run lists, such as "train synth-mars aitl 0", but for `all`."""
        said = self.snakemake("--dry-run")
        assert "Nothing to be done" in said or "Job stats" in said
        jobs = []
        for rule, wildcards in JOB.findall(said):
            if rule:
                jobs.append(rule)
            else:
                jobs[-1] += "".join(f" {wildcard.split('=', 1)[1]}" for wildcard in wildcards.split(", "))
        return set(jobs) - {"all"}

    def edit(self, path: str, old: str, new: str) -> None:
        text = (self.root / path).read_text()
        assert text.count(old) == 1, f"{path} holds {old!r} {text.count(old)} times"
        (self.root / path).write_text(text.replace(old, new))

    def append(self, path: str, line: str) -> None:
        with (self.root / path).open("a") as file:
            file.write(f"\n{line}\n")


def copied(root: Path) -> Path:
    """What a clone holds, as far as Snakemake needs it."""
    for folder in ("config", "src", "workflow", "tests/workflow"):
        shutil.copytree(REPOSITORY / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Snakefile", "pyproject.toml"):
        shutil.copy2(REPOSITORY / name, root / name)
    return root


@pytest.fixture
def fresh(tmp_path) -> Checkout:
    """A fresh copy."""
    return Checkout(copied(tmp_path))


@pytest.fixture
def paper(tmp_path) -> Checkout:
    """A fresh copy with the overlay for the real data."""
    return Checkout(copied(tmp_path), "config/paper.yaml")


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Checkout:
    """Run once, from frames to report; to be looked at, not to be changed."""
    checkout = Checkout(copied(tmp_path_factory.mktemp("finished")))
    checkout.snakemake("--cores", "all")
    return checkout


@pytest.fixture(scope="session")
def systems(tmp_path_factory) -> Checkout:
    """Every comparison system, trained for two epochs on a few people; a method without a row there gets one."""
    checkout = Checkout(copied(tmp_path_factory.mktemp("systems")), "tests/workflow/systems.yaml")
    config, overlay = (
        yaml.safe_load((checkout.root / name).read_text()) for name in ("config/config.yaml", checkout.overlay)
    )
    (checkout.root / "rows.yaml").write_text(
        yaml.safe_dump({"tables": {"variants": {"rows": variants(config, overlay)}}})
    )
    checkout.overlay += " rows.yaml"
    checkout.snakemake("--cores", "all")
    return checkout


@pytest.fixture
def checkout(finished, tmp_path) -> Checkout:
    """The finished one, copied to another place, to be changed."""
    return Checkout(shutil.copytree(finished.root, tmp_path / "copy"))
