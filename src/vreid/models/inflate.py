"""A 2-D trunk made 3-D: convolutions that look at neighbouring frames, started from the 2-D weights.

Carreira and Zisserman 2017 inflate a k×k kernel to t×k×k by repeating it t times over t, so that a clip of equal frames
gives what its frame gave. Here t = 3. Only the second convolution of a block is inflated, its 3×3 one in both kinds of
block; 3-D ResNets of bottlenecks (Hara et al. 2018) do so, too. Unlike theirs, no stage takes fewer frames: clips are
of four.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from vreid.models.trunk import frame_maps
from vreid.spec import one_of

SCOPES = {"block": slice(None), "stage": slice(-1, None)}  # every block, or the last of each stage


class InflatedConv(nn.Module):
    """A 3×k×k convolution of the frames (B·T, C, H, W) of clips of `frames` = T, with stride 1 in time.

    Before the first frame stands the first once more, and the last after the last: zeros would darken the ends of a
    clip. The weight is (O, 3·C, k, k), that of a 2-D convolution of three frames' channels side by side: the same
    sums, and 2-D convolutions are what the trunk's memory format is made for.
    """

    def __init__(self, flat: nn.Conv2d):
        super().__init__()
        self.weight = nn.Parameter(flat.weight.detach().repeat(1, 3, 1, 1) / 3)
        self.stride, self.padding = flat.stride, flat.padding
        self.frames = 1

    def forward(self, frames: Tensor) -> Tensor:
        clips = frames.unflatten(0, (-1, self.frames))
        before = torch.cat([clips[:, :1], clips[:, :-1]], dim=1)
        after = torch.cat([clips[:, 1:], clips[:, -1:]], dim=1)
        neighbours = torch.cat([before, clips, after], dim=2).flatten(0, 1)
        return F.conv2d(neighbours, self.weight, stride=self.stride, padding=self.padding)


def inflate(trunk: nn.Sequential, scope: str) -> nn.Sequential:
    """The trunk, whose second convolutions (of every `block`, or of the last block of each `stage`) are inflated.

    Modules keep their names; load 2-D weights before.
    """
    one_of("scope", scope, SCOPES)
    for stage in trunk.stage_channels:
        blocks = [module for module in getattr(trunk, stage).modules() if isinstance(module, BasicBlock | Bottleneck)]
        for block in blocks[SCOPES[scope]]:
            block.conv2 = InflatedConv(block.conv2)
    return trunk


def clip_maps(trunk: nn.Sequential, clips: Tensor) -> Tensor:
    """Clips (B, T, 3, H, W) → feature maps (B, T, C, h, w) of a trunk that may be inflated."""
    for module in trunk.modules():
        if isinstance(module, InflatedConv):
            module.frames = clips.shape[1]
    return frame_maps(trunk, clips)
