"""The configuration says what runs; what it cannot mean is refused by name."""

import copy
import dataclasses
import gzip
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pytest
import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from snakemake.utils import update_config
from torchvision.models import ResNet50_Weights

from vreid import spec
from vreid.completion import train as completion
from vreid.data import layouts
from vreid.errors import InputError
from vreid.fetch.parts import parts_of
from vreid.metrics import PROTOCOLS
from vreid.models import method, multitask, trunk
from vreid.models.vrstc import regions
from vreid.tables import places
from vreid.walkers.world import LIMITS, World

REPOSITORY = Path(__file__).parents[2]
SCHEMA = yaml.safe_load((REPOSITORY / "workflow/schemas/config.schema.yaml").read_text())
DEFINITIONS = SCHEMA["$defs"]


def configuration(*overlays: str) -> dict:
    """config.yaml with overlays, merged as Snakemake merges them, without what an overlay takes away."""
    merged = {}
    for name in ("config/config.yaml", *overlays):
        update_config(merged, yaml.safe_load((REPOSITORY / name).read_text()))
    for section in ("datasets", "recipes", "models", "tables", "figures"):
        merged[section] = {name: entry for name, entry in merged[section].items() if entry is not None}
    return merged


CONFIG = configuration()
PAPER = "config/paper.yaml"
CONFIG_OF_PAPER = configuration(PAPER)
OVERLAYS = [
    (),
    (PAPER,),
    (PAPER, "config/duke.yaml"),
    ("config/native.yaml",),
    (PAPER, "config/native.yaml", "config/native-paper.yaml"),
    ("tests/workflow/tiny.yaml",),
    ("tests/workflow/systems.yaml",),
]


def fault(config: dict) -> str | None:
    error = best_match(Draft202012Validator(SCHEMA).iter_errors(config))
    return error and f"{error.json_path}: {error.message}"


def test_the_schema_is_one():
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("overlays", OVERLAYS)
def test_what_the_repository_holds_is_valid(overlays):
    assert fault(configuration(*overlays)) is None


@pytest.mark.parametrize(
    "place",
    [
        "",
        "datasets.synth-mars",
        "datasets.synth-mars.render",
        "datasets.synth-mars-completed.completed",
        "datasets.synth-mars-completed.completed.training",
        "budget",
        "budget.trunk",
        "budget.clips",
        "budget.augment",
        "budget.training",
        "recipes.paper.training",
        "recipes.paper.multitask",
        "models.aitl",
        "models.trunk.training",
        "tables.table1",
        "tables.table1.columns.0",
        "tables.table1.rows.0",
        "figures",
        "figures.fig7.pairs.0",
        "figures.gallery",
    ],
)
def test_a_mistyped_key_is_refused_by_name(place):
    config = copy.deepcopy(CONFIG)
    entry = config
    for key in filter(None, place.split(".")):
        entry = entry[int(key) if isinstance(entry, list) else key]
    entry["epochz"] = 3
    assert "'epochz' was unexpected" in fault(config)


@pytest.mark.parametrize(
    "model, wrong",
    [
        ({"streams": ["reid", "irelevant"]}, "'irelevant'"),
        ({"losses": []}, "$.models.new.losses"),
        ({"label_smoothing": 1.5}, "1.5"),
        ({"training": {"epochs": -1}}, "-1 is less than"),
        ({"method": 3}, "3 is not of type"),
        ({"method": "other", "training": {"epochz": 3}}, "'epochz'"),
    ],
)
def test_a_value_out_of_its_range_is_refused(model, wrong):
    assert wrong in fault(CONFIG | {"models": CONFIG["models"] | {"new": model}})


def test_another_method_brings_options_of_its_own():
    assert fault(CONFIG | {"models": CONFIG["models"] | {"new": {"method": "other", "depth": 3}}}) is None


@pytest.mark.parametrize("overlays", OVERLAYS)
@pytest.mark.parametrize("recipe", CONFIG["recipes"])
def test_every_model_resolves_to_a_spec_that_its_method_accepts(overlays, recipe):
    config = configuration(*overlays) | {"recipe": recipe}
    for model in config["models"]:
        run = spec.resolve(config, model, seed=0)
        entry = config["models"][model]
        says = entry if "recipe" in entry else config["models"].get(entry.get("trained_as"), {})
        assert run.recipe == says.get("recipe", recipe)
        method.load(run.method).settings(run)


def flat(value, at: str = "") -> dict:
    """The settings of a spec by their place; those of its method with their defaults."""
    if not isinstance(value, dict):
        return {at: value}
    return {place: leaf for key, part in value.items() for place, leaf in flat(part, f"{at}.{key}".strip(".")).items()}


def settings_of(config: dict, model: str) -> dict:
    run = spec.resolve(config, model, seed=0)
    known = {**dataclasses.asdict(run), "options": dataclasses.asdict(method.load(run.method).settings(run))}
    return flat({key: value for key, value in known.items() if key not in ("model", "recipe")})


def differences(one: dict, other: dict) -> dict:
    assert one.keys() == other.keys()
    return {place: value for place, value in other.items() if value != one[place]}


@pytest.mark.parametrize("overlays", [(), (PAPER,), (PAPER, "config/duke.yaml")])
@pytest.mark.parametrize("recipe", ["paper", "released"])
def test_table_s2_goes_from_paper_to_released_one_switch_a_row(overlays, recipe):
    config = configuration(*overlays) | {"recipe": recipe}
    table = config["tables"]["recipes"]
    first, *switches, last = [row["model"] for row in table["rows"]]
    assert table["reference"] == first and table["seeds"] == [0]
    assert [spec.resolve(config, model, 0).recipe for model in (first, last)] == ["paper", "released"]
    paper = settings_of(config, first)
    missing = differences(paper, settings_of(config, last))
    for model in switches:
        ((place, value),) = differences(paper, settings_of(config, model)).items()
        assert missing.pop(place) == value, f"{model} is not the released {place}"
    assert not missing, "switches without a row"


@pytest.mark.parametrize("recipe", ["paper", "released"])
def test_the_ends_of_table_s2_are_the_proposed_model_under_either_recipe(recipe):
    config = configuration() | {"recipe": recipe}
    assert settings_of(config, "asta+aitl") == settings_of(config, f"asta+aitl-{recipe}")


def test_the_recipes_differ_in_nothing_that_the_budget_hides():
    """Else a difference would be without effect, and without a row in Table S2."""
    recipes, budget = flat({k: CONFIG["recipes"][k] for k in ("paper", "released")}), flat(CONFIG["budget"])
    places = {place.split(".", 1)[1] for place in recipes}
    differing = {p for p in places if recipes.get(f"paper.{p}") != recipes.get(f"released.{p}")}
    assert differing and not differing & budget.keys()


@pytest.mark.parametrize("name", ["cost", "Cost", "table 1"])
def test_a_table_cannot_be_called_what_its_files_could_not(name):
    assert fault(CONFIG | {"tables": {name: CONFIG["tables"]["table1"]}})


# They read the order of frames: convolution or recurrence over time, snippets, one frame of each chunk of a tracklet.
IN_ORDER = {"gltr", "case", "temporal", "nvan", "disentangling", "attribute_recognition"}


@pytest.mark.parametrize("overlays", [(), (PAPER,), (PAPER, "config/duke.yaml")])
@pytest.mark.parametrize("table", ["table3", "variants", "recognition"])
def test_who_reads_the_order_of_frames_is_given_them_in_order(overlays, table):
    config = configuration(*overlays)
    specs = [spec.resolve(config, row["model"], seed=0) for row in config["tables"][table]["rows"]]
    assert {run.clips.order for run in specs if run.method in IN_ORDER} == {"consecutive"}


@pytest.mark.parametrize("overlays", [(), (PAPER,), (PAPER, "config/duke.yaml")])
def test_table_3_is_on_one_scale(overlays):
    config = configuration(*overlays)
    rows = [row["model"] for row in config["tables"]["table3"]["rows"] if row["model"] != "untrained"]
    specs = [spec.resolve(config, model, seed=0) for model in rows]
    batch_of_cameras = [replaced(run.training, batch="people") for run in specs]
    assert all(training == batch_of_cameras[0] for training in batch_of_cameras)
    assert len({run.trunk for run in specs}) == 1
    assert len({(run.augment.pad, run.augment.flip, run.augment.erase) for run in specs}) == 1
    assert len({run.clips.order for run in specs if run.method not in IN_ORDER}) == 1
    options = [method.load(run.method).settings(run) for run in specs]
    assert len({known.label_smoothing for known in options if hasattr(known, "label_smoothing")}) == 1


def replaced(settings, **changes):
    return dataclasses.replace(settings, **changes)


@pytest.mark.parametrize("model, epochs", [("case", 30), ("nvan", 200), ("sta", 800)])
def test_native_settings_at_the_scale_of_the_papers_have_their_length(model, epochs):
    config = configuration(PAPER, "config/native.yaml", "config/native-paper.yaml")
    native = [name for name, entry in config["models"].items() if entry.get("recipe") == "native"]
    runs = [spec.resolve(config, name, 0) for name in native]
    assert {run.training.epochs for run in runs if run.method == model} == {epochs}
    assert {column["train"] for column in config["tables"]["native"]["columns"]} == {"mars"}


def test_an_unknown_recipe_is_refused_with_those_that_there_are():
    with pytest.raises(InputError, match="'relesed' is none of paper, released"):
        spec.resolve(CONFIG | {"recipe": "relesed"}, "aitl", seed=0)


def objects(entry: object, where: str = "$"):
    """Every object of the schema that lists keys, with its place."""
    if isinstance(entry, dict):
        if isinstance(entry.get("properties"), dict) and "type" in entry:
            yield where, entry
        for key, value in entry.items():
            yield from objects(value, f"{where}.{key}")


def test_every_key_is_described():
    for where, entry in objects(SCHEMA):
        for key, value in entry["properties"].items():
            assert value.get("description"), f"{where}: {key}"


def test_a_description_with_a_comma_is_quoted():
    """Else YAML makes keys of what follows the comma."""
    lines = (REPOSITORY / "workflow/schemas/config.schema.yaml").read_text().splitlines()
    unquoted = [line for line in lines if re.search(r"\{description: [^\"]", line)]
    cut = [line for line in unquoted if not re.fullmatch(r" *[\w-]+: \{description: [^,]+(, [$\w]+: .+)?\},?", line)]
    assert not cut


def test_every_object_is_closed():
    """The options of `multitask` are closed where they stand: in a model and in a recipe.

    A recipe's other keys are the names of methods, which `recipes.unified: 'mslm'` below shows to be checked.
    """
    for where, entry in objects(SCHEMA):
        closed = entry.get("additionalProperties") is False or entry.get("unevaluatedProperties") is False
        assert closed or where in ("$.$defs.multitask", "$.$defs.recipe"), where
    assert DEFINITIONS["recipe"]["properties"]["multitask"]["unevaluatedProperties"] is False


@pytest.mark.parametrize(
    "name, settings",
    [
        ("trunk", spec.Trunk),
        ("clips", spec.Clips),
        ("augment", spec.Augment),
        ("training", spec.Training),
        ("multitask", multitask.Options),
        ("world", World),
    ],
)
def test_the_schema_knows_the_settings_that_the_code_has(name, settings):
    assert list(DEFINITIONS[name]["properties"]) == [field.name for field in dataclasses.fields(settings)]


@pytest.mark.parametrize(
    "name, settings",
    [("trunk", spec.Trunk), ("clips", spec.Clips), ("augment", spec.Augment), ("training", spec.Training)],
)
def test_code_and_schema_bound_a_setting_alike(name, settings):
    small = {"name": "small"} if name == "trunk" else {}  # resnet50 has one width
    for key, rules in DEFINITIONS[name]["properties"].items():
        outwards = {"minimum": -1, "maximum": 1}
        allowed = [rules[bound] for bound in outwards if bound in rules]
        refused = [rules[bound] + step for bound, step in outwards.items() if bound in rules]
        refused += [rules[bound] for bound in ("exclusiveMinimum",) if bound in rules]
        assert refused or rules.get("type") not in ("integer", "number"), key
        for value in allowed:
            spec.build(settings, {**small, key: value}, name)
        for value in refused:
            with pytest.raises(InputError, match=f"^{name}: {key}: "):
                spec.build(settings, {**small, key: value}, name)


def test_the_schema_knows_the_choices_that_the_code_has():
    dataset, options = DEFINITIONS["dataset"]["properties"], DEFINITIONS["multitask"]["properties"]
    assert dataset["layout"]["enum"] == list(layouts.LAYOUTS)
    assert dataset["headline"]["enum"] == [protocol.name for protocol in PROTOCOLS]
    assert set(dataset["expect"]["properties"]) == set(layouts.PARTS)
    assert DEFINITIONS["trunk"]["properties"]["name"]["enum"] == list(trunk.TRUNKS)
    world = DEFINITIONS["world"]["properties"]
    assert {key: (world[key]["minimum"], world[key]["maximum"]) for key in LIMITS} == LIMITS
    assert options["streams"]["items"]["enum"] == list(multitask.STREAMS)
    assert options["losses"]["items"]["enum"] == list(multitask.LOSSES)


def test_the_page_of_keys_is_that_of_the_schema():
    command = [sys.executable, "workflow/scripts/describe_config.py"]
    page = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    mend = "python workflow/scripts/describe_config.py > config/README.md"
    assert (REPOSITORY / "config/README.md").read_text() == page, f"it has drifted; mend it with `{mend}`"


def test_snakemake_names_the_mistyped_key_and_spares_the_schema(paper):
    paper.edit("config/paper.yaml", "epochs: 500", "epochz: 500")
    said = paper.snakemake("--dry-run", succeeds=False)
    assert "config $.budget.training: Additional properties are not allowed ('epochz' was unexpected)" in said
    assert "minimum" not in said


def test_without_its_data_the_paper_fails_before_any_job_and_says_all_that_is_missing(paper):
    said = paper.snakemake("--cores", "1", succeeds=False)
    assert "Job stats" not in said
    for part in (
        "bbox_train",
        "bbox_test",
        "info/tracks_train_info.mat",
        "info/query_IDX.mat",
        "mars_attributes.csv",
    ):
        assert f"    data/mars/{part}, which came from " in said
    assert "for academic use only" in said
    for part in ("train", "query", "gallery", "duke_attributes.csv"):
        assert f"    data/duke/{part}, which came from " in said
    assert "its authors withdrew in 2019" in said and "https://www.dukechronicle.com/article/2019" in said
    assert not (paper.root / "results").exists()


def test_the_paper_knows_every_part_and_the_digests_of_the_published_files():
    """tests/data/README.md has them, and holds them against the files themselves."""
    listed = (REPOSITORY / "tests/data/README.md").read_text()
    known = {}
    for name in ("mars", "duke"):
        dataset = CONFIG_OF_PAPER["datasets"][name]
        parts = parts_of(dataset["layout"], Path(dataset["root"]), Path(dataset["attributes"]))
        assert {part.name for part in parts} == dataset["origin"]["parts"].keys()
        known |= {name: part["sha256"] for name, part in dataset["origin"]["parts"].items() if "sha256" in part}
    assert len(known) == 5
    for name, digest in known.items():
        assert re.search(rf"`{digest}` \| `(mars/{name}`|{name}\.gz`, unpacked)", listed), name


def test_imagenet_weights_are_those_of_torchvision():
    weights = ResNet50_Weights.IMAGENET1K_V1
    assert CONFIG["imagenet"] == {"from": weights.url, "sha256": re.search(r"-([0-9a-f]{8})\.pth", weights.url)[1]}


def test_imagenet_weights_are_got_by_a_job_of_their_own_before_a_training(fresh, tmp_path):
    (tmp_path / "weights.pth").write_bytes(b"weights")
    resnet = {"budget": {"trunk": {"name": "resnet50", "width": 64, "weights": "imagenet"}}, "models": {"trunk": None}}
    (fresh.root / "resnet.yaml").write_text(yaml.safe_dump(resnet | {"imagenet": str(tmp_path / "weights.pth")}))
    fresh.overlay += " resnet.yaml"
    said = fresh.snakemake("--dry-run", "--printshellcmds", "results/runs/synth-mars/baseline/seed0/weights.pt")
    assert len(re.findall(r"^(?:local)?rule imagenet:", said, re.M)) == 1
    assert "--trunk-weights results/fetched/resnet50-imagenet.pth" in said
    fresh.snakemake("--cores", "1", "results/fetched/resnet50-imagenet.pth")
    assert (fresh.root / "results/fetched/resnet50-imagenet.pth").read_bytes() == b"weights"


def test_what_a_dataset_is_fetched_from_comes_into_place_and_is_indexed(fresh, tmp_path):
    """The frames of a Duke of two people, in an archive as such archives are."""
    held = zipfile.ZipFile(tmp_path / "DukeMTMC-VideoReID.zip", "w")
    with gzip.open(REPOSITORY / "tests/data/duke_attributes.csv.gz", "rt") as published:
        rows = [published.readline().strip()]
    blank = ",0" * (rows[0].count(",") - 2)
    for split, pid, camid in (("train", 1, 1), ("train", 1, 2), ("query", 2, 1), ("gallery", 2, 2)):
        name = f"{pid:04d}/{len(rows):04d}/{pid:04d}_C{camid}_F0001_X00001.jpg"
        held.writestr(f"DukeMTMC-VideoReID/{split}/{name}", b"not looked into here")
        rows.append(f"{pid},{camid},{len(rows)}{blank}")
    held.close()
    (tmp_path / "duke_attributes.csv").write_text("\n".join(rows) + "\n")
    overlay = {
        "datasets": {
            "put": {
                "layout": "duke",
                "root": "data/put",
                "attributes": "data/put/duke_attributes.csv",
                "headline": "queries-in-gallery",
                "fetch": [held.filename, str(tmp_path / "duke_attributes.csv")],
            }
        },
        "report": {"datasets": ["put"]},
    }
    (fresh.root / "fetched.yaml").write_text(yaml.safe_dump(overlay))
    fresh.overlay = "fetched.yaml"
    target = "results/index/put/annotated.csv.gz"
    fresh.snakemake("--cores", "1", target)
    assert len(pd.read_csv(fresh.root / target)) == 4

    def jobs() -> set[str]:
        return set(re.findall(r"^(?:local)?rule (\w+):$", fresh.snakemake("--dry-run", target), re.M))

    assert jobs() == set()
    overlay["datasets"]["put"]["fetch"] = ["https://host/now-elsewhere.zip"]
    overlay["datasets"]["put"]["origin"] = {"terms": "Other words."}
    (fresh.root / "fetched.yaml").write_text(yaml.safe_dump(overlay))
    Path(held.filename).rename(tmp_path / "kept.zip")  # what has come is not looked for again
    assert jobs() == set()
    shutil.rmtree(fresh.root / "data/put/query")
    record, said = "results/fetched/put.json", fresh.snakemake("--dry-run", target, succeeds=False)
    assert "put/query" in said and f"To fetch them again: snakemake --force {record}" in said
    overlay["datasets"]["put"]["fetch"] = [str(tmp_path / "kept.zip")]
    (fresh.root / "fetched.yaml").write_text(yaml.safe_dump(overlay))
    fresh.snakemake("--cores", "1", "--force", record)
    assert (fresh.root / "data/put/query").is_dir() and jobs() == set()
    (frame,) = (fresh.root / "data/put/query").glob("*/*/*.jpg")
    shutil.rmtree(fresh.root / "data/put/query")
    with zipfile.ZipFile(tmp_path / "kept.zip") as kept, zipfile.ZipFile(tmp_path / "other.zip", "w") as other:
        for name in kept.namelist():
            other.writestr(name, kept.read(name) + b"more" * name.endswith(frame.name))
    overlay["datasets"]["put"]["fetch"] = [str(tmp_path / "other.zip")]
    (fresh.root / "fetched.yaml").write_text(yaml.safe_dump(overlay))
    fresh.snakemake("--cores", "1", "--force", record)
    assert {"index", "annotate"} <= jobs()  # the same names, and another frame
    fresh.snakemake("--cores", "1", target)
    own = fresh.root / "data/put/duke_attributes.csv"
    own.write_text(own.read_text().replace("2,2,4,0", "2,2,4,1"))
    assert jobs() == {"annotate"}


def test_with_mars_in_place_the_paper_is_planned_on_mars_alone(paper):
    parts = [
        "train_name.txt",
        "test_name.txt",
        "tracks_train_info.mat",
        "tracks_test_info.mat",
        "query_IDX.mat",
    ]
    for part in ("bbox_train/", "bbox_test/", *(f"info/{name}" for name in parts), "mars_attributes.csv"):
        path, published = paper.root / "data/mars" / part, REPOSITORY / "tests/data/mars" / part
        path.parent.mkdir(parents=True, exist_ok=True)
        if part.endswith("/"):
            (path / "0001").mkdir(parents=True)
        else:
            path.write_bytes(published.read_bytes() if published.exists() else b"not looked into here")
    said = paper.snakemake("--dry-run", succeeds=False)
    assert holds_once(said.splitlines(), "data/mars/mars_attributes.csv: not the published file, by its SHA-256")
    with gzip.open(REPOSITORY / "tests/data/mars_attributes.csv.gz") as published:
        (paper.root / "data/mars/mars_attributes.csv").write_bytes(published.read())
    jobs = paper.plan()
    config = configuration(PAPER)
    trainings = set()
    for table in config["tables"].values():
        for place in places(table):
            trained = config["models"][place.row["model"]].get("trained_as", place.row["model"])
            seeds = table.get("seeds", config["seeds"])
            trainings |= {f"train {place.train} {trained} {seed}" for seed in seeds}
    assert {job for job in jobs if job.startswith("train ")} == trainings
    assert {job for job in jobs if job.startswith("train_completion")} == {"train_completion mars-completed"}
    assert not any("synth" in job or "duke" in job for job in jobs)


@pytest.mark.parametrize("recipe, lr", [("paper", 3e-4), ("released", 3.5e-4)])
def test_the_paper_overlay_trains_as_paper_and_released_code_say(recipe, lr):
    run = spec.resolve(configuration("config/paper.yaml") | {"recipe": recipe}, "asta+aitl", 0)
    assert (run.trunk.name, run.trunk.weights) == ("resnet50", "imagenet")
    assert (run.clips.frames, run.clips.height, run.clips.width, run.clips.test_clips) == (4, 256, 128, 200)
    assert (run.augment.pad, run.augment.flip, run.augment.erase) == (10, 0.5, 0.5)
    training = run.training
    assert (training.people, training.clips, training.epochs) == (8, 4, 500)
    assert (training.lr, training.weight_decay, training.decay) == (lr, 5e-4, 0.3)
    assert training.warmup * 500 == 10 and training.warmup_from == 0.01
    assert [round(milestone * 500) for milestone in training.milestones] == [70, 140, 210, 310, 410]


@pytest.mark.parametrize(
    "overlay, told",
    [
        ({"tables": {"table1": {"rows": [{"model": "nope", "label": "N"}]}}}, "tables.table1.rows[0].model: 'nope' is"),
        ({"figures": {"fig7": {"train": "nope"}}}, "figures.fig7.train: 'nope' is none of synth-mars"),
        ({"figures": {"gallery": {"models": ["baseline", "nope"]}}}, "figures.gallery.models[1]: 'nope' is none of"),
        ({"report": {"datasets": ["nope"]}}, "report.datasets[0]: 'nope' is none of"),
        (
            {"datasets": {"synth-mars-completed": {"completed": {"from": "synth-duke-completed"}}}},
            "datasets.synth-mars-completed.completed.from: 'synth-duke-completed' is none of synth-mars, synth-duke",
        ),
        (
            {"datasets": {"synth-duke-completed": {"completed": {"scorer": "nope"}}}},
            "datasets.synth-duke-completed.completed.scorer: 'nope' is none of baseline",
        ),
        ({"recipe": "nope"}, "recipe: 'nope' is none of paper, released"),
        ({"models": {"baseline": {"recipe": "nope"}}}, "models.baseline.recipe: 'nope' is none of"),
        ({"recipes": {"unified": {"mslm": {"margin": 0.1}}}}, "recipes.unified: 'mslm' is neither a section"),
        ({"tables": {"table3": {"floor": "nope"}}}, "tables.table3.floor: 'nope' is none of"),
        ({"models": {"new": {"trained_as": "nope"}}}, "models.new.trained_as: 'nope' is none of"),
        ({"models": {"baseline": {"method": "nope"}}}, "models.baseline.method: there is no method 'nope'"),
        ({"models": {"baseline": {"trunk": {"name": "resnet50"}}}}, "width: resnet50 has 64 channels"),
        ({"budget": {"trunk": {"weights": "synth-people/nope"}}}, "budget.trunk.weights: 'nope' is none of"),
        ({"models": {"new": {"losses": ["softmax", "aitl"]}}}, "aitl needs attributes"),
    ],
)
def test_what_does_not_hold_together_is_said_before_any_job(tmp_path, overlay, told):
    (tmp_path / "overlay.yaml").write_text(yaml.safe_dump(overlay))
    command = [sys.executable, "-m", "snakemake", "-n", "--configfile", str(tmp_path / "overlay.yaml")]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode and told in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


WRONG = """
models:
  fu: {lamda: 1}
  fu-t6: {parts: 3}
  li: {channels: 64.5}
  xiao: {margin: .inf}
  zhao: {method: heads}
  aitl: {recipe: nope}
recipes:
  unified: {heads: {}}
tables:
  table4: {reference: nobody}
"""


def test_all_that_is_wrong_is_said_in_one_list_before_any_job(fresh):
    (fresh.root / "wrong.yaml").write_text(WRONG)
    fresh.overlay = "wrong.yaml"
    said = fresh.snakemake("--dry-run", succeeds=False)
    for told in (
        "models.fu: unknown key 'lamda'; known are parts, energy",
        "models.fu-t6: parts: 3 do not divide a feature map of 8 rows",
        "models.li: channels: expected int, found 64.5",
        "models.xiao: margin: inf is not at least 0 and finite",
        "models.zhao.method: there is no method 'heads': src/vreid/models/heads.py defines no METHOD",
        "models.aitl.recipe: 'nope' is none of unified, paper, released",
        "recipes.unified: 'heads' is neither a section (trunk, clips, augment, training) nor a method",
        "tables.table4.reference: 'nobody' is none of baseline, asta, asta+aitl",
    ):
        assert said.count(f"    {told}") == 1
    assert "Job stats" not in said and "Traceback" not in said


FAULTS = {
    "keys": (
        {"budget": {"clips": {"framez": 3}}, "models": {"aitl": {"margin": -1}}},
        [
            "config $.budget.clips: Additional properties are not allowed ('framez' was unexpected)",
            "config $.models.aitl.margin: -1 is less than the minimum of 0",
        ],
    ),
    "names": ({"tables": {"table1": {"reference": "nobody"}}}, ["tables.table1.reference: 'nobody' is none of"]),
    "methods": ({"models": {"fu": {"lamda": 1}}}, ["models.fu: unknown key 'lamda'; known are parts, energy"]),
    "missing data": (
        {
            "datasets": {
                "mine": {"layout": "duke", "root": "mine", "attributes": "mine.csv", "headline": "mars-script"}
            },
            "report": {"datasets": ["mine"]},
        },
        ["mine (needed by report) lacks:", "    mine.csv", "    mine/train", "    mine/gallery"],
    ),
    "sources": (
        {
            "datasets": {
                "far": {
                    "layout": "mars",
                    "root": "far",
                    "attributes": "far.csv",
                    "headline": "mars-script",
                    "fetch": ["https://host/bbox_train.zip", {"from": "nowhere/bbox_test.zip"}],
                }
            },
            "figures": {"fig6": {"train": "far"}},
        },
        ["datasets.far.fetch: nowhere/bbox_test.zip: no such archive, folder or file"],
    ),
    "incomplete data": (
        {
            "datasets": {"put": {"layout": "duke", "root": "put", "attributes": "put.csv", "headline": "mars-script"}},
            "figures": {"fig7": {"train": "put"}},
        },
        ["put/query: the folder of put is empty", "put.csv: the file of put has no bytes"],
    ),
    "weights": (
        {"models": {"sudoku": {"trunk": {"weights": "gone.pt"}}, "baseline": {"trunk": {"weights": "gone.pt"}}}},
        ["gone.pt: no such file; trunk.weights of baseline names it"],  # no table has the other
    ),
    "disk": ({"models": {"aitl": {"trunk": {"width": 10**6}}}}, ["results: 4 runs write at least"]),
}


@pytest.fixture
def half_placed(fresh):
    """With a dataset called put, of which a folder is empty and a file, too."""
    for part in ("train", "gallery"):
        (fresh.root / "put" / part / "0001").mkdir(parents=True)
    (fresh.root / "put/query").mkdir()
    (fresh.root / "put.csv").touch()
    return fresh


def refusal(checkout, *overlays: dict) -> list[str]:
    """The lines with which overlays are refused together; nothing is started or written."""
    for number, overlay in enumerate(overlays):
        (checkout.root / f"wrong{number}.yaml").write_text(yaml.safe_dump(overlay))
        checkout.overlay += f" wrong{number}.yaml"
    said = checkout.snakemake("--cores", "1", succeeds=False)
    assert "Job stats" not in said and "Traceback" not in said
    assert not (checkout.root / "results").exists() and not (checkout.root / "logs").exists()
    _, refused = said.split("This configuration cannot run as it stands.\n")
    return refused.splitlines()


def heads(lines: list[str]) -> list[str]:
    return [line for line in lines if line.endswith(":") and not line.startswith(" ")]


def holds_once(lines: list[str], told: str) -> bool:
    return sum(told in line for line in lines) == 1


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_of_each_kind_is_said_under_one_head(half_placed, kind):
    overlay, told = FAULTS[kind]
    lines = refusal(half_placed, overlay)
    assert len(heads(lines)) == 1
    assert all(holds_once(lines, f"    {line}") for line in told)


def test_faults_of_all_kinds_are_said_at_once(half_placed):
    """But for the budget's, without which no model is known."""
    overlays = {kind: overlay for kind, (overlay, _) in FAULTS.items() if kind != "keys"}
    lines = refusal(half_placed, {"models": {"zhao": {"training": {"epochs": -1}}}}, *overlays.values())
    assert len(heads(lines)) == len(FAULTS)
    assert holds_once(lines, "    config $.models.zhao.training.epochs: -1 is less than the minimum of 0")
    assert all(holds_once(lines, f"    {line}") for kind in overlays for line in FAULTS[kind][1])


def test_keys_at_fault_hide_neither_names_nor_data(half_placed):
    kinds = ("keys", "names", "missing data")
    entries = {"tables": {"table2": {"rows": 3}}, "figures": {"fig8": 3}, "claims": 3, "cost": None, "seeds": "all"}
    lines = refusal(half_placed, entries, *(FAULTS[kind][0] for kind in kinds))
    assert len(heads(lines)) == len(kinds)
    assert all(holds_once(lines, f"    {line}") for kind in kinds for line in FAULTS[kind][1])
    for told in ("$.tables.table2.rows: 3 is", "$.figures.fig8: 3 is", "$.claims: 3 is", "$.seeds: 'all' is"):
        assert holds_once(lines, f"    config {told}")


def test_what_may_be_meant_so_is_remarked_once_and_not_by_every_job(fresh, tmp_path):
    resnet = {"budget": {"trunk": {"name": "resnet50", "width": 64, "weights": "imagenet"}}}
    (fresh.root / "resnet.yaml").write_text(yaml.safe_dump(resnet | {"models": {"trunk": None}}))
    fresh.overlay += " resnet.yaml"
    frozen = "results/runs/synth-mars/baseline/seed0/spec.json"
    said = fresh.snakemake("--cores", "1", frozen)
    assert (fresh.root / frozen).exists()
    assert said.count("Note: ImageNet weights will be fetched from https://download.pytorch.org") == 1
    local = not shutil.which("sbatch")
    assert said.count("Note: no GPU is visible here") == local
    weights = fresh.root / "results/fetched/resnet50-imagenet.pth"
    weights.parent.mkdir(parents=True)
    weights.touch()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/sbatch").touch(mode=0o755)  # where jobs are submitted, the nodes have the GPUs
    fresh.env |= {"PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    assert "Note:" not in fresh.snakemake("--dry-run")


def test_methods_are_asked_again_only_when_what_they_are_asked_or_their_code_changes(fresh):
    """A second dry run passes where torch cannot be loaded."""
    fresh.snakemake("--dry-run")
    (fresh.root / "src/torch.py").write_text("raise ImportError('torch is asked for')\n")
    fresh.edit("src/vreid/models/sta.py", "TINY = 1e-12", "TINY = 1e-12  # a comment")
    fresh.snakemake("--dry-run")
    fresh.edit("src/vreid/models/sta.py", "TINY = 1e-12", "TINY = 1e-11")
    assert "torch is asked for" in fresh.snakemake("--dry-run", succeeds=False)
    fresh.edit("src/vreid/models/sta.py", "TINY = 1e-11", "TINY = 1e-12")
    fresh.edit("config/config.yaml", "fu: {method: sta,", "fu: {parts: 2, method: sta,")
    assert "torch is asked for" in fresh.snakemake("--dry-run", succeeds=False)


def test_sizes_must_suit_what_is_asked_for_and_not_every_entry(fresh):
    """Three clips a person make no pairs, which tiny.yaml's tables do not need; who asks for such a run is told."""
    fresh.snakemake("--dry-run")
    said = fresh.snakemake("--dry-run", "results/runs/synth-mars/chen/seed0/weights.pt", succeeds=False)
    assert "models.chen: training.clips: of 3 clips a person, one has no other to be paired with" in said


def test_what_is_refused_is_refused_again(fresh):
    (fresh.root / "wrong.yaml").write_text("models: {fu: {lamda: 1}}")
    fresh.overlay = "wrong.yaml"
    for _ in range(2):
        assert "models.fu: unknown key 'lamda'" in fresh.snakemake("--dry-run", succeeds=False)


def test_the_schema_knows_the_options_of_the_completion():
    for entry, options in {"scoring": regions.Options, "completion": completion.Options}.items():
        described = DEFINITIONS[entry]["properties"]
        assert list(described) == [field.name for field in dataclasses.fields(options)]
        for field in dataclasses.fields(options):
            default = re.search(r"\(([^()]*)\)[^()]*$", described[field.name]["description"])[1]
            assert default == field.default or float(default) == field.default, field.name


def test_a_dataset_is_rendered_or_completed_and_not_both():
    both = CONFIG["datasets"]["synth-mars"] | {"completed": {"from": "synth-duke", "scorer": "baseline"}}
    assert fault(CONFIG | {"datasets": CONFIG["datasets"] | {"both": both}})


def test_partitions_and_times_of_the_profile_are_those_of_the_cluster(fresh, tmp_path):
    (tmp_path / "bin").mkdir()
    sinfo = tmp_path / "bin/sinfo"
    sinfo.write_text("#!/bin/sh\necho 'cpu|infinite'\necho 'gpu|12:00:00'\n")
    sinfo.chmod(0o755)
    fresh.env |= {"PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    fresh.snakemake("--dry-run")
    profile = ("--workflow-profile", "workflow/profiles/slurm")
    said = fresh.snakemake("--dry-run", *profile, succeeds=False)
    assert "SLURM:\n    runtime of train: 1440 minutes, and a job of the partition gpu may take 720;" in said
    sinfo.write_text("#!/bin/sh\necho 'cpu|infinite'\necho 'gpu|1-00:00:00'\n")
    fresh.snakemake("--dry-run", *profile)
