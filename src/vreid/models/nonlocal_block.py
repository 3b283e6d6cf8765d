"""The non-local block (Wang et al. 2018): every position attends to every other."""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vreid.errors import InputError

STAGES = ("layer2", "layer3")  # that end in blocks, in NVAN and VRSTC; after them NVAN can take fewer frames


def check_blocks(blocks: tuple[int, ...]) -> None:
    """Raise InputError unless they are numbers of blocks, one a stage of STAGES."""
    if len(blocks) != len(STAGES) or min(blocks) < 0:
        raise InputError(f"blocks: {list(blocks)} must say how many in {' and in '.join(STAGES)}")


class NonLocal(nn.Module):
    """Embedded-Gaussian self-attention with a residual path: (B, N, C) → (B, N, C), N positions of C channels.

    y = softmax(θ(x) φ(x)ᵀ) g(x), without a scale, on half the channels; x + BN(W y), where the scale and shift of BN
    start at 0 so that the block starts as the identity. The N × N map is never held where the hardware has a fused
    kernel: NVAN's has 4096 × 4096 entries a clip at 256×128.
    """

    def __init__(self, channels: int, inner: int | None = None):
        super().__init__()
        inner = inner or channels // 2
        self.theta, self.phi, self.g = (nn.Linear(channels, inner) for _ in range(3))
        self.out = nn.Linear(inner, channels)
        self.norm = nn.BatchNorm1d(channels)
        nn.init.zeros_(self.norm.weight)
        nn.init.zeros_(self.norm.bias)

    def forward(self, positions: Tensor) -> Tensor:
        return positions + self.attended(positions)

    def attended(self, positions: Tensor, seen: Tensor | None = None) -> Tensor:
        """What the block adds to positions (B, N, C): (B, N, C). They attend to `seen` (B, M, C), or to each other."""
        seen = positions if seen is None else seen
        theta, phi, g = self.theta(positions), self.phi(seen), self.g(seen)
        y = F.scaled_dot_product_attention(theta[:, None], phi[:, None], g[:, None], scale=1.0)[:, 0]
        out = self.out(y)
        return self.norm(out.flatten(0, 1)).unflatten(0, out.shape[:2])


def nonlocal_blocks(trunk: nn.Sequential, blocks: Mapping[str, int], every: int = 1) -> nn.ModuleDict:
    """Non-local blocks after n blocks of each stage, such as {"layer2": 2}, counted from its last, each `every`-th.

    There are fewer where a stage has fewer blocks.
    """
    added = {}
    for stage, count in blocks.items():
        last = len(_blocks_of(trunk, stage)) - 1
        numbers = [last - every * i for i in range(count) if last >= every * i]
        added |= {f"{stage}_{number}": NonLocal(trunk.stage_channels[stage]) for number in sorted(numbers)}
    return nn.ModuleDict(added)


def attended_maps(
    trunk: nn.Sequential,
    attentions: nn.ModuleDict,
    clips: Tensor,
    attend: Callable,
    shrink: Mapping[str, Callable] = {},
) -> Tensor:
    """Clips (B, T, 3, H, W) → feature maps (B, T', C, h, w), refined by `attentions` on the way.

    attend: (NonLocal, (B, T, C, h, w)) → the same, refined.
    shrink: stage → what is done to the maps (B, T, C, h, w) after it, such as taking fewer frames.
    """
    frames, maps = clips.shape[1], clips.flatten(0, 1)
    for stage, module in trunk.named_children():
        for number, block in enumerate(_blocks_of(trunk, stage) if stage in trunk.stage_channels else [module]):
            maps = block(maps)
            if f"{stage}_{number}" in attentions:
                refined = attend(attentions[f"{stage}_{number}"], maps.unflatten(0, (-1, frames)))
                maps = refined.flatten(0, 1)
        if stage in shrink:
            fewer = shrink[stage](maps.unflatten(0, (-1, frames)))
            frames, maps = fewer.shape[1], fewer.flatten(0, 1)
    return maps.unflatten(0, (-1, frames))


def _blocks_of(trunk: nn.Sequential, stage: str) -> list[nn.Module]:
    module = getattr(trunk, stage)
    return list(module) if isinstance(module, nn.Sequential) else [module]


def attend_everywhere(attention: NonLocal, maps: Tensor) -> Tensor:
    """Every position of every frame of a clip attends to all: (B, T, C, h, w) → the same, refined."""
    _, t, _, h, w = maps.shape
    positions = maps.movedim(2, -1).flatten(1, 3)  # (B, T·h·w, C)
    return attention(positions).unflatten(1, (t, h, w)).movedim(-1, 2)


def attend_sampled(attention: NonLocal, maps: Tensor) -> Tensor:
    """Every position attends to the maxima of 2 × 2 positions of each frame: (B, T, C, h, w) → the same, refined."""
    _, t, _, h, w = maps.shape
    sampled = F.max_pool2d(maps.flatten(0, 1), 2, ceil_mode=True).unflatten(0, maps.shape[:2])
    positions, seen = (found.movedim(2, -1).flatten(1, 3) for found in (maps, sampled))
    return maps + attention.attended(positions, seen).unflatten(1, (t, h, w)).movedim(-1, 2)


def attend_stripes(attention: NonLocal, maps: Tensor, stripes: int = 16) -> Tensor:
    """The means of horizontal stripes attend to each other (STE-NVAN): (B, T, C, h, w) → the same, refined.

    What the block adds to a stripe of a frame is added to each of its positions. A map of fewer rows than `stripes` has
    a stripe a row; where the rows cannot be dealt out evenly, stripes overlap by one.
    """
    b, t, _, h, _ = maps.shape
    count = min(stripes, h)
    means = F.adaptive_avg_pool2d(maps.flatten(0, 1), (count, 1))[..., 0].unflatten(0, (b, t))  # (B, T, C, stripes)
    added = attention.attended(means.movedim(2, -1).flatten(1, 2)).unflatten(1, (t, count)).movedim(-1, 2)
    stripe_of_row = torch.arange(h, device=maps.device) * count // h
    return maps + added.index_select(3, stripe_of_row)[..., None]


def within_pairs(attend: Callable) -> Callable:
    """`attend`, but each two successive frames among themselves; T must be even."""

    def attend_pairs(attention: NonLocal, maps: Tensor) -> Tensor:
        pairs = maps.unflatten(1, (-1, 2)).flatten(0, 1)  # (B·T/2, 2, C, h, w)
        return attend(attention, pairs).unflatten(0, (len(maps), -1)).flatten(1, 2)

    return attend_pairs


def pair_maximum(maps: Tensor) -> Tensor:
    """Element-wise maximum of each two successive frames: (B, T, C, h, w) → (B, T/2, C, h, w); T must be even."""
    return torch.maximum(*maps.unflatten(1, (-1, 2)).unbind(2))
