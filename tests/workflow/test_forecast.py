"""The target `plan` and a dry run agree on what is still to train, to embed and to complete."""

import shutil

import pandas as pd
import pytest
import yaml
from conftest import Checkout

SAID = {
    "training": "train {job.train} {job.model} {job.seed}",
    "embedding": "embed {job.train} {job.model} {job.seed} {job.test}",
    "completion": "complete {job.completes}",
}
COMPLETION = ("score_regions", "train_completion", "complete")  # the three rules of a completion


def forecast(checkout) -> set[str]:
    """The jobs that the forecast lists, in the words of a dry run: "train synth-mars aitl 0"."""
    checkout.snakemake("--cores", "1", "plan")
    jobs = pd.read_csv(checkout.root / "results/plan-jobs.csv", keep_default_na=False)
    return {SAID[job.job].format(job=job) for job in jobs.itertuples()}


def dry_run(checkout) -> set[str]:
    jobs = [job.split() for job in checkout.plan()]
    completions = {f"complete {job[1]}" for job in jobs if job[0] in COMPLETION}
    return completions | {" ".join(job) for job in jobs if job[0] in ("train", "embed")}


def test_on_an_empty_checkout_everything_is_to_run_and_again_when_asked_again(fresh):
    planned = dry_run(fresh)
    assert "train synth-mars aitl 1" in planned and "embed synth-mars aitl 1 synth-mars" in planned
    assert forecast(fresh) == planned
    assert forecast(fresh) == planned
    assert dry_run(fresh) == planned


def test_after_a_run_nothing_is_left_and_after_a_change_what_it_touches(checkout):
    assert forecast(checkout) == set()
    assert "on CPU; by model" in (checkout.root / "results/plan.md").read_text()
    checkout.edit("config/config.yaml", "  aitl: {streams: [reid],", "  aitl: {margin: 0.2, streams: [reid],")
    changed = forecast(checkout)
    assert changed == dry_run(checkout)
    assert {job.split()[2] for job in changed} == {"aitl"}


def completed_by(**options):
    """An overlay that changes how frames are completed."""

    def change(checkout: Checkout) -> None:
        overlay = {"datasets": {"synth-mars-completed": {"completed": options}}}
        (checkout.root / "completed.yaml").write_text(yaml.safe_dump(overlay))
        checkout.overlay += " completed.yaml"

    return change


CHANGES = {
    "how regions are scored": completed_by(scoring={"most": 0.2}),
    "how completion is learnt": completed_by(training={"lr": 0.01}),
    "the code that scores": lambda checkout: checkout.append("src/vreid/completion/score.py", "CHANGED = True"),
    "the code that completes": lambda checkout: checkout.append("src/vreid/completion/complete.py", "CHANGED = True"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_after_a_change_to_a_completion_it_is_to_run_with_what_is_trained_on_its_frames(systems, tmp_path, change):
    checkout = Checkout(shutil.copytree(systems.root, tmp_path / "copy"), systems.overlay)
    assert forecast(checkout) == set()
    CHANGES[change](checkout)
    train, embed = (f"{rule} synth-mars-completed hou 0" for rule in ("train", "embed"))
    assert dry_run(checkout) == {"complete synth-mars-completed", train, f"{embed} synth-mars-completed"}
    assert forecast(checkout) == dry_run(checkout)
