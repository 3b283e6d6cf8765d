"""How much each frame of a clip counts, from what is seen in it and its neighbours (Gao and Nevatia 2018)."""

from torch import Tensor, nn


class FrameScores(nn.Module):
    """What is seen in frames (B, T, D), before its ReLU → scores (B, T) in float32, for a softmax over time.

    A convolution over three frames. With `relu`, as released, scores below 0 are 0: where all are, frames count alike,
    and no gradient changes it.
    """

    def __init__(self, channels: int, relu: bool):
        super().__init__()
        self.neighbours = nn.Conv1d(channels, 1, kernel_size=3, padding=1)
        self.rectify = nn.ReLU() if relu else nn.Identity()

    def forward(self, seen: Tensor) -> Tensor:
        return self.rectify(self.neighbours(seen.relu().transpose(1, 2))).squeeze(1).float()
