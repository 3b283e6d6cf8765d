"""What stands between a clip's feature and its identity."""

from torch import Tensor, nn


class BNNeck(nn.Module):
    """Batch normalisation without shift, then a classifier without bias (Luo et al. 2019).

    Features (B, D) → embeddings (B, D), identity logits (B, people).
    """

    def __init__(self, channels: int, people: int):
        super().__init__()
        self.norm = nn.BatchNorm1d(channels)
        self.norm.bias.requires_grad_(False)
        self.classifier = nn.Linear(channels, people, bias=False)
        nn.init.normal_(self.classifier.weight, std=0.001)

    def forward(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        embedding = self.norm(feature)
        return embedding, self.classifier(embedding)


class PlainHead(nn.Module):
    """A linear classifier on the feature itself, which is the embedding too: (B, D) → (B, D), (B, people)."""

    def __init__(self, channels: int, people: int):
        super().__init__()
        self.classifier = nn.Linear(channels, people)

    def forward(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        return feature, self.classifier(feature)
