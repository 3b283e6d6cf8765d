"""What the training of the completion network costs, counted without running it."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from vreid.completion.train import Options
from vreid.models.vrstc.stcnet import CompletionNetwork, Discriminators
from vreid.outline import outline
from vreid.spec import Spec


def step_gmac(options: Options, scorer: Spec, people: int, regions: int) -> float:
    """10⁹ multiply-adds of one step: the discriminators' and the generators', forwards and backwards.

    At the size of the scorer's frames; the losses are left out.
    """
    size, guider = (scorer.clips.height, scorer.clips.width), outline(scorer, people).eval().requires_grad_(False)
    with torch.device("meta"):
        network = CompletionNetwork(options.width, options.attention_scale)
        discriminators = Discriminators(options.width, size, regions)
        x, before, after = torch.empty(3, options.batch, 3, *size)
        mask, tops = torch.empty(options.batch, 1, *size), torch.empty(options.batch, dtype=torch.int64)
    with FlopCounterMode(display=False) as counter:
        x1, x2 = network(x, before, after, mask)
        taught = [*discriminators(x, tops), *discriminators(x2.detach(), tops)]
        torch.cat(taught).sum().backward()
        judged = [*discriminators(x2, tops), guider(x2.unsqueeze(1)).logits, x1]
        torch.stack([values.sum() for values in judged]).sum().backward()
    return counter.get_total_flops() / 2e9
