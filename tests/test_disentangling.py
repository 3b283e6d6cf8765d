"""Zhao et al.: sub-features of attributes, weighted over time by how surely they are recognised."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

from vreid import losses
from vreid.data.attributes import IRRELEVANT, RELEVANT_DUKE, RELEVANT_MARS
from vreid.errors import InputError
from vreid.models.disentangling import METHOD, PARTS, Options, build, collapsed, frame_weights, sureness, terms
from vreid.models.method import Labels, Population
from vreid.spec import Clips, Spec, Trunk

MARS = Population(625, {"irrelevant": IRRELEVANT, "relevant": RELEVANT_MARS})
FEW = Population(5, {"irrelevant": IRRELEVANT, "relevant": RELEVANT_MARS})
DUKE = Population(5, {"irrelevant": IRRELEVANT, "relevant": RELEVANT_DUKE})
SMALL = Spec("m", 0, trunk=Trunk("small", 8, "none"), clips=Clips(frames=3, height=64, width=32))
PAPER = Spec("m", 0, trunk=Trunk(weights="none"), clips=Clips(frames=8))
DEFAULTS = Options()


def small_network(options=DEFAULTS, population=FEW):
    torch.manual_seed(0)
    return build(options, SMALL, population)


def some_clips(number=4, frames=3, height=64, width=32):
    return torch.randn(number, frames, 3, height, width, generator=torch.Generator().manual_seed(1))


def some_labels(population=FEW, annotated=(True, True, True, False)):
    """Two people with two clips each, or the first of them; clips that are not annotated have no classes."""
    generator, known, targets = torch.Generator().manual_seed(2), torch.tensor(annotated), {}
    for group, classes in population.attributes.items():
        onehot = [torch.eye(n)[torch.randint(n, (len(known),), generator=generator)] for n in classes.values()]
        targets[group] = torch.cat(onehot, dim=1) * known[:, None], known
    return Labels(torch.tensor([0, 0, 3, 3])[: len(known)], targets, population.attributes)


def reached(value, module) -> bool:
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    found = torch.autograd.grad(value, weights, allow_unused=True, retain_graph=True)
    return any(gradient is not None and gradient.abs().sum() > 0 for gradient in found)


# ---- confidence ----


def logits_of(*distributions):
    """Logits whose softmax is each of the distributions, side by side."""
    return torch.cat([torch.tensor(own).clamp(min=1e-12).log() for own in distributions])


def test_a_uniform_prediction_is_not_sure_at_all_and_a_certain_one_wholly():
    uniform, certain = logits_of([0.5, 0.5], [0.25] * 4), logits_of([1.0, 0.0], [0.0, 0.0, 1.0, 0.0])
    assert_close(sureness(torch.stack([uniform, certain]), [2, 4]), torch.tensor([0.0, 1.0]), atol=1e-5, rtol=0)


def test_sureness_is_one_less_the_entropy_as_a_share_of_its_maximum_averaged_over_the_attributes():
    frame = logits_of([0.9, 0.1], [0.5, 0.25, 0.25, 0.0])
    entropies = -0.9 * math.log(0.9) - 0.1 * math.log(0.1), 1.5 * math.log(2)
    expected = 1 - (entropies[0] / math.log(2) + entropies[1] / math.log(4)) / 2
    assert sureness(frame, [2, 4]).item() == pytest.approx(expected, abs=1e-5)


def test_attributes_of_many_classes_and_of_few_count_the_same():
    half_sure = logits_of([0.5, 0.5], [0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    assert sureness(half_sure, [2, 8]).item() == pytest.approx(0.5, abs=1e-5)


def test_the_frame_that_is_surely_recognised_weighs_most_and_the_doubtful_one_least():
    frames = torch.stack([logits_of([p, 1 - p]) for p in (0.5, 0.99, 0.8)])[None]
    weights = frame_weights(sureness(frames, [2]), 0.1)[0]
    assert weights[0] < weights[2] < weights[1]
    assert weights.sum().item() == pytest.approx(1)
    sure = [1 + (p * math.log2(p) + (1 - p) * math.log2(1 - p)) for p in (0.5, 0.99, 0.8)]
    powers = [math.exp(s / 0.1) for s in sure]
    assert_close(weights, torch.tensor([power / sum(powers) for power in powers]), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("temperature", [0.01, 0.1, 10.0])
def test_weights_sum_to_1_over_time_and_are_equal_where_frames_are_equally_sure(temperature):
    sure = torch.rand(5, 8, generator=torch.Generator().manual_seed(0))
    assert_close(frame_weights(sure, temperature).sum(1), torch.ones(5))
    assert_close(frame_weights(torch.full((2, 8), 0.7), temperature), torch.full((2, 8), 1 / 8))


def test_a_low_temperature_picks_the_surest_frame_and_a_high_one_averages():
    sure = torch.tensor([[0.2, 0.6, 0.5]])
    assert_close(frame_weights(sure, 1e-3), torch.tensor([[0.0, 1.0, 0.0]]))
    assert_close(frame_weights(sure, 1e3), torch.full((1, 3), 1 / 3), atol=1e-3, rtol=0)


# ---- the network ----


def naive_branch(branch, maps, uniform=False):
    """A clip's sub-feature and its frames' weights, one clip and one frame at a time."""
    classes, features, every = list(branch.attributes.values()), [], []
    for clip in maps:
        frames, powers = [], []
        for frame in clip:
            h = branch.convolution(frame[None])[0].mean((1, 2))
            sure, logits = 0.0, branch.recognise(h)
            for start, n in zip(itertools.accumulate([0, *classes]), classes):
                p = logits[start : start + n].softmax(0)
                sure += 1 + float(sum(x * x.log() for x in p)) / math.log(n)
            frames.append(h)
            powers.append(1.0 if uniform else math.exp(sure / len(classes) / 0.1))
        every.append([power / sum(powers) for power in powers])
        features.append(sum(w * h for w, h in zip(every[-1], frames)))
    return torch.stack(features), torch.tensor(every)


@pytest.mark.parametrize("groups", ["two", "six"])
@pytest.mark.parametrize("weighting", ["confidence", "uniform"])
def test_the_feature_joins_the_mean_over_frames_and_the_weighted_sub_features(groups, weighting):
    network = small_network(Options(groups=groups, weighting=weighting)).eval()
    with torch.no_grad():
        for branch in network.branches.values():
            branch.recognise.weight *= 300  # so that frames differ in confidence
        outputs = network(some_clips())
        maps = network.trunk(some_clips().flatten(0, 1)).unflatten(0, (4, 3))
        parts = [maps.mean((1, 3, 4))]
        for name, branch in network.branches.items():
            feature, weights = naive_branch(branch, maps, weighting == "uniform")
            parts.append(feature)
            assert_close(outputs.extra[f"weights_{name}"], weights, rtol=1e-3, atol=1e-5)
            assert weighting == "uniform" or weights.std(1).min() > 0.003
    assert_close(outputs.feature, torch.cat(parts, dim=1), rtol=1e-3, atol=1e-5)
    assert outputs.feature.shape == (4, 64 + 64 * len(network.branches))


@pytest.mark.parametrize("groups", ["two", "six"])
def test_attribute_logits_stand_in_the_vocabulary_s_order_whatever_branch_they_come_from(groups):
    network = small_network(Options(groups=groups)).eval()
    outputs = network(some_clips())
    for group, classes in FEW.attributes.items():
        start = 0
        for name, n in classes.items():
            own = [branch for branch in network.branches.values() if name in branch.attributes]
            assert len(own) == 1
            widths = list(own[0].attributes.values())
            place = sum(widths[: list(own[0].attributes).index(name)])
            branch_name = next(key for key, branch in network.branches.items() if branch is own[0])
            begin = 64 + 64 * list(network.branches).index(branch_name)
            recognised = own[0].recognise(outputs.feature[:, begin : begin + 64])[:, place : place + n]
            assert_close(outputs.attributes[group][:, start : start + n], recognised)
            start += n
        assert outputs.attributes[group].shape == (4, start)


def test_a_clip_s_attribute_logits_are_its_frames_logits_weighted_over_time():
    outputs = small_network().eval()(some_clips())
    for group, logits in outputs.attributes.items():
        weighted = outputs.extra[f"weights_{group}"][:, :, None] * outputs.extra[f"frames_{group}"]
        assert_close(logits, weighted.sum(1))


def test_six_branches_share_out_every_attribute_of_mars_once():
    names = [name for part in PARTS.values() for name in part]
    assert sorted(names) == sorted(RELEVANT_MARS)
    assert len(small_network(Options(groups="six")).branches) == 6


def test_six_branches_cannot_be_cut_from_duke_s_attributes_but_two_can():
    with pytest.raises(InputError, match=r"models\.m: groups: six are cut from MARS's attributes"):
        small_network(Options(groups="six"), DUKE)
    assert small_network(population=DUKE)(some_clips()).attributes["relevant"].shape == (4, 33)


def test_a_population_without_attributes_is_refused():
    with pytest.raises(InputError, match="m: the training data has no irrelevant attributes; annotate"):
        small_network(population=Population(5, {}))


def test_tracklets_are_compared_after_the_neck_or_by_the_feature_itself():
    after, before = (small_network(Options(compare_normalised=on)).eval() for on in (True, False))
    outputs = after(some_clips())
    assert_close(outputs.embedding, after.head(outputs.feature)[0])
    assert_close(before(some_clips()).embedding, outputs.feature)


# ---- the loss ----


def naive_terms(outputs, labels, network, options):
    loss, frames = 0, 0
    for group, (targets, annotated) in labels.attributes.items():
        start = 0
        for n in FEW.attributes[group].values():
            per_frame = [
                -outputs.extra[f"frames_{group}"][clip, t, start : start + n].log_softmax(0)[
                    targets[clip, start : start + n].argmax()
                ]
                for clip in range(len(annotated))
                if annotated[clip]
                for t in range(3)
            ]
            loss, frames, start = loss + sum(per_frame), frames + len(per_frame), start + n
    identity = [losses.softmax_loss(outputs.extra[f"identity_{name}"], labels.pids) for name in network.branches]
    return {
        "softmax": losses.softmax_loss(outputs.logits, labels.pids),
        "softmax_branches": options.branch_weight * sum(identity) / len(identity),
        "attributes": options.attribute_weight * loss / frames,
        "triplet": losses.batch_hard_triplet(losses.cosine_distances(outputs.feature), labels.pids, 0.3),
    }


@pytest.mark.parametrize("options", [Options(), Options(groups="six", branch_weight=0.5, attribute_weight=0.1)])
def test_the_loss_is_that_of_the_feature_of_each_branch_and_of_every_annotated_frame(options):
    network = small_network(options)
    outputs, labels = network(some_clips()), some_labels()
    assert_close(terms(outputs, labels, options), naive_terms(outputs, labels, network, options))


def test_a_batch_without_annotation_has_no_attribute_loss():
    network, options = small_network(), Options()
    found = terms(network(some_clips()), some_labels(annotated=[False] * 4), options)
    assert found["attributes"] == 0
    assert not reached(found["attributes"], network.branches)


def test_without_a_triplet_there_is_no_term_that_could_stand_at_its_margin():
    options = Options(triplet=False)
    found = terms(small_network(options)(some_clips()), some_labels(), options)
    assert list(found) == ["softmax", "softmax_branches", "attributes"]
    assert collapsed(Options(margin=0.7)) == {"triplet": 0.7}


@pytest.mark.parametrize(("detached", "arrives"), [(True, False), (False, True)])
def test_identity_losses_reach_the_attribute_heads_only_through_weights_that_are_not_detached(detached, arrives):
    options = Options(detach_weights=detached)
    network = small_network(options)
    found = terms(network(some_clips()), some_labels(), options)
    identity = found["softmax"] + found["softmax_branches"] + found["triplet"]
    for branch in network.branches.values():
        assert reached(identity, branch.recognise) == arrives
        assert reached(identity, branch.convolution)
        assert reached(found["attributes"], branch.recognise)
    assert reached(found["attributes"], network.trunk)


# ---- size, and one step ----


def giga_multiplications(module, inputs) -> float:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(inputs)
    return counter.get_total_flops() / 2e9


@pytest.mark.parametrize(("groups", "branches"), [("two", 2), ("six", 6)])
def test_at_the_paper_s_scale_a_clip_takes_eight_times_4_05_gmac_and_0_13_a_branch(groups, branches):
    with torch.device("meta"):
        network = build(Options(groups=groups), PAPER, MARS).eval()
        outputs = network(torch.empty(1, 8, 3, 256, 128))
        cost = giga_multiplications(network, torch.empty(1, 8, 3, 256, 128))
    assert outputs.feature.shape == (1, 2048 + 512 * branches)
    assert cost == pytest.approx(8 * (4.053 + branches * 0.134), abs=0.05)


@pytest.mark.parametrize(("groups", "branches"), [("two", 2), ("six", 6)])
def test_at_the_paper_s_scale_branches_add_little_but_their_identity_classifiers(groups, branches):
    with torch.device("meta"):
        network = build(Options(groups=groups), PAPER, MARS)
    convolutions = branches * (2048 * 512 + 2 * 512)
    heads, identities = (25 + 41) * (512 + 1), branches * 625 * (512 + 1)
    width = 2048 + 512 * branches
    expected = 23_508_032 + convolutions + heads + identities + width * (2 + 625)
    assert sum(weight.numel() for weight in network.parameters()) == expected


@pytest.mark.parametrize(
    ("spec", "shape", "options"),
    [
        (PAPER, (2, 2, 256, 128), Options()),
        (SMALL, (4, 3, 64, 32), Options(groups="six")),
        (SMALL, (4, 3, 64, 32), Options(weighting="uniform", triplet=False, compare_normalised=False)),
    ],
)
def test_one_step_gives_every_weight_a_finite_gradient(spec, shape, options):
    torch.manual_seed(0)
    network = build(options, spec, FEW)
    labels = some_labels(annotated=(True, True, True, False)[: shape[0]])
    found = terms(network(some_clips(*shape)), labels, options)
    sum(found.values()).backward()
    for name, weight in network.named_parameters():
        if weight.requires_grad:
            assert weight.grad is not None and torch.isfinite(weight.grad).all(), name
    assert {name for name, weight in network.named_parameters() if not weight.requires_grad} == {"head.norm.bias"}


def test_the_same_step_gives_the_same_gradients_to_the_bit():
    gradients = []
    for _ in range(2):
        network = small_network()
        sum(terms(network(some_clips()), some_labels(), Options()).values()).backward()
        gradients.append([weight.grad for weight in network.parameters() if weight.requires_grad])
    assert all(torch.equal(a, b) for a, b in zip(*gradients))


def test_in_testing_a_clip_does_not_depend_on_those_beside_it():
    network = small_network().eval()
    clips = some_clips()
    assert_close(network(clips[:1]).embedding, network(clips).embedding[:1])


# ---- options ----


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"groups": "three"}, "groups: 'three' is none of two, six"),
        ({"weighting": "softmax"}, "weighting: 'softmax' is none of confidence, uniform"),
        ({"temperature": 0.0}, "temperature: 0.0 is not above 0"),
        ({"branch_channels": 0}, "branch_channels: 0 is not above 0"),
        ({"branch_weight": -1.0}, "branch_weight: -1.0 is not at least 0"),
        ({"attribute_weight": -1.0}, "attribute_weight: -1.0 is not at least 0"),
        ({"margin": -0.1}, "margin: -0.1 is not at least 0"),
        ({"label_smoothing": 1.0}, "label_smoothing: 1.0 is not at least 0 and below 1"),
        ({"tau": 0.1}, "unknown key 'tau'"),
    ],
)
def test_a_bad_option_is_refused_by_its_key_and_its_model(options, told):
    with pytest.raises(InputError, match=f"^models.m: {told}"):
        METHOD.settings(replace(SMALL, options=options))
