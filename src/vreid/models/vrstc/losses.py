"""The losses of the completion network as pure functions of a batch (Section 3.2 of the paper).

x are frames, x1 and x2 what the spatial and the temporal generator make of them, all (B, 3, H, W) in [0, 1]; masks
(B, 1, H, W) are 1 where a region is missing. A discriminator's logits are high for frames that it takes for real.
"""

import torch.nn.functional as F
from torch import Tensor


def masked_l1(x: Tensor, completed: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute error over the missing pixels; the others are the frame's own and add nothing."""
    return ((x - completed).abs() * mask).sum() / (mask.sum() * x.shape[1])


def reconstruction(x: Tensor, x1: Tensor, x2: Tensor, mask: Tensor) -> Tensor:
    """L_r = |x − x1| + |x − x2|, each a mean over the missing pixels, whatever the size of the region."""
    return masked_l1(x, x1, mask) + masked_l1(x, x2, mask)


def discriminator_loss(real: Tensor, completed: Tensor) -> Tensor:
    """−log D(x) − log(1 − D(x2)), means over the batch, of logits (B,)."""
    return F.softplus(-real.float()).mean() + F.softplus(completed.float()).mean()


def adversarial(completed: Tensor) -> Tensor:
    """−log D(x2): what a generator minimises (the form that has a gradient where D is sure), of logits (B,)."""
    return F.softplus(-completed.float()).mean()


def identity(logits: Tensor, people: Tensor) -> Tensor:
    """L_c: cross-entropy of the ID guider's logits (B, people) for completed frames."""
    return F.cross_entropy(logits.float(), people)
