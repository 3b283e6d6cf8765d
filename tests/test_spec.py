"""What a run is, and what names it."""

import dataclasses
import json
import math
import re

import pytest

from vreid.errors import InputError
from vreid.spec import Clips, Spec, Training, Trunk, build, canonical, resolve, within

SETTINGS = {
    "model": "asta",
    "seed": 2,
    "recipe": "released",
    "options": {"streams": ["reid", "relevant"], "margin": 0.3},
    "trunk": {"name": "small", "width": 16, "weights": "none"},
    "clips": {"frames": 4, "height": 64, "width": 32},
    "training": {"epochs": 3, "lr": 3e-4, "milestones": [0.5, 0.75]},
}


def changed(**sections) -> dict:
    """The settings, with some keys changed."""
    merged = dict(SETTINGS)
    for name, value in sections.items():
        merged[name] = {**merged.get(name, {}), **value} if isinstance(value, dict) else value
    return merged


def digest(mapping) -> str:
    return Spec.from_mapping(mapping).digest


def test_a_spec_holds_what_it_was_given_and_defaults_elsewhere():
    spec = Spec.from_mapping(SETTINGS)
    assert (spec.model, spec.seed, spec.method) == ("asta", 2, "multitask")
    assert spec.trunk == Trunk("small", 16, "none")
    assert spec.clips == Clips(frames=4, height=64, width=32)
    assert spec.training == Training(epochs=3, lr=3e-4, milestones=(0.5, 0.75))


def test_a_spec_survives_its_file(tmp_path):
    spec = Spec.from_mapping(SETTINGS)
    spec.save(tmp_path / "spec.json")
    assert Spec.load(tmp_path / "spec.json") == spec
    assert Spec.load(tmp_path / "spec.json").digest == spec.digest


def test_equal_specs_are_the_same_file(tmp_path):
    Spec.from_mapping(SETTINGS).save(tmp_path / "one.json")
    Spec.from_mapping(dict(reversed(SETTINGS.items()))).save(tmp_path / "other.json")
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "other.json").read_bytes()


def test_a_spec_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Spec.from_mapping(SETTINGS).seed = 3


# ---- digest ----


def test_the_digest_is_12_hex_digits_that_hold_across_processes():
    assert digest({"model": "baseline", "seed": 0}) == digest({"seed": 0, "model": "baseline"})
    assert re.fullmatch("[0-9a-f]{12}", digest(SETTINGS))


def test_the_order_of_keys_does_not_change_the_digest():
    reversed_settings = {
        key: dict(reversed(value.items())) if isinstance(value, dict) else value
        for key, value in reversed(SETTINGS.items())
    }
    assert digest(reversed_settings) == digest(SETTINGS)


def test_spelling_out_a_default_does_not_change_the_digest():
    assert digest(changed(training={"precision": "auto"}, method="multitask")) == digest(SETTINGS)


def test_a_whole_number_for_a_fraction_does_not_change_the_digest():
    assert digest(changed(training={"decay": 1})) == digest(changed(training={"decay": 1.0}))


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 3},
        {"model": "itl"},
        {"method": "other"},
        {"recipe": "paper"},
        {"options": {"margin": 0.4}},
        {"options": {"streams": ["reid"]}},
        {"trunk": {"weights": "synth-people/trunk"}},
        {"clips": {"order": "shuffled"}},
        {"augment": {"flip": 0.0}},
        {"training": {"milestones": [0.5]}},
        {"training": {"validate_every": 5}},
    ],
)
def test_any_setting_changes_the_digest(change):
    assert digest(changed(**change)) != digest(SETTINGS)


def test_canonical_text_is_the_same_for_equal_data():
    assert canonical({"b": [1, 2], "a": {"d": 1, "c": 2}}) == canonical({"a": {"c": 2, "d": 1}, "b": (1, 2)})
    assert canonical({"a": [1, 2]}) != canonical({"a": [2, 1]})


# ---- what is refused ----


@pytest.mark.parametrize(
    "mapping, told",
    [
        (changed(sede=1), "run.json: unknown key 'sede'; known are model, seed"),
        (
            changed(training={"learning_rate": 1}),
            "run.json: training: unknown key 'learning_rate'; known are epochs",
        ),
        ({"model": "m"}, "run.json: the key 'seed' is missing"),
        (changed(seed="0"), "run.json: seed: expected int, found '0'"),
        (changed(seed=True), "run.json: seed: expected int, found True"),
        (changed(seed=None), "run.json: seed: expected int, found None"),
        (changed(training={"epochs": 2.5}), "run.json: training: epochs: expected int, found 2.5"),
        (changed(training={"lr": "3e-4"}), "run.json: training: lr: expected float, found '3e-4'"),
        (changed(training={"lr": True}), "run.json: training: lr: expected float, found True"),
        (changed(training={"milestones": 0.5}), "run.json: training: milestones: expected a list, found 0.5"),
        (
            changed(training={"milestones": ["a"]}),
            "run.json: training: milestones: expected float, found 'a'",
        ),
        (changed(clips=4), "run.json: clips: expected a mapping of Clips settings, found 4"),
        (
            changed(clips={"order": "random"}),
            "run.json: clips: order: 'random' is none of consecutive, shuffled",
        ),
        (changed(clips={"frames": 0}), "run.json: clips: frames: 0 is not at least 1"),
        (changed(training={"people": 0}), "run.json: training: people: 0 is not at least 2"),
        (
            changed(training={"precision": "float16"}),
            "run.json: training: precision: 'float16' is none of auto",
        ),
        ([], r"run.json: expected a mapping of Spec settings, found \[\]"),
    ],
)
def test_a_bad_key_or_value_is_named_with_its_file_and_section(mapping, told, tmp_path):
    with pytest.raises(InputError, match=f"^{told}"):
        Spec.from_mapping(mapping, "run.json")


@pytest.mark.parametrize("text", ["", "{", "model: m", '{"model": "m", "se'])
def test_a_torn_or_foreign_spec_file_is_refused(text, tmp_path):
    (tmp_path / "spec.json").write_text(text)
    with pytest.raises(InputError, match=r"spec\.json: not valid JSON"):
        Spec.load(tmp_path / "spec.json")


def test_a_missing_spec_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"spec\.json: no such spec"):
        Spec.load(tmp_path / "spec.json")


def test_a_refused_spec_file_is_named(tmp_path):
    (tmp_path / "spec.json").write_text(json.dumps(changed(seed="0")))
    with pytest.raises(InputError, match=rf"{tmp_path}/spec\.json: seed: expected int"):
        Spec.load(tmp_path / "spec.json")


# ---- from the configuration ----

CONFIG = {
    "recipe": "paper",
    "budget": {"trunk": {"name": "small", "width": 16, "weights": "none"}, "training": {"epochs": 40}},
    "recipes": {
        "paper": {
            "training": {"lr": 3e-4, "epochs": 500},
            "multitask": {"label_smoothing": 0.0, "margin": 0.3},
        },
        "released": {"training": {"lr": 3.5e-4}, "multitask": {"label_smoothing": 0.1}},
    },
    "models": {
        "baseline": {"streams": ["reid"]},
        "wide": {"streams": ["reid"], "margin": 0.5, "trunk": {"width": 32}, "training": {"epochs": 7}},
        "theirs": {"recipe": "released"},
        "stranger": {"method": "gltr", "depth": 3},
        "lost": {"recipe": "nonesuch"},
        "wrong": {"training": {"epoch": 3}},
    },
}


def test_a_recipe_holds_where_the_budget_and_the_entry_are_silent():
    spec = resolve(CONFIG, "baseline", seed=1)
    assert (spec.model, spec.seed, spec.recipe) == ("baseline", 1, "paper")
    assert spec.training == Training(lr=3e-4, epochs=40)
    assert spec.options == {"streams": ["reid"], "label_smoothing": 0.0, "margin": 0.3}


def test_an_entry_wins_over_budget_and_recipe():
    spec = resolve(CONFIG, "wide", seed=0)
    assert spec.training.epochs == 7
    assert spec.trunk == Trunk("small", 32, "none")
    assert spec.options["margin"] == 0.5


def test_an_entry_may_name_its_recipe():
    spec = resolve(CONFIG, "theirs", seed=0)
    assert (spec.recipe, spec.training.lr, spec.options["label_smoothing"]) == ("released", 3.5e-4, 0.1)


def test_a_method_gets_its_own_options_only():
    spec = resolve(CONFIG, "stranger", seed=0)
    assert spec.method == "gltr"
    assert spec.options == {"depth": 3}


def test_resolving_leaves_the_configuration_as_it_was():
    before = canonical(CONFIG)
    for model in ("baseline", "wide", "theirs", "stranger"):
        resolve(CONFIG, model, seed=0)
    assert canonical(CONFIG) == before


@pytest.mark.parametrize(
    "model, told",
    [
        ("lost", "models.lost.recipe: 'nonesuch' is none of paper, released"),
        ("wrong", "models.wrong: training: unknown key 'epoch'"),
    ],
)
def test_a_mistake_in_an_entry_is_named_with_the_entry(model, told):
    with pytest.raises(InputError, match=f"^{told}"):
        resolve(CONFIG, model, seed=0)


def test_one_model_s_setting_changes_that_model_s_digest_alone():
    other = CONFIG | {"models": CONFIG["models"] | {"wide": CONFIG["models"]["wide"] | {"margin": 0.6}}}
    assert resolve(other, "wide", 0).digest != resolve(CONFIG, "wide", 0).digest
    assert resolve(other, "baseline", 0).digest == resolve(CONFIG, "baseline", 0).digest


@pytest.mark.parametrize(
    "mapping, told",
    [
        ({"seed": -1}, "seed: -1 is not at least 0"),
        ({"training": {"lr": -1.0}}, "lr: -1.0 is not above 0"),
        ({"training": {"threads": 0}}, "threads: 0 is not at least 1"),
        ({"training": {"milestones": [0.5, 7.0]}}, "milestones: 7.0 is not at least 0 and at most 1"),
        ({"augment": {"pad": -3}}, "pad: -3 is not at least 0"),
        ({"augment": {"flip": 7.0}}, "flip: 7.0 is not at least 0 and at most 1"),
        ({"trunk": {"name": "small", "width": 4}}, "width: 4 is not at least 8"),
        ({"trunk": {"name": "resnet50", "width": 16}}, "width: resnet50 has 64 channels in its first stage, not 16"),
    ],
)
def test_a_number_out_of_its_range_is_named(mapping, told):
    with pytest.raises(InputError, match=told):
        Spec.from_mapping({"model": "a", "seed": 0} | mapping)


@dataclasses.dataclass(frozen=True)
class Numbers:
    share: float = 0.5
    shares: tuple[float, ...] = (0.5,)
    count: int = 1


@pytest.mark.parametrize(
    "numbers, bounds, told",
    [
        (Numbers(share=0.0), {"above": 0}, "share: 0.0 is not above 0"),
        (Numbers(share=1.0), {"at_least": 0, "below": 1}, "share: 1.0 is not at least 0 and below 1"),
        (Numbers(shares=(0.5, 2.0)), {"above": 0, "at_most": 1}, "shares: 2.0 is not above 0 and at most 1"),
        (Numbers(1.0, (1.0,), 0), {"at_least": 1}, "count: 0 is not at least 1"),
        (Numbers(share=math.nan), {"at_least": 0}, "share: nan is not at least 0 and finite"),
        (Numbers(share=math.inf), {"above": 0}, "share: inf is not above 0 and finite"),
        (Numbers(shares=(0.5, -math.inf)), {"below": 1}, "shares: -inf is not below 1 and finite"),
        (Numbers(shares=(math.nan,)), {}, "shares: nan is not finite"),
    ],
)
def test_a_number_out_of_its_bounds_is_named_with_them(numbers, bounds, told):
    with pytest.raises(InputError, match=f"^{told}$"):
        within(numbers, "share", "shares", "count", **bounds)


def test_bounds_hold_at_their_ends_or_not():
    within(Numbers(0.0, (1.0, 0.0), 1), "share", "shares", "count", at_least=0, at_most=1)
    within(Numbers(1e-300, (), 10**400), "share", "shares", "count", above=0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("key", ["share", "shares"])
def test_settings_that_check_nothing_are_finite_all_the_same(key, value):
    with pytest.raises(InputError, match=f"^entry: {key}: {value} is not finite$"):
        build(Numbers, {key: value if key == "share" else [0.5, value]}, "entry")


SYSTEMS = {
    "recipe": "paper",
    "budget": {"trunk": {"weights": "none"}, "clips": {"frames": 4, "height": 64}, "training": {"epochs": 7}},
    "recipes": {
        "paper": {"training": {"lr": 0.1, "epochs": 90}, "other": {"clips": {"frames": 8}, "width": 3, "depth": 1}},
    },
    "models": {
        "one": {"method": "other", "width": 5, "training": {"lr": 0.2}},
        "again": {"trained_as": "one", "clips": {"test": "dense"}, "depth": 2},
        "nobody": {"trained_as": "no one"},
        "chain": {"trained_as": "again"},
    },
}


def test_what_a_recipe_says_of_a_method_wins_over_the_budget_and_yields_to_the_entry():
    spec = resolve(SYSTEMS, "one", 0)
    assert (spec.clips.frames, spec.clips.height) == (8, 64)
    assert (spec.training.lr, spec.training.epochs) == (0.2, 7)
    assert spec.options == {"width": 5, "depth": 1}


def test_a_model_trained_as_another_differs_from_it_in_what_it_says():
    one, again = (resolve(SYSTEMS, model, 3) for model in ("one", "again"))
    assert (again.method, again.training, again.clips.frames) == (one.method, one.training, 8)
    assert (again.trained_as, one.trained_as) == ("one", "")
    assert (again.clips.test, again.options) == ("dense", {"width": 5, "depth": 2})


@pytest.mark.parametrize(
    "model, told", [("nobody", "'no one' is none of one, again"), ("chain", "'again' trains nothing itself")]
)
def test_a_model_is_trained_as_one_that_trains(model, told):
    with pytest.raises(InputError, match=f"models.{model}.trained_as: {told}"):
        resolve(SYSTEMS, model, 0)


@pytest.mark.parametrize(
    "section, told",
    [
        ({"training": {"schedule": "exponential", "milestones": [0.2, 0.4]}}, "starts at one, not 2"),
        ({"training": {"optimiser": "adagrad"}}, "optimiser: 'adagrad' is none of adam, sgd, nesterov"),
        ({"training": {"batch": "frames"}}, "batch: 'frames' is none of people, cameras, tracklets"),
        ({"augment": {"scope": "tracklet"}}, "scope: 'tracklet' is none of frame, clip"),
        ({"trunk": {"last_stride": 3}}, "last_stride: 3 is not at least 1 and at most 2"),
    ],
)
def test_settings_of_the_comparison_systems_are_checked(section, told):
    with pytest.raises(InputError, match=told):
        Spec.from_mapping(changed(**section))
