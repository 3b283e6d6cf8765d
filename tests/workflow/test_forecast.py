"""The target `plan` and a dry run agree on what is still to train and to embed."""

import pandas as pd


def forecast(checkout) -> set[str]:
    """The jobs that the forecast lists, in the words of a dry run: "train synth-mars aitl 0"."""
    checkout.snakemake("--cores", "1", "plan")
    jobs = pd.read_csv(checkout.root / "results/plan-jobs.csv", keep_default_na=False)
    rules = {"training": "train", "embedding": "embed"}
    return {
        " ".join(map(str, [rules[job.job], job.train, job.model, job.seed, job.test])).strip()
        for job in jobs.itertuples()
    }


def dry_run(checkout) -> set[str]:
    return {job for job in checkout.plan() if job.split()[0] in ("train", "embed")}


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
