"""A change reruns what it touches, and nothing else."""

import ast
import os
import shutil

import pytest
import yaml

REPORTING = {"table table1", "usage", "curves", "claims", "report"}


def jobs_of(model: str, seed: int) -> set[str]:
    run = f"synth-mars {model} {seed}"
    premise = {f"premise {run} synth-mars"} if model == "baseline" else set()  # a claim speaks of it
    return premise | {f"freeze {run}", f"train {run}", f"embed {run} synth-mars", f"score {run} synth-mars"}


RUNS = jobs_of("baseline", 0) | jobs_of("baseline", 1) | jobs_of("aitl", 0) | jobs_of("aitl", 1)
COSTS = {"costs", "cost_figure"}  # counted together
TRUNK = {"train synth-people trunk 0"}


def without(jobs: set[str], *rules: str) -> set[str]:
    return {job for job in jobs if job.split()[0] not in rules}


def test_nothing_is_left_to_do_after_a_run(finished):
    assert finished.plan() == set()


def test_a_finished_checkout_may_move(checkout):
    assert checkout.plan() == set()


def test_touching_every_file_reruns_nothing(checkout):
    for folder in ("src", "workflow", "config"):
        for path in (checkout.root / folder).rglob("*"):
            os.utime(path)
    os.utime(checkout.root / "Snakefile")
    assert checkout.plan() == set()


def test_comments_docstrings_and_layout_rerun_nothing(checkout):
    for path in (checkout.root / "src").rglob("*.py"):
        tree = ast.parse(path.read_text())
        if ast.get_docstring(tree):
            tree.body[0] = ast.Expr(ast.Constant("Other words."))
        path.write_text("# A comment.\n" + ast.unparse(tree) + "\n\n\n")
    assert checkout.plan() == set()


def test_comments_and_the_order_of_keys_in_the_configuration_rerun_nothing(checkout):
    for name in ("config/config.yaml", "tests/workflow/tiny.yaml"):
        path = checkout.root / name
        before = path.read_text()
        path.write_text("# A comment.\n" + yaml.safe_dump(yaml.safe_load(before), sort_keys=True))
        assert path.read_text() != before
    assert checkout.plan() == set()


def test_a_hyper_parameter_of_one_model_reruns_that_model_alone(checkout):
    checkout.edit("tests/workflow/tiny.yaml", "models:\n", "models:\n  aitl: {margin: 0.2}\n")
    assert checkout.plan() == jobs_of("aitl", 0) | jobs_of("aitl", 1) | REPORTING | COSTS | {"retrieval"}


def test_a_new_seed_runs_that_seed_alone(checkout):
    checkout.edit("tests/workflow/tiny.yaml", "seeds: [0, 1]", "seeds: [0, 1, 2]")
    assert checkout.plan() == jobs_of("baseline", 2) | jobs_of("aitl", 2) | REPORTING | {"cost_figure"}


def test_a_row_less_reruns_no_training(checkout):
    checkout.edit("tests/workflow/tiny.yaml", "      - {model: aitl, label: Baseline + AITL}\n", "")
    assert checkout.plan() == {"table table1", "usage", "claims", "report"}


def test_another_loss_function_retrains_every_model_but_renders_and_indexes_nothing(checkout):
    with (checkout.root / "src/vreid/losses.py").open("a") as file:
        file.write("\nCHANGED = True\n")
    assert checkout.plan() == without(RUNS, "freeze") | TRUNK | REPORTING | COSTS | {"retrieval"}


def test_another_typesetting_of_tables_remakes_tables_and_report(checkout):
    with (checkout.root / "src/vreid/tables.py").open("a") as file:
        file.write("\nCHANGED = True\n")
    assert checkout.plan() == {"table table1", "report"}


def test_another_table_of_what_runs_took_remakes_it_and_the_report_alone(checkout):
    with (checkout.root / "src/vreid/usage.py").open("a") as file:
        file.write("\nCHANGED = True\n")
    checkout.edit("config/config.yaml", "title: What every run took", "title: What runs took")
    assert checkout.plan() == {"usage", "report"}


def test_another_world_is_rendered_and_what_is_trained_on_it_is_trained_again(checkout):
    checkout.edit("tests/workflow/tiny.yaml", "tracklets_per_person: 0.3", "tracklets_per_person: 0.4")
    data = {f"{rule} synth-mars" for rule in ("render", "index", "annotate", "contact_sheet")}
    assert checkout.plan() == data | without(RUNS, "freeze") | REPORTING | {"cost_figure", "retrieval"}


def test_other_annotations_retrain_what_is_trained_on_them_and_index_nothing(checkout):
    own = checkout.root / "annotations.csv"
    shutil.copy2(checkout.root / "results/data/synth-mars/mars_attributes.csv", own)
    checkout.edit(checkout.overlay, "  synth-mars:\n", "  synth-mars:\n    attributes: annotations.csv\n")
    checkout.snakemake("--touch", "--cores", "1")
    assert checkout.plan() == set()
    *rows, last = own.read_text().splitlines()
    own.write_text("\n".join([*rows, last[:-1] + ("1" if last.endswith("0") else "0")]) + "\n")
    data = {f"{rule} synth-mars" for rule in ("annotate", "contact_sheet")}
    assert checkout.plan() == data | without(RUNS, "freeze") | REPORTING | {"cost_figure", "retrieval"}


def test_other_facts_to_render_from_render_every_dataset_again(checkout):
    with (checkout.root / "src/vreid/walkers/marginals.json").open("a") as file:
        file.write("\n")
    rendered = {job for job in checkout.plan() if job.startswith("render")}
    assert rendered == {"render synth-mars", "render synth-duke", "render synth-people"}


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
