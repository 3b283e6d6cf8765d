"""The four temporal models of Gao and Nevatia, and what makes a 2-D trunk 3-D."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

from vreid import losses
from vreid.distances import DISTANCES
from vreid.errors import InputError
from vreid.models import method as methods
from vreid.models import multitask
from vreid.models.inflate import InflatedConv, clip_maps, inflate
from vreid.models.method import Labels, Population
from vreid.models.temporal import METHOD, WEIGHTS, Attention, Options, Pooling, Recurrent, build, terms
from vreid.models.trunk import build_trunk, frame_maps
from vreid.spec import Clips, Spec, Trunk

MARS = Population(people=625, attributes={})
FEW = Population(people=5, attributes={})
PAPER = Spec("gao", 0, "temporal", trunk=Trunk(weights="none"))
SMALL = Spec("gao", 0, "temporal", trunk=Trunk("small", 8, "none"), clips=Clips(frames=4, height=64, width=32))
UNIFIED = Options()
NATIVE = {"neck": False, "distance": "euclidean", "label_smoothing": 0.1, "attention_kernel": "map"}
AGGREGATIONS = ["pooling", "attention", "rnn", "3d"]
TRUNKS = [Trunk("small", 8, "none"), Trunk(weights="none")]
PIDS = torch.tensor([0, 0, 0, 3, 3, 3])


def small_network(options=UNIFIED):
    torch.manual_seed(0)
    return build(options, SMALL, FEW)


def some_clips(number=6, frames=4, height=64, width=32):
    return torch.randn(number, frames, 3, height, width, generator=torch.Generator().manual_seed(1))


def some_maps(number=2, frames=4, channels=8, height=4, width=2):
    return torch.randn(number, frames, channels, height, width, generator=torch.Generator().manual_seed(2)).relu()


# ---- aggregations ----


def test_pooling_is_the_mean_over_time_and_space():
    maps = some_maps()
    feature, weights = Pooling(8, (4, 2), Options())(maps)
    assert_close(feature, maps.mean((1, 3, 4)))
    assert weights is None


def naive_attention(attention, maps, kernel, normalise, relu):
    """One clip (T, C, h, w) by loops over the frames and their neighbours."""
    spatial = attention.spatial if kernel == "map" else attention.spatial[1]
    weight, bias = spatial.weight, spatial.bias
    seen = []
    for frame in maps:
        looked_at = frame if kernel == "map" else frame.mean((1, 2), keepdim=True)
        seen.append(((weight * looked_at).sum((1, 2, 3)) + bias).clamp(min=0))
    scores = []
    for t in range(len(maps)):
        score = attention.scores.neighbours.bias[0]
        for step in (-1, 0, 1):
            if 0 <= t + step < len(maps):
                score = score + (attention.scores.neighbours.weight[0, :, step + 1] * seen[t + step]).sum()
        scores.append(score.clamp(min=0) if relu else score)
    if normalise == "softmax":
        shares = [score.exp() for score in scores]
    else:
        shares = [1 / (1 + (-score).exp()) for score in scores]
    weights = torch.stack(shares) / sum(shares)
    return sum(w * frame.mean((1, 2)) for w, frame in zip(weights, maps)), weights


@pytest.mark.parametrize("kernel", ["gap", "map"])
@pytest.mark.parametrize("normalise", ["softmax", "sigmoid"])
@pytest.mark.parametrize("relu", [True, False])
def test_attention_weighs_frames_by_what_two_convolutions_find_in_them(kernel, normalise, relu):
    torch.manual_seed(0)
    options = Options(attention_kernel=kernel, attention_weights=normalise, attention_relu=relu, attention_channels=6)
    attention = Attention(8, (4, 2), options)
    attention.scores.neighbours.weight.data *= 5  # far from equal weights
    maps = some_maps()
    feature, weights = attention(maps)
    assert weights.std() > 0.02
    for clip in range(2):
        assert_close((feature[clip], weights[clip]), naive_attention(attention, maps[clip], kernel, normalise, relu))


@pytest.mark.parametrize("weigh", WEIGHTS.values())
def test_the_weights_of_the_frames_sum_to_1_and_are_equal_where_the_scores_are(weigh):
    scores = torch.tensor([[0.0, 0, 0, 0], [0, 1, 2, 50]])
    assert_close(weigh(scores).sum(1), torch.ones(2))
    assert_close(weigh(scores)[0], torch.full((4,), 0.25))
    assert weigh(scores)[1].diff().min() > 0


def test_the_released_relu_leaves_frames_equal_and_attention_untrained_where_no_score_is_above_0():
    attention = Attention(8, (4, 2), Options(attention_channels=6))
    attention.scores.neighbours.bias.data.fill_(-100.0)
    feature, weights = attention(some_maps())
    assert_close(weights, torch.full((2, 4), 0.25))
    feature.square().sum().backward()
    assert not any(weight.grad.any() for weight in attention.parameters())


def naive_lstm(lstm, frames):
    """What an LSTM says after each of T frames (T, C), from the four gates of its definition."""
    h = c = torch.zeros(lstm.hidden_size)
    said = []
    for x in frames:
        gates = lstm.weight_ih_l0 @ x + lstm.bias_ih_l0 + lstm.weight_hh_l0 @ h + lstm.bias_hh_l0
        i, f, g, o = gates.chunk(4)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        said.append(h)
    return torch.stack(said)


def test_the_recurrent_net_s_feature_is_the_mean_of_what_it_says_after_each_frame():
    torch.manual_seed(0)
    recurrent = Recurrent(8, (4, 2), Options(hidden=5))
    maps = some_maps()
    feature, weights = recurrent(maps)
    assert weights is None and recurrent.channels == 5
    for clip in range(2):
        assert_close(feature[clip], naive_lstm(recurrent.lstm, maps[clip].mean((2, 3))).mean(0))


@pytest.mark.parametrize("aggregation, heeds", [("pooling", False), ("attention", True), ("rnn", True), ("3d", True)])
def test_all_but_pooling_heed_the_order_of_the_frames(aggregation, heeds):
    network = small_network(Options(aggregation=aggregation)).eval()
    if aggregation == "attention":
        network.aggregation.scores.neighbours.weight.data += torch.tensor([0.0, 0.0, 1.0])
    one, other = network(some_clips()).feature, network(some_clips()[:, [2, 0, 3, 1]]).feature
    assert torch.allclose(one, other, rtol=1e-4, atol=1e-5) != heeds


# ---- a 2-D trunk made 3-D ----


def test_an_inflated_convolution_is_one_over_time_whose_first_and_last_frame_stand_twice():
    torch.manual_seed(0)
    flat = torch.nn.Conv2d(4, 6, 3, stride=2, padding=1, bias=False)
    inflated = InflatedConv(flat)
    torch.nn.init.normal_(inflated.weight)
    inflated.frames = 5
    frames = torch.randn(2 * 5, 4, 8, 6)
    volume = frames.unflatten(0, (2, 5)).transpose(1, 2)  # (B, C, T, H, W)
    ends_twice = torch.cat([volume[:, :, :1], volume, volume[:, :, -1:]], dim=2)
    kernel = inflated.weight.unflatten(1, (3, 4)).transpose(1, 2)  # (O, C, 3, 3, 3)
    expected = F.conv3d(ends_twice, kernel, stride=(1, 2, 2), padding=(0, 1, 1))
    assert_close(inflated(frames), expected.transpose(1, 2).flatten(0, 1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("spec", TRUNKS, ids=["BasicBlocks", "Bottlenecks"])
def test_a_clip_of_equal_frames_gives_what_its_frame_gives_in_2_d(spec):
    torch.manual_seed(0)
    trunk = build_trunk(spec).eval()
    clips = some_clips(2, 1, 32, 16).expand(-1, 3, -1, -1, -1)
    with torch.no_grad():
        flat = frame_maps(trunk, clips)
        found = clip_maps(inflate(trunk, "block"), clips)
    assert flat.std() > 0.01
    assert_close(found, flat, rtol=1e-3, atol=1e-4)


def test_a_frame_is_seen_by_as_many_frames_as_blocks_look_around():
    """Each of the small trunk's four blocks sees one frame to each side."""
    torch.manual_seed(0)
    trunk = inflate(build_trunk(Trunk("small", 8, "none")).eval(), "block")
    clips = some_clips(1, 12)
    other = clips.clone()
    other[:, 0] += 1
    changed = (clip_maps(trunk, clips) - clip_maps(trunk, other)).abs().amax((0, 2, 3, 4))
    assert changed.nonzero().flatten().tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "spec, scope, number",
    [(TRUNKS[0], "block", 4), (TRUNKS[0], "stage", 4), (TRUNKS[1], "block", 16), (TRUNKS[1], "stage", 4)],
)
def test_one_3x3_convolution_of_every_block_or_of_the_last_of_each_stage_is_inflated(spec, scope, number):
    with torch.device("meta"):
        trunk = build_trunk(spec)
        names = list(trunk.state_dict())
        inflate(trunk, scope)
    inflated = [module for module in trunk.modules() if isinstance(module, InflatedConv)]
    assert len(inflated) == number
    assert all(module.weight.shape[2:] == (3, 3) for module in inflated)
    assert list(trunk.state_dict()) == names


def test_the_2_d_weights_of_a_training_are_loaded_and_then_inflated(tmp_path):
    flat = small_network()
    torch.save(flat.state_dict(), tmp_path / "weights.pt")
    network = build(Options(aggregation="3d"), SMALL, FEW, tmp_path / "weights.pt")
    for name, value in flat.trunk.state_dict().items():
        found = network.trunk.state_dict()[name]
        expected = value if found.shape == value.shape else value.repeat(1, 3, 1, 1) / 3
        assert_close(found, expected)


def test_inflated_weights_are_what_a_3_d_training_is_loaded_from():
    trained = small_network(Options(aggregation="3d"))
    for weight in trained.parameters():
        weight.data += 0.01
    other = small_network(Options(aggregation="3d"))
    other.load_state_dict(trained.state_dict())
    assert_close(other.eval()(some_clips()).embedding, trained.eval()(some_clips()).embedding)


# ---- the network ----


def test_in_the_unified_recipe_pooling_is_our_baseline_itself():
    """The same weights by the same names from the same seed, the same terms, and distances of the same order."""
    pooling = small_network()
    torch.manual_seed(0)
    baseline = multitask.build(multitask.Options(), replace(SMALL, method="multitask"), FEW)
    assert list(pooling.state_dict()) == list(baseline.state_dict())
    for name, value in baseline.state_dict().items():
        assert torch.equal(pooling.state_dict()[name], value), name
    one, other = pooling(some_clips()), baseline(some_clips())
    assert torch.equal(one.embedding, other.embedding)
    labels = Labels(PIDS, {})
    assert terms(one, labels, Options()) == multitask.terms(other, labels, multitask.Options())
    embedded = one.embedding.detach().numpy()
    finished = METHOD.finish(embedded, Options(), None)
    by_pooling = DISTANCES[METHOD.distance](finished, finished)
    by_baseline = DISTANCES[multitask.METHOD.distance](embedded, embedded)
    np.testing.assert_allclose(by_pooling**2 / 2, by_baseline, atol=1e-6)


def network_of_the_paper(aggregation, last_stride=1, **options):
    with torch.device("meta"):
        spec = replace(PAPER, trunk=replace(PAPER.trunk, last_stride=last_stride))
        return build(Options(aggregation=aggregation, **options), spec, MARS).eval()


def giga_multiplications(network) -> float:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.empty(1, 4, 3, 256, 128, device="meta"))
    return counter.get_total_flops() / 2e9


@pytest.mark.parametrize("aggregation", ["pooling", "attention", "rnn"])
def test_what_joins_four_frames_costs_little_beside_their_16_21_gmac(aggregation):
    """The meta device takes an LSTM for the products it is made of; the CPU's own kernel would count as nothing."""
    assert giga_multiplications(network_of_the_paper(aggregation)) == pytest.approx(16.21, abs=0.025)


def test_the_recurrent_net_s_products_are_counted():
    products = 4 * 4 * 512 * (2048 + 512)  # frames, gates, outputs, inputs
    extra = giga_multiplications(network_of_the_paper("rnn")) - giga_multiplications(network_of_the_paper("pooling"))
    classifier = 625 * (512 - 2048)
    assert extra * 1e9 == pytest.approx(products + classifier, abs=1)


@pytest.mark.parametrize("scope, giga, millions", [("block", 31.31, 46.14), ("stage", 20.44, 29.77)])
def test_an_inflated_convolution_costs_three_times_as_much(scope, giga, millions):
    """Each 3×3 convolution of ResNet-50 takes 75.5 M multiplications a frame, in the last stage 302 M."""
    network = network_of_the_paper("3d", inflated=scope)
    assert giga_multiplications(network) == pytest.approx(giga, abs=0.005)
    assert sum(weight.numel() for weight in network.trunk.parameters()) / 1e6 == pytest.approx(millions, abs=0.01)
    number = {"block": 13 * 75.5 + 3 * 302, "stage": 3 * 75.5 + 302}[scope]
    assert giga_multiplications(network) - 16.214 == pytest.approx(4 * 2 * number / 1e3, abs=0.01)


@pytest.mark.parametrize(
    "aggregation, last_stride, millions",
    [("pooling", 1, 0), ("attention", 1, 0.53), ("attention", 2, 16.78), ("rnn", 1, 5.25)],
)
def test_the_aggregation_has_the_parameters_of_its_layers(aggregation, last_stride, millions):
    """Attention: 2048 → 256 on a pooled map, or, as natively, an 8×4 kernel on the map of last stride 2."""
    kernel = "gap" if last_stride == 1 else "map"
    network = network_of_the_paper(aggregation, last_stride, attention_kernel=kernel)
    found = sum(weight.numel() for weight in network.aggregation.parameters()) / 1e6
    assert found == pytest.approx(millions, abs=0.005)


def test_the_native_classifier_stands_on_the_feature_itself():
    network = network_of_the_paper("pooling", 2, neck=False)
    assert sum(weight.numel() for weight in network.head.parameters()) == 2048 * 625 + 625
    outputs = network(torch.empty(1, 4, 3, 256, 128, device="meta"))
    assert outputs.embedding is outputs.feature


def assert_trained(network, options, clips, pids):
    """All that is learned has a gradient, and it is finite."""
    found = terms(network(clips), Labels(pids, {}), options)
    torch.stack(list(found.values())).sum().backward()
    for name, weight in network.named_parameters():
        if weight.requires_grad:
            assert weight.grad is not None and weight.grad.isfinite().all() and weight.grad.any(), name


def test_at_the_paper_s_scale_a_step_reaches_every_weight():
    torch.manual_seed(0)
    options = Options(aggregation="3d")
    assert_trained(build(options, PAPER, MARS), options, some_clips(2, 2, 256, 128), torch.tensor([0, 7]))


@pytest.mark.parametrize("recipe", [{}, NATIVE])
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_with_the_small_trunk_a_step_reaches_every_weight(aggregation, recipe):
    options = Options(aggregation=aggregation, attention_relu=False, **recipe)
    assert_trained(small_network(options), options, some_clips(), PIDS)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_clips_may_be_of_any_length_and_know_nothing_of_each_other_in_testing(aggregation):
    network = small_network(Options(aggregation=aggregation)).eval()
    for frames in (4, 1, 7):
        clips = some_clips(3, frames)
        assert_close(network(clips).embedding[:1], network(clips[:1]).embedding, rtol=1e-4, atol=1e-5)


def test_the_weights_of_the_frames_are_shown_as_attention():
    outputs = small_network(Options(aggregation="attention"))(some_clips())
    assert outputs.attention["frames"].shape == (6, 4, 8, 4)
    assert_close(outputs.attention["frames"].sum(1), torch.ones(6, 8, 4))
    assert not small_network()(some_clips()).attention


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_features_are_not_rounded_where_the_network_is(aggregation):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = small_network(Options(aggregation=aggregation))(some_clips())
    for value in (outputs.feature, outputs.embedding):
        assert value.dtype == torch.float32
        assert not torch.equal(value, value.bfloat16().float())


# ---- loss and test ----


@pytest.mark.parametrize("options", [Options(), Options(**NATIVE, margin=0.5)])
def test_the_loss_is_softmax_and_triplet_by_the_distance_of_the_recipe(options):
    outputs = small_network(options)(some_clips())
    measure = losses.euclidean_distances if options.distance == "euclidean" else losses.cosine_distances
    assert_close(
        terms(outputs, Labels(PIDS, {}), options),
        {
            "softmax": losses.softmax_loss(outputs.logits, PIDS, options.label_smoothing),
            "triplet": losses.batch_hard_triplet(measure(outputs.feature), PIDS, options.margin),
        },
    )


def test_what_is_stored_has_unit_length_but_where_the_distance_is_euclidean():
    features = np.array([[3.0, 4.0], [0.0, 0.0]], np.float32)
    assert METHOD.finish(features, Options(), None).tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [0.0, 0.0]]
    assert METHOD.finish(features, Options(distance="euclidean"), None) is features


@pytest.mark.parametrize(
    "options, told",
    [
        ({"aggregation": "max"}, "aggregation: 'max' is none of pooling, attention, rnn, 3d"),
        ({"attention_kernel": "full"}, "attention_kernel: 'full' is none of map, gap"),
        ({"attention_weights": "relu"}, "attention_weights: 'relu' is none of softmax, sigmoid"),
        ({"inflated": "all"}, "inflated: 'all' is none of block, stage"),
        ({"distance": "hamming"}, "distance: 'hamming' is none of cosine, euclidean"),
        ({"hidden": 0}, "hidden: 0 is not at least 1"),
        ({"attention_channels": -1}, "attention_channels: -1 is not at least 1"),
        ({"margin": -0.1}, "margin: -0.1 is not at least 0"),
        ({"label_smoothing": -0.1}, "label_smoothing: -0.1 is not at least 0 and below 1"),
        ({"lstm": 3}, "unknown key 'lstm'"),
    ],
)
def test_a_bad_option_is_refused_by_its_key_and_its_model(options, told):
    with pytest.raises(InputError, match=f"^models.gao: {told}"):
        METHOD.settings(replace(SMALL, options=options))


def test_the_method_is_found_by_its_name():
    method = methods.load("temporal")
    assert (method.train_clips, method.test_clips, method.pool) == ("successive", "dense", "mean")
