"""Chen et al., PRCV 2019: attributes of a tracklet, each with an attention over time of its own."""

import math
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

from vreid.data.attributes import IRRELEVANT, QUALITY, RELEVANT_DUKE, RELEVANT_MARS
from vreid.errors import InputError
from vreid.models.attribute_recognition import METHOD, AttributeHead, Options, build, terms
from vreid.models.method import Labels, Population
from vreid.spec import Clips, Spec, Trunk

MARS = Population(625, {"irrelevant": IRRELEVANT, "relevant": RELEVANT_MARS})
DUKE = Population(5, {"irrelevant": IRRELEVANT, "relevant": RELEVANT_DUKE})
SMALL = Spec("m", 0, trunk=Trunk("small", 8, "none"), clips=Clips(frames=3, height=64, width=32))
PAPER = Spec("m", 0, trunk=Trunk(weights="none"), clips=Clips(frames=6))
NATIVE = replace(PAPER, trunk=Trunk(weights="none", last_stride=2))
HEADS = ["motion", "pose", *RELEVANT_MARS]
DEFAULTS = Options()


def small_network(options=DEFAULTS, population=MARS):
    torch.manual_seed(0)
    return build(options, SMALL, population)


def some_clips(number=4, frames=3, height=64, width=32):
    return torch.randn(number, frames, 3, height, width, generator=torch.Generator().manual_seed(1))


def some_labels(annotated=(True, True, True, False), population=MARS):
    """Clips that are not annotated have no classes."""
    generator, known, targets = torch.Generator().manual_seed(2), torch.tensor(annotated), {}
    for group, classes in population.attributes.items():
        onehot = [torch.eye(n)[torch.randint(n, (len(known),), generator=generator)] for n in classes.values()]
        targets[group] = torch.cat(onehot, dim=1) * known[:, None], known
    return Labels(torch.arange(len(known)) // 2, targets, population.attributes)


def parts(logits, classes):
    """Attribute → its logits."""
    return dict(zip(classes, logits.split(list(classes.values()), dim=1)))


# ---- attention ----


def naive_attention(head, frames, relu: bool):
    """The weights of one clip's frames (T, C), one number at a time."""
    between = [[max(0.0, float(w[:, 0] @ f + b)) for w, b in zip(head.each.weight, head.each.bias)] for f in frames]
    kernel, scores = head.scores.neighbours.weight[0], []  # (channels, 3)
    for t in range(len(frames)):
        score = float(head.scores.neighbours.bias)
        for offset in (-1, 0, 1):
            if 0 <= t + offset < len(frames):
                score += sum(float(k) * value for k, value in zip(kernel[:, offset + 1], between[t + offset]))
        scores.append(max(0.0, score) if relu else score)
    powers = [math.exp(score) for score in scores]
    return [power / sum(powers) for power in powers]


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("frames", [1, 2, 6])
def test_an_attribute_is_recognised_on_the_frames_that_its_own_attention_weighs(frames, relu):
    torch.manual_seed(0)
    head, clips = AttributeHead(5, 7, 3, relu), torch.randn(4, frames, 5) * 3
    # Above 0, so that the last ReLU leaves something to compare; below, where one would show.
    torch.nn.init.constant_(head.scores.neighbours.bias, 0.5 if relu else -5.0)
    with torch.no_grad():
        logits = head(clips)
        naive = [naive_attention(head, clip, relu) for clip in clips]
        assert_close(head.attention(clips), torch.tensor(naive))
        for clip, weights, found in zip(clips, naive, logits):
            assert_close(found, head.classify(sum(w * frame for w, frame in zip(weights, clip))))
    assert frames == 1 or torch.tensor(naive).std(1).max() > 0.05


def test_attention_sums_to_1_over_time_and_looks_at_the_neighbouring_frames():
    torch.manual_seed(0)
    head, clips = AttributeHead(5, 7, 3), torch.randn(1, 6, 5)
    torch.nn.init.constant_(head.scores.neighbours.bias, 5.0)
    before, after = head.attention(clips), head.attention(torch.cat([clips[:, :1] + 1, clips[:, 1:]], dim=1))
    assert_close(before.sum(1), torch.ones(1))
    changed = ((after / before).log() - (after / before)[0, -1].log()).abs() > 1e-4  # the softmax rescales the others
    assert changed.tolist() == [[True, True, False, False, False, False]]


def test_every_attribute_has_an_attention_of_its_own():
    network = small_network().eval()
    frames = torch.rand(2, 6, 64)
    found = [head.attention(frames) for heads in network.heads.values() for head in heads.values()]
    assert len(found) == 14
    assert all(not torch.equal(a, b) for i, a in enumerate(found) for b in found[:i])


# ---- the network ----


def test_only_motion_pose_and_the_relevant_attributes_have_heads_and_the_others_are_left_blank():
    network = small_network()
    outputs = network(some_clips())
    for group, classes in MARS.attributes.items():
        for name, logits in parts(outputs.attributes[group], classes).items():
            assert logits.isfinite().all() if name in HEADS else logits.isnan().all(), name
    assert [name for heads in network.heads.values() for name in heads] == HEADS
    assert set(IRRELEVANT) - set(HEADS) == set(QUALITY)


def test_the_attributes_of_quality_can_be_recognised_too():
    outputs = small_network(Options(quality=True))(some_clips())
    assert {group: logits.shape for group, logits in outputs.attributes.items()} == {
        "irrelevant": (4, 25),
        "relevant": (4, 41),
    }
    assert all(logits.isfinite().all() for logits in outputs.attributes.values())


def test_each_branch_sees_the_maps_through_its_own_convolution():
    network = small_network().eval()
    clips = some_clips()
    outputs = network(clips)
    maps = network.trunk(clips.flatten(0, 1))
    for group, heads in network.heads.items():
        frames = network.branches[group].convolution(maps).relu().mean((2, 3)).unflatten(0, (4, 3))
        found = parts(outputs.attributes[group], MARS.attributes[group])
        for name, head in heads.items():
            assert_close(found[name], head(frames))


def test_the_feature_is_the_relevant_branch_pooled_and_there_are_no_identity_logits():
    network = small_network().eval()
    outputs = network(some_clips())
    frames = network.branches["relevant"](network.trunk(some_clips().flatten(0, 1)).unflatten(0, (4, 3)))
    assert_close(outputs.feature, frames.mean(1))
    assert outputs.embedding is outputs.feature
    assert outputs.logits is None


def test_half_of_a_frame_s_features_are_dropped_in_training_and_none_in_testing():
    network, clips, zeros = small_network(), some_clips(), []

    def note(_module, inputs):
        zeros.append((inputs[0] == 0).float().mean().item())

    for heads in network.heads.values():
        heads["motion" if "motion" in heads else "hat"].register_forward_pre_hook(note)
    network(clips)
    network.eval()(clips)
    for training, testing in zip(zeros[:2], zeros[2:], strict=True):
        assert training == pytest.approx(0.5 + testing / 2, abs=0.1)
        assert testing < 0.3


def test_a_population_without_attributes_is_refused():
    with pytest.raises(InputError, match="m: the training data has no irrelevant attributes; annotate"):
        small_network(population=Population(5, {}))


# ---- the loss ----


@pytest.mark.parametrize("quality", [False, True])
def test_an_attribute_s_cross_entropy_counts_for_less_the_more_classes_it_has(quality):
    options = Options(quality=quality)
    outputs, labels = small_network(options)(some_clips()), some_labels()
    expected = {}
    for group, classes in MARS.attributes.items():
        targets, annotated = labels.attributes[group]
        right, loss = parts(targets, classes), 0
        for name, logits in parts(outputs.attributes[group], classes).items():
            if quality or name in HEADS:
                own = [-z.log_softmax(0)[y.argmax()] for z, y, known in zip(logits, right[name], annotated) if known]
                loss = loss + sum(own) / len(own) / classes[name]
        expected[f"attributes_{group}"] = loss
    assert_close(terms(outputs, labels, options), expected)


def test_clips_without_annotation_give_no_loss_and_no_gradient():
    network, options = small_network(), Options()
    loss = sum(terms(network(some_clips()), some_labels([False] * 4), options).values())
    loss.backward()
    assert loss == 0
    assert all(w.grad is None or not w.grad.any() for w in network.parameters())


# ---- size, and one step ----


def giga_multiplications(module, inputs) -> float:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(inputs)
    return counter.get_total_flops() / 2e9


@pytest.mark.parametrize(("spec", "trunk", "positions"), [(PAPER, 4.053, 16 * 8), (NATIVE, 2.669, 8 * 4)])
def test_a_clip_of_six_frames_takes_the_trunk_s_cost_and_that_of_two_convolutions(spec, trunk, positions):
    """No cost is published: this is the arithmetic of the architecture."""
    with torch.device("meta"):
        network = build(Options(), spec, MARS).eval()
        cost = giga_multiplications(network, torch.empty(1, 6, 3, 256, 128))
    attentions = 14 * 2048 * 256 / 1e9
    assert cost == pytest.approx(6 * (trunk + 2 * positions * 2048**2 / 1e9 + attentions), rel=0.001)


def test_at_the_paper_s_scale_52_outputs_of_14_attributes_have_39_million_parameters():
    """52 is the number of binary items that is told of this model; its parameters are not published."""
    with torch.device("meta"):
        network = build(Options(), NATIVE, MARS)
    heads = [head for heads in network.heads.values() for head in heads.values()]
    outputs = sum(head.classify.out_features for head in heads)
    assert (len(heads), outputs) == (14, 52)
    attention = (2048 + 1) * 256 + 256 * 3 + 1
    expected = 23_508_032 + 2 * 2048**2 + 14 * attention + outputs * (2048 + 1)
    assert sum(weight.numel() for weight in network.parameters()) == expected


@pytest.mark.parametrize(
    ("spec", "shape", "options"),
    [(NATIVE, (2, 2, 256, 128), Options()), (SMALL, (4, 3, 64, 32), Options(quality=True))],
)
def test_one_step_gives_every_weight_a_finite_gradient(spec, shape, options):
    torch.manual_seed(0)
    network = build(options, spec, MARS)
    found = terms(network(some_clips(*shape)), some_labels((True, True, True, False)[: shape[0]]), options)
    sum(found.values()).backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None and torch.isfinite(weight.grad).all(), name


def test_the_same_step_gives_the_same_gradients_to_the_bit():
    gradients = []
    for _ in range(2):
        network = small_network()
        sum(terms(network(some_clips()), some_labels(), Options()).values()).backward()
        gradients.append([weight.grad for weight in network.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients))


def test_in_testing_a_clip_does_not_depend_on_those_beside_it():
    network, clips = small_network(population=DUKE).eval(), some_clips()
    alone, together = network(clips[:1]), network(clips)
    assert_close(alone.embedding, together.embedding[:1])
    assert_close(alone.attributes["relevant"], together.attributes["relevant"][:1])


# ---- options ----


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"quality": "all"}, "quality: expected bool, found 'all'"),
        ({"dropout": 1.0}, "dropout: 1.0 is not at least 0 and below 1"),
        ({"attention_channels": 0}, "attention_channels: 0 is not at least 1"),
        ({"margin": 0.3}, "unknown key 'margin'"),
    ],
)
def test_a_bad_option_is_refused_by_its_key_and_its_model(options, told):
    with pytest.raises(InputError, match=f"^models.m: {told}"):
        METHOD.settings(replace(SMALL, options=options))
