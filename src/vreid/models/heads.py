"""What stands between a clip's feature and its identity."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from vreid.models.method import Population


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


class Classifier(nn.Module):
    """No neck: a linear classifier, after dropout if any, of the feature, which is compared as it is.

    Features (B, D) → embeddings (B, D), identity logits (B, people).
    """

    def __init__(self, channels: int, people: int, dropout: float = 0.0):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(channels, people)

    def forward(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        return feature, self.classifier(self.dropout(feature))


def start_at_shares(classifier: nn.Linear, population: Population, attributes: Iterable[str], exclusive: bool) -> None:
    """Let a classifier of attributes, side by side, start from the shares that their classes have in training.

    Its biases become the logits of these shares, of a softmax an attribute if classes are `exclusive`, else of
    sigmoids. No publication says how they start. From 0, a short training learns the shares and little else, and by
    what reaches them soonest: it scales up the features, and an attention before them stands at 1 everywhere.
    """
    if population.shares:
        shares = torch.tensor([float(share) for name in attributes for share in population.shares[name]])
        shares = shares.clamp(1e-3, 1 - 1e-3)  # of a class that is never seen, or always
        with torch.no_grad():
            classifier.bias.copy_(shares.log() if exclusive else shares.logit())
