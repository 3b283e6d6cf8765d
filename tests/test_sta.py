"""STA: energies, part scores, the two maps and the regulariser, by hand, against loops, and at the paper's scale."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

import tiny
from killed import on_cpu, train_until
from vreid import losses
from vreid import train as training
from vreid.errors import InputError
from vreid.models import method as methods
from vreid.models.method import Labels, Outputs, Population
from vreid.models.sta import (
    METHOD,
    Options,
    best_frames,
    build,
    energy_map,
    frame_differences,
    inter_frame,
    on_the_map,
    part_scores,
    terms,
    weighted_map,
)
from vreid.spec import Clips, Spec, Trunk

MARS = Population(people=625, attributes={})
FEW = Population(people=5, attributes={})
PAPER = Spec("fu", 0, "sta", trunk=Trunk(weights="none"))
SMALL = Spec("fu", 0, "sta", trunk=Trunk("small", 8, "none"), clips=Clips(frames=4, height=64, width=32))
UNIFIED = Options()
NATIVE = Options(distance="euclidean", neck=False)


def small_network(options=UNIFIED, frames=4):
    torch.manual_seed(0)
    return build(options, replace(SMALL, clips=replace(SMALL.clips, frames=frames)), FEW)


def some_clips(number=6, frames=4):
    return torch.randn(number, frames, 3, 64, 32, generator=torch.Generator().manual_seed(1))


def some_maps(*shape):
    """Feature maps after a ReLU: about half of the values are 0."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2)).relu()


def labels():
    return Labels(torch.tensor([0, 0, 0, 3, 3, 3]), {})


# ---- energies, scores and maps ----

# One clip of two frames, one channel, four rows and one column: the first frame shows the person evenly, the second
# the upper half alone.
BY_HAND = torch.tensor([[1.0, 1, 1, 1], [3, 1, 0, 0]]).reshape(1, 2, 1, 4, 1)
ENERGY = torch.tensor([[0.25, 0.25, 0.25, 0.25], [0.9, 0.1, 0, 0]]).reshape(1, 2, 4, 1)
SCORES = torch.tensor([[[1 / 3, 1], [2 / 3, 0]]])


def test_the_energy_is_a_position_s_share_of_the_squares_of_its_frame():
    assert_close(energy_map(BY_HAND), ENERGY)


def test_a_part_s_score_is_a_frame_s_share_of_its_energy():
    assert_close(part_scores(ENERGY, 2), SCORES)


def test_the_discriminative_map_has_each_part_of_the_frame_that_shows_it_best():
    assert_close(weighted_map(BY_HAND, best_frames(SCORES)).flatten(), torch.tensor([3.0, 1, 1, 1]))


def test_the_global_map_has_each_part_s_sum_weighted_by_its_scores():
    assert_close(weighted_map(BY_HAND, SCORES).flatten(), torch.tensor([7 / 3, 1, 1, 1]))


def naive_sta(maps, parts, kind):
    """Energies, scores and both maps of one clip (T, C, h, w), written from the formulas."""
    frames, channels, height, width = maps.shape
    rows = height // parts
    energy = torch.zeros(frames, height, width)
    for n in range(frames):
        for y in range(height):
            for x in range(width):
                norm = sum(float(maps[n, d, y, x]) ** 2 for d in range(channels)) ** 0.5
                energy[n, y, x] = norm**2 if kind == "l2sq" else norm
        total = energy[n].sum() if kind == "l2sq" else energy[n].square().sum().sqrt()
        energy[n] /= total
    scores = torch.zeros(frames, parts)
    for k in range(parts):
        of_frames = [energy[n, k * rows : (k + 1) * rows].sum() for n in range(frames)]
        for n in range(frames):
            scores[n, k] = of_frames[n] / sum(of_frames)
    discriminative, joined = torch.zeros(channels, height, width), torch.zeros(channels, height, width)
    for k in range(parts):
        part = slice(k * rows, (k + 1) * rows)
        best = max(range(frames), key=lambda n: float(scores[n, k]))
        discriminative[:, part] = maps[best, :, part]
        joined[:, part] = sum(scores[n, k] * maps[n, :, part] for n in range(frames))
    return energy, scores, discriminative, joined


@pytest.mark.parametrize("kind", ["l2sq", "l2"])
@pytest.mark.parametrize("parts, height", [(4, 8), (2, 4), (3, 6)])
def test_energies_scores_and_maps_are_those_of_the_formulas(kind, parts, height):
    maps = some_maps(2, 3, 5, height, 2)
    energy = energy_map(maps, kind)
    scores = part_scores(energy, parts)
    found = energy, scores, weighted_map(maps, best_frames(scores)), weighted_map(maps, scores)
    for clip in range(2):
        assert_close(tuple(value[clip] for value in found), naive_sta(maps[clip], parts, kind))


def test_scores_sum_to_1_over_the_frames_and_energies_over_the_positions():
    energy = energy_map(some_maps(2, 3, 5, 8, 4))
    assert_close(energy.sum((2, 3)), torch.ones(2, 3))
    assert_close(part_scores(energy, 4).sum(1), torch.ones(2, 4))
    assert_close(energy_map(some_maps(2, 3, 5, 8, 4), "l2").square().sum((2, 3)), torch.ones(2, 3))


def test_a_frame_with_stronger_features_everywhere_gets_no_more_energy():
    maps = some_maps(2, 3, 5, 8, 4)
    stronger = maps * torch.tensor([1.0, 10.0, 0.1])[:, None, None, None]
    assert_close(energy_map(stronger), energy_map(maps))


@pytest.mark.parametrize("kind", ["l2sq", "l2"])
def test_frames_and_positions_without_any_feature_leave_values_and_gradients_finite(kind):
    maps = some_maps(2, 3, 5, 8, 4)
    maps[0, 1] = maps[1, :, :, :2] = 0  # a frame, and a part of all frames
    maps.requires_grad_()
    energy = energy_map(maps, kind)
    scores = part_scores(energy, 4)
    value = weighted_map(maps, scores).sum() + inter_frame(energy, "all")
    value.backward()
    assert value.isfinite() and maps.grad.isfinite().all()
    if kind == "l2sq":
        assert not scores[0, 1].any() and not scores[1, :, 0].any()


def test_of_frames_that_show_a_part_equally_well_the_first_is_taken():
    assert best_frames(torch.full((1, 4, 2), 0.25))[0].tolist() == [[1, 1], [0, 0], [0, 0], [0, 0]]


def test_the_attention_shown_repeats_a_part_s_score_on_its_rows():
    shown = on_the_map(SCORES, 6, 2)
    assert shown.shape == (1, 2, 6, 2)
    assert_close(shown[0, 1, :, 0], torch.tensor([2 / 3] * 3 + [0.0] * 3))


def test_the_gradient_goes_through_the_scores_unless_they_are_detached():
    maps = some_maps(1, 3, 5, 4, 2).requires_grad_()
    scores = part_scores(energy_map(maps), 2)
    (attached,) = torch.autograd.grad(weighted_map(maps, scores).sum(), maps, retain_graph=True)
    (detached,) = torch.autograd.grad(weighted_map(maps, scores.detach()).sum(), maps)
    assert_close(detached, on_the_map(scores.detach(), 4, 2).unsqueeze(2).expand_as(maps))
    assert not torch.allclose(attached, detached)
    assert not best_frames(scores).requires_grad


# ---- the regulariser ----


def naive_differences(energy):
    """Of one clip (T, h, w), a pair after the other."""
    frames = len(energy)
    pairs = [(i, j) for i in range(frames) for j in range(i + 1, frames)]
    return torch.stack([(energy[i] - energy[j]).square().sum().sqrt() for i, j in pairs])


def some_energies(number=3, frames=4):
    return energy_map(some_maps(number, frames, 5, 4, 2))


def test_the_difference_of_an_even_frame_and_a_lopsided_one_by_hand():
    assert_close(frame_differences(ENERGY), torch.tensor([[(0.65**2 + 0.15**2 + 2 * 0.25**2) ** 0.5]]))


def test_over_all_pairs_the_regulariser_is_the_mean_of_the_differences_of_two_frames():
    energy = some_energies()
    expected = torch.stack([naive_differences(clip) for clip in energy])
    assert_close(frame_differences(energy), expected)
    assert_close(inter_frame(energy, "all"), expected.mean())


def test_a_random_pair_is_one_of_the_pairs_and_each_comes_up():
    torch.manual_seed(0)
    energy = some_energies(number=1)
    drawn = {round(float(inter_frame(energy, "random")), 5) for _ in range(200)}
    assert drawn == {round(float(value), 5) for value in naive_differences(energy[0])}


def test_each_clip_draws_a_pair_of_its_own_and_on_average_it_is_all_pairs():
    torch.manual_seed(0)
    energy = some_energies(number=1).expand(2000, -1, -1, -1)
    assert_close(inter_frame(energy, "random"), inter_frame(energy, "all"), atol=0, rtol=0.02)


def test_the_pairs_follow_from_torch_s_seed():
    energy = some_energies(number=50)
    torch.manual_seed(3)
    one = inter_frame(energy, "random")
    other = inter_frame(energy, "random")
    torch.manual_seed(3)
    assert inter_frame(energy, "random") == one != other


def test_frames_all_alike_cost_nothing_and_pull_nowhere():
    maps = some_maps(2, 1, 5, 4, 2).expand(-1, 3, -1, -1, -1).clone().requires_grad_()
    value = inter_frame(energy_map(maps), "all")
    value.backward()
    assert value == 0 and maps.grad.isfinite().all()


# ---- the network ----


@pytest.fixture(scope="module")
def paper_network():
    """The native network at the paper's scale, without memory for its values."""
    with torch.device("meta"):
        return build(NATIVE, PAPER, MARS).eval()


def test_sta_has_the_parameters_of_resnet50_and_4_2_million_then_64_hundredths(paper_network):
    sizes = [paper_network.trunk, paper_network.reduce[0], paper_network.head]
    millions = [sum(weight.numel() for weight in module.parameters()) / 1e6 for module in sizes]
    assert millions == pytest.approx([23.51, 4.19, 0.64], abs=0.005)


@pytest.mark.parametrize("frames, giga", [(4, 16.21), (6, 24.32), (8, 32.43)])
def test_attention_is_free_so_that_sta_takes_what_its_frames_take_but_for_a_layer_of_4_million(
    paper_network, frames, giga
):
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        paper_network(torch.empty(1, frames, 3, 256, 128, device="meta"))
    assert counter.get_total_flops() / 2e9 == pytest.approx(giga + 0.004, abs=0.005)


def assert_trained(network, options, clips, pids):
    """All that is learned has a gradient, and it is finite."""
    found = terms(network(clips), Labels(pids, {}), options)
    torch.stack(list(found.values())).sum().backward()
    for name, weight in network.named_parameters():
        if weight.requires_grad:
            assert weight.grad is not None and weight.grad.isfinite().all() and weight.grad.any(), name


def test_at_the_paper_s_scale_a_step_reaches_every_weight():
    torch.manual_seed(0)
    network = build(Options(), PAPER, MARS)
    assert_trained(network, Options(), torch.randn(2, 2, 3, 256, 128), torch.tensor([0, 7]))


@pytest.mark.parametrize("options", [Options(), NATIVE, Options(energy="l2", pairs="all", detach_scores=True)])
@pytest.mark.parametrize("frames", [2, 6])
def test_with_the_small_trunk_a_step_reaches_every_weight(options, frames):
    assert_trained(small_network(options, frames), options, some_clips(6, frames), labels().pids)


def test_the_feature_is_made_of_both_maps_pooled():
    network = small_network(Options(feature=32)).eval()
    clips = some_clips()
    outputs = network(clips)
    maps = network.trunk(clips.flatten(0, 1)).unflatten(0, (6, 4)).detach()
    for clip in range(6):
        energy, scores, discriminative, joined = naive_sta(maps[clip], 4, "l2sq")
        assert_close(outputs.extra["energy"][clip], energy)
        pooled = torch.cat([discriminative.mean((1, 2)), joined.mean((1, 2))])
        assert_close(outputs.feature[clip], network.reduce(pooled[None])[0])
        for row in range(8):
            assert_close(outputs.attention["parts"][clip, :, row], scores[:, row // 2, None].expand(-1, 4))
    assert outputs.feature.shape == (6, 32)


def test_in_testing_a_clip_s_embedding_does_not_depend_on_the_others_beside_it():
    network = small_network().eval()
    assert_close(network(some_clips())[1][:1], network(some_clips()[:1])[1])


def test_without_a_neck_the_embedding_is_the_feature():
    outputs = small_network(NATIVE)(some_clips())
    assert outputs.embedding is outputs.feature
    outputs = small_network()(some_clips())
    assert not torch.equal(outputs.embedding, outputs.feature)


def test_features_are_not_rounded_where_the_network_is():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = small_network()(some_clips())
    for value in (outputs.feature, outputs.embedding, outputs.extra["energy"]):
        assert value.dtype == torch.float32
        assert not torch.equal(value, value.bfloat16().float())


# ---- the loss ----


@pytest.mark.parametrize("options", [Options(), replace(NATIVE, regulariser=10.0, margin=0.5, label_smoothing=0.1)])
def test_the_loss_is_softmax_and_triplet_and_the_weighted_regulariser(options):
    options = replace(options, pairs="all")
    outputs = small_network(options)(some_clips())
    measure = losses.euclidean_distances if options.distance == "euclidean" else losses.cosine_distances
    assert_close(
        terms(outputs, labels(), options),
        {
            "softmax": losses.softmax_loss(outputs.logits, labels().pids, options.label_smoothing),
            "triplet": losses.batch_hard_triplet(measure(outputs.feature), labels().pids, options.margin),
            "regulariser": options.regulariser * inter_frame(outputs.extra["energy"], "all"),
        },
    )


def test_where_all_features_are_alike_the_triplet_term_stands_at_its_collapsed_value():
    options = Options(margin=0.2)
    alike = torch.ones(6, 8)
    outputs = Outputs(alike, alike, torch.zeros(6, 5), extra={"energy": some_energies(6)})
    assert float(terms(outputs, labels(), options)["triplet"]) == pytest.approx(METHOD.collapsed(options)["triplet"])


# ---- what is refused ----


@pytest.mark.parametrize(
    "options, clips, told",
    [
        (Options(parts=3), SMALL.clips, "fu: parts: 3 do not divide a feature map of 8 rows"),
        (Options(), replace(SMALL.clips, height=48), "fu: parts: 4 do not divide a feature map of 6 rows"),
        (Options(), replace(SMALL.clips, frames=1), "fu: clips.frames: .* at least two"),
    ],
)
def test_a_map_or_a_clip_that_cannot_be_cut_is_refused(options, clips, told):
    with pytest.raises(InputError, match=told):
        build(options, replace(SMALL, clips=clips), FEW)


@pytest.mark.parametrize(
    "options, told",
    [
        ({"energy": "l1"}, "energy: 'l1' is none of l2sq, l2"),
        ({"pairs": "first"}, "pairs: 'first' is none of random, all"),
        ({"distance": "hamming"}, "distance: 'hamming' is none of cosine, euclidean"),
        ({"parts": 0}, "parts: 0 is not at least 1"),
        ({"feature": 0}, "feature: 0 is not at least 1"),
        ({"regulariser": -1.0}, r"regulariser: -1.0 is not at least 0"),
        ({"margin": float("nan")}, "margin: nan is not at least 0"),
        ({"label_smoothing": 1.0}, "label_smoothing: 1.0 is not at least 0 and below 1"),
        ({"lambda": 1.0}, "unknown key 'lambda'"),
    ],
)
def test_a_bad_option_is_refused_by_its_key_and_its_model(options, told):
    with pytest.raises(InputError, match=f"^models.fu: {told}"):
        METHOD.settings(replace(SMALL, options=options))


# ---- a whole training ----


def test_a_killed_training_draws_the_same_pairs_again(tmp_path, monkeypatch):
    on_cpu(monkeypatch.setattr)
    table = tiny.write_dataset(tmp_path / "data")
    spec = Spec.from_mapping(
        {
            "model": "fu",
            "seed": 1,
            "method": "sta",
            "options": {"feature": 32},
            "trunk": {"name": "small", "width": 8, "weights": "none"},
            "clips": {"frames": 3, "height": tiny.HEIGHT, "width": tiny.WIDTH},
            "training": {"epochs": 4, "people": 4, "clips": 3, "validate_every": 4, "precision": "float32"},
        }
    )
    index = tiny.index(table, tmp_path / "annotated.csv.gz")
    given = {"index_path": index, "root": tmp_path / "data", "dataset": "tiny", "headline": "queries-removed"}
    weights = []
    for name in ("whole", "killed"):
        out = tmp_path / name
        out.mkdir()
        spec.save(out / "spec.json")
        given |= {"spec_path": out / "spec.json", "out": out}
        assert name == "whole" or train_until("in the middle of an epoch", **given)
        training.train(**given)
        weights.append(torch.load(out / "weights.pt", weights_only=True))
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name]), name


def test_the_method_is_found_by_its_name():
    method = methods.load("sta")
    assert (method.train_clips, method.test_clips, method.distance) == ("random", "dense", "cosine")
