"""The networks: their size, what flows where in them, and what they start from."""

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import resnet50

from vreid import losses
from vreid.data.attributes import IRRELEVANT, RELEVANT_DUKE, RELEVANT_MARS
from vreid.errors import InputError
from vreid.models import method as methods
from vreid.models.method import Labels, Outputs, Population
from vreid.models.multitask import METHOD, STREAMS, Options, build, terms
from vreid.models.streams import AttributeStream, SpatialAttention, SpatioTemporalAttention, attended_pool
from vreid.models.trunk import build_trunk, head_width
from vreid.spec import Clips, Spec, Trunk, resolve

CONFIG = yaml.safe_load((Path(__file__).parents[1] / "config/config.yaml").read_text())
MARS = Population(people=625, attributes={"irrelevant": IRRELEVANT, "relevant": RELEVANT_MARS})
FEW = Population(people=5, attributes={"irrelevant": IRRELEVANT, "relevant": RELEVANT_DUKE})
ALL_LOSSES = ("softmax", "triplet", "attributes", "aitl")
SMALL = Spec(model="m", seed=0, trunk=Trunk("small", 8, "none"), clips=Clips(frames=4, height=64, width=32))
COMBINATIONS = [streams for n in (1, 2, 3) for streams in itertools.combinations(STREAMS, n)]


def recipe(name: str, **changes) -> Options:
    """The options of a model with all streams and losses under a recipe of the configuration."""
    row = {"streams": list(STREAMS), "losses": list(ALL_LOSSES), **CONFIG["recipes"][name]["multitask"]}
    return METHOD.settings(replace(SMALL, options=row | changes))


def small_network(options: Options):
    torch.manual_seed(0)
    return build(options, SMALL, FEW)


def some_clips(number=6, frames=4):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(number, frames, 3, 64, 32, generator=generator)


def some_labels():
    """Two people with three clips each, one clip not annotated."""
    generator = torch.Generator().manual_seed(2)
    annotated = torch.tensor([True] * 5 + [False])
    outputs = {group: FEW.outputs(group) for group in FEW.attributes}.items()
    attributes = {g: ((torch.rand(6, n, generator=generator) < 0.3).float(), annotated) for g, n in outputs}
    return Labels(torch.tensor([0, 0, 0, 3, 3, 3]), attributes, FEW.attributes)


def reached(value, module) -> bool:
    """Whether any gradient of `value` arrives at the module's weights."""
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    found = torch.autograd.grad(value, weights, allow_unused=True, retain_graph=True)
    return any(gradient is not None and gradient.abs().sum() > 0 for gradient in found)


# ---- size ----


@pytest.fixture(scope="module")
def released_model():
    """The full model at the paper's scale, without memory for its values."""
    options = recipe("released")
    with torch.device("meta"):
        return build(options, Spec("m", 0, trunk=Trunk(weights="none")), MARS).eval()


def giga_multiplications(module, inputs) -> float:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(inputs)
    return counter.get_total_flops() / 2e9


def test_the_released_model_has_36_million_parameters(released_model):
    parameters = sum(weight.numel() for weight in released_model.parameters())
    assert parameters / 1e6 == pytest.approx(36.05, abs=0.005)


def test_the_released_model_takes_20_54_gmac_a_clip_of_four_frames(released_model):
    clip = torch.empty(1, 4, 3, 256, 128, device="meta")
    assert giga_multiplications(released_model, clip) == pytest.approx(20.54, abs=0.01)


def test_resnet50_with_last_stride_1_takes_16_21_gmac_for_four_frames(released_model):
    frames = torch.empty(4, 3, 256, 128, device="meta")
    assert giga_multiplications(released_model.trunk, frames) == pytest.approx(16.21, abs=0.005)


def test_the_three_streams_of_resnet50_give_a_feature_of_6144(released_model):
    outputs = released_model(torch.empty(2, 4, 3, 256, 128, device="meta"))
    assert outputs.feature.shape == outputs.embedding.shape == (2, 6144)
    assert outputs.logits.shape == (2, 625)
    assert {group: logits.shape for group, logits in outputs.attributes.items()} == {
        "irrelevant": (2, 25),
        "relevant": (2, 41),
    }


@pytest.mark.parametrize(
    "trunk, frame, expected",
    [
        (Trunk("resnet50", 64, "none"), (256, 128), (2048, 16, 8)),
        (Trunk("small", 16, "none"), (64, 32), (128, 8, 4)),
        (Trunk("small", 8, "none"), (96, 48), (64, 12, 6)),
    ],
)
def test_the_trunk_shrinks_frames_without_the_last_stride(trunk, frame, expected):
    with torch.device("meta"):
        network = build_trunk(trunk)
        maps = network(torch.empty(2, 3, *frame))
    assert maps.shape == (2, *expected)
    assert network.channels == expected[0]


@pytest.mark.parametrize("size", [(64, 32), (128, 64), (96, 40)])
def test_the_streams_take_the_size_of_the_map_from_the_trunk(size):
    spec = replace(SMALL, clips=Clips(frames=2, height=size[0], width=size[1]))
    network = build(recipe("paper"), spec, FEW)
    outputs = network(torch.randn(2, 2, 3, *size))
    assert outputs.attention["relevant"].shape == (2, 2, size[0] // 8, size[1] // 8)


# ---- streams ----


@pytest.mark.parametrize("streams", COMBINATIONS)
def test_each_stream_adds_the_channels_of_the_trunk_to_the_feature(streams):
    options = Options(streams=streams, losses=("softmax", "triplet", "attributes"))
    network = small_network(options)
    outputs = network(some_clips())
    assert outputs.feature.shape == outputs.embedding.shape == (6, len(streams) * 64)
    assert set(outputs.attributes) == (set(streams) - {"reid"} or {"irrelevant", "relevant"})


def test_a_baseline_builds_no_attribute_stream():
    network = small_network(Options())
    assert not list(network.attribute_streams.parameters())
    assert not network(some_clips()).attributes


def test_attribute_losses_without_attribute_streams_in_the_feature_still_recognise_both_groups():
    network = small_network(Options(losses=ALL_LOSSES))
    outputs = network(some_clips())
    assert outputs.feature.shape == (6, 64)
    assert set(outputs.attributes) == {"irrelevant", "relevant"}


def test_the_feature_joins_the_original_map_then_the_attended_ones():
    network = small_network(recipe("paper")).eval()
    clips = some_clips()
    outputs = network(clips)
    maps = network.trunk(clips.flatten(0, 1)).unflatten(0, (6, 4))
    attended = [maps * outputs.attention[group][:, :, None] for group in ("irrelevant", "relevant")]
    expected = torch.cat([part.mean((1, 3, 4)) for part in (maps, *attended)], dim=1)
    assert_close(outputs.feature, expected)


def test_the_released_re_id_attention_comes_before_the_attribute_attention():
    network = small_network(recipe("released")).eval()
    clips = some_clips()
    outputs = network(clips)
    maps = network.trunk(clips.flatten(0, 1)).unflatten(0, (6, 4))
    first = maps * outputs.attention["reid"][:, :, None]
    attended = [first * outputs.attention[group][:, :, None] for group in ("irrelevant", "relevant")]
    expected = torch.cat([part.mean((1, 3, 4)) for part in (first, *attended)], dim=1)
    assert_close(outputs.feature, expected)
    assert_close(outputs.attention["relevant"], network.attribute_streams["relevant"](maps).attention)


def test_the_order_in_which_streams_are_named_means_nothing():
    one = small_network(recipe("paper", streams=["relevant", "reid"]))
    other = small_network(recipe("paper", streams=["reid", "relevant"]))
    assert_close(one.eval()(some_clips()).feature, other.eval()(some_clips()).feature)


@pytest.mark.parametrize("attends_input", [False, True])
def test_attributes_are_recognised_on_the_convolved_map_or_on_the_stream_s_input(attends_input):
    torch.manual_seed(0)
    stream = AttributeStream(8, 4, 2, outputs=5, attends_input=attends_input).eval()
    maps = torch.randn(3, 4, 8, 4, 2).relu()
    attention, logits = stream(maps)
    seen = maps if attends_input else stream.convolution(maps.flatten(0, 1)).unflatten(0, (3, 4))
    assert_close(logits, stream.classifier((seen * attention[:, :, None]).mean((1, 3, 4))))


@pytest.mark.parametrize("attention", [SpatioTemporalAttention(8, 4, 2), SpatialAttention(8)])
@pytest.mark.parametrize("frames", [1, 2, 4, 8])
def test_attention_is_a_number_from_0_to_1_for_every_frame_and_position(attention, frames):
    found = attention(torch.randn(3, frames, 8, 4, 2) * 100)
    assert found.shape == (3, frames, 4, 2)
    assert 0 <= found.min() < 0.5 < found.max() <= 1


def changed_frames(attention) -> list[int]:
    """Which frames' attention changes when the first of six frames changes."""
    maps = torch.randn(1, 6, 8, 4, 2)
    other = maps.clone()
    other[:, 0] += 1
    difference = (attention(maps) - attention(other)).abs().amax((0, 2, 3))
    return difference.nonzero().flatten().tolist()


def test_temporal_attention_looks_at_the_neighbouring_frames():
    assert changed_frames(SpatioTemporalAttention(8, 4, 2)) == [0, 1]
    assert changed_frames(SpatialAttention(8)) == [0]


def test_pooling_is_the_mean_over_time_and_space():
    maps, attention = torch.randn(2, 3, 5, 4, 2), torch.rand(2, 3, 4, 2)
    assert_close(attended_pool(maps), maps.mean((1, 3, 4)))
    by_hand = torch.einsum("btchw,bthw->bc", maps, attention) / (3 * 4 * 2)
    assert_close(attended_pool(maps, attention), by_hand)


# ---- where gradients go ----


def attribute_loss(found):
    return sum(value for name, value in found.items() if name.startswith("attributes"))


def re_id_loss(found):
    return sum(value for name, value in found.items() if not name.startswith("attributes"))


def test_in_the_paper_recipe_attributes_train_the_trunk():
    options = recipe("paper")
    network = small_network(options)
    found = terms(network(some_clips()), some_labels(), options)
    assert reached(attribute_loss(found), network.trunk)


def test_in_the_released_recipe_attributes_train_their_streams_only():
    options = recipe("released")
    network = small_network(options)
    found = terms(network(some_clips()), some_labels(), options)
    assert not reached(attribute_loss(found), network.trunk)
    assert not reached(attribute_loss(found), network.reid_attention)
    for stream in network.attribute_streams.values():
        assert reached(attribute_loss(found), stream.attention)
        assert reached(attribute_loss(found), stream.classifier)


@pytest.mark.parametrize("name", ["paper", "released"])
def test_re_id_losses_train_the_attention_but_not_the_attribute_classifiers(name):
    options = recipe(name)
    network = small_network(options)
    found = terms(network(some_clips()), some_labels(), options)
    assert reached(re_id_loss(found), network.trunk)
    for stream in network.attribute_streams.values():
        assert reached(re_id_loss(found), stream.attention.spatial)
        assert reached(re_id_loss(found), stream.attention.temporal)
        assert not reached(re_id_loss(found), stream.classifier)


def test_the_neck_has_no_shift_and_the_classifier_no_bias():
    network = small_network(Options())
    assert not network.head.norm.bias.requires_grad and network.head.norm.bias.abs().sum() == 0
    assert network.head.norm.weight.requires_grad
    assert network.head.classifier.bias is None


def test_metric_losses_see_the_feature_before_the_neck_and_softmax_the_one_after():
    options = recipe("paper")
    network = small_network(options)
    outputs = network(some_clips())
    found = terms(outputs, some_labels(), options)
    assert not reached(found["triplet"] + found["aitl"], network.head.norm)
    assert reached(found["softmax"], network.head.norm)


def test_a_network_is_built_to_be_trained():
    assert all(module.training for module in small_network(recipe("paper")).modules())


# ---- terms of the loss ----


def test_the_paper_recipe_sums_eq_4_with_one_aitl_term():
    options = recipe("paper")
    outputs, labels = small_network(options)(some_clips()), some_labels()
    vectors = torch.cat([outputs.attributes[g].sigmoid() for g in ("irrelevant", "relevant")], dim=1)
    distances = losses.cosine_distances(outputs.feature)
    expected = {
        "softmax": losses.softmax_loss(outputs.logits, labels.pids),
        "triplet": losses.batch_hard_triplet(distances, labels.pids, 0.3),
        "aitl": losses.aitl(distances, losses.cosine_distances(vectors), labels.pids),
        "attributes_irrelevant": losses.attribute_bce(
            outputs.attributes["irrelevant"], *labels.attributes["irrelevant"]
        ),
        "attributes_relevant": losses.attribute_bce(outputs.attributes["relevant"], *labels.attributes["relevant"]),
    }
    assert_close(terms(outputs, labels, options), expected)


def test_the_released_recipe_smooths_and_averages_three_metric_losses():
    options = recipe("released")
    outputs, labels = small_network(options)(some_clips()), some_labels()
    distances = losses.cosine_distances(outputs.feature)
    found = terms(outputs, labels, options)
    assert list(found) == [
        "softmax",
        "triplet",
        "aitl_irrelevant",
        "aitl_relevant",
        "attributes_irrelevant",
        "attributes_relevant",
    ]
    assert_close(found["softmax"], losses.softmax_loss(outputs.logits, labels.pids, 0.1))
    assert_close(found["triplet"], losses.batch_hard_triplet(distances, labels.pids, 0.3) / 3)
    for group, logits in outputs.attributes.items():
        chosen_by = losses.euclidean_distances(logits)
        expected = losses.aitl(distances, chosen_by, labels.pids, self_pair=True) / 3
        assert_close(found[f"aitl_{group}"], expected)
        assert_close(found[f"attributes_{group}"], losses.attribute_bce(logits, *labels.attributes[group]))


@pytest.mark.parametrize("vector", ["probabilities", "logits"])
@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("per_stream", [False, True])
def test_aitl_chooses_by_the_vectors_and_the_distance_of_the_recipe(vector, distance, per_stream):
    generator = torch.Generator().manual_seed(0)
    attributes = {g: torch.randn(40, FEW.outputs(g), generator=generator) * 3 for g in FEW.attributes}
    feature = torch.randn(40, 9, generator=generator)
    pids = torch.arange(40) // 10
    measure = {"cosine": losses.cosine_distances, "euclidean": losses.euclidean_distances}[distance]
    vectors = {g: v.sigmoid() if vector == "probabilities" else v for g, v in attributes.items()}
    together = {"aitl": torch.cat([vectors["irrelevant"], vectors["relevant"]], dim=1)}
    expected = {
        name: losses.aitl(losses.cosine_distances(feature), measure(v), pids)
        for name, v in ({f"aitl_{g}": v for g, v in vectors.items()} if per_stream else together).items()
    }
    options = recipe("paper", attribute_vector=vector, attribute_distance=distance, aitl_per_stream=per_stream)
    annotated = torch.ones(40, dtype=torch.bool)
    targets = {g: (torch.zeros_like(v), annotated) for g, v in attributes.items()}
    found = terms(Outputs(feature, feature, torch.zeros(40, 5), attributes), Labels(pids, targets), options)
    assert {name: float(value) for name, value in found.items() if "aitl" in name} == expected


def test_a_row_without_attributes_asks_for_none():
    options = Options(losses=("softmax", "triplet", "itl"))
    outputs = small_network(options)(some_clips())
    found = terms(outputs, Labels(some_labels().pids, {}), options)
    assert list(found) == ["softmax", "triplet", "itl"]
    assert_close(found["itl"], losses.dvdp(losses.cosine_distances(outputs.feature), some_labels().pids))


# ---- options ----


@pytest.mark.parametrize(
    "options, told",
    [
        ({"streams": ["reid", "face"]}, "streams: 'face' is none of reid, irrelevant, relevant"),
        ({"streams": ["reid", "reid"]}, "streams: .* none twice"),
        ({"streams": []}, "streams: .* at least one"),
        ({"streams": "reid"}, "streams: expected a list, found 'reid'"),
        ({"losses": ["softmax", "centre"]}, "losses: 'centre' is none of"),
        ({"losses": ["softmax", "aitl"]}, "losses: aitl needs attributes"),
        ({"losses": ["attributes"]}, "losses: at least one of softmax and triplet"),
        ({"attribute_vector": "embedding"}, "attribute_vector: 'embedding' is none of probabilities, logits"),
        ({"attribute_distance": "hamming"}, "attribute_distance: 'hamming' is none of cosine, euclidean"),
        ({"margin": -0.1}, "margin: -0.1 is not at least 0"),
        ({"label_smoothing": 1.0}, "label_smoothing: 1.0 is not at least 0 and below 1"),
        ({"margin": "wide"}, "margin: expected float, found 'wide'"),
        ({"self_pair": 1}, "self_pair: expected bool, found 1"),
        ({"dropout": 0.5}, "unknown key 'dropout'; known are streams, losses"),
    ],
)
def test_a_bad_option_is_refused_by_its_key_and_its_model(options, told):
    with pytest.raises(InputError, match=f"^models.m: {told}"):
        METHOD.settings(replace(SMALL, options=options))


@pytest.mark.parametrize(
    "population", [Population(5, {}), Population(5, {"irrelevant": IRRELEVANT}), Population(5, {"relevant": {}})]
)
def test_streams_without_attributes_to_learn_from_are_refused(population):
    with pytest.raises(InputError, match=r"m: the training data has no \w+ attributes; annotate its index"):
        build(recipe("paper"), SMALL, population)


def loss_of(spec: Spec) -> dict[str, torch.Tensor]:
    """The terms of a run's loss on six clips."""
    method = methods.load(spec.method)
    options = method.settings(spec)
    network = method.network(options, replace(spec, trunk=replace(spec.trunk, weights="none")), FEW, None)
    return method.losses(network(some_clips(6, spec.clips.frames)), some_labels(), options)


@pytest.mark.parametrize("model", CONFIG["models"])
def test_every_model_of_the_configuration_builds_and_has_a_loss(model):
    found = loss_of(resolve(CONFIG, model, seed=0))
    assert found and all(torch.isfinite(value) for value in found.values())


@pytest.mark.parametrize("name", ["paper", "released"])
@pytest.mark.parametrize("model", [row["model"] for row in CONFIG["tables"]["table1"]["rows"]])
def test_every_model_of_the_ablation_has_a_loss_in_both_recipes(model, name):
    spec = resolve(CONFIG | {"recipe": name}, model, seed=0)
    assert all(torch.isfinite(value) for value in loss_of(spec).values())
    options = METHOD.settings(spec)
    assert options.self_pair == options.detach_streams == (name == "released")
    assert spec.clips.order == {"paper": "consecutive", "released": "shuffled"}[name]


@pytest.mark.parametrize("name", ["nonesuch", "method", "streams", "../multitask", "multitask.py", ""])
def test_a_method_without_its_file_is_refused(name):
    with pytest.raises(InputError, match=r"method '.*': .*vreid/models/"):
        methods.load(name)


# ---- what the trunk starts from ----


@pytest.fixture(scope="module")
def resnet50_state():
    torch.manual_seed(3)
    return resnet50(weights=None).state_dict()


def assert_loaded(trunk, state):
    for key, value in trunk.state_dict().items():
        assert torch.equal(value, state[key]), key


def test_a_state_dict_of_torchvision_s_resnet50_is_read(resnet50_state, tmp_path):
    """As its oldest files are: with the classifier, without the counters of batch normalisation."""
    older = {key: value for key, value in resnet50_state.items() if not key.endswith("num_batches_tracked")}
    torch.save(older, tmp_path / "resnet50.pth")
    trunk = build_trunk(Trunk(weights="a file"), tmp_path / "resnet50.pth")
    assert_loaded(trunk, resnet50_state)


def test_the_trunk_of_one_of_our_trainings_is_read(tmp_path):
    trained = small_network(recipe("paper"))
    trained(some_clips())  # moves the running statistics
    torch.save(trained.state_dict(), tmp_path / "weights.pt")
    trunk = build_trunk(Trunk("small", 8, "synth-people/trunk"), tmp_path / "weights.pt")
    assert_loaded(trunk, trained.trunk.state_dict())


def test_a_trunk_of_another_width_is_refused_by_the_first_weight_that_does_not_fit(tmp_path):
    torch.save(build_trunk(Trunk("small", 16, "none")).state_dict(), tmp_path / "weights.pt")
    with pytest.raises(InputError, match=r"weights.pt: conv1.weight should have shape \(8, 3, 3, 3\), found \(16"):
        build_trunk(Trunk("small", 8, "x"), tmp_path / "weights.pt")


def test_the_weights_of_a_resnet_of_another_kind_are_refused(tmp_path):
    state = build_trunk(Trunk("small", 8, "none")).state_dict()
    del state["layer4.bn2.weight"]
    torch.save(state, tmp_path / "weights.pt")
    with pytest.raises(InputError, match=r"layer4\.bn2\.weight should have shape .*, found nothing"):
        build_trunk(Trunk("small", 8, "x"), tmp_path / "weights.pt")


def test_a_torn_weights_file_is_refused(tmp_path):
    path = tmp_path / "weights.pt"
    torch.save(build_trunk(Trunk("small", 8, "none")).state_dict(), path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(InputError, match=r"weights.pt: not a file of weights"):
        build_trunk(Trunk("small", 8, "x"), path)


@pytest.mark.parametrize("content", [[1, 2], {"state_dict": {}, "epoch": 3}, torch.zeros(3)])
def test_something_else_than_a_state_dict_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "weights.pt")
    with pytest.raises(InputError, match=r"weights.pt: not a state dict"):
        build_trunk(Trunk("small", 8, "x"), tmp_path / "weights.pt")


class RunsCode:
    def __reduce__(self):
        return (exec, ("raise SystemExit('a pickle was run')",))


def test_code_in_a_weights_file_is_not_run(tmp_path):
    torch.save(RunsCode(), tmp_path / "weights.pt")
    with pytest.raises(InputError, match=r"weights.pt: not a file of weights"):
        build_trunk(Trunk("small", 8, "x"), tmp_path / "weights.pt")


def test_a_missing_weights_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere.pt: no such weights file"):
        build_trunk(Trunk("small", 8, "x"), tmp_path / "nowhere.pt")


def test_weights_by_name_without_their_file_ask_for_it():
    with pytest.raises(InputError, match="'synth-people/trunk' needs its file: give it with --trunk-weights"):
        build_trunk(Trunk("small", 8, "synth-people/trunk"))


def test_an_unknown_trunk_is_refused():
    with pytest.raises(InputError, match=r"trunk\.name: 'vgg' is none of resnet50, small"):
        build_trunk(Trunk("vgg", 64, "none"))


@pytest.mark.parametrize("width", [16, 64])
def test_the_small_trunk_has_no_imagenet_weights(width, tmp_path, resnet50_state):
    torch.save(resnet50_state, tmp_path / "resnet50.pth")
    with pytest.raises(InputError, match=r"resnet50\.pth: conv1\.weight should"):
        build_trunk(Trunk("small", width, "imagenet"), tmp_path / "resnet50.pth")


@pytest.mark.parametrize("weights", ["imagenet", "synth-people/trunk"])
def test_weights_are_not_looked_for(weights):
    with pytest.raises(InputError, match=f"trunk.weights: '{weights}' needs its file"):
        build_trunk(Trunk("small", 8, weights))


def test_a_head_is_as_wide_as_published_but_at_most_as_wide_as_the_trunk():
    assert head_width(512, 2048) == 512
    assert head_width(512, 128) == 128
