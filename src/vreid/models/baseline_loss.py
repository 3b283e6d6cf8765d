"""The loss of our baseline, which comparison systems share: cross-entropy and a batch-hard triplet loss, one to one."""

from typing import Protocol

from torch import Tensor

from vreid import losses
from vreid.models.method import Labels, Outputs


class Options(Protocol):
    """What a method's options must say of it."""

    @property
    def margin(self) -> float: ...

    @property
    def label_smoothing(self) -> float: ...


def softmax_and_triplet(
    outputs: Outputs, labels: Labels, options: Options, distance: str = "cosine", soft: bool = False
) -> dict[str, Tensor]:
    """Both terms by name; `distance` of features (before the neck) is one of `losses.DISTANCES`.

    `soft`: the triplet loss has no margin, but is softplus.
    """
    distances = losses.DISTANCES[distance](outputs.feature)
    if soft:
        triplet = losses.soft_batch_hard_triplet(distances, labels.pids)
    else:
        triplet = losses.batch_hard_triplet(distances, labels.pids, options.margin)
    return {"softmax": losses.softmax_loss(outputs.logits, labels.pids, options.label_smoothing), "triplet": triplet}


def at_margin(options: Options) -> dict[str, float]:
    """With all features alike, the hinge of the triplet loss stands at its margin."""
    return {"triplet": options.margin}
