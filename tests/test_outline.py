"""What makes a run impossible is found before there is any data, and said with its model and key."""

import dataclasses
import json
import math
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest
import yaml
from snakemake.utils import update_config

import vreid.models
from vreid import __main__ as command_line
from vreid.errors import InputError
from vreid.models import method
from vreid.outline import check, faults, outline, strangers
from vreid.spec import Spec, resolve

REPOSITORY = Path(__file__).parents[1]
NAMES = [module.name for module in iter_modules(vreid.models.__path__)]
METHODS = [name for name in NAMES if hasattr(import_module(f"vreid.models.{name}"), "METHOD")]
FLOATS = [
    (name, field.name)
    for name in METHODS
    for field in dataclasses.fields(method.load(name).options)
    if field.type is float
]


def spec(name: str, options: dict | None = None, **sections) -> Spec:
    """Of the model `fu`, with the small trunk, whose maps have 8 × 4 positions."""
    sizes = {"trunk": {"name": "small", "width": 8}, "clips": {"height": 64, "width": 32}}
    merged = {key: sizes.get(key, {}) | sections.get(key, {}) for key in sizes | sections}
    return Spec.from_mapping({"model": "fu", "seed": 0, "method": name, "options": options or {}, **merged})


@pytest.mark.parametrize("overlay", [None, "config/native.yaml", "config/paper.yaml"])
def test_every_model_of_the_repository_is_accepted(overlay):
    config = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text())
    update_config(config, yaml.safe_load((REPOSITORY / overlay).read_text()) if overlay else {})
    assert faults((resolve(config, model, 0) for model in config["models"]), config["models"]) == []


def test_the_methods_are_seen():
    assert {"multitask", "sta", "vrstc"} <= set(METHODS) and len(FLOATS) > len(METHODS)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name, key", FLOATS)
def test_no_option_of_any_method_is_infinite_or_no_number(name, key, value):
    with pytest.raises(InputError, match=f"^models.fu: {key}: {value} is not .*finite$"):
        check(spec(name, {key: value}))


@pytest.mark.parametrize(
    "run, told",
    [
        (spec("sta", {"lamda": 1}), "models.fu: unknown key 'lamda'; known are parts, energy"),
        (spec("sta", {"parts": 4.5}), "models.fu: parts: expected int, found 4.5"),
        (spec("sta", {"margin": -1.0}), "models.fu: margin: -1.0 is not at least 0"),
        (spec("sta", {"parts": 3}), "models.fu: parts: 3 do not divide a feature map of 8 rows"),
        (spec("sta", clips={"frames": 1}), "models.fu: clips.frames: STA compares frames"),
        (spec("nvan", {"temporal_reduction": True}, clips={"frames": 6}), "models.fu: clips.frames: 6 is not a mul"),
        (spec("case", training={"clips": 3}), "models.fu: training.clips: of 3 clips a person, one has no other"),
        (spec("sta", clips={"test": "dens"}), "models.fu: clips.test: 'dens' is none of own, dense"),
        (spec("sta", clips={"train": "dense"}), "models.fu: clips.train: 'dense' is none of own"),
        (spec("sta", trunk={"name": "tiny"}), "models.fu: trunk.name: 'tiny' is none of resnet50, small"),
        (spec("heads"), "models.fu.method: there is no method 'heads': src/vreid/models/heads.py defines no METHOD"),
        (spec("nope"), "models.fu.method: there is no method 'nope': no file src/vreid/models/nope.py"),
    ],
)
def test_a_spec_that_cannot_be_trained_is_refused_by_its_model_and_key(run, told):
    with pytest.raises(InputError) as refused:
        check(run)
    assert str(refused.value).startswith(told)
    assert faults([spec("sta"), run], {"fu"}) == [str(refused.value)]


@pytest.mark.parametrize(
    "options, found", [({"parts": 3}, []), ({"parts": 0}, ["models.fu: parts: 0 is not at least 1"])]
)
def test_of_a_model_that_is_not_planned_only_options_are_checked(options, found):
    assert faults([spec("sta", options)], {"li"}) == found


@pytest.mark.parametrize("weights", ["imagenet", "synth-people/trunk", "no/such/file.pth"])
def test_no_weights_are_looked_for(weights):
    found = outline(spec("sta", trunk={"name": "resnet50", "width": 64, "weights": weights}))
    assert {weight.device.type for weight in found.parameters()} == {"meta"}


def test_names_that_are_no_method_s_are_found():
    assert strangers(["sta", "heads", "nope", "vrstc"]) == {"heads", "nope"}


# ---- by command ----


@pytest.mark.parametrize("options, told", [({"lamda": 1}, "unknown key 'lamda'"), ({"parts": 3}, "parts: 3 do not")])
def test_freezing_asks_the_method_and_writes_nothing_that_it_refuses(options, told, tmp_path, capsys):
    mapping = dataclasses.asdict(spec("sta", options))
    out = tmp_path / "spec.json"
    assert command_line.main(["freeze", "--spec", json.dumps(mapping), "--out", str(out)]) == 2
    assert f"error: models.fu: {told}" in capsys.readouterr().err
    assert not out.exists()


def test_freezing_what_is_checked_loads_no_torch(tmp_path):
    arguments = ["freeze", "--checked", "--spec", json.dumps(dataclasses.asdict(spec("sta"))), "--out", "spec.json"]
    code = f"import sys; sys.modules['torch'] = None; from vreid.__main__ import main; sys.exit(main({arguments!r}))"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert Spec.load(tmp_path / "spec.json") == spec("sta")


def test_snippets_are_not_whole_tracklets():
    run = Spec.from_mapping({"model": "m", "seed": 0, "method": "case", "clips": {"frames": 8, "test": "whole"}})
    with pytest.raises(InputError, match="snippets have 8 frames"):
        check(run)


def test_more_branches_than_channels_are_refused():
    options, trunk = {"dilations": list(range(1, 70))}, {"name": "small", "width": 8, "weights": "none"}
    run = Spec.from_mapping({"model": "m", "seed": 0, "method": "gltr", "options": options, "trunk": trunk})
    with pytest.raises(InputError, match="70 branches share 64 channels"):
        check(run)


@pytest.mark.parametrize("training", [{"batch": "tracklets"}, {"clips": 1}])
@pytest.mark.parametrize("method", ["multitask", "trinet", "msml", "nvan", "sta", "vrstc"])
def test_batches_without_two_clips_of_a_person_are_refused_where_a_loss_compares_them(method, training):
    run = Spec.from_mapping({"model": "m", "seed": 0, "method": method, "training": training})
    with pytest.raises(InputError, match="compares clips of one person"):
        check(run)
    check(Spec.from_mapping({"model": "m", "seed": 0, "method": "ide", "training": training}))
