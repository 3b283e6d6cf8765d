"""Names in the configuration that must be those of its entries, and the models that something needs."""

import copy

import pytest

from vreid.experiment.references import planned_models, references, repeated_numbers, spoken_of, unknown_names

CONFIG = {
    "recipe": "paper",
    "recipes": {"paper": {}},
    "budget": {"trunk": {"weights": "people/trunk"}},
    "datasets": {
        "mars": {},
        "people": {},
        "completed": {"completed": {"from": "mars", "scorer": "scorer"}},
    },
    "models": {name: {} for name in ("trunk", "baseline", "aitl", "scorer", "drawn", "claimed", "unused", "base")}
    | {"euclidean": {"trained_as": "base"}},
    "tables": {
        "table1": {
            "rows": [{"model": "baseline"}, {"model": "aitl"}, {"model": "euclidean"}],
            "columns": [{"train": "mars", "test": "mars", "models": ["aitl"], "datasets": {"aitl": "completed"}}],
            "reference": "baseline",
            "floor": "aitl",
        }
    },
    "figures": {
        "fig7": {"train": "mars", "pairs": [{"without": "baseline", "with": "aitl"}]},
        "fig8": {"train": "mars", "test": "mars", "rows": [{"model": "aitl"}]},
        "fig6": {"train": "mars", "model": "drawn"},
        "gallery": {"train": "mars", "test": "mars", "models": ["baseline"]},
    },
    "claims": {
        "home": "mars",
        "away": "mars",
        "datasets": {"aitl": {"home": "mars", "away": "mars"}},
        "ledger": [{"model": "claimed"}],
    },
    "report": {"datasets": ["mars"]},
}
SECTIONS = ("datasets", "recipes", "models", "tables", "figures")


@pytest.fixture
def config():
    return copy.deepcopy(CONFIG)


def names(config) -> dict:
    return {section: list(config[section]) for section in SECTIONS}


def wrong(config) -> list[str]:
    return unknown_names(references(config, names(config)), names(config))


def planned(config) -> list[str]:
    return planned_models(config, references(config, names(config)))


def test_of_what_holds_together_nothing_is_said(config):
    assert wrong(config) == []


@pytest.mark.parametrize(
    "place, known",
    [
        ("tables.table1.rows[0].model", "models"),
        ("tables.table1.columns[0].train", "datasets"),
        ("tables.table1.columns[0].test", "datasets"),
        ("tables.table1.columns[0].datasets.aitl", "datasets"),
        ("figures.fig7.train", "datasets"),
        ("figures.fig7.pairs[0].with", "models"),
        ("figures.fig6.model", "models"),
        ("figures.gallery.models[0]", "models"),
        ("figures.gallery.test", "datasets"),
        ("datasets.completed.completed.scorer", "models"),
        ("claims.home", "datasets"),
        ("claims.datasets.aitl.away", "datasets"),
        ("report.datasets[0]", "datasets"),
        ("recipe", "recipes"),
        ("models.baseline.recipe", "recipes"),
    ],
)
def test_a_name_that_no_entry_bears_is_told_with_its_place_and_those_that_there_are(config, place, known):
    owner, keys = config, place.replace("[", ".").replace("]", "").split(".")
    for key in keys[:-1]:
        owner = owner[int(key) if key.isdigit() else key]
    owner[int(keys[-1]) if keys[-1].isdigit() else keys[-1]] = "nobody"
    told = f"{place}: 'nobody' is none of {', '.join(config[known])}"
    assert told in wrong(config)


@pytest.mark.parametrize("key", ["reference", "floor"])
def test_what_a_table_compares_with_must_be_one_of_its_rows(config, key):
    config["tables"]["table1"][key] = "unused"
    assert wrong(config) == [f"tables.table1.{key}: 'unused' is none of baseline, aitl, euclidean"]


def test_a_column_is_filled_in_rows_of_its_own_table(config):
    config["tables"]["table1"]["columns"][0] |= {"models": ["unused"], "datasets": {"drawn": "mars"}}
    assert wrong(config) == [
        "tables.table1.columns[0].models: 'unused' is none of baseline, aitl, euclidean",
        "tables.table1.columns[0].datasets: 'drawn' is none of baseline, aitl, euclidean",
    ]


def test_a_figure_of_the_tables_runs_names_models_that_a_table_has(config):
    config["figures"]["fig8"]["rows"][0]["model"] = "unused"
    assert wrong(config) == ["figures.fig8.rows[0].model: 'unused' is none of baseline, aitl, euclidean"]


def test_where_a_table_is_at_fault_a_figure_may_name_any_model(config):
    known = names(config)
    known["tables"].append("at-fault")
    config["figures"]["fig8"]["rows"] = [{"model": "unused"}, {"model": "nobody"}]
    (told,) = unknown_names(references(config, known), known)
    assert told.startswith("figures.fig8.rows[1].model: 'nobody' is none of trunk, baseline, ")


def test_names_of_entries_at_fault_are_known(config):
    known = names(config)
    del config["models"]["baseline"]
    assert unknown_names(references(config, known), known) == []


def test_a_completed_dataset_is_not_completed_again(config):
    config["datasets"]["again"] = {"completed": {"from": "completed", "scorer": "scorer"}}
    assert wrong(config) == ["datasets.again.completed.from: 'completed' is none of mars, people"]


def test_weights_are_a_runs_where_their_folder_is_a_dataset(config):
    config["models"]["aitl"]["trunk"] = {"weights": "people/nobody"}
    config["models"]["baseline"]["trunk"] = {"weights": "elsewhere/nobody"}
    (told,) = wrong(config)
    assert told.startswith("models.aitl.trunk.weights: 'nobody' is none of trunk, ")


def test_a_model_is_planned_if_anything_but_a_claim_needs_it(config):
    assert planned(config) == ["aitl", "base", "baseline", "drawn", "euclidean", "scorer", "trunk"]
    config["tables"]["table1"]["rows"].append({"model": "claimed"})
    assert "claimed" in planned(config)


def test_a_claim_speaks_of_all_that_it_names():
    claim = {"model": "a", "over": ["b"], "models": ["c"], "model_pairs": [["d", "e"], ["f", "g"]]}
    assert spoken_of(claim) == ["a", "b", "c", "d", "e", "f", "g"]
    assert spoken_of({"kind": "order", "models": ["c"]}) == ["c"]


def test_no_two_tables_have_one_number():
    tables = {"one": {"number": 1}, "other": {"number": "S4"}, "third": {"number": "1"}}
    assert repeated_numbers({"tables": tables | {"third": {"number": 3}}, "cost": None}) == []
    told = repeated_numbers({"tables": tables, "cost": {"table": {"number": "S4"}}})
    assert told == [
        "tables.third.number: 1 is that of tables.one.number too; number it anew",
        "cost.table.number: S4 is that of tables.other.number too; number it anew",
    ]
