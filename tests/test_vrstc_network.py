"""VRSTC's own network, which re-identifies people on completed frames."""

from dataclasses import replace

import pytest
import torch

from paper_scale import FULL, MARS, SMALL, giga_multiplications, on_meta, parameters, without_gradient
from vreid.errors import InputError
from vreid.models.method import Labels, Outputs
from vreid.models.nonlocal_block import NonLocal, attend_sampled
from vreid.models.vrstc import METHOD, Options
from vreid.spec import Spec


def by_hand(frames: int) -> float:
    """GMAC of ResNet-50 and its five blocks: projections of all positions to θ and back, of a quarter to φ and g."""
    total = 4.053 * frames
    for blocks, channels, positions in ((2, 512, 32 * 16 * frames), (3, 1024, 16 * 8 * frames)):
        inner, seen = channels // 2, positions // 4
        projected = (2 * positions + 2 * seen) * channels * inner
        total += blocks * (projected + 2 * positions * seen * inner) / 1e9
    return total


def test_the_network_has_non_local_blocks_after_every_second_block_of_layer2_and_layer3():
    network = on_meta(METHOD, Options())
    assert list(network.attentions) == ["layer2_1", "layer2_3", "layer3_1", "layer3_3", "layer3_5"]
    assert parameters([network.attentions]) / 1e6 == pytest.approx(7.36, abs=0.005)
    assert giga_multiplications(network, frames=4) == pytest.approx(by_hand(frames=4), abs=0.01)


def test_without_non_local_blocks_the_network_is_the_pooled_trunk():
    network = METHOD.network(Options(blocks=(0, 0)), SMALL, MARS, None).eval()
    clips = torch.randn(2, 4, 3, 64, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        maps = network.trunk(clips.flatten(0, 1)).unflatten(0, (2, 4))
        torch.testing.assert_close(network(clips).feature, maps.mean((1, 3, 4)))


def test_a_position_attends_to_the_maxima_of_two_by_two():
    generator = torch.Generator().manual_seed(0)
    block, maps = NonLocal(4), torch.randn(1, 2, 4, 3, 4, generator=generator)
    block.norm.weight.data.fill_(1.0)
    block.eval()
    seen = torch.stack(
        [maps[0, t, :, i : i + 2, j : j + 2].amax((1, 2)) for t in (0, 1) for i in (0, 2) for j in (0, 2)]
    )
    with torch.no_grad():
        refined = attend_sampled(block, maps)
        for t, i, j in ((0, 0, 0), (1, 2, 3), (0, 1, 2)):
            position = maps[0, t, :, i, j]
            weights = (block.phi(seen) @ block.theta(position)).softmax(0)
            added = block.norm(block.out(weights @ block.g(seen))[None])[0]
            torch.testing.assert_close(refined[0, t, :, i, j], position + added)


@pytest.mark.parametrize("spec, frames", [(SMALL, 3), (FULL, 2)])
def test_all_of_the_network_learns_once_its_blocks_have_left_the_identity(spec, frames):
    def network(options, spec, population):
        built = METHOD.network(options, spec, population, None)
        for block in built.attentions.values():
            torch.nn.init.ones_(block.norm.weight)
        return built

    unmoved = without_gradient(replace(METHOD, network=network), Options(), spec, frames)
    assert all(name.endswith("phi.bias") for name in unmoved)  # which a softmax does not see, but for rounding


@pytest.mark.parametrize(
    "options, told",
    [
        ({"blocks": [2]}, r"blocks: \[2\] must say how many"),
        ({"blocks": [2, -1]}, r"blocks: \[2, -1\] must say how many"),
        ({"margin": -0.1}, "margin: -0.1 is not at least 0"),
        ({"label_smoothing": 1.0}, "label_smoothing: 1.0 is not at least 0 and below 1"),
    ],
)
def test_a_bad_option_is_refused_by_its_key_and_its_model(options, told):
    with pytest.raises(InputError, match=f"^models.m: {told}"):
        METHOD.settings(Spec("m", 0, options=options))


@pytest.mark.parametrize("options", [Options(), Options(margin=0.1, label_smoothing=0.2)])
def test_the_loss_is_cross_entropy_and_a_triplet_of_cosine_distances_before_the_neck(options):
    generator = torch.Generator().manual_seed(0)
    feature, embedding, logits = (torch.randn(6, width, generator=generator) for width in (8, 8, 3))
    pids = [0, 0, 1, 1, 2, 2]
    found = METHOD.losses(Outputs(feature, embedding, logits), Labels(torch.tensor(pids), {}), options)
    cross, triplet = 0.0, 0.0
    for i, pid in enumerate(pids):
        chances, smooth = logits[i].softmax(0), options.label_smoothing
        cross -= sum(((1 - smooth) * (k == pid) + smooth / 3) * float(chances[k].log()) for k in range(3)) / 6
        far = [1 - float(torch.cosine_similarity(feature[i], other, dim=0)) for other in feature]
        same = max(far[j] for j in range(6) if pids[j] == pid and j != i)
        triplet += max(0.0, same - min(far[j] for j in range(6) if pids[j] != pid) + options.margin) / 6
    assert set(found) == {"softmax", "triplet"}
    assert float(found["softmax"]) == pytest.approx(cross, rel=1e-4)
    assert float(found["triplet"]) == pytest.approx(triplet, rel=1e-4)
    alike = Outputs(torch.ones(6, 8), torch.ones(6, 8), logits)
    stands = METHOD.losses(alike, Labels(torch.tensor(pids), {}), options)["triplet"]
    assert METHOD.collapsed(options) == {"triplet": pytest.approx(float(stands), abs=1e-5)}
