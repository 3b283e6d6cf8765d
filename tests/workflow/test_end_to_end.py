"""The whole workflow on a few people: from nothing to the report, and through a power cut."""

import itertools
import json
import os
import signal
import subprocess
import time
import zipfile
from pathlib import Path

import pandas as pd
import pytest
import torch

from vreid.results import read_json

RUNS = [f"results/runs/synth-mars/{model}/seed{seed}" for model in ("baseline", "aitl") for seed in (0, 1)]
EPOCHS = 4


def test_it_ends_in_tables_figures_and_a_report(finished):
    results = finished.root / "results"
    for name in (
        "tables/table1.csv",
        "tables/table1.md",
        "tables/table1.tex",
        "figures/fig7.svg",
        "figures/fig7.png",
        "figures/fig8.svg",
        "figures/gallery.svg",
        "claims.csv",
    ):
        assert (results / name).stat().st_size > 0, name
    assert "</html>" in (results / "report/index.html").read_text()


def test_snakemake_looks_for_jobs_when_one_has_ended_and_not_ever_more_often(fresh):
    runs = [f"{model}/seed{seed}" for model in ("baseline", "aitl") for seed in range(8)]
    specs = [f"results/runs/synth-mars/{run}/spec.json" for run in runs]
    said = fresh.snakemake("--cores", "1", "--verbose", *specs)
    assert all((fresh.root / spec).exists() for spec in specs)
    assert len(specs) <= said.count("Ready jobs: ") <= 2 * len(specs)


def test_the_last_lines_of_what_failed_stand_at_the_end(fresh):
    fresh.edit("src/vreid/spec.py", "    def save(self", "    def saved_otherwise(self")
    said = fresh.snakemake("--cores", "1", f"{RUNS[0]}/spec.json", succeeds=False)
    last = "\n".join(said.splitlines()[-20:])
    assert "logs/freeze/synth-mars/baseline/seed0.log ends:" in last and "has no attribute 'save'" in last


def test_a_second_call_has_nothing_to_do(finished):
    assert "Nothing to be done" in finished.snakemake("--cores", "all")


@pytest.mark.parametrize("run", RUNS)
def test_every_metric_is_a_fraction_under_all_three_protocols(finished, run):
    metrics = read_json(finished.root / run / "synth-mars/metrics.json")
    assert set(metrics["protocols"]) == {"queries-removed", "queries-in-gallery", "mars-script"}
    for scores in metrics["protocols"].values():
        assert all(0 <= scores[name] <= 1 for name in ("mAP", "R1", "R5", "R10", "R20"))
        assert 0 < scores["num_valid_queries"] <= scores["num_queries"]


@pytest.mark.parametrize("run", RUNS)
def test_the_history_of_a_training_has_one_row_an_epoch(finished, run):
    history = pd.read_csv(finished.root / run / "history.csv")
    assert list(history["epoch"]) == list(range(1, EPOCHS + 1))
    assert history[["loss", "dvdp", "mAP", "R1"]].notna().all(axis=None)


def test_what_is_trained_and_tested_from_packs_is_the_same(checkout):
    weights, scores = f"{RUNS[0]}/weights.pt", f"{RUNS[0]}/synth-mars/metrics.json"
    before = [torch.load(checkout.root / weights, weights_only=True), read_json(checkout.root / scores)["protocols"]]
    checkout.edit(checkout.overlay, "  synth-mars:\n", "  synth-mars:\n    pack: true\n")
    said = checkout.snakemake("--cores", "all", scores)
    assert "\nlocalrule train:" in said and "\nlocalrule embed:" in said
    after = [torch.load(checkout.root / weights, weights_only=True), read_json(checkout.root / scores)["protocols"]]
    assert all(torch.equal(before[0][name], after[0][name]) for name in before[0]) and before[1] == after[1]


def test_a_workflow_killed_in_mid_training_goes_on_to_the_same_weights(checkout):
    run, weights = checkout.root / RUNS[1], checkout.root / RUNS[1] / "weights.pt"
    checkpoint_after_every_epoch(checkout)
    before, history = read_weights(weights), pd.read_csv(run / "history.csv")
    weights.unlink()
    arguments = [f"{RUNS[1]}/weights.pt", "--cores", "all", "--rerun-triggers", "mtime"]

    cut_power(checkout, arguments, once=lambda: list(run.glob("resume/step-*.pt")))
    assert not weights.exists()
    checkout.snakemake("--unlock")
    checkout.snakemake(*arguments)

    assert "resumed after epoch" in (checkout.root / "logs/train/synth-mars/baseline/seed1.log").read_text()
    after = read_weights(weights)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    again = pd.read_csv(run / "history.csv")
    pd.testing.assert_frame_equal(again.drop(columns="seconds"), history.drop(columns="seconds"), check_exact=True)


def checkpoint_after_every_epoch(checkout) -> None:
    """This training is over before the first checkpoint would be due."""
    checkout.edit("src/vreid/train.py", "CHECKPOINT_SECONDS = 15.0", "CHECKPOINT_SECONDS = 0.0")


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)


def cut_power(checkout, arguments: list[str], once) -> None:
    """SIGKILL Snakemake and all that it has started, at once, as soon as `once()` holds."""
    process = subprocess.Popen(
        checkout.command(*arguments),
        cwd=checkout.root,
        env=checkout.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        while not once():
            assert process.poll() is None, "over before it could be killed"
            time.sleep(0.005)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_snakemake_reports_it_with_captions_and_categories(finished, tmp_path):
    finished.snakemake("--report", str(tmp_path / "report.zip"))
    with zipfile.ZipFile(tmp_path / "report.zip") as report:
        page = report.read("report/report.html").decode()
        packed = {Path(name).name for name in report.namelist()}
    assert {"table1.csv", "fig7.svg", "fig8.svg", "claims.csv", "index.html"} <= packed
    categories = said_in(page, "categories")
    assert {name: sorted(itertools.chain(*parts.values())) for name, parts in categories.items()} == {
        "Tables": ["results/tables/table1.csv"],
        "Supplement": ["results/tables/cost.csv"],
        "Figures": ["results/figures/fig7.svg", "results/figures/fig8.svg", "results/figures/gallery.svg"],
        "Claims": ["results/claims.csv"],
        "The whole page": ["results/report/index.html"],
    }
    results = said_in(page, "results")
    assert all(result["caption"] for result in results.values())
    assert "Table 1. Ablation study." in results["results/tables/table1.csv"]["caption"]


def said_in(page: str, name: str) -> dict:
    """What Snakemake's own report holds under this name."""
    return json.JSONDecoder().raw_decode(page, page.index(f"var {name} = {{") + len(f"var {name} = "))[0]
