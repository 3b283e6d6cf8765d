"""VRSTC (Hou et al., CVPR 2019): completed frames, and the network that re-identifies people on them.

What is its own happens to the frames, before this network sees them: `regions` finds what is occluded, `stcnet`
completes it, and the jobs of `vreid.completion` write a dataset of the result. On that dataset trains what is here, the
mean over time and space of a trunk with non-local blocks. The paper embeds such blocks; where they stand, and that
positions attend to a sampled map, is taken from later code of the same group (assumed).
"""

from dataclasses import dataclass

from torch import Tensor, nn

from vreid.models.baseline_loss import at_margin, softmax_and_triplet
from vreid.models.heads import BNNeck
from vreid.models.method import Labels, Method, Outputs, Population
from vreid.models.nonlocal_block import STAGES, attend_sampled, attended_maps, check_blocks, nonlocal_blocks
from vreid.models.streams import attended_pool
from vreid.models.trunk import build_trunk
from vreid.spec import Spec, within


@dataclass(frozen=True)
class Options:
    """The defaults are the unified recipe."""

    blocks: tuple[int, ...] = (2, 3)  # non-local blocks of layer2 and layer3, after every second block (assumed)
    margin: float = 0.3  # of the triplet loss (assumed: cosine, as in later code of the same group)
    label_smoothing: float = 0.0

    def __post_init__(self):
        check_blocks(self.blocks)
        within(self, "margin", at_least=0)
        within(self, "label_smoothing", at_least=0, below=1)


class Vrstc(nn.Module):
    """Clips (B, T, 3, H, W) → Outputs; feature and embedding have the C channels of the trunk."""

    def __init__(self, options: Options, trunk: nn.Sequential, people: int):
        super().__init__()
        self.trunk = trunk
        self.attentions = nonlocal_blocks(trunk, dict(zip(STAGES, options.blocks)), every=2)
        self.head = BNNeck(trunk.channels, people)

    def forward(self, clips: Tensor) -> Outputs:
        feature = attended_pool(attended_maps(self.trunk, self.attentions, clips, attend_sampled))
        return Outputs(feature, *self.head(feature))


def build(options: Options, spec: Spec, population: Population, trunk_weights: str | None = None) -> Vrstc:
    """The network of one run."""
    return Vrstc(options, build_trunk(spec.trunk, trunk_weights), population.people)


def terms(outputs: Outputs, labels: Labels, options: Options) -> dict[str, Tensor]:
    """The baseline's loss (assumed)."""
    return softmax_and_triplet(outputs, labels, options)


METHOD = Method(
    options=Options,
    network=build,
    losses=terms,
    collapsed=at_margin,
)
