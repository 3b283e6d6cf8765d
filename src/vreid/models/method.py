"""A method is five answers; what it does not say is answered here.

1. Which clips to train on?            `train_clips`
2. What network?                       `network`: clips (B, T, 3, H, W) → Outputs
3. What loss?                          `losses`: Outputs + Labels → named terms, whose sum is minimised
4. Which clips stand for a tracklet?   `test_clips`; the mean of their embeddings is the tracklet's feature
5. How far apart are two tracklets?    `distance`, a name in `metrics.DISTANCES`
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

from torch import Tensor, nn

from vreid import spec as run_spec
from vreid.data import clips
from vreid.errors import InputError


class Outputs(NamedTuple):
    """What a network says of B clips."""

    feature: Tensor  # (B, D) before the neck: what metric losses and DVDP are measured on
    embedding: Tensor  # (B, D) after the neck: what tracklets are compared by
    logits: Tensor  # (B, people) of the identity classifier
    attributes: Mapping[str, Tensor] = {}  # group → (B, outputs of the group), logits
    attention: Mapping[str, Tensor] = {}  # stream → (B, T, h, w) in [0, 1]


class Labels(NamedTuple):
    """What is known of B clips."""

    pids: Tensor  # (B,) index of the person among the training people
    attributes: Mapping[str, tuple[Tensor, Tensor]]  # group → one-hot targets (B, outputs), annotated (B,)


class Population(NamedTuple):
    """What a network must tell apart."""

    people: int
    attributes: Mapping[str, int]  # group → number of outputs


@dataclass(frozen=True)
class Method:
    """See the module's text. `options` is the frozen dataclass of the method's own settings."""

    options: type
    network: Callable[[Any, run_spec.Spec, Population], nn.Module]
    losses: Callable[[Outputs, Labels, Any], dict[str, Tensor]]
    train_clips: Callable = clips.random_clip
    test_clips: Callable = clips.dense_clips
    distance: str = "cosine"

    def settings(self, spec: run_spec.Spec) -> Any:
        """The method's options of one run, checked against its dataclass."""
        return run_spec.build(self.options, spec.options, f"models.{spec.model}")


def load(name: str) -> Method:
    """The METHOD of vreid/models/<name>.py."""
    module = f"vreid.models.{name}"
    if not name.isidentifier() or find_spec(module) is None:
        raise InputError(f"method {name!r}: there is no file vreid/models/{name}.py")
    method = getattr(import_module(module), "METHOD", None)
    if not dataclasses.is_dataclass(method):
        raise InputError(f"method {name!r}: vreid/models/{name}.py defines no METHOD")
    return method
