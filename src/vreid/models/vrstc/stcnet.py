"""The spatial-temporal completion network: two generators in a row, and the discriminators that teach them.

Layers follow the globally and locally consistent image completion network (Iizuka et al. 2017), which the paper's
design follows; `width` is the number of channels of the first layer, 64 there.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def layer(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    padding = dilation * (kernel // 2)
    return _normalised(nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=False))


def upward(inputs: int, outputs: int) -> nn.Sequential:
    return _normalised(nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False))


def _normalised(convolution: nn.Module) -> nn.Sequential:
    return nn.Sequential(convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU(inplace=True))


def encoder(width: int) -> nn.Sequential:
    """Frames with their mask (B, 4, H, W) → (B, 4·width, H/4, W/4)."""
    deep = 4 * width
    return nn.Sequential(
        layer(4, width, kernel=5),
        layer(width, 2 * width, stride=2),
        layer(2 * width, 2 * width),
        layer(2 * width, deep, stride=2),
        layer(deep, deep),
        layer(deep, deep),
        *(layer(deep, deep, dilation=dilation) for dilation in (2, 4, 8, 16)),
        layer(deep, deep),
        layer(deep, deep),
    )


def decoder(width: int) -> nn.Sequential:
    """(B, 4·width, H/4, W/4) → frames (B, 3, H, W) in [0, 1]."""
    return nn.Sequential(
        upward(4 * width, 2 * width),
        layer(2 * width, 2 * width),
        upward(2 * width, width),
        layer(width, max(1, width // 2)),
        nn.Conv2d(max(1, width // 2), 3, 3, padding=1),
        nn.Sigmoid(),
    )


def attend(current: Tensor, reference: Tensor, scale: float) -> Tensor:
    """Temporal attention: `current` and `reference` (B, C, h, w) → the reference rearranged after the current map.

    Every 3×3 patch of the current map becomes the sum of all 3×3 patches of the reference, weighted by the softmax of
    `scale` × their cosine similarity with it; where patches overlap, their mean counts. Borders are repeated.
    """
    size = current.shape[2:]
    queries, patches = (F.unfold(F.pad(x.float(), (1, 1, 1, 1), mode="replicate"), 3) for x in (current, reference))
    lengths = [x.norm(dim=1).clamp(min=1e-6) for x in (queries, patches)]
    similarity = queries.transpose(1, 2) @ patches / (lengths[0][:, :, None] * lengths[1][:, None])  # (B, hw, hw)
    attended = patches @ (scale * similarity).softmax(2).transpose(1, 2)  # (B, 9C, hw)
    overlaps = F.fold(torch.ones_like(attended[:1, :9]), size, 3, padding=1)
    return F.fold(attended, size, 3, padding=1) / overlaps


class SpatialGenerator(nn.Module):
    """G_s: the missing region from the rest of its own frame."""

    def __init__(self, width: int):
        super().__init__()
        self.encoder, self.decoder = encoder(width), decoder(width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Frames (B, 3, H, W) in [0, 1], masks (B, 1, H, W) → x1, which differs from x where the mask is 1 only."""
        made = self.decoder(self.encoder(torch.cat([x * (1 - mask), mask], dim=1)))
        return torch.where(mask > 0, made.float(), x)


class TemporalGenerator(nn.Module):
    """G_t: the same region again, with a look at the unoccluded frames before and after."""

    def __init__(self, width: int, scale: float):
        super().__init__()
        self.scale = scale
        self.encoder, self.decoder = encoder(width), decoder(width)
        self.fusion = layer(12 * width, 4 * width)  # how the three maps are joined is assumed

    def forward(self, x1: Tensor, previous: Tensor, following: Tensor, mask: Tensor) -> Tensor:
        """Frames (B, 3, H, W) each → x2, which differs from x1 where the mask is 1 only."""
        whole = torch.zeros_like(mask)
        frames = [torch.cat(pair, dim=1) for pair in ((x1, mask), (previous, whole), (following, whole))]
        current, *others = self.encoder(torch.cat(frames)).chunk(3)
        attended = [attend(current, other, self.scale).to(current.dtype) for other in others]
        made = self.decoder(self.fusion(torch.cat([current, *attended], dim=1)))
        return torch.where(mask > 0, made.float(), x1)


class CompletionNetwork(nn.Module):
    """STCnet. Frames' sides must be multiples of 4."""

    def __init__(self, width: int, attention_scale: float):
        super().__init__()
        self.spatial = SpatialGenerator(width)
        self.temporal = TemporalGenerator(width, attention_scale)

    def forward(self, x: Tensor, previous: Tensor, following: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (B, 3, H, W) in [0, 1] each, masks (B, 1, H, W) → x1, x2."""
        x1 = self.spatial(x, mask)
        return x1, self.temporal(x1, previous, following, mask)


class Discriminator(nn.Module):
    """Frames, or crops of them, of one size (B, 3, H, W) → logits (B,), high where they are taken for real."""

    def __init__(self, width: int, size: tuple[int, int]):
        super().__init__()
        outputs = [width * factor for factor in (1, 2, 4, 8, 8)]
        self.layers = nn.Sequential(
            *(layer(i, o, kernel=5, stride=2) for i, o in zip([3, *outputs], outputs)), nn.Flatten()
        )
        places = [-(-side // 32) for side in size]
        self.head = nn.Sequential(
            nn.Linear(outputs[-1] * places[0] * places[1], 16 * width), nn.ReLU(inplace=True), nn.Linear(16 * width, 1)
        )

    def forward(self, frames: Tensor) -> Tensor:
        return self.head(self.layers(frames)).squeeze(1)


class Discriminators(nn.Module):
    """One that looks at the whole frame, one that looks at the region that was missing."""

    def __init__(self, width: int, size: tuple[int, int], regions: int):
        super().__init__()
        self.rows = -(-size[0] // regions)
        self.whole = Discriminator(width, size)
        self.local = Discriminator(width, (self.rows, size[1]))

    def forward(self, frames: Tensor, tops: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (B, 3, H, W) and the first rows (B,) of their missing regions → logits (B,) of both."""
        return self.whole(frames), self.local(crop(frames, tops, self.rows))


def crop(frames: Tensor, tops: Tensor, rows: int) -> Tensor:
    """`rows` rows of each frame (B, 3, H, W) from `tops` (B,) on, or the last ones where there are not so many."""
    tops = tops.clamp(max=frames.shape[2] - rows)
    index = tops[:, None] + torch.arange(rows, device=frames.device)
    return frames.gather(2, index[:, None, :, None].expand(-1, frames.shape[1], -1, frames.shape[3]))
