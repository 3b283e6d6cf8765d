"""STA, spatial-temporal attention without parameters (Fu et al., AAAI 2019, arXiv:1811.04129), from its description.

The energy of a feature map, which is high where the person is, says how well each horizontal part of the person is
seen in each frame. Of the frames' maps it makes two: one of each part's best frame, one of each part's weighted sum.
There is no official code; what third parties do not agree on, or do not tell, is an option marked `assumed`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vreid import losses
from vreid.errors import InputError
from vreid.models.baseline_loss import at_margin, softmax_and_triplet
from vreid.models.heads import BNNeck, Classifier
from vreid.models.method import Labels, Method, Outputs, Population
from vreid.models.precision import unrounded
from vreid.models.trunk import build_trunk, frame_maps, head_width, map_size
from vreid.spec import Spec, one_of, within

TINY = 1e-12  # under a sum that a dead map leaves at zero


def random_pair(differences: Tensor) -> Tensor:
    """(B, pairs) → (B, 1), one pair a clip, drawn with torch's generator."""
    drawn = torch.randint(differences.shape[1], (len(differences), 1), device=differences.device)
    return differences.gather(1, drawn)


ENERGIES = {"l2sq": lambda share: share, "l2": lambda share: share.clamp(min=TINY).sqrt()}
PAIRS = {"random": random_pair, "all": lambda differences: differences}


@dataclass(frozen=True)
class Options:
    """The defaults are the unified recipe: STA's module, sampling and regulariser on the common head and losses."""

    parts: int = 4  # horizontal parts, which must divide the height of the feature map
    energy: str = "l2sq"  # assumed: squares that sum to 1 a frame; l2: norms, whose squares do (a re-implementation)
    detach_scores: bool = False  # assumed: the gradient goes through the scores, too
    feature: int = 1024  # assumed: channels of the clip's feature, as in a re-implementation; at most the trunk's
    regulariser: float = 1.0  # assumed: λ, which is not known
    pairs: str = "random"  # the regulariser's frames: a random pair a clip, as published, or their mean over all pairs
    margin: float = 0.3  # assumed: of the triplet loss
    distance: str = "cosine"  # of the triplet loss: cosine, as our baseline, or euclidean
    label_smoothing: float = 0.0
    neck: bool = True  # batch normalisation before the classifier, as our baseline has it

    def __post_init__(self):
        one_of("energy", self.energy, ENERGIES)
        one_of("pairs", self.pairs, PAIRS)
        one_of("distance", self.distance, losses.DISTANCES)
        within(self, "parts", "feature", at_least=1)
        within(self, "regulariser", "margin", at_least=0)
        within(self, "label_smoothing", at_least=0, below=1)


def energy_map(maps: Tensor, kind: str = "l2sq") -> Tensor:
    """Feature maps (B, T, C, h, w) → energies (B, T, h, w) in [0, 1], in float32.

    `l2sq`: a position's share of the squares of its frame, 1 in sum; `l2`: its norm over channels, then divided by the
    norm over positions, which is the root of that share.
    """
    squares = maps.float().square().sum(2)
    return ENERGIES[kind](squares / squares.sum((2, 3), keepdim=True).clamp(min=TINY))


def part_scores(energy: Tensor, parts: int) -> Tensor:
    """S: energies (B, T, h, w) → (B, T, parts), a frame's share of a part's energy; over the frames they sum to 1."""
    of_parts = energy.unflatten(2, (parts, -1)).sum((3, 4))
    return of_parts / of_parts.sum(1, keepdim=True).clamp(min=TINY)


def best_frames(scores: Tensor) -> Tensor:
    """(B, T, parts) → the same with 1 where a part's score is largest (the first such frame), else 0; no gradient."""
    return torch.zeros_like(scores).scatter(1, scores.argmax(1, keepdim=True), 1.0)


def on_the_map(weights: Tensor, height: int, width: int) -> Tensor:
    """A weight of each part (B, T, parts) → of each position (B, T, height, width)."""
    return weights.repeat_interleave(height // weights.shape[2], dim=2)[..., None].expand(-1, -1, -1, width)


def weighted_map(maps: Tensor, weights: Tensor) -> Tensor:
    """Each part's sum over the frames: (B, T, C, h, w), (B, T, parts) → (B, C, h, w).

    With weights `best_frames(S)` it is the discriminative map, with S itself the global one.
    """
    return (maps * on_the_map(weights, *maps.shape[3:]).unsqueeze(2)).sum(1)


def frame_differences(energy: Tensor) -> Tensor:
    """‖g_i − g_j‖ (Frobenius) of all pairs of frames: (B, T, h, w) → (B, T·(T−1)/2)."""
    frames = energy.shape[1]
    first, second = torch.triu_indices(frames, frames, 1, device=energy.device)
    apart = energy.index_select(1, first) - energy.index_select(1, second)
    return torch.linalg.vector_norm(apart.flatten(2), dim=2)


def inter_frame(energy: Tensor, pairs: str = "random") -> Tensor:
    """Reg: how far the energies of two frames of a clip are apart, mean over clips; (B, T, h, w) → ().

    `random` draws the two frames as published; `all` is the mean of what it draws from.
    """
    return PAIRS[pairs](frame_differences(energy)).mean()


class STA(nn.Module):
    """Clips (B, T, 3, H, W) → Outputs; `attention` shows S, and `extra` holds the energies (B, T, h, w)."""

    def __init__(self, options: Options, trunk: nn.Sequential, population: Population):
        super().__init__()
        self.options = options
        self.trunk = trunk
        width = head_width(options.feature, trunk.channels)
        self.reduce = nn.Sequential(nn.Linear(2 * trunk.channels, width, bias=False), nn.BatchNorm1d(width), nn.ReLU())
        head = BNNeck if options.neck else Classifier
        self.head = head(width, population.people)

    def forward(self, clips: Tensor) -> Outputs:
        maps = frame_maps(self.trunk, clips)
        energy = energy_map(maps, self.options.energy)
        scores = part_scores(energy, self.options.parts)
        scores = scores.detach() if self.options.detach_scores else scores
        fused = torch.cat([weighted_map(maps, best_frames(scores)), weighted_map(maps, scores)], dim=1)
        with unrounded(maps.device):
            feature = self.reduce(fused.mean((2, 3)))
        attention = {"parts": on_the_map(scores, *maps.shape[3:])}
        return Outputs(feature, *self.head(feature), attention=attention, extra={"energy": energy})


def build(options: Options, spec: Spec, population: Population, trunk_weights: str | None = None) -> STA:
    """The network of one run; the parts must divide the trunk's feature map."""
    trunk = build_trunk(spec.trunk, trunk_weights)
    height, _ = map_size(trunk, spec.clips)
    if height % options.parts:
        raise InputError(f"models.{spec.model}: parts: {options.parts} do not divide a feature map of {height} rows")
    if spec.clips.frames < 2:
        raise InputError(f"models.{spec.model}: clips.frames: STA compares frames, so that a clip needs at least two")
    return STA(options, trunk, population)


def terms(outputs: Outputs, labels: Labels, options: Options) -> dict[str, Tensor]:
    """CE + batch-hard triplet + λ·Reg, by name, as they enter the sum."""
    regulariser = options.regulariser * inter_frame(outputs.extra["energy"], options.pairs)
    return softmax_and_triplet(outputs, labels, options, options.distance) | {"regulariser": regulariser}


METHOD = Method(
    options=Options,
    network=build,
    losses=terms,
    train_clips="random",
    test_clips="dense",  # assumed: all clips averaged
    collapsed=at_margin,
)
