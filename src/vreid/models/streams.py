"""The attribute-driven streams of Section 4: spatio-temporal attention (Fig. 5) and attribute recognition (Fig. 4)."""

from typing import NamedTuple

from torch import Tensor, nn


class SpatioTemporalAttention(nn.Module):
    """Fig. 5: feature maps (B, T, C, h, w) → attention (B, T, h, w) in [0, 1].

    A 2-D convolution C → 1 looks at each frame; a 1-D convolution over time, whose h·w channels are the positions,
    lets them talk. The paper prints padding 2, which would turn T frames into T + 2; its text asks for the same size,
    and padding 1 gives it.
    """

    def __init__(self, channels: int, height: int, width: int):
        super().__init__()
        self.spatial = nn.Conv2d(channels, 1, kernel_size=3, padding=1)
        self.temporal = nn.Conv1d(height * width, height * width, kernel_size=3, padding=1)

    def forward(self, maps: Tensor) -> Tensor:
        b, t, _, h, w = maps.shape
        spatial = self.spatial(maps.flatten(0, 1)).reshape(b, t, h * w)
        positions_over_time = spatial.transpose(1, 2)  # (B, h·w, T)
        attention = self.temporal(positions_over_time).transpose(1, 2).reshape(b, t, h, w)
        return attention.sigmoid()


class SpatialAttention(nn.Module):
    """The released code's attention of the Re-ID stream: 3×3 convolution, sigmoid; (B, T, C, h, w) → (B, T, h, w)."""

    def __init__(self, channels: int):
        super().__init__()
        self.spatial = nn.Conv2d(channels, 1, kernel_size=3, padding=1)

    def forward(self, maps: Tensor) -> Tensor:
        b, t, _, h, w = maps.shape
        return self.spatial(maps.flatten(0, 1)).reshape(b, t, h, w).sigmoid()


class StreamOutputs(NamedTuple):
    attention: Tensor  # (B, T, h, w)
    logits: Tensor  # (B, outputs)


class AttributeStream(nn.Module):
    """Recognises one group of attributes and yields the attention it did so with.

    Section 4.1: size-preserving convolution → attention → attention × features → pooling → linear classifier.
    With `attends_input` the attention multiplies the stream's input instead of the convolved features, as in the
    released code. (The ReLU that it has before the classifier changes nothing: what is pooled is not negative.)
    """

    def __init__(self, channels: int, height: int, width: int, outputs: int, attends_input: bool = False):
        super().__init__()
        self.attends_input = attends_input
        self.convolution = nn.Sequential(
            nn.Conv2d(channels, channels, kernel_size=1), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
        )
        self.attention = SpatioTemporalAttention(channels, height, width)
        self.classifier = nn.Linear(channels, outputs)

    def forward(self, maps: Tensor) -> StreamOutputs:
        convolved = self.convolution(maps.flatten(0, 1)).unflatten(0, maps.shape[:2])
        attention = self.attention(convolved)
        pooled = attended_pool(maps if self.attends_input else convolved, attention)
        return StreamOutputs(attention, self.classifier(pooled))


def attended_pool(maps: Tensor, attention: Tensor | None = None) -> Tensor:
    """Spatio-temporal average pooling of (attended) maps: (B, T, C, h, w), (B, T, h, w) → (B, C).

    In float32 whatever the precision of the maps: rounded features would blur the small distances within a person.
    """
    positions = maps.movedim(2, -1).flatten(1, 3).float()  # (B, T·h·w, C)
    if attention is not None:
        positions = positions * attention.flatten(1).unsqueeze(2)
    return positions.mean(dim=1)
