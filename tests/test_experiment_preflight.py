"""What keeps a configuration from running is found on small ones, each with its own fault."""

import copy
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest
import yaml

from vreid import spec
from vreid.experiment import preflight
from vreid.experiment.accepted import refused
from vreid.experiment.cluster import Asked
from vreid.experiment.gpus import cluster_has_gpus, gpu_is_visible
from vreid.experiment.readable import Readable, read, with_rows_of_models, without_nulls
from vreid.models import trunk

ENTRIES = ("datasets", "recipes", "models", "tables", "figures")
DUKE = {"layout": "duke", "root": "duke", "attributes": "duke.csv"}
CONFIG = {
    "seeds": [0, 1],
    "recipe": "paper",
    "recipes": {"paper": {}},
    "imagenet": "https://host/resnet50.pth",
    "budget": {"trunk": {"name": "small", "width": 8, "weights": "none"}, "clips": {"height": 64, "width": 32}},
    "datasets": {"duke": DUKE},
    "models": {
        "baseline": {"streams": ["reid"], "losses": ["softmax", "triplet"]},
        "other": {"streams": ["reid"], "losses": ["softmax", "triplet"]},
    },
    "tables": {
        "table1": {
            "number": 1,
            "rows": [{"model": "baseline", "label": "Baseline"}],
            "columns": [{"train": "duke", "test": "duke"}],
        }
    },
    "figures": {},
    "report": {"datasets": []},
    "claims": {"home": "duke", "away": "duke", "ledger": []},
}


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A sound configuration, whose dataset is in place in the working directory."""
    monkeypatch.chdir(tmp_path)
    for part in ("train", "query", "gallery"):
        Path("duke", part, "0001").mkdir(parents=True)
    Path("duke.csv").write_text("not looked into here")
    return copy.deepcopy(CONFIG)


def readable(config, at_fault=(), asked=()) -> Readable:
    names = {section: list(config[section]) for section in ENTRIES}
    return Readable(config, names, [], set(at_fault), asked)


def start_from(config, model: str, weights: str) -> None:
    config["models"][model]["trunk"] = {"weights": weights}


def test_of_a_sound_configuration_nothing_is_said(config):
    assert preflight.all_faults(readable(config), starting=True) == ""
    assert list(preflight.remarks(readable(config))) == []


SCHEMA = {
    "required": ["seeds", "models", "tables"],
    "properties": {
        "seeds": {"type": "array", "$comment": "seeds are a list"},
        "models": {"additionalProperties": {"properties": {"margin": {"minimum": 0}}}},
        "tables": {"additionalProperties": {"type": "object"}},
    },
}


def read_by(schema: dict, config: dict) -> Readable:
    Path("schema.yaml").write_text(yaml.safe_dump(schema))
    return read(config, Path("schema.yaml"))


def test_what_the_schema_refuses_is_taken_out_and_still_known_by_name(config):
    config["models"]["baseline"]["margin"] = -1
    config["seeds"] = 3
    before = copy.deepcopy(config)
    found = read_by(SCHEMA, config)
    assert set(found.faults) == {
        "config $.models.baseline.margin: -1 is less than the minimum of 0",
        "config $.seeds: seeds are a list",
    }
    assert found.at_fault == {("models", "baseline"), ("seeds",)}
    assert list(found.config["models"]) == ["other"] and found.names["models"] == ["baseline", "other"]
    assert found.has({"models", "tables"}) and not found.has({"models", "seeds"})
    assert config == before


def test_a_section_that_is_not_there_is_at_fault(config):
    del config["tables"]
    found = read_by(SCHEMA, config)
    assert found.at_fault == {("tables",)} and found.config["tables"] == {}
    assert found.planned == []  # without tables, nobody knows what is needed
    assert "'tables' is a required property" in preflight.all_faults(found, starting=False)


def test_an_entry_that_is_null_is_taken_away():
    config = {"models": {"a": None, "b": {}}, "figures": {"fig6": None}, "seeds": None, "tables": 3}
    assert without_nulls(config) == {"models": {"b": {}}, "figures": {}}


def test_what_slurm_would_refuse_is_asked_of_who_starts(config, programs):
    programs("sinfo", "gpu|1-00:00:00")
    asked = [Asked("train", "cpu", 60)]
    said = preflight.all_faults(readable(config), starting=True, asked=asked)
    assert said.splitlines()[1:] == ["SLURM:", "    slurm_partition of train: cpu is none of gpu; correct the profile"]
    assert preflight.all_faults(readable(config), starting=False, asked=asked) == ""


def test_faults_stand_under_a_head_each_and_no_line_twice(config):
    config["models"]["baseline"]["recipe"] = "nobody"  # missed as a name, and when the model is resolved
    config["tables"]["table1"]["reference"] = "other"
    assert preflight.all_faults(readable(config), starting=False).splitlines() == [
        "This configuration cannot run as it stands.",
        "Names:",
        "    tables.table1.reference: 'other' is none of baseline",
        "    models.baseline.recipe: 'nobody' is none of paper",
    ]


def test_a_check_is_left_out_where_what_it_needs_is_at_fault(config):
    config["tables"]["table1"]["reference"] = "nobody"
    assert "Names:" in preflight.all_faults(readable(config), starting=False)
    assert preflight.all_faults(readable(config, at_fault={("recipe",)}), starting=False) == ""


def test_a_model_whose_base_or_recipe_is_at_fault_is_not_blamed_for_it(config):
    config["models"]["other"] |= {"trained_as": "gone"}
    (told,) = readable(config).resolved[1]
    assert told == "models.other.trained_as: 'gone' is none of baseline, other"
    specs, found = readable(config, at_fault={("models", "gone")}).resolved
    assert [run.model for run in specs] == ["baseline"] and not found
    assert readable(config, at_fault={("recipes", "paper")}).resolved == ([], [])


def test_missing_data_is_told_with_who_needs_it_and_where_it_came_from(config):
    Path("duke/query/0001").rmdir()
    Path("duke/query").rmdir()
    config["datasets"]["duke"] = DUKE | {"origin": {"parts": {"query": "https://host"}, "terms": "For research."}}
    config["datasets"]["absent"] = DUKE | {"root": "absent"}
    said = list(preflight.missing_data(readable(config)))
    assert said[:3] == [
        "duke (needed by table1) lacks:",
        "    duke/query, which came from https://host",
        "For research.",
    ]
    assert "absent (no table or figure needs it yet) lacks:" in said and "    absent/train" in said


def test_data_that_nothing_needs_may_be_missing(config):
    config["datasets"]["absent"] = DUKE | {"root": "absent"}
    assert list(preflight.missing_data(readable(config))) == []


@pytest.mark.parametrize("needed_by", ["figures", "report", "completed"])
def test_figures_the_report_and_what_is_completed_from_it_need_a_dataset_too(config, needed_by):
    config["datasets"]["absent"] = DUKE | {"root": "absent"}
    if needed_by == "figures":
        config["figures"]["fig6"] = {"train": "absent", "model": "baseline", "seed": 0}
    elif needed_by == "report":
        config["report"]["datasets"] = ["absent"]
    else:
        config["datasets"]["whole"] = DUKE | {"completed": {"from": "absent", "scorer": "baseline"}}
        config["tables"]["table2"] = config["tables"]["table1"] | {"columns": [{"train": "whole", "test": "whole"}]}
    key = {"figures": "fig6", "report": "report", "completed": "table2"}[needed_by]
    assert preflight.users(readable(config), "absent") == [key]
    assert f"absent (needed by {key}) lacks:" in preflight.missing_data(readable(config))


def test_data_that_will_be_fetched_is_not_missing_until_its_record_says_that_it_had_come(config):
    config["datasets"]["duke"] = DUKE | {"root": "absent", "fetch": ["duke.csv"]}
    assert list(preflight.missing_data(readable(config))) == []
    record = "results/fetched/duke.json"
    Path(record).parent.mkdir(parents=True)
    Path(record).touch()
    again = f"They had been fetched. To fetch them again: snakemake --force {record}, with your other arguments"
    assert again in preflight.missing_data(readable(config))
    assert list(preflight.missing_data(readable(config, asked=["--force", record]))) == []


def test_folders_and_files_that_hold_nothing_or_not_what_was_published_are_told(config):
    Path("duke/query/0001").rmdir()
    Path("duke.csv").write_bytes(b"")
    published = {"origin": {"parts": {"duke.csv": {"from": "https://host", "sha256": "0123"}}}}
    config["datasets"]["duke"] = DUKE | published
    assert list(preflight.incomplete_data(readable(config))) == [
        "duke/query: the folder of duke is empty; unpack the dataset again",
        "duke.csv: not the published file, by its SHA-256; get it again, or correct `origin` of duke",
        "duke.csv: the file of duke has no bytes; unpack the dataset again",
    ]
    config["tables"] = {}
    assert list(preflight.incomplete_data(readable(config))) == []  # nothing needs it


def test_a_path_to_fetch_from_must_be_there_while_something_is_missing(config):
    config["datasets"]["duke"] = DUKE | {"fetch": ["nowhere.zip", "https://host/x.zip", {"from": "duke.csv"}]}
    assert list(preflight.missing_sources(readable(config))) == []
    Path("duke.csv").unlink()
    assert list(preflight.missing_sources(readable(config))) == [
        "datasets.duke.fetch: nowhere.zip: no such archive, folder or file",
        "datasets.duke.fetch: duke.csv: no such archive, folder or file",
    ]


def test_weights_by_path_must_be_there_where_a_model_is_planned(config):
    start_from(config, "other", "gone.pt")
    assert list(preflight.missing_weights(readable(config))) == []  # nothing needs this model
    start_from(config, "baseline", "gone.pt")
    told = "gone.pt: no such file; trunk.weights of baseline names it"
    assert list(preflight.missing_weights(readable(config))) == [told]
    Path("gone.pt").touch()
    assert list(preflight.missing_weights(readable(config))) == []
    start_from(config, "baseline", "duke/other")  # a run's, which will be made
    assert list(preflight.missing_weights(readable(config))) == []


def test_of_many_models_with_the_same_weights_three_are_named(config):
    config["budget"]["trunk"]["weights"] = "gone.pt"
    models = ["a", "b", "c", "d", "e"]
    config["models"] = dict.fromkeys(models, config["models"]["baseline"])
    config["tables"]["table1"]["rows"] = [{"model": model} for model in models]
    told = "gone.pt: no such file; trunk.weights of a, b, c and 2 more names it"
    assert list(preflight.missing_weights(readable(config))) == [told]


def test_imagenet_weights_must_be_there_if_they_are_named_by_path(config):
    start_from(config, "baseline", "imagenet")
    assert list(preflight.missing_weights(readable(config))) == []
    config["imagenet"] = {"from": "resnet.pth"}
    assert list(preflight.missing_weights(readable(config))) == ["resnet.pth: no such file; imagenet.from names it"]
    Path("resnet.pth").touch()
    assert list(preflight.missing_weights(readable(config))) == []


def free(monkeypatch, count: int) -> None:
    """Let so many bytes be free."""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda path: usage(0, 0, count))


def test_the_disk_must_hold_the_weights_of_the_tables_runs_and_two_checkpoints(config, monkeypatch):
    config["tables"]["table1"]["rows"].append({"model": "other"})
    config["models"]["other"]["trained_as"] = "baseline"  # and so writes no weights
    one = preflight.trunk_bytes(spec.Trunk("small", 8))
    free(monkeypatch, 6 * one)  # two seeds, and four times the largest
    assert list(preflight.too_little_disk(readable(config))) == []
    free(monkeypatch, 6 * one - 1)
    (told,) = preflight.too_little_disk(readable(config))
    assert told.startswith("results: 2 runs write at least ")
    weights = Path("results/runs/duke/baseline/seed1/weights.pt")
    weights.parent.mkdir(parents=True)
    weights.touch()
    assert list(preflight.too_little_disk(readable(config))) == []


def test_the_disk_is_looked_at_by_who_starts_and_not_by_every_job(config, monkeypatch):
    free(monkeypatch, 0)
    assert "Disk space:\n    results: 2 runs" in preflight.all_faults(readable(config), starting=True)
    assert preflight.all_faults(readable(config), starting=False) == ""


def test_what_the_preflight_knows_of_torch_is_so():
    for known in (spec.Trunk(), spec.Trunk("small", 8), spec.Trunk("small", 24)):
        network, _ = trunk.TRUNKS[known.name](known.width, known.last_stride)
        kernels = [parameter for parameter in network.parameters() if parameter.ndim == 4]
        assert preflight.trunk_bytes(known) == sum(kernel.nbytes for kernel in kernels)


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """A folder that alone is looked for programs in, and no word on which GPUs are visible."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def write(name: str, says: str, status: int = 0) -> None:
        (folder / name).write_text(f"#!/bin/sh\necho '{says}'\nexit {status}\n")
        (folder / name).chmod(0o755)

    return write


def test_a_gpu_is_visible_as_the_driver_or_the_environment_says(programs, monkeypatch):
    assert not gpu_is_visible()
    programs("nvidia-smi", "No devices were found")
    assert not gpu_is_visible()
    programs("nvidia-smi", "GPU 0: NVIDIA H200")
    assert gpu_is_visible()
    for value, visible in {"": False, " ": False, "-1": False, "0": True, "1,2": True}.items():
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
        assert gpu_is_visible() == visible


def test_a_cluster_has_gpus_as_far_as_it_says(programs):
    assert not cluster_has_gpus()
    programs("sbatch", "")
    assert cluster_has_gpus()  # and no sinfo to ask
    programs("sinfo", "(null)")
    assert not cluster_has_gpus()
    programs("sinfo", "gpu:4")
    assert cluster_has_gpus()
    programs("sinfo", "", status=1)
    assert cluster_has_gpus()


def test_what_may_be_meant_so_is_remarked(config, programs):
    config["budget"]["trunk"] = {"name": "resnet50", "width": 64, "weights": "imagenet"}
    weights, gpus = preflight.remarks(readable(config))
    assert weights.startswith("ImageNet weights will be fetched from https://host/resnet50.pth;")
    assert gpus == "no GPU is visible here, and trainings of resnet50 take very long without one"
    programs("sbatch", "")
    programs("sinfo", "(null)")
    assert "no GPU is visible on any node of this cluster" in list(preflight.remarks(readable(config)))[1]
    programs("sinfo", "gpu:4")
    Path("results/fetched").mkdir(parents=True)
    Path("results/fetched/resnet50-imagenet.pth").touch()
    assert list(preflight.remarks(readable(config))) == []
    assert list(preflight.remarks(readable(config, at_fault={("budget",)}))) == []


def test_methods_refuse_entries_by_name_and_are_not_asked_again_of_what_they_accept(config, monkeypatch):
    specs = [spec.resolve(config, "baseline", 0)]
    assert refused(specs, ["baseline"]) == []
    config["models"]["baseline"]["colour"] = 1
    odd = [spec.resolve(config, "baseline", 0)]
    for _ in range(2):  # what is refused is refused again
        (told,) = refused(odd, ["baseline"])
        assert told.startswith("models.baseline: unknown key 'colour'; known are ")
    (told,) = refused(specs, ["baseline"], {("paper", "mslm")})
    assert told.startswith("recipes.paper: 'mslm' is neither a section (trunk, clips, augment, training) nor a method")

    def asked(*_):
        raise AssertionError("the methods are asked")

    monkeypatch.setattr("vreid.outline.faults", asked)
    assert refused(specs, ["baseline"]) == []
    with pytest.raises(AssertionError):
        refused(odd, ["baseline"])


def test_a_configuration_is_checked_without_torch_once_its_methods_are_known(config):
    """Snakemake reads it again in every job."""
    assert preflight.all_faults(readable(config), starting=True) == ""
    Path("config.yaml").write_text(yaml.safe_dump(config))
    Path("schema.yaml").write_text(yaml.safe_dump(SCHEMA))
    code = """
import sys, yaml
from pathlib import Path
sys.modules.update(dict.fromkeys(["torch", "torchvision"]))
from vreid.experiment import preflight, readable
config = yaml.safe_load(Path("config.yaml").read_text())
assert not preflight.all_faults(readable.read(config, Path("schema.yaml")), True)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_tables_that_an_entry_names_have_a_row_for_it(config):
    config["models"]["other"]["tables"] = {"table1": "Other"}
    found = with_rows_of_models(config)["tables"]["table1"]["rows"]
    assert found == [{"model": "baseline", "label": "Baseline"}, {"model": "other", "label": "Other"}]
    assert len(config["tables"]["table1"]["rows"]) == 1
    assert preflight.all_faults(readable(config | with_rows_of_models(config)), starting=False) == ""


def test_a_table_that_an_entry_names_and_that_is_not_there_is_said(config):
    config["models"]["other"]["tables"] = {"tabel1": "Other"}
    assert with_rows_of_models(config)["tables"] == config["tables"]
    assert "models.other.tables: 'tabel1' is none of table1" in preflight.all_faults(readable(config), starting=False)


@pytest.mark.parametrize(
    "broken", [{"tables": 3}, {"models": 3}, {"models": {"a": 3}}, {"models": {"a": {"tables": 3}}}]
)
def test_what_cannot_be_read_is_left_to_the_schema(config, broken):
    config |= broken
    assert config | with_rows_of_models(config) == config
