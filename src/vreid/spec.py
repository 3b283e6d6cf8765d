"""What a run is: frozen dataclasses, resolved from the configuration, and a digest that names them.

A run's spec = a recipe ⊕ the budget that all models share ⊕ the model's own entry. It is frozen to a file before the
run starts, so that a job that waited in a queue trains what was asked for and not what the configuration says by then.
"""

import dataclasses
import hashlib
import json
import math
import operator
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vreid.errors import InputError
from vreid.files import written_whole


def one_of(key: str, value: str, known: Collection[str]) -> None:
    """Raise InputError unless the value of `key` is known."""
    if value not in known:
        raise InputError(f"{key}: {value!r} is none of {', '.join(known)}")


BOUNDS = {"at_least": operator.ge, "above": operator.gt, "at_most": operator.le, "below": operator.lt}


def within(settings: Any, *keys: str, **bounds: float) -> None:
    """Raise InputError unless the settings of `keys`, numbers or tuples of them, are finite and within all `bounds`.

    Bounds are of BOUNDS, such as `within(self, "dropout", at_least=0, below=1)`; without any, numbers are finite.
    """
    wanted = [f"{name.replace('_', ' ')} {bound:g}" for name, bound in bounds.items()]
    for key in keys:
        value = getattr(settings, key)
        for number in value if isinstance(value, tuple) else (value,):
            finite = abs(number) < math.inf
            if not (finite and all(BOUNDS[name](number, bound) for name, bound in bounds.items())):
                raise InputError(f"{key}: {number} is not {' and '.join(wanted + ['finite'] * (not finite))}")


@dataclass(frozen=True)
class Trunk:
    """The convolutional backbone of every model."""

    name: str = "resnet50"  # resnet50 (last stride 1) or small
    width: int = 64  # channels of the first stage; those of resnet50 are 64
    weights: str = "imagenet"  # imagenet, none, or the name of what is loaded (the file is given to `train`)
    last_stride: int = 1  # of the last stage: 1 as in the paper, 2 as in torchvision

    def __post_init__(self):
        within(self, "width", at_least=8)  # with fewer, torch 2.13 writes past its buffers on CPUs without AVX-512
        within(self, "last_stride", at_least=1, at_most=2)
        if self.name == "resnet50" and self.width != 64:
            raise InputError(f"width: resnet50 has 64 channels in its first stage, not {self.width}")


@dataclass(frozen=True)
class Clips:
    """How clips are cut from tracklets, for training and for testing."""

    frames: int = 4  # T
    height: int = 256  # pixels
    width: int = 128
    order: str = "consecutive"  # consecutive | shuffled (the released code shuffles every tracklet once)
    train: str = "own"  # how a training clip is cut: the method's own way, or a name in data.clips.TRAIN_CLIPS
    test: str = "own"  # which clips are tested: the method's own, or a name in data.clips.TEST_CLIPS
    stride: int = 0  # frames from the start of a dense clip to the next; 0: as many as a clip has
    test_clips: int = 200  # at most so many clips of a tracklet are tested
    validation_clips: int = 200  # the same at the validations in mid-training

    def __post_init__(self):
        one_of("order", self.order, ("consecutive", "shuffled"))
        within(self, "stride", at_least=0)
        within(self, "height", "width", at_least=8)
        within(self, "frames", "test_clips", "validation_clips", at_least=1)


@dataclass(frozen=True)
class Augment:
    """Random changes to training frames."""

    scope: str = "frame"  # drawn for every frame on its own, or for a clip as a whole: frame | clip
    pad: int = 10  # pixels of padding before a random crop back to size
    flip: float = 0.5  # probability of a horizontal flip
    erase: float = 0.5  # probability of random erasing

    def __post_init__(self):
        one_of("scope", self.scope, ("frame", "clip"))
        within(self, "pad", at_least=0)
        within(self, "flip", "erase", at_least=0, at_most=1)


@dataclass(frozen=True)
class Training:
    """Sampler, optimiser and schedule. Times of the schedule are fractions of the whole training."""

    epochs: int = 500  # 0: the network as it starts, which is what the others are held against
    batch: str = "people"  # people: P × K | cameras: K from as many cameras as can be | tracklets: P·K of any people
    people: int = 8  # P
    clips: int = 4  # K
    optimiser: str = "adam"  # adam | sgd | nesterov (both with momentum)
    momentum: float = 0.9  # of sgd and nesterov
    lr: float = 3e-4
    lr_scale: float = 1.0  # multiplies lr: what a budget of few steps needs, whatever the recipe's rate
    trunk_rate: float = 1.0  # the trunk's learning rate, as a share of that of the rest
    weight_decay: float = 5e-4
    warmup: float = 0.02  # fraction of the training with a linear warm-up …
    warmup_from: float = 0.01  # … from this share of the learning rate
    schedule: str = "steps"  # steps | exponential: from the first milestone on, falling to `decay` at the end
    milestones: tuple[float, ...] = (0.14, 0.28, 0.42, 0.62, 0.82)  # fractions where the rate is multiplied …
    decay: float = 0.3  # … by this
    validate_every: int = 10  # epochs
    threads: int = 1  # of the CPU; a part of the spec, since their number changes the last bits of a sum
    precision: str = "auto"  # auto | float32 | bfloat16 (autocast)

    def __post_init__(self):
        one_of("precision", self.precision, ("auto", "float32", "bfloat16"))
        one_of("batch", self.batch, ("people", "cameras", "tracklets"))
        one_of("optimiser", self.optimiser, ("adam", "sgd", "nesterov"))
        one_of("schedule", self.schedule, ("steps", "exponential"))
        if self.schedule == "exponential" and len(self.milestones) != 1:
            raise InputError(f"milestones: an exponential schedule starts at one, not {len(self.milestones)}")
        within(self, "people", at_least=2)
        within(self, "clips", "validate_every", "threads", at_least=1)
        within(self, "epochs", "lr_scale", "trunk_rate", "weight_decay", at_least=0)
        within(self, "lr", above=0)
        within(self, "warmup", "warmup_from", "milestones", "momentum", at_least=0, at_most=1)
        within(self, "decay", above=0, at_most=1)


@dataclass(frozen=True)
class Spec:
    """One training, whole: what `python -m vreid train` reads."""

    model: str
    seed: int
    method: str = "multitask"  # the file in vreid/models
    recipe: str = "paper"
    trained_as: str = ""  # the model whose weights are taken; "" trains its own
    options: Mapping[str, Any] = field(default_factory=dict)  # the method's own settings, checked by the method
    trunk: Trunk = Trunk()
    clips: Clips = Clips()
    augment: Augment = Augment()
    training: Training = Training()

    def __post_init__(self):
        within(self, "seed", at_least=0)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], source: str = "spec") -> "Spec":
        """Build from plain data; an unknown or missing key, or one of a wrong type, is an InputError naming it."""
        return build(cls, mapping, source)

    @classmethod
    def load(cls, path: str | Path) -> "Spec":
        try:
            mapping = json.loads(Path(path).read_text())
        except FileNotFoundError:
            raise InputError(f"{path}: no such spec; `snakemake` writes it, or `python -m vreid freeze`") from None
        except ValueError as error:
            raise InputError(
                f"{path}: not valid JSON ({error}); remove it and let `snakemake` write it again"
            ) from None
        return cls.from_mapping(mapping, str(path))

    def save(self, path: str | Path) -> None:
        with written_whole(path) as aside:
            aside.write_text(json.dumps(dataclasses.asdict(self), indent=2, sort_keys=True) + "\n")

    @property
    def digest(self) -> str:
        """12 hex digits that change with any setting and not with the order of keys."""
        return hashlib.sha256(canonical(dataclasses.asdict(self)).encode()).hexdigest()[:12]


def canonical(value: Any) -> str:
    """One text for equal data, whatever the order of keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def build(cls: type, mapping: Mapping[str, Any], source: str) -> Any:
    """A frozen dataclass from plain data, strictly: keys known, values of their fields' types, and floats finite."""
    if not isinstance(mapping, Mapping):
        raise InputError(f"{source}: expected a mapping of {cls.__name__} settings, found {mapping!r}")
    fields = {f.name: f for f in dataclasses.fields(cls)}
    if unknown := sorted(set(mapping) - set(fields)):
        raise InputError(f"{source}: unknown key {unknown[0]!r}; known are {', '.join(fields)}")
    required = [n for n, f in fields.items() if f.default is f.default_factory is dataclasses.MISSING]
    if missing := [name for name in required if name not in mapping]:
        raise InputError(f"{source}: the key {missing[0]!r} is missing")
    values = {name: _cast(fields[name].type, value, f"{source}: {name}") for name, value in mapping.items()}
    try:
        built = cls(**values)
        within(built, *(name for name, f in fields.items() if f.type in (float, tuple[float, ...])))
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    return built


def _cast(kind: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return build(kind, value, where)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind in (int, float, str, bool) and type(value) is not kind:
        raise InputError(f"{where}: expected {kind.__name__}, found {value!r}")
    if getattr(kind, "__origin__", None) is tuple:
        if not isinstance(value, list | tuple):
            raise InputError(f"{where}: expected a list, found {value!r}")
        return tuple(_cast(kind.__args__[0], item, where) for item in value)
    return value


SECTIONS = ("trunk", "clips", "augment", "training")


def resolve(config: Mapping[str, Any], model: str, seed: int) -> Spec:
    """The spec of one run of the configuration; of what is said of a setting, the latest of these wins:

    the recipe's sections (`trunk`, `clips`, `augment`, `training`), the budget's, what the recipe says of the method
    under the method's name, and the model's entry. An entry holds `method`, `recipe`, `tables`, sections, and the
    method's options beside them; what a recipe says of a method has that form, too. An entry with `trained_as` takes
    what it does not say from the entry of that name.
    """
    entry = _entry(config["models"], model)
    method = entry.pop("method", "multitask")
    recipe_name = entry.pop("recipe", config["recipe"])
    trained_as = entry.pop("trained_as", "")
    entry.pop("tables", None)  # which show it, and do not make it
    if recipe_name not in config["recipes"]:
        raise InputError(f"models.{model}.recipe: {recipe_name!r} is none of {', '.join(config['recipes'])}")
    recipe = config["recipes"][recipe_name]
    of_method = recipe.get(method, {})
    layers = (recipe, config["budget"], of_method, entry)
    sections = {name: _merged(*(layer.get(name, {}) for layer in layers)) for name in SECTIONS}
    options = {key: value for key, value in _merged(of_method, entry).items() if key not in SECTIONS}
    return Spec.from_mapping(
        {
            "model": model,
            "seed": seed,
            "method": method,
            "recipe": recipe_name,
            "trained_as": trained_as,
            "options": options,
            **sections,
        },
        f"models.{model}",
    )


def _entry(models: Mapping[str, Any], model: str) -> dict[str, Any]:
    entry = models[model]
    if "trained_as" not in entry:
        return dict(entry)
    base = entry["trained_as"]
    if base not in models:
        raise InputError(f"models.{model}.trained_as: {base!r} is none of {', '.join(models)}")
    if "trained_as" in models[base]:
        raise InputError(f"models.{model}.trained_as: {base!r} trains nothing itself; name the model that does")
    sections = {name: _merged(models[base].get(name, {}), entry.get(name, {})) for name in SECTIONS}
    return _merged(models[base], entry) | sections


def _merged(*mappings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for mapping in mappings for key, value in mapping.items()}
