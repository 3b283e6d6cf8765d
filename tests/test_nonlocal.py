"""The non-local block and its uses: what attends to what, that its map is never held, and how frames become fewer."""

import json
from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

from vreid.models.nonlocal_block import (
    NonLocal,
    attend_everywhere,
    attend_stripes,
    attended_maps,
    nonlocal_blocks,
    pair_maximum,
    within_pairs,
)
from vreid.models.trunk import build_trunk, frame_maps
from vreid.spec import Trunk


def opened(channels: int, inner: int | None = None) -> NonLocal:
    """A block as it may be after some training, in testing mode; a fresh one adds nothing."""
    torch.manual_seed(0)
    block = NonLocal(channels, inner).eval()
    nn.init.uniform_(block.norm.weight, 0.5, 1.5)
    nn.init.normal_(block.norm.bias)
    block.norm.running_mean.normal_()
    block.norm.running_var.uniform_(0.5, 1.5)
    return block


def some_maps(b=2, t=4, c=8, h=4, w=3):
    return torch.randn(b, t, c, h, w, generator=torch.Generator().manual_seed(1))


def by_hand(block: NonLocal, positions):
    """What the block adds, position by position: softmax over all j of θ(x_i)·φ(x_j), without a scale, times g(x_j)."""
    added = torch.zeros_like(positions)
    for b, clip in enumerate(positions):
        for i, position in enumerate(clip):
            weights = torch.stack([block.theta(position) @ block.phi(other) for other in clip]).exp()
            y = sum(weight * block.g(other) for weight, other in zip(weights / weights.sum(), clip))
            added[b, i] = block.out(y)
    mean, variance = block.norm.running_mean, block.norm.running_var
    if block.training:
        mean, variance = added.mean((0, 1)), added.var((0, 1), correction=0)
    return (added - mean) / (variance + block.norm.eps).sqrt() * block.norm.weight + block.norm.bias


def gradients(block, positions, backend=None):
    """What the block makes of the positions, then the gradients of the positions and of the weights."""
    positions = positions.clone().requires_grad_()
    with sdpa_kernel(backend) if backend else nullcontext():
        out = block(positions)
        (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum().backward()
    found = [out.detach(), positions.grad, *(weight.grad.clone() for weight in block.parameters())]
    block.zero_grad()
    return found


# ---- the block ----


@pytest.mark.parametrize("training", [False, True])
def test_every_position_attends_to_every_other_of_its_clip_by_softmax_without_a_scale(training):
    block = opened(6).double().train(training)
    positions = torch.randn(2, 5, 6, dtype=torch.double) * 2
    with torch.no_grad():
        expected = positions + by_hand(block, positions)
    assert_close(block(positions), expected)


def test_a_scale_would_be_seen_in_the_numbers():
    """The test above says something about the scale only if the attention is far from uniform."""
    block, positions = opened(6), torch.randn(2, 5, 6) * 2
    weights = (block.theta(positions) @ block.phi(positions).mT).softmax(2)
    assert (weights - 1 / 5).abs().max() > 0.2


def test_a_fresh_block_changes_nothing_and_its_norm_is_where_learning_starts():
    torch.manual_seed(0)
    block, positions = NonLocal(8), torch.randn(2, 5, 8)
    assert torch.equal(block(positions), positions)
    assert torch.equal(block.eval()(positions), positions)
    block.train()(positions).square().sum().backward()
    assert block.norm.weight.grad.abs().sum() > 0
    assert block.theta.weight.grad.abs().sum() == 0


@pytest.mark.parametrize("channels, millions", [(512, 0.527), (1024, 2.101)])
def test_a_block_has_four_matrices_of_half_the_channels_and_a_norm(channels, millions):
    count = sum(weight.numel() for weight in NonLocal(channels).parameters())
    assert count == 4 * channels * channels // 2 + 3 * channels // 2 + channels + 2 * channels
    assert count / 1e6 == pytest.approx(millions, abs=0.001)


@pytest.mark.parametrize("channels, positions, giga", [(512, 8 * 32 * 16, 10.74), (1024, 8 * 16 * 8, 3.22)])
def test_the_products_within_the_fused_attention_are_counted(channels, positions, giga):
    with torch.device("meta"):
        block = NonLocal(channels).eval()
    with FlopCounterMode(display=False) as counter:
        block(torch.empty(1, positions, channels, device="meta"))
    assert counter.get_total_flops() / 2e9 == pytest.approx(giga, abs=0.005)


def test_clips_of_a_batch_do_not_attend_to_each_other():
    block, positions = opened(8), torch.randn(3, 5, 8)
    assert_close(block(positions)[1:2], block(positions[1:2]))


# ---- without the map ----


@pytest.mark.parametrize("channels, positions", [(8, 5), (64, 300), (1024, 70)])
def test_fused_attention_gives_the_numbers_and_the_gradients_of_the_plain_one(channels, positions):
    block = opened(channels).double()
    clips = torch.randn(2, positions, channels, dtype=torch.double)
    fused = gradients(block, clips, SDPBackend.FLASH_ATTENTION)
    plain = gradients(block, clips, SDPBackend.MATH)
    for one, other in zip(fused, plain, strict=True):
        assert_close(one, other)


def map_bytes(positions: int) -> int:
    """67 MB for the 4096 positions of NVAN's layer2, at eight frames of 256×128 pixels."""
    return positions * positions * 4


def peak_bytes(block, positions: int, folder, backend=None) -> int:
    """The most memory that one forward and backward pass holds at a time, beside what was there before."""
    clip = torch.randn(1, positions, block.norm.num_features)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        gradients(block, clip, backend)
    profiler.export_chrome_trace(str(folder / "trace.json"))
    events = [e for e in json.loads((folder / "trace.json").read_text())["traceEvents"] if e["name"] == "[memory]"]
    held = torch.tensor([event["args"]["Bytes"] for event in sorted(events, key=lambda event: event["ts"])])
    return int(held.cumsum(0).max())


def test_the_map_of_all_positions_is_never_held(tmp_path):
    """By default, not only when the fused kernel is asked for; the plain one shows that it would be seen."""
    block = opened(16).train()
    assert peak_bytes(block, 2048, tmp_path, SDPBackend.MATH) > 2 * map_bytes(2048)
    half, whole = peak_bytes(block, 2048, tmp_path), peak_bytes(block, 4096, tmp_path)
    assert whole < map_bytes(4096) / 10
    assert half < whole < 2.5 * half


def test_in_bfloat16_the_numbers_stay_near_and_gradients_finite():
    block, clips = opened(64).train(), torch.randn(2, 300, 64)
    exact = gradients(block, clips)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = gradients(block, clips)
    assert (rounded[0] - exact[0]).abs().mean() < 0.02 * exact[0].abs().mean()
    assert all(value.isfinite().all() for value in rounded)


# ---- what attends to what ----


def test_everywhere_means_all_positions_of_all_frames():
    block, maps = opened(8), some_maps()
    refined = attend_everywhere(block, maps)
    for t, y, x in [(0, 0, 0), (2, 1, 2), (3, 3, 1)]:
        logits = torch.einsum("bc,btchw->bthw", block.theta(maps[:, t, :, y, x]), on_channels(block.phi, maps))
        weights = logits.flatten(1).softmax(1).view_as(logits)
        found = torch.einsum("bthw,btchw->bc", weights, on_channels(block.g, maps))
        assert_close(refined[:, t, :, y, x], maps[:, t, :, y, x] + block.norm(block.out(found)))


def on_channels(layer, maps):
    return layer(maps.movedim(2, -1)).movedim(-1, 2)


def stripes_by_hand(block, maps, windows):
    """`windows`: for each row, the rows whose mean speaks for it."""
    stripes = sorted(set(windows))
    means = torch.stack([maps[..., low:high, :].mean((3, 4)) for low, high in stripes], dim=2)  # (B, T, stripes, C)
    added = block.attended(means.flatten(1, 2)).view_as(means)
    return torch.stack([added[:, :, stripes.index(window)] for window in windows], dim=3)[..., None] + maps


def test_stripes_attend_by_their_means_and_every_position_gets_what_its_stripe_got():
    block, maps = opened(8), some_maps(h=8)
    expected = stripes_by_hand(block, maps, [(0, 2), (0, 2), (2, 4), (2, 4), (4, 6), (4, 6), (6, 8), (6, 8)])
    assert_close(attend_stripes(block, maps, stripes=4), expected)


def test_a_map_of_fewer_rows_than_stripes_has_a_stripe_a_row():
    block, maps = opened(8), some_maps(h=3)
    expected = stripes_by_hand(block, maps, [(0, 1), (1, 2), (2, 3)])
    assert_close(attend_stripes(block, maps), expected)


def test_rows_that_cannot_be_dealt_out_evenly_stand_in_two_stripes():
    block, maps = opened(8), some_maps(h=6)
    expected = stripes_by_hand(block, maps, [(0, 2), (0, 2), (1, 3), (3, 5), (3, 5), (4, 6)])
    assert_close(attend_stripes(block, maps, stripes=4), expected)


@pytest.mark.parametrize("attend", [attend_everywhere, attend_stripes])
def test_attention_on_maps_keeps_them_channels_last_in_memory(attend):
    maps = some_maps().flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, (2, 4))
    refined = attend(opened(8), maps)
    assert refined.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("attend", [attend_everywhere, attend_stripes])
def test_within_pairs_each_two_successive_frames_are_a_clip_of_their_own(attend):
    block, maps = opened(8), some_maps(t=6)
    refined = within_pairs(attend)(block, maps)
    assert_close(refined, torch.cat([attend(block, pair) for pair in maps.split(2, dim=1)], dim=1))


@pytest.mark.parametrize("attend, reached", [(attend_stripes, [0, 1, 2, 3]), (within_pairs(attend_stripes), [2, 3])])
def test_a_change_of_one_frame_reaches_those_that_it_is_attended_with(attend, reached):
    block, maps = opened(8), some_maps()
    other = maps.clone()
    other[:, 2] += torch.randn(2, 8, 4, 3)
    difference = (attend(block, maps) - attend(block, other)).abs().amax((0, 2, 3, 4))
    assert difference.nonzero().flatten().tolist() == reached


def test_of_each_two_successive_frames_the_larger_value_stays():
    maps = torch.tensor([[1, 5, 2, -3, 7, 0], [0, 0, -1, -2, 4, 4]])[:, :, None, None, None].float()
    assert pair_maximum(maps).flatten(1).tolist() == [[5, 2, 7], [0, -1, 4]]


def test_an_odd_number_of_frames_has_no_pairs():
    with pytest.raises(RuntimeError):
        pair_maximum(some_maps(t=3))
    with pytest.raises(RuntimeError):
        within_pairs(attend_everywhere)(opened(8), some_maps(t=3))


# ---- within a trunk ----


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(0)
    return build_trunk(Trunk("small", 8, "none")).eval()


def test_blocks_stand_after_the_last_of_each_stage():
    with torch.device("meta"):
        added = nonlocal_blocks(build_trunk(Trunk(weights="none")), {"layer2": 2, "layer3": 3, "layer4": 0})
    widths = {name: block.norm.num_features for name, block in added.items()}
    assert widths == {"layer2_2": 512, "layer2_3": 512, "layer3_3": 1024, "layer3_4": 1024, "layer3_5": 1024}


def test_a_stage_of_one_block_has_one_attention_however_many_are_asked_for(small):
    added = nonlocal_blocks(small, {"layer2": 2, "layer3": 3})
    assert {name: block.norm.num_features for name, block in added.items()} == {"layer2_0": 16, "layer3_0": 32}


def test_without_attention_the_maps_are_those_of_each_frame(small):
    clips = torch.randn(2, 4, 3, 64, 32)
    assert_close(attended_maps(small, nn.ModuleDict(), clips, attend_everywhere), frame_maps(small, clips))


def test_maps_are_refined_after_their_block_and_frames_become_fewer_after_their_stage(small):
    clips = torch.randn(2, 4, 3, 64, 32)
    doubled = attended_maps(
        small,
        nonlocal_blocks(small, {"layer2": 1}),
        clips,
        attend=lambda attention, maps: maps * 2,
        shrink={"layer2": pair_maximum, "layer3": lambda maps: maps[:, 1:]},
    )
    maps = clips.flatten(0, 1)
    for name in ("conv1", "bn1", "relu", "layer1", "layer2"):
        maps = getattr(small, name)(maps)
    fewer = pair_maximum(maps.unflatten(0, (2, 4)) * 2)[:, 1:]
    assert_close(doubled, frame_maps(small.layer4, frame_maps(small.layer3, fewer)))


# ---- deterministic ----


@pytest.fixture
def strictly():
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("attend", [attend_everywhere, attend_stripes, within_pairs(attend_stripes)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_a_cpu_the_same_maps_give_the_same_gradients_to_the_bit(strictly, attend, dtype):
    def once():
        block, maps = opened(16).train(), some_maps(c=16, h=16).requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            pair_maximum(attend(block, maps)).square().sum().backward()
        return [maps.grad, *(weight.grad for weight in block.parameters())]

    for one, other in zip(once(), once(), strict=True):
        assert torch.equal(one, other) and one.isfinite().all()
