"""GLTR (Li et al. 2019): size, cost, how far each branch sees, and tracklets of any length in one pass."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

import tiny
from vreid import losses
from vreid.data.frames import FrameReader
from vreid.embed import features
from vreid.errors import InputError
from vreid.models import gltr
from vreid.models.gltr import METHOD, DilatedPyramid, Options, build, collapsed, terms
from vreid.models.method import Labels, Outputs, Population
from vreid.models.trunk import frame_maps
from vreid.spec import Clips, Spec, Trunk

MARS = Population(people=625, attributes={"irrelevant": {"action": 25}, "relevant": {"colour": 41}})
FEW = Population(people=5, attributes={})
SMALL = Spec("m", 0, trunk=Trunk("small", 8, "none"), clips=Clips(frames=8, height=64, width=32))
PAPER = Spec("m", 0, trunk=Trunk(weights="none"), clips=Clips(frames=16))
UNIFIED = Options()
NATIVE = Options(bnneck=False, triplet=False)


def small_network(options=UNIFIED, learned=True):
    """With attention and branches that add something, as after some training."""
    torch.manual_seed(0)
    network = build(options, SMALL, FEW)
    if learned:
        open_up(network)
    return network


def open_up(network):
    nn.init.uniform_(network.attention.norm.weight, 0.5, 1.5)
    for branch in network.pyramid.branches:
        nn.init.normal_(branch.weight, std=0.1)


def some_clips(number=4, frames=8):
    return torch.randn(number, frames, 3, 64, 32, generator=torch.Generator().manual_seed(1))


def some_labels(number=4):
    return Labels(torch.arange(number) // 2, {})


# ---- size and cost ----


@pytest.fixture(scope="module")
def without_memory():
    with torch.device("meta"):
        return build(NATIVE, PAPER, MARS).eval()


def test_multiplications_of_16_frames_at_the_paper_s_scale(without_memory):
    """64.85 of the trunk, .01 of pyramid and attention, and .004 of the layer that reduces the frames' features."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        without_memory(torch.empty(1, 16, 3, 256, 128, device="meta"))
    counts = {name: sum(ops.values()) / 2e9 for name, ops in counter.get_flop_counts().items()}
    assert counts["Global"] == pytest.approx(64.868, abs=0.001)
    assert counts["Gltr.trunk"] == pytest.approx(64.853, abs=0.001)
    assert counts["Gltr.pyramid"] + counts["Gltr.attention"] == pytest.approx(0.011, abs=0.0005)


def test_parameters_beside_the_trunk(without_memory):
    thousands = {
        name: sum(weight.numel() for weight in module.parameters()) / 1e3
        for name, module in without_memory.named_children()
    }
    assert thousands["reduce"] == pytest.approx(262, abs=0.5)
    assert thousands["pyramid"] == pytest.approx(3 * 49, abs=0.5)
    assert thousands["attention"] == pytest.approx(527, abs=0.5)


def test_the_feature_has_512_channels_but_at_most_those_of_the_trunk(without_memory):
    outputs = without_memory(torch.empty(2, 3, 3, 256, 128, device="meta"))
    assert outputs.feature.shape == outputs.embedding.shape == (2, 512)
    assert outputs.logits.shape == (2, 625)
    assert small_network()(some_clips()).feature.shape == (4, 64)


def test_at_the_paper_s_scale_a_step_reaches_every_weight_with_finite_gradients():
    torch.manual_seed(0)
    network = build(UNIFIED, PAPER, MARS)
    open_up(network)
    outputs = network(torch.randn(2, 3, 3, 256, 128))
    torch.stack(list(terms(outputs, Labels(torch.tensor([0, 1]), {}), UNIFIED).values())).sum().backward()
    assert_learns(network)


@pytest.mark.parametrize("options", [UNIFIED, NATIVE])
def test_on_the_small_trunk_a_step_reaches_every_weight_with_finite_gradients(options):
    network = small_network(options)
    torch.stack(list(terms(network(some_clips()), some_labels(), options).values())).sum().backward()
    assert_learns(network)


def assert_learns(network):
    """Some gradients are nought by nature: what softmax and batch normalisation take no notice of."""
    for name, weight in network.named_parameters():
        if weight.requires_grad:
            assert weight.grad is not None and weight.grad.isfinite().all(), name
            assert weight.grad.abs().sum() > 0 or name.endswith("bias"), name


# ---- the pyramid ----


@pytest.mark.parametrize("t", [0, 1, 5, 10])
def test_a_change_of_frame_t_reaches_t_and_t_plus_and_minus_r_of_the_branch_of_dilation_r_and_no_other(t):
    torch.manual_seed(0)
    pyramid, sequence = DilatedPyramid(4, (1, 2, 3)), torch.randn(1, 11, 4)
    other = sequence.clone()
    other[:, t] += 1
    difference = (pyramid(sequence) - pyramid(other)).abs()[0]  # (T, 4 · (1 + branches))
    changed = [set(part.sum(1).nonzero().flatten().tolist()) for part in difference.split(4, dim=1)]
    assert changed == [{t}] + [{t - r, t, t + r} & set(range(11)) for r in (1, 2, 3)]


def test_the_pyramid_is_the_sequence_and_beside_it_three_taps_a_branch():
    torch.manual_seed(0)
    pyramid, sequence = DilatedPyramid(4, (1, 3)), torch.randn(2, 6, 4)
    found = pyramid(sequence)
    zero = torch.zeros(2, 4)
    for t in range(6):
        expected = [sequence[:, t]]
        for r, branch in zip((1, 3), pyramid.branches):
            taps = [sequence[:, s] if 0 <= s < 6 else zero for s in (t - r, t, t + r)]
            expected.append(sum(tap @ branch.weight[:, :, k].T for k, tap in enumerate(taps)))
        assert_close(found[:, t], torch.cat(expected, dim=1))


def test_the_branches_start_at_almost_zero_without_bias():
    for branch in DilatedPyramid(128, (1, 2, 3)).branches:
        assert float(branch.weight.detach().std()) == pytest.approx(0.001, rel=0.05)
        assert branch.bias is None


# ---- what the network says ----


def test_the_feature_is_the_mean_over_time_of_attended_frames():
    network = small_network().eval()
    frames = network.reduce(frame_maps(network.trunk, some_clips()).mean((3, 4)))
    expected = network.attention(network.pyramid(frames)).mean(1)
    assert_close(network(some_clips()).feature, expected)


def test_a_fresh_network_says_the_mean_of_its_frames_beside_almost_nothing():
    network = small_network(learned=False).eval()
    frames = network.reduce(frame_maps(network.trunk, some_clips()).mean((3, 4)))
    feature = network(some_clips()).feature
    assert_close(feature[:, :16], frames.mean(1))
    assert feature[:, 16:].abs().max() < 0.1 * feature.abs().max()


def test_attention_is_among_the_frames_of_a_tracklet_with_the_pyramid_s_channels():
    network, seen = small_network(), []
    network.attention.register_forward_hook(lambda module, inputs, output: seen.append(tuple(inputs[0].shape)))
    network(some_clips(number=3, frames=6))
    assert seen == [(3, 6, 64)]


def test_the_order_of_frames_matters():
    network = small_network().eval()
    there, back = (network(clips).feature for clips in (some_clips(), some_clips().flip(1)))
    assert not torch.allclose(there, back, rtol=1e-2)


def test_tracklets_are_compared_before_either_head():
    native, unified = small_network(NATIVE).eval(), small_network().eval()
    outputs = native(some_clips())
    assert torch.equal(outputs.embedding, outputs.feature)
    norm, _, _, linear = native.head.classifier
    assert_close(outputs.logits, linear(norm(outputs.feature).relu()))
    outputs = unified(some_clips())
    assert torch.equal(outputs.embedding, outputs.feature)
    assert_close(outputs.logits, unified.head.classifier(unified.head.norm(outputs.feature)))
    assert (METHOD.train_clips, METHOD.test_clips, METHOD.distance) == ("successive", "whole", "cosine")


def test_half_of_what_the_native_classifier_sees_is_dropped_in_training_alone():
    head = small_network(NATIVE).head
    seen = []
    head.classifier[-1].register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    feature = torch.randn(400, 64)
    for mode in (True, False):
        head.train(mode)(feature)
    zero = [float((values == 0).float().mean()) for values in seen]
    assert zero == pytest.approx([0.75, 0.5], abs=0.02)  # ReLU takes half


# ---- tracklets of any length ----


@pytest.mark.parametrize("frames", [1, 2, 5, 70])
def test_a_tracklet_of_any_length_has_one_finite_feature(frames):
    feature = small_network().eval()(some_clips(1, frames)).embedding
    assert feature.shape == (1, 64) and feature.isfinite().all()


def test_in_testing_few_frames_at_a_time_go_through_the_trunk_and_nothing_changes(monkeypatch):
    network, seen = small_network().eval(), []
    whole = network(some_clips(3, 8)).feature
    network.trunk.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    monkeypatch.setattr(gltr, "FRAMES_AT_ONCE", 10)
    assert_close(network(some_clips(3, 8)).feature, whole, rtol=1e-4, atol=1e-5)
    assert seen == [10, 10, 4]


def test_in_training_all_frames_of_a_batch_are_normalised_together(monkeypatch):
    network, seen = small_network(), []
    network.trunk.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    monkeypatch.setattr(gltr, "FRAMES_AT_ONCE", 10)
    network(some_clips(3, 8))
    assert seen == [24]


@pytest.mark.parametrize("options", [UNIFIED, NATIVE])
def test_in_testing_a_clip_does_not_depend_on_its_batch_and_leaves_no_trace(options):
    network = small_network(options)
    network(some_clips())  # statistics of a training step
    before = {key: value.clone() for key, value in network.eval().state_dict().items()}
    together, alone = network(some_clips()).embedding, network(some_clips()[1:2]).embedding
    assert_close(together[1:2], alone, rtol=1e-4, atol=1e-5)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_what_stands_for_a_tracklet_does_not_depend_on_the_other_tracklets(tmp_path):
    """They have from one to four frames, and those of one length share batches."""
    table = tiny.write_dataset(tmp_path)
    network = small_network()
    reader = FrameReader(tmp_path, tiny.HEIGHT, tiny.WIDTH)
    network(some_clips())
    spec = replace(SMALL, training=replace(SMALL.training, precision="float32"))

    def embedded(rows):
        return features(network, METHOD, rows.reset_index(drop=True), reader, spec, most=200).features

    together = embedded(table)
    assert {1, 4} <= set(table["num_frames"])
    for length in (1, 4):
        row = int(np.flatnonzero(table["num_frames"] == length)[-1])
        np.testing.assert_allclose(embedded(table.iloc[[row]])[0], together[row], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("options", [UNIFIED, NATIVE])
def test_on_a_cpu_a_step_can_be_repeated_to_the_bit(options):
    def once():
        network = small_network(options)
        torch.stack(list(terms(network(some_clips()), some_labels(), options).values())).sum().backward()
        return [weight.grad for weight in network.parameters() if weight.requires_grad]

    torch.use_deterministic_algorithms(True)
    try:
        assert all(torch.equal(one, other) for one, other in zip(once(), once(), strict=True))
    finally:
        torch.use_deterministic_algorithms(False)


# ---- terms of the loss, options ----


def random_outputs(number=12):
    generator = torch.Generator().manual_seed(3)
    feature = torch.randn(number, 6, generator=generator)
    return Outputs(feature, feature * 2, torch.randn(number, 5, generator=generator))


def test_the_loss_is_cross_entropy_alone_to_which_a_triplet_loss_may_be_added():
    outputs, labels = random_outputs(), Labels(torch.arange(12) // 3, {})
    softmax = losses.softmax_loss(outputs.logits, labels.pids)
    triplet = losses.batch_hard_triplet(losses.cosine_distances(outputs.feature), labels.pids, 0.3)
    assert_close(terms(outputs, labels, NATIVE), {"softmax": softmax})
    assert_close(terms(outputs, labels, UNIFIED), {"softmax": softmax})
    assert_close(terms(outputs, labels, Options(triplet=True)), {"softmax": softmax, "triplet": triplet})


def test_a_collapse_is_known_by_the_value_of_the_triplet_loss():
    alike = Outputs(torch.ones(6, 4), torch.ones(6, 4), torch.zeros(6, 5))
    found = terms(alike, Labels(torch.arange(6) // 2, {}), Options(triplet=True, margin=0.2))
    assert float(found["triplet"]) == pytest.approx(collapsed(Options(triplet=True, margin=0.2))["triplet"])
    assert collapsed(NATIVE) == {}


@pytest.mark.parametrize(
    "options, told",
    [
        ({"dilations": []}, "dilations: .* at least one"),
        ({"dilations": [1, 0]}, "dilations: .* each at least 1"),
        ({"channels": 0}, "channels: 0 is not at least 1"),
        ({"dropout": 1.0}, "dropout: 1.0 is not at least 0 and below 1"),
        ({"margin": -0.1}, "margin: -0.1 is not at least 0"),
        ({"label_smoothing": 1.0}, "label_smoothing: 1.0 is not at least 0 and below 1"),
        ({"triplet": "soft"}, "triplet: expected bool, found 'soft'"),
    ],
)
def test_a_bad_option_is_refused_by_its_key_and_its_model(options, told):
    with pytest.raises(InputError, match=f"^models.m: {told}"):
        METHOD.settings(replace(SMALL, options=options))
