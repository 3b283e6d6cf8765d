"""Which runs tables, figures and claims quote, and what the report and the forecast are told of them."""

import copy

import pytest

from vreid.experiment import quoted, reporting
from vreid.experiment.forecast import grouped, plan_manifest
from vreid.experiment.runs import Run, files
from vreid.plan.manifest import Manifest

PLACE = {"layout": "mars", "root": "there", "attributes": "there.csv"}
RENDERED = PLACE | {"render": {"train_people": 10}}
TRUNK = Run("people", "trunk", 0)
CONFIG = {
    "seeds": [0, 1],
    "recipe": "paper",
    "recipes": {"paper": {}},
    "datasets": {
        "mars": PLACE | {"expect": {"train": {"people": 625}}},
        "synth-mars": RENDERED,
        "people": RENDERED,
        "completed": PLACE | {"completed": {"from": "mars", "scorer": "baseline"}},
        "not-quoted": PLACE | {"completed": {"from": "synth-mars", "scorer": "baseline"}},
    },
    "budget": {"trunk": {"weights": "people/trunk"}},
    "models": {
        "trunk": {},
        "baseline": {},
        "aitl": {},
        "euclidean": {"trained_as": "baseline"},
        "hou": {},
        "fig6": {},
    },
    "cost": {"table": {"number": "S4", "title": "Cost"}},
    "tables": {
        "table1": {
            "number": 1,
            "rows": [{"model": "baseline", "label": "Baseline"}, {"model": "aitl", "label": "AITL"}],
            "columns": [{"train": "mars", "test": "mars"}, {"train": "mars", "test": "synth-mars"}],
        },
        "table3": {
            "number": 3,
            "seeds": [7],
            "costs": True,
            "rows": [
                {"model": "baseline", "label": "Pooling"},
                {"model": "euclidean", "label": "Euclidean"},
                {"model": "hou", "label": "VRSTC"},
            ],
            "columns": [
                {"train": "mars", "test": "mars", "datasets": {"hou": "completed"}},
                {"train": "mars", "test": "mars", "protocol": "other", "models": ["baseline"]},
            ],
        },
    },
    "figures": {
        "fig6": {"number": 6, "train": "mars", "model": "fig6", "seed": 3},
        "fig7": {
            "number": 7,
            "train": "mars",
            "pairs": [{"without": "baseline", "with": "aitl"}, {"without": "baseline", "with": "hou"}],
        },
        "fig8": {"number": 8, "train": "mars", "test": "mars", "rows": [{"model": "aitl"}, {"model": "baseline"}]},
        "gallery": {"train": "mars", "test": "synth-mars", "models": ["baseline", "aitl"], "seed": 5},
    },
    "claims": {
        "home": "mars",
        "away": "people",
        "datasets": {"hou": {"home": "completed", "away": "people"}},
        "ledger": [
            {"kind": "gain", "model": "hou", "over": ["aitl"]},
            {"kind": "correlated", "model": "aitl"},
        ],
    },
    "report": {"datasets": ["mars", "synth-mars"]},
}


@pytest.fixture
def config():
    return copy.deepcopy(CONFIG)


def runs(model: str, *seeds: int, train: str = "mars") -> list[Run]:
    return [Run(train, model, seed) for seed in seeds]


def scored(model: str, *seeds: int, train: str = "mars", test: str = "mars") -> list:
    return [run.tested_on(test) for run in runs(model, *seeds, train=train)]


def test_a_run_and_its_tests_have_folders_and_names():
    run = Run("mars", "asta+aitl", 2)
    assert run.folder == "results/runs/mars/asta+aitl/seed2" and run.name == "mars/asta+aitl/seed2"
    on_duke = run.tested_on("duke")
    assert on_duke.folder == f"{run.folder}/duke" and on_duke.name == f"{run.name}/duke"
    assert files([run, on_duke], "x.json") == [f"{run.folder}/x.json", f"{run.folder}/duke/x.json"]


def test_a_table_quotes_every_cell_over_all_seeds_column_by_column(config):
    assert quoted.table_runs(config, "table1") == [
        *scored("baseline", 0, 1),
        *scored("aitl", 0, 1),
        *scored("baseline", 0, 1, test="synth-mars"),
        *scored("aitl", 0, 1, test="synth-mars"),
    ]


def test_table_3_has_its_own_seeds_and_a_row_its_own_data_and_no_run_twice(config):
    hou = scored("hou", 7, train="completed", test="completed")
    assert quoted.table_runs(config, "table3") == [*scored("baseline", 7), *scored("euclidean", 7), *hou]


def test_all_tables_together_quote_a_run_once(config):
    config["tables"]["again"] = config["tables"]["table1"]
    both = quoted.table_runs(config, "table1") + quoted.table_runs(config, "table3")
    assert quoted.runs_of_all_tables(config) == both


def test_a_figure_of_pairs_draws_each_model_once_over_all_seeds(config):
    assert quoted.figure_runs(config, "fig7") == [*runs("baseline", 0, 1), *runs("aitl", 0, 1), *runs("hou", 0, 1)]
    assert quoted.figure_tests(config, "fig7") == []


def test_a_figure_of_one_seed_draws_its_model_or_models(config):
    assert quoted.figure_runs(config, "fig6") == runs("fig6", 3)
    assert quoted.figure_tests(config, "fig6") == []
    assert quoted.figure_runs(config, "gallery") == [*runs("baseline", 5), *runs("aitl", 5)]
    assert quoted.figure_tests(config, "gallery") == [
        *scored("baseline", 5, test="synth-mars"),
        *scored("aitl", 5, test="synth-mars"),
    ]


def test_a_figure_with_rows_takes_the_tables_runs_in_the_order_of_its_rows(config):
    assert quoted.figure_runs(config, "fig8") == []
    assert quoted.figure_tests(config, "fig8") == [*scored("aitl", 0, 1), *scored("baseline", 0, 1, 7)]


@pytest.mark.parametrize("test", ["mars", "synth-mars"])
def test_a_dataset_is_not_taken_for_one_whose_name_ends_alike(config, test):
    config["figures"]["fig8"] |= {"test": test, "rows": [{"model": "aitl"}]}
    assert quoted.figure_tests(config, "fig8") == scored("aitl", 0, 1, test=test)


def test_fig_6_looks_into_one_run_where_it_was_trained(config):
    assert [quoted.attended_run(config)] == scored("fig6", 3)


def test_claims_quote_the_models_that_they_speak_of_on_their_own_data(config):
    hou = scored("hou", 7, train="completed", test="completed")
    assert quoted.claim_models(config) == {"hou", "aitl"}
    assert quoted.claim_runs(config) == [*scored("aitl", 0, 1), *hou]
    assert quoted.premise_runs(config) == scored("aitl", 0, 1)


def test_a_claim_on_transfer_is_quoted_and_the_premise_is_not_asked_there(config):
    config["tables"] = {"table4": config["tables"]["table1"] | {"columns": [{"train": "people", "test": "mars"}]}}
    assert quoted.claim_runs(config) == scored("aitl", 0, 1, train="people")
    assert quoted.premise_runs(config) == []


def test_where_a_model_attends_is_asked_on_data_that_knows_it(config):
    config["claims"]["ledger"].append({"kind": "attends", "model": "aitl"})
    assert quoted.focus_runs(config) == []  # filmed
    config["claims"]["home"] = "synth-mars"
    config["tables"]["table1"]["columns"].append({"train": "synth-mars", "test": "synth-mars"})
    assert quoted.focus_runs(config) == scored("aitl", 0, 1, train="synth-mars", test="synth-mars")


def test_the_trainings_are_those_behind_all_runs_and_the_trunks_comes_first(config):
    assert quoted.trainings(config) == [
        TRUNK,
        *runs("baseline", 0, 1),
        *runs("aitl", 0, 1),
        *runs("baseline", 7),  # of `euclidean`, too
        *runs("hou", 7, train="completed"),
        *runs("fig6", 3),
        *runs("hou", 0, 1),
        *runs("baseline", 5),
        *runs("aitl", 5),
    ]
    config["budget"]["trunk"]["weights"] = "imagenet"
    assert quoted.trainings(config)[0] == Run("mars", "baseline", 0)


def test_models_and_completed_datasets_are_shown_that_a_run_needs(config):
    assert quoted.shown_models(config) == ["aitl", "baseline", "euclidean", "fig6", "hou", "trunk"]
    assert [dataset.name for dataset in quoted.shown_completed(config)] == ["completed"]


def test_claims_have_the_costs_that_a_table_shows(config):
    assert reporting.table_costs(config, "table1") == []
    table3 = ["results/cost/baseline.json", "results/cost/euclidean.json", "results/cost/hou.json"]
    assert reporting.table_costs(config, "table3") == table3
    assert reporting.claim_costs(config) == ["results/cost/hou.json"]


def test_every_run_of_the_report_has_benchmarks_of_what_it_took_itself(config):
    found = {run["record"]: run for run in reporting.benchmarked_runs(config)}
    assert len(found) == len(reporting.benchmarked_runs(config))
    assert found["results/runs/mars/baseline/seed7/mars/metrics.json"] == {
        "record": "results/runs/mars/baseline/seed7/mars/metrics.json",
        "embedding": "results/benchmarks/embed/mars/baseline/seed7/mars.tsv",
        "training": "results/benchmarks/train/mars/baseline/seed7.tsv",
    }
    assert "training" not in found["results/runs/mars/euclidean/seed7/mars/metrics.json"]
    assert found["results/runs/people/trunk/seed0/train.json"] == {
        "record": "results/runs/people/trunk/seed0/train.json",
        "training": "results/benchmarks/train/people/trunk/seed0.tsv",
    }
    assert "results/runs/mars/baseline/seed0/train.json" not in found  # its test has it
    assert found["results/completion/completed/completion.json"] == {
        "record": "results/completion/completed/completion.json",
        "training": "results/benchmarks/completion/completed/train.tsv",
        "scoring": "results/benchmarks/completion/completed/score.tsv",
        "completing": "results/benchmarks/completion/completed/complete.tsv",
    }
    usage = reporting.usage_files(config)
    assert usage["records"] == list(found)
    assert len(usage["benchmarks"]) == len(set(usage["benchmarks"]))
    assert usage["costs"] == [f"results/cost/{model}.json" for model in quoted.shown_models(config)]


def test_the_first_table_to_show_a_model_names_it(config):
    spec = reporting.usage_spec(config)
    assert spec["number"] == "S4" and spec["labels"]["baseline"] == "Baseline" and spec["labels"]["hou"] == "VRSTC"


def test_the_report_is_told_of_what_is_drawn_and_what_is_completed(config):
    told = reporting.report_manifest(config)
    assert [(dataset["name"], dataset["rendered"]) for dataset in told["datasets"]] == [
        ("mars", False),
        ("synth-mars", True),
    ]
    (completed,) = told["completions"]
    assert completed["name"] == "completed" and completed["from"] == "mars"
    assert completed["dataset"] == "results/data/completed.json"
    assert told["metrics"] == files(quoted.runs_of_all_tables(config), "metrics.json")
    assert told["trainings"] == files(quoted.trainings(config), "train.json")


def test_the_forecast_groups_the_seeds_of_a_model(config):
    assert grouped([*runs("aitl", 0, 1), *scored("aitl", 0), *runs("aitl", 2)]) == [
        {"train": "mars", "model": "aitl", "test": "", "seeds": [0, 1, 2]},
        {"train": "mars", "model": "aitl", "test": "mars", "seeds": [0]},
    ]


def test_the_forecast_knows_what_needs_which_runs(config):
    told = plan_manifest(config | {"throughput": 3.0})
    needs = {need["name"]: need["runs"] for need in told["needs"]}
    assert list(needs) == ["Table 1", "Table 3", "Fig. 6", "Fig. 7", "Fig. 8", "gallery", "claims"]
    assert needs["Table 3"] == grouped(quoted.table_runs(config, "table3"))
    assert needs["Fig. 8"] == grouped(quoted.figure_tests(config, "fig8"))
    assert {(run["model"], run["test"]) for run in needs["gallery"]} == {
        ("baseline", ""),
        ("baseline", "synth-mars"),
        ("aitl", ""),
        ("aitl", "synth-mars"),
    }
    manifest = Manifest.from_mapping(told)
    assert manifest.throughput == 3 and manifest.run.startswith("results/runs/")
    assert manifest.dataset("completed").completed_from == "mars"
    assert manifest.dataset("completed").expect == {"train": {"people": 625}}
    assert manifest.dataset("synth-mars").expect == {"train": {"people": 10}}
    assert manifest.dataset("mars").manifest == "" != manifest.dataset("synth-mars").manifest
