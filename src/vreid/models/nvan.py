"""Liu et al., BMVC 2019: the non-local video attention network NVAN, and its cheaper form STE-NVAN.

NVAN refines the maps of a clip by non-local blocks at the end of layer2 and layer3, over all positions of all frames,
and takes the mean over time and space as the clip's feature. STE-NVAN lets the means of horizontal stripes attend to
each other (`spatial_reduction`), and after layer2 and again after layer3 keeps of each two successive frames the
element-wise maximum (`temporal_reduction`).

On ResNet-50 there are five blocks, 2 in layer2 and 3 in layer3. The small trunk has one convolutional block a stage, so
there are two: one after layer2, one after layer3.
"""

import math
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from vreid import losses
from vreid.errors import InputError
from vreid.models.baseline_loss import at_margin, softmax_and_triplet
from vreid.models.heads import BNNeck
from vreid.models.method import Labels, Method, Outputs, Population
from vreid.models.nonlocal_block import (
    STAGES,
    attend_everywhere,
    attend_stripes,
    attended_maps,
    check_blocks,
    nonlocal_blocks,
    pair_maximum,
    within_pairs,
)
from vreid.models.streams import attended_pool
from vreid.models.trunk import build_trunk
from vreid.spec import Clips, Spec, one_of, within


@dataclass(frozen=True)
class Options:
    """NVAN, and what makes it STE-NVAN; below them the switches of a recipe, whose defaults are the unified one."""

    spatial_reduction: bool = False  # stripes attend to each other, not positions
    temporal_reduction: bool = False  # frames are halved after layer2 and after layer3
    stripes: int = 16  # of a map, as far as it has so many rows
    scope: str = "clip"  # attention within a `clip` (their figure) or within `pairs` of successive frames (their code)
    blocks: tuple[int, ...] = (2, 3)  # non-local blocks at the end of layer2 and of layer3
    soft_margin: bool = False  # the triplet loss is softplus, without a margin
    margin: float = 0.3  # of the triplet loss otherwise
    triplet_distance: str = "cosine"  # or euclidean
    label_smoothing: float = 0.0

    def __post_init__(self):
        one_of("scope", self.scope, ("clip", "pairs"))
        one_of("triplet_distance", self.triplet_distance, losses.DISTANCES)
        within(self, "stripes", at_least=1)
        within(self, "margin", at_least=0)
        within(self, "label_smoothing", at_least=0, below=1)
        check_blocks(self.blocks)

    @property
    def divisor(self) -> int:
        """What the number of a clip's frames must be a multiple of."""
        return 4 if self.temporal_reduction else 2 if self.scope == "pairs" else 1


class Nvan(nn.Module):
    """Clips (B, T, 3, H, W) → Outputs; feature and embedding have the C channels of the trunk."""

    def __init__(self, options: Options, trunk: nn.Sequential, population: Population):
        super().__init__()
        self.trunk = trunk
        self.attentions = nonlocal_blocks(trunk, dict(zip(STAGES, options.blocks)))
        attend = partial(attend_stripes, stripes=options.stripes) if options.spatial_reduction else attend_everywhere
        self.attend = within_pairs(attend) if options.scope == "pairs" else attend
        self.shrink = dict.fromkeys(STAGES, pair_maximum) if options.temporal_reduction else {}
        self.head = BNNeck(trunk.channels, population.people)

    def forward(self, clips: Tensor) -> Outputs:
        feature = attended_pool(attended_maps(self.trunk, self.attentions, clips, self.attend, self.shrink))
        return Outputs(feature, *self.head(feature))


def build(options: Options, spec: Spec, population: Population, trunk_weights: str | None = None) -> Nvan:
    """The network of one run; InputError where frames of its clips would be left over."""
    _check_frames(options.divisor, spec.clips, f"models.{spec.model}")
    return Nvan(options, build_trunk(spec.trunk, trunk_weights), population)


def _check_frames(divisor: int, clips: Clips, where: str) -> None:
    if clips.frames % divisor:
        raise InputError(
            f"{where}: clips.frames: {clips.frames} is not a multiple of {divisor}, which it must be where successive "
            "frames are taken by twos"
        )
    if divisor > 1 and clips.test == "whole":
        raise InputError(f"{where}: clips.test: a `whole` tracklet need not have a multiple of {divisor} frames")


def terms(outputs: Outputs, labels: Labels, options: Options) -> dict[str, Tensor]:
    """The baseline's loss, or its triplet loss without a margin."""
    return softmax_and_triplet(outputs, labels, options, options.triplet_distance, options.soft_margin)


def collapsed(options: Options) -> dict[str, float]:
    """With all features alike, the triplet loss stands at its margin, or at ln 2 without one."""
    return {"triplet": math.log(2)} if options.soft_margin else at_margin(options)


METHOD = Method(
    options=Options, network=build, losses=terms, train_clips="chunks", test_clips="chunks", collapsed=collapsed
)
