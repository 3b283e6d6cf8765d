"""CASE: snippets, how two of them are compared, and what teaches it."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

import tiny
from killed import on_cpu
from vreid import embed, losses, train
from vreid.distances import snippet_distance
from vreid.errors import InputError
from vreid.models.case import METHOD, Options, PairHead, attended, build, pair_loss, parameters, remember, terms
from vreid.models.method import Labels, Population
from vreid.progress import Progress
from vreid.score import read_features
from vreid.spec import Clips, Spec, Training, Trunk

MARS = Population(people=625, attributes={})
FEW = Population(people=5, attributes={})
SMALL = Spec(model="m", seed=0, trunk=Trunk("small", 8, "none"), clips=Clips(frames=3, height=64, width=32))
ATTENTION = ("co", "self", "mean")


@pytest.fixture(scope="module", autouse=True)
def one_thread_on_the_cpu():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        on_cpu(patch.setattr)
        yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


def settings(**options) -> Options:
    return METHOD.settings(replace(SMALL, options={"width": 6, **options}))


def small_network(options: Options):
    """Of five people, who are remembered already."""
    torch.manual_seed(0)
    network = build(options, SMALL, FEW)
    network.oim.memory.copy_(F.normalize(torch.randn(5, options.width), dim=1))
    return network


def some_clips(number=8, frames=3):
    return torch.randn(number, frames, 3, 64, 32, generator=torch.Generator().manual_seed(1))


def some_labels():
    """Two people with four snippets each."""
    return Labels(torch.tensor([0, 0, 0, 0, 3, 3, 3, 3]), {})


def projected(projection, frames):
    return projection(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])


# ---- size ----


def paper_scale(last_stride=1, **options):
    """The network at the paper's scale, without memory for its values."""
    spec = Spec("m", 0, trunk=Trunk(weights="none", last_stride=last_stride), clips=Clips(frames=8))
    with torch.device("meta"):
        return build(Options(**options), spec, MARS).eval()


@pytest.mark.parametrize("last_stride, expected", [(1, 32.43), (2, 21.36)])
def test_it_takes_32_gmac_a_snippet_of_eight_frames_or_21_with_last_stride_2(last_stride, expected):
    snippet = torch.empty(1, 8, 3, 256, 128, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        paper_scale(last_stride)(snippet)
    assert counter.get_total_flops() / 2e9 == pytest.approx(expected, abs=0.01)


def test_three_heads_of_128_channels_add_0_8_million_parameters_to_the_trunk():
    network = paper_scale()
    trunk = sum(weight.numel() for weight in network.trunk.parameters())
    heads = sum(weight.numel() for weight in network.parameters()) - trunk
    assert trunk == 23_508_032
    assert heads == 3 * (2048 * 128 + 3 * 128) + 2 * 128 + 2 * 129
    assert network.oim.memory.shape == (625, 128)


@pytest.mark.parametrize("attention, channels", [("co", 128 * 17), ("self", 128), ("mean", 128)])
def test_a_snippet_of_eight_frames_is_stored_in_as_many_channels_as_its_comparison_needs(attention, channels):
    outputs = paper_scale(attention=attention)(torch.empty(2, 8, 3, 256, 128, device="meta"))
    assert outputs.embedding.shape == (2, channels)
    assert outputs.feature.shape == (2, 128)
    assert outputs.logits.shape == (2, 625)


def unreached(network, outputs, labels, options):
    """The weights that a step gives no gradient, or one that is not finite."""
    found = terms(outputs, labels, options)
    sum(found.values()).backward()
    assert all(torch.isfinite(term) for term in found.values())
    gradients = {name: weight.grad for name, weight in network.named_parameters()}
    return {name for name, gradient in gradients.items() if gradient is None or not gradient.isfinite().all()}


@pytest.mark.parametrize("attention", ATTENTION)
def test_a_step_reaches_every_weight(attention):
    options = settings(attention=attention)
    network = small_network(options)
    assert not unreached(network, network(some_clips()), some_labels(), options)


def test_a_step_at_the_paper_s_scale_reaches_every_weight():
    spec = Spec("m", 0, trunk=Trunk(weights="none"), clips=Clips(frames=2))
    network = build(Options(), spec, MARS)
    labels, outputs = Labels(torch.tensor([7, 7, 600, 600]), {}), network(torch.randn(4, 2, 3, 256, 128))
    assert not unreached(network, outputs, labels, Options())
    remember(network, outputs, labels)
    remembered = network.oim.memory.norm(dim=1)
    assert_close(remembered[[7, 600]], torch.ones(2))
    assert remembered.sum() == pytest.approx(2)


# ---- what a snippet becomes ----


def test_a_channel_s_frames_are_weighted_by_the_softmax_of_its_query_and_keys():
    generator = torch.Generator().manual_seed(3)
    query, keys, values = (torch.randn(*shape, generator=generator) for shape in ((4,), (3, 4), (3, 4)))
    expected = []
    for c in range(4):
        powers = [math.exp(query[c] * keys[t, c]) for t in range(3)]
        expected.append(sum(power / sum(powers) * float(values[t, c]) for t, power in enumerate(powers)))
    assert_close(attended(query, keys, values), torch.tensor(expected))


def test_equal_keys_weight_all_frames_alike():
    values = torch.randn(3, 4)
    assert_close(attended(torch.randn(4), torch.ones(3, 4), values), values.mean(0))


def test_a_snippet_s_own_query_is_the_mean_of_its_frames_and_its_values_have_unit_length():
    network, clips = small_network(settings(attention="self")).eval(), some_clips()
    outputs = network(clips)
    frames = network.trunk(clips.flatten(0, 1)).mean((2, 3)).unflatten(0, (8, 3))
    values = projected(network.value, frames)
    values = values / values.norm(dim=2, keepdim=True)
    query = projected(network.query, frames).mean(1)
    expected = attended(query, projected(network.key, frames), values)
    assert_close(outputs.extra["values"], values)
    assert_close(outputs.feature, expected)
    assert_close(outputs.embedding, expected)


def test_for_co_attention_the_query_the_keys_and_the_values_are_stored():
    network, clips = small_network(settings()).eval(), some_clips()
    outputs = network(clips)
    query, keys, values = outputs.embedding.split([6, 18, 18], dim=1)
    frames = network.trunk(clips.flatten(0, 1)).mean((2, 3)).unflatten(0, (8, 3))
    assert_close(query, projected(network.query, frames).mean(1))
    assert_close(keys.unflatten(1, (3, 6)), projected(network.key, frames))
    assert_close(values.unflatten(1, (3, 6)), outputs.extra["values"])
    assert_close(outputs.feature, attended(query, keys.unflatten(1, (3, 6)), values.unflatten(1, (3, 6))))


def test_the_mean_of_the_values_needs_no_query_no_key_and_no_pair_head():
    network = small_network(settings(attention="mean"))
    assert {name.split(".")[0] for name, _ in network.named_parameters()} == {"trunk", "value"}
    outputs = network(some_clips())
    assert_close(outputs.embedding, outputs.extra["values"].mean(1))
    assert "pairs" not in outputs.extra


def test_in_testing_a_snippet_does_not_depend_on_the_others():
    network, clips = small_network(settings()).eval(), some_clips(5)
    assert_close(network(clips).embedding[:1], network(clips[:1]).embedding)


def test_rounded_feature_maps_do_not_round_what_is_compared():
    network = small_network(settings())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = network(some_clips())
    tensors = (outputs.feature, outputs.embedding, outputs.logits, *outputs.extra.values())
    assert {tensor.dtype for tensor in tensors} == {torch.float32}
    assert_close(outputs.extra["values"].norm(dim=2), torch.ones(8, 3), atol=1e-6, rtol=0)


# ---- pairs ----


@pytest.mark.parametrize("attention", ["co", "self"])
def test_snippets_at_even_places_are_paired_with_all_at_odd_ones_by_the_probe_s_query(attention):
    network, clips = small_network(settings(attention=attention)), some_clips()
    network.pair.eval()  # with the statistics of testing, so that each pair can be taken on its own
    outputs = network(clips)
    frames = network.trunk(clips.flatten(0, 1)).mean((2, 3)).unflatten(0, (8, 3))
    query, keys = projected(network.query, frames).mean(1), projected(network.key, frames)
    values, expected = outputs.extra["values"], torch.zeros(4, 4)
    for p in range(4):
        for g in range(4):
            asks = query[2 * p] if attention == "co" else query[2 * g + 1]
            probe = attended(query[2 * p], keys[2 * p], values[2 * p])
            gallery = attended(asks, keys[2 * g + 1], values[2 * g + 1])
            different, same = network.pair.classifier(network.pair.norm((probe - gallery)[None] ** 2))[0]
            expected[p, g] = torch.log(same.exp() / different.exp())
    assert_close(outputs.extra["pairs"], expected, atol=1e-4, rtol=1e-4)


def moved_head(width):
    """A pair head with statistics that are not those it starts from."""
    torch.manual_seed(4)
    head = PairHead(width)
    for values in (head.norm.weight, head.norm.bias, head.norm.running_mean):
        values.detach().normal_()
    head.norm.running_var.uniform_(0.5, 2)
    return head.eval()


def test_the_normalisation_of_the_pair_head_folds_into_a_weight_and_a_bias():
    head, probes, gallery = moved_head(6), torch.randn(7, 6), torch.randn(7, 6)
    weight, bias = head.folded()
    assert_close((probes - gallery).square() @ weight + bias, head(probes, gallery))
    similarity = head.classifier(head.norm((probes - gallery) ** 2)).softmax(dim=1)[:, 1]
    assert_close(head(probes, gallery).sigmoid(), similarity)


@pytest.mark.parametrize("attention", ["co", "self"])
def test_the_distance_of_two_stored_snippets_is_what_the_network_says_of_the_pair(attention):
    options = settings(attention=attention)
    network = small_network(options).eval()
    network.pair = moved_head(6)
    outputs = network(some_clips())
    stored = outputs.embedding.detach().numpy()[:, None]
    found = snippet_distance(stored[0::2], stored[1::2], **parameters(network, options))
    network.training = True  # so that it pairs, by the statistics of testing
    assert_close(torch.from_numpy(found).float(), 1 - network(some_clips()).extra["pairs"].sigmoid())


def test_the_mean_of_snippets_is_compared_by_cosine():
    options = settings(attention="mean", fraction=1.0)
    network = small_network(options).eval()
    stored = network(some_clips()).embedding.detach()
    found = snippet_distance(stored[:, None].numpy(), stored[:, None].numpy(), **parameters(network, options))
    assert_close(torch.from_numpy(found).float(), losses.cosine_distances(stored), atol=1e-5, rtol=0)


# ---- losses ----


def weighted_bce(probabilities, same, negatives):
    """As the released code has it: weights rescaled to a total of .1, their weighted sum times 100."""
    positive = sum(map(sum, same))
    weights = [[1 if s else negatives * positive / (len(row) * len(same) - positive) for s in row] for row in same]
    total = sum(map(sum, weights))
    loss = 0
    for row, ours, heavy in zip(probabilities, same, weights):
        for m, s, weight in zip(row, ours, heavy):
            loss += 0.1 * weight / total * -(math.log(m) if s else math.log(1 - m))
    return 100 * loss


@pytest.mark.parametrize("negatives", [3.0, 1.0])
def test_the_pair_loss_weighs_all_negatives_together_three_times_the_positives(negatives):
    logits = torch.randn(4, 4, generator=torch.Generator().manual_seed(5))
    same = torch.tensor([[True, True, False, False], [True, False, False, False], *[[False] * 4] * 2])
    expected = weighted_bce(logits.sigmoid().tolist(), same.tolist(), negatives)
    assert 10 * float(pair_loss(logits, same, negatives)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("value", [True, False])
def test_pairs_of_one_kind_alone_are_averaged(value):
    loss = pair_loss(torch.tensor([[0.0, 0.0]]), torch.tensor([[value, value]]))
    assert float(loss) == pytest.approx(math.log(2))


def test_the_terms_are_oim_of_every_frame_and_ten_times_the_pair_loss():
    options = settings()
    network, labels = small_network(options), some_labels()
    outputs = network(some_clips())
    found = terms(outputs, labels, options)
    by_frame = []
    for values, person in zip(outputs.extra["values"].detach(), labels.pids):
        for value in values:
            powers = [math.exp(30 * float(value @ entry)) for entry in network.oim.memory]
            by_frame.append(-math.log(powers[person] / sum(powers)))
    same = [[(row < 2) == (column < 2) for column in range(4)] for row in range(4)]
    assert list(found) == ["oim", "pairs"]
    assert float(found["oim"].detach()) == pytest.approx(sum(by_frame) / 24, rel=1e-4)
    expected = weighted_bce(outputs.extra["pairs"].sigmoid().tolist(), same, 3)
    assert float(found["pairs"].detach()) == pytest.approx(expected, rel=1e-4)
    assert list(terms(outputs, labels, settings(attention="mean"))) == ["oim"]


def test_after_a_step_every_frame_is_remembered_under_its_person():
    network, labels = small_network(settings()), some_labels()
    expected = network.oim.memory.clone()
    outputs = network(some_clips())
    for values, person in zip(outputs.extra["values"].detach(), labels.pids):
        for value in values:
            expected[person] = F.normalize(0.5 * expected[person] + 0.5 * value, dim=0)
    remember(network, outputs, labels)
    assert_close(network.oim.memory, expected)


def test_the_pair_loss_stands_at_its_collapse_where_all_snippets_are_alike():
    logits = torch.full((4, 4), math.log(0.25 / 0.75))
    alike = 10 * float(pair_loss(logits, torch.eye(4, dtype=torch.bool)))
    assert METHOD.collapsed(settings()) == {"pairs": pytest.approx(alike)}
    others = [10 * float(pair_loss(logits + shift, torch.eye(4, dtype=torch.bool))) for shift in (-0.1, 0.1)]
    assert alike < min(others)
    assert METHOD.collapsed(settings(attention="mean")) == {}


# ---- a whole training ----


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    tiny.index(tiny.write_dataset(root), root / "annotated.csv.gz")
    return root


def trained(world, out, **options):
    clips = Clips(frames=2, height=tiny.HEIGHT, width=tiny.WIDTH, stride=1, validation_clips=1)
    training = Training(epochs=4, people=4, clips=2, batch="cameras", validate_every=2, precision="float32")
    run = replace(SMALL, method="case", clips=clips, training=training, options={"width": 6, **options})
    run.save(out / "spec.json")
    train.train(out / "spec.json", world / "annotated.csv.gz", world, "tiny", "queries-removed", out)
    return out


@pytest.mark.parametrize("attention", ATTENTION)
def test_what_is_trained_is_embedded_in_snippets_and_read_again(world, tmp_path, attention):
    run, index = trained(world, tmp_path, attention=attention), world / "annotated.csv.gz"
    embed.embed(run / "spec.json", run / "weights.pt", index, world, "tiny", run / "features.npz")
    arrays, origin = read_features(run / "features.npz")
    assert arrays["features"].shape == (14, 3, {"co": 30}.get(attention, 6))
    assert np.isnan(arrays["features"][..., 0]).any(axis=1).sum() > 0
    assert origin["distance"] == "snippets"


def test_an_interrupted_training_goes_on_with_what_it_remembered(world, tmp_path, monkeypatch):
    whole = trained(world, tmp_path / "whole")
    step, steps = Progress.step, []

    def interrupted(self, *arguments, **options):
        steps.append(1)
        if len(steps) == 5:
            raise KeyboardInterrupt
        return step(self, *arguments, **options)

    monkeypatch.setattr(train, "CHECKPOINT_SECONDS", 0)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Progress, "step", interrupted)
        trained(world, tmp_path / "resumed")
    resumed = trained(world, tmp_path / "resumed")
    one, other = (torch.load(run / "weights.pt", weights_only=True) for run in (whole, resumed))
    assert one["oim.memory"].norm(dim=1).sum() == pytest.approx(8)
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


# ---- options ----


@pytest.mark.parametrize(
    "options, told",
    [
        ({"attention": "cross"}, "attention: 'cross' is none of co, self, mean"),
        ({"fraction": 0.0}, "fraction: 0.0 is not above 0 and at most 1"),
        ({"fraction": 1.5}, "fraction: 1.5 is not"),
        ({"momentum": 1.0}, "momentum: 1.0 is not at least 0 and below 1"),
        ({"width": 0}, "width: 0 is not above 0"),
        ({"scale": -1.0}, "scale: -1.0 is not above 0"),
        ({"negatives": 0.0}, "negatives: 0.0 is not above 0"),
        ({"pair_weight": -0.1}, "pair_weight: -0.1 is not at least 0"),
        ({"margin": 0.3}, "unknown key 'margin'"),
    ],
)
def test_a_bad_option_is_refused_by_its_key_and_its_model(options, told):
    with pytest.raises(InputError, match=f"^models.m: {told}"):
        settings(**options)


@pytest.mark.parametrize(
    "training, told",
    [
        (Training(clips=3), r"training\.clips: of 3 clips a person, one has no other"),
        (Training(batch="tracklets"), r"training\.batch: tracklets of any people make no pairs"),
    ],
)
def test_a_batch_that_cannot_be_paired_is_refused_unless_there_are_no_pairs(training, told):
    with pytest.raises(InputError, match=rf"^models\.m: {told}"):
        build(settings(), replace(SMALL, training=training), FEW)
    build(settings(attention="mean"), replace(SMALL, training=training), FEW)
