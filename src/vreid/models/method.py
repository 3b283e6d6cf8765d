"""A method is five answers; what it does not say is answered here.

1. Which clips to train on?            `train_clips`, a name in `clips.TRAIN_CLIPS`
2. What network?                       `network`: clips (B, T, 3, H, W) → Outputs
3. What loss?                          `losses`: Outputs + Labels → named terms, whose sum is minimised
4. What stands for a tracklet?         `test_clips`, a name in `clips.TEST_CLIPS`; `pool` makes one feature of their
                                       embeddings, and `finish` what is stored of it
5. How far apart are two tracklets?    `distance`, a name in `distances.DISTANCES`, and its `parameters`

What every method is called with, and what is expected of it:

* `network(options, spec, population, trunk_weights)` is also called on torch's meta device, where tensors have no
  values: before any job (`vreid.outline`), and to count cost. Neither it nor a pass in evaluation may ask for a value.
  It raises InputError where settings do not fit together, such as parts that do not divide the feature map.
* `trunk_weights` is the path of a file, or None where `spec.trunk.weights` says it all; `build_trunk` takes either.
* The trunk is the network's attribute `trunk`: `training.trunk_rate` is the learning rate of what is in it.
* In a batch of people or cameras, the clips of one person stand side by side, `training.clips` of them.
* `labels.attributes` is empty where the training data is not annotated; `need_attributes` refuses such data.
* What methods share: `trunk` (`build_trunk`, `frame_maps`, and `head_width`, that of a head over a narrow trunk),
  `heads` (`BNNeck`, or `Classifier` without one), `baseline_loss`, `streams.attended_pool`, `frame_scores`,
  `nonlocal_block`, `oim`, `precision.unrounded` for what must not be rounded, and the functions of `vreid.losses`.
* A term of the loss may bear no name of the history's own columns (`vreid.train.HISTORY`).
* `options` checks its ranges in `__post_init__`, with `spec.within` and `spec.one_of`.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor, nn

from vreid import spec as run_spec
from vreid.errors import InputError


class Outputs(NamedTuple):
    """What a network says of B clips."""

    feature: Tensor  # (B, D) before the neck: what metric losses and DVDP are measured on
    embedding: Tensor  # (B, D) what tracklets are compared by: behind the neck, where the method does not say otherwise
    logits: Tensor | None  # (B, people) of the identity classifier; None of a network that has none
    attributes: Mapping[str, Tensor] = {}  # group → (B, outputs of the group), logits; NaN where nothing recognises
    attention: Mapping[str, Tensor] = {}  # stream → (B, T, h, w) in [0, 1]
    extra: Mapping[str, Tensor] = {}  # whatever else the method's own losses need


class Labels(NamedTuple):
    """What is known of B clips."""

    pids: Tensor  # (B,) index of the person among the training people
    attributes: Mapping[str, tuple[Tensor, Tensor]]  # group → one-hot targets (B, outputs), annotated (B,)
    classes: Mapping[str, Mapping[str, int]] = {}  # group → attribute → number of its classes, as of the Population


class Population(NamedTuple):
    """What a network must tell apart."""

    people: int
    attributes: Mapping[str, Mapping[str, int]]  # group → attribute → number of its classes
    # Attribute → the share of each of its classes in what is trained on; empty where weights are loaded anyway.
    shares: Mapping[str, Sequence[float]] = {}

    def outputs(self, group: str) -> int:
        """Width of a group's one-hot targets, whose attributes stand side by side; 0 where there are none."""
        return sum(self.attributes.get(group, {}).values())


class Tracklets(NamedTuple):
    """Features of N tracklets and who they show."""

    features: np.ndarray  # (N, D)
    pids: np.ndarray  # (N,)
    camids: np.ndarray  # (N,)


@dataclass(frozen=True)
class Method:
    """See the module's text. `options` is the frozen dataclass of the method's own settings.

    pool: the `mean` or the `max` over a tracklet's clips, or `all` of them: features (N, clips, D), filled up with
        NaN; where an option decides, options → one of these.
    finish: (features, options, training) → the features that are stored; `training()` gives the Tracklets of the
        train split, before they are finished. In mid-training `training` is None: nothing is fitted to it then.
    parameters: (network, options) → what the distance needs beside features, as arrays by name.
    remember: (network, outputs, labels), called after each step: what a network keeps that is not learned by descent.
    collapsed: options → the value of a metric loss, by the name of its term, where all features are one and the same.
        A training that ends there has failed.
    """

    options: type
    network: Callable[[Any, run_spec.Spec, Population, Any], nn.Module]
    losses: Callable[[Outputs, Labels, Any], dict[str, Tensor]]
    train_clips: str = "successive"
    test_clips: str = "dense"
    pool: str | Callable[[Any], str] = "mean"
    finish: Callable[[np.ndarray, Any, Callable[[], Tracklets] | None], np.ndarray] | None = None
    distance: str = "cosine"
    parameters: Callable[[nn.Module, Any], Mapping[str, np.ndarray]] = lambda network, options: {}
    remember: Callable[[nn.Module, Outputs, Labels], None] | None = None
    collapsed: Callable[[Any], Mapping[str, float]] = lambda options: {}

    def settings(self, spec: run_spec.Spec) -> Any:
        """The method's options of one run, checked against its dataclass."""
        return run_spec.build(self.options, spec.options, f"models.{spec.model}")

    def pooling(self, spec: run_spec.Spec) -> str:
        """The name of one run's pool."""
        return self.pool if isinstance(self.pool, str) else self.pool(self.settings(spec))


def need_attributes(population: Population, groups: Iterable[str], spec: run_spec.Spec) -> None:
    """Raise InputError unless the training data is annotated with the attributes of all `groups`."""
    for group in groups:
        if not population.outputs(group):
            raise InputError(f"models.{spec.model}: the training data has no {group} attributes; annotate its index")


def load(name: str) -> Method:
    """The METHOD of vreid/models/<name>.py."""
    module = f"vreid.models.{name}"
    if not name.isidentifier() or find_spec(module) is None:
        raise InputError(f"there is no method {name!r}: no file src/vreid/models/{name}.py")
    method = getattr(import_module(module), "METHOD", None)
    if not dataclasses.is_dataclass(method):
        raise InputError(f"there is no method {name!r}: src/vreid/models/{name}.py defines no METHOD")
    return method
