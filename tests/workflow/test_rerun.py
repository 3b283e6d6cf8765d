"""A change reruns what it touches, and nothing else."""

import ast
import os
import shutil
from collections.abc import Callable

import pytest
import yaml
from conftest import Checkout

OVERLAY = "tests/workflow/tiny.yaml"
REPORTING = {"table table1", "usage", "curves", "claims", "report"}


def jobs_of(model: str, seed: int) -> set[str]:
    run = f"synth-mars {model} {seed}"
    premise = {f"premise {run} synth-mars"} if model in ("baseline", "aitl") else set()  # claims speak of them
    return premise | {f"freeze {run}", f"train {run}", f"embed {run} synth-mars", f"score {run} synth-mars"}


def of_data(*rules: str) -> set[str]:
    return {f"{rule} synth-mars" for rule in rules}


RUNS = jobs_of("baseline", 0) | jobs_of("baseline", 1) | jobs_of("aitl", 0) | jobs_of("aitl", 1)
TRAINED_AGAIN = {job for job in RUNS if not job.startswith("freeze")}  # what is asked of them stays as it is
COSTS = {"costs", "cost_figure"}  # counted together
TRUNK = {"train synth-people trunk 0"}
RENDERED = {"render synth-mars", "render synth-duke", "render synth-people"}

Change = Callable[[Checkout], None]
CHANGES: dict[str, tuple[Change, set[str]]] = {}


def reruns(jobs: set[str]) -> Callable[[Change], Change]:
    """That a change, which the decorated function makes, reruns those jobs and no other."""

    def entered(change: Change) -> Change:
        CHANGES[change.__name__] = change, jobs
        return change

    return entered


@reruns(set())
def nothing(checkout):
    """The checkout is a copy at another path, as of a clone that has moved."""


@reruns(set())
def every_file_is_touched(checkout):
    for folder in ("src", "workflow", "config"):
        for path in (checkout.root / folder).rglob("*"):
            os.utime(path)
    os.utime(checkout.root / "Snakefile")


@reruns(set())
def comments_docstrings_and_layout_of_the_code(checkout):
    for path in (checkout.root / "src").rglob("*.py"):
        tree = ast.parse(path.read_text())
        if ast.get_docstring(tree):
            tree.body[0] = ast.Expr(ast.Constant("Other words."))
        path.write_text("# A comment.\n" + ast.unparse(tree) + "\n\n\n")


@reruns(set())
def comments_and_the_order_of_keys_in_the_configuration(checkout):
    for name in ("config/config.yaml", OVERLAY):
        path = checkout.root / name
        before = path.read_text()
        path.write_text("# A comment.\n" + yaml.safe_dump(yaml.safe_load(before), sort_keys=True))
        assert path.read_text() != before


@reruns(jobs_of("aitl", 0) | jobs_of("aitl", 1) | REPORTING | COSTS | {"retrieval"})
def a_hyper_parameter_of_one_model(checkout):
    checkout.edit(OVERLAY, "models:\n", "models:\n  aitl: {margin: 0.2}\n")


@reruns(jobs_of("baseline", 2) | jobs_of("aitl", 2) | REPORTING | {"cost_figure"})
def a_new_seed(checkout):
    checkout.edit(OVERLAY, "seeds: [0, 1]", "seeds: [0, 1, 2]")


@reruns(
    {f"{rule} synth-mars new {seed}" for rule in ("freeze", "train") for seed in (0, 1)}
    | {f"{rule} synth-mars new {seed} synth-mars" for rule in ("embed", "score") for seed in (0, 1)}
    | {"table table1", "usage", "report"}
    | COSTS
)
def a_new_ablation_which_is_one_entry(checkout):
    entry = "  new: {losses: [softmax], streams: [reid], tables: {table1: Mine}}\n"
    checkout.edit(OVERLAY, "models:\n", f"models:\n{entry}")


@reruns({"table table1", "usage", "report"})
def the_name_of_a_row_that_its_entry_names(checkout):
    a_new_ablation_which_is_one_entry(checkout)
    checkout.snakemake("--cores", "all")
    assert checkout.plan() == set()
    checkout.edit(OVERLAY, "{table1: Mine}", "{table1: Ours}")


@reruns({"table table1", "usage", "claims", "report"})
def a_row_less(checkout):
    checkout.edit(OVERLAY, "      - {model: aitl, label: Baseline + AITL}\n", "")


@reruns(TRAINED_AGAIN | TRUNK | REPORTING | COSTS | {"retrieval"})
def a_loss_function(checkout):
    checkout.append("src/vreid/losses.py", "CHANGED = True")


@reruns(TRAINED_AGAIN | TRUNK | REPORTING | COSTS | {"retrieval"})
def the_file_of_the_one_method_that_both_models_have(checkout):
    checkout.append("src/vreid/models/multitask.py", "CHANGED = True")


@reruns(set())
def the_file_of_a_method_that_no_model_has(checkout):
    checkout.append("src/vreid/models/gltr.py", "CHANGED = True")


@reruns({"table table1", "report"})
def the_typesetting_of_tables(checkout):
    checkout.append("src/vreid/tables.py", "CHANGED = True")


@reruns({"usage", "report"})
def the_table_of_what_runs_took(checkout):
    checkout.append("src/vreid/usage.py", "CHANGED = True")
    checkout.edit("config/config.yaml", "title: What every run took", "title: What runs took")


@reruns(
    of_data("render", "index", "annotate", "contact_sheet") | TRAINED_AGAIN | REPORTING | {"cost_figure", "retrieval"}
)
def the_world_of_a_dataset(checkout):
    checkout.edit(OVERLAY, "tracklets_per_person: 0.3", "tracklets_per_person: 0.4")


@reruns(of_data("annotate", "contact_sheet") | TRAINED_AGAIN | REPORTING | {"cost_figure", "retrieval"})
def one_annotation(checkout):
    own = checkout.root / "annotations.csv"
    shutil.copy2(checkout.root / "results/data/synth-mars/mars_attributes.csv", own)
    checkout.edit(OVERLAY, "  synth-mars:\n", "  synth-mars:\n    attributes: annotations.csv\n")
    checkout.snakemake("--touch", "--cores", "1")
    assert checkout.plan() == set()
    *rows, last = own.read_text().splitlines()
    own.write_text("\n".join([*rows, last[:-1] + ("1" if last.endswith("0") else "0")]) + "\n")


@pytest.mark.parametrize("change", CHANGES)
def test_what_a_change_reruns(change, checkout):
    make, jobs = CHANGES[change]
    make(checkout)
    assert checkout.plan() == jobs


def test_other_facts_to_render_from_render_every_dataset_again(checkout):
    checkout.append("src/vreid/walkers/marginals.json", "")
    assert {job for job in checkout.plan() if job.startswith("render")} == RENDERED


def test_nothing_is_left_to_do_after_a_run(finished):
    assert finished.plan() == set()


@pytest.mark.parametrize(
    "target",
    [
        "results/runs/synth-mars/aitll/seed0/weights.pt",
        "results/runs/mars/aitl/seed0/weights.pt",
        "results/tables/tabel1.md",
    ],
)
def test_a_typo_in_a_target_fails_before_any_job(finished, target):
    assert "MissingRuleException" in finished.snakemake("--dry-run", target, succeeds=False)
