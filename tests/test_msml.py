"""MSML: the softmax loss, and two pairs of the whole batch."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

import paper_scale
from vreid import losses
from vreid.errors import InputError
from vreid.models.method import Labels, Outputs
from vreid.models.msml import METHOD, Options, build, terms

UNIFIED, NATIVE = Options(), Options(neck=False)
BATCHES = [[0, 0, 0, 1, 1, 1, 2, 2, 2], [0, 1, 0, 2, 0, 1, 0], [0, 0, 1, 1], [0, 1, 2, 3]]

# Two people on a line: the first at 0, 1 and 6, the second at 10, 11 and 12.5.
LINE = torch.tensor([0.0, 1, 6, 10, 11, 12.5])
TWO = torch.tensor([0, 0, 0, 1, 1, 1])


def batch(pids, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(len(pids), 5, generator=generator, requires_grad=True), torch.tensor(pids)


def network(options=UNIFIED):
    torch.manual_seed(0)
    return build(options, paper_scale.SMALL, paper_scale.MARS)


def some_clips():
    return torch.randn(3, 4, 3, 64, 32, generator=torch.Generator().manual_seed(1))


# ---- margin sample mining ----


@pytest.mark.parametrize("pids", BATCHES)
@pytest.mark.parametrize("margin", [0.0, 0.6, 3.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_loss_is_that_of_a_loop_over_all_pairs(pids, margin, seed):
    features, people = batch(pids, seed)
    farthest, nearest = torch.zeros(()), torch.tensor(torch.inf)
    for i in range(len(pids)):
        for j in range(i):
            distance = (features[i] - features[j]).square().sum().sqrt()
            if pids[i] == pids[j] and distance > farthest:
                farthest = distance
            if pids[i] != pids[j] and distance < nearest:
                nearest = distance
    expected = (margin + farthest - nearest).clamp(min=0)
    ours = losses.margin_sample_mining(losses.euclidean_distances(features), people, margin)
    assert_close(ours, expected)
    assert_close(*(torch.autograd.grad(loss, features, retain_graph=True)[0] for loss in (ours, expected)))


def test_the_farthest_positive_and_the_nearest_negative_need_not_share_an_anchor():
    """Of four people on a line the first is the widest, and the last two are the nearest to each other."""
    places = torch.tensor([[0.0], [5], [20], [21], [50], [51], [52.5], [54]], requires_grad=True)
    pids = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
    loss = losses.margin_sample_mining(losses.euclidean_distances(places), pids, 0.6)
    assert loss.item() == pytest.approx(0.6 + 5 - 1.5)
    (gradient,) = torch.autograd.grad(loss, places)
    assert gradient.flatten().tolist() == [-1, 1, 0, 0, 0, 1, -1, 0]


def test_they_may_share_one():
    places = LINE[:, None].clone().requires_grad_()
    loss = losses.margin_sample_mining(losses.euclidean_distances(places), TWO, 0.0)
    assert loss.item() == pytest.approx(6 - 4)
    (gradient,) = torch.autograd.grad(loss, places)
    assert gradient.flatten().tolist() == [-1, 0, 1 + 1, -1, 0, 0]


@pytest.mark.parametrize("pids", BATCHES)
def test_no_more_than_four_clips_get_a_gradient(pids):
    for seed in range(10):
        features, people = batch(pids, seed)
        losses.margin_sample_mining(losses.euclidean_distances(features), people, 9.0).backward()
        touched = features.grad.abs().sum(1).count_nonzero()
        assert 2 <= touched <= 4


def test_of_equally_far_pairs_one_is_taken():
    """The corners of two squares: four sides and two diagonals are alike in each."""
    square = torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    corners = torch.cat([square, square + torch.tensor([2.0, 0])]).requires_grad_()
    pids = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    losses.margin_sample_mining(losses.euclidean_distances(corners), pids).backward()
    assert 2 <= corners.grad.abs().sum(1).count_nonzero() <= 4


def test_a_batch_of_one_person_has_loss_0():
    features, people = batch([0, 0, 0])
    loss = losses.margin_sample_mining(losses.euclidean_distances(features), people)
    assert loss == 0 and torch.autograd.grad(loss, features)[0].abs().sum() == 0


@pytest.mark.parametrize("pids", [*BATCHES, [0], [0, 0]])
def test_of_clips_that_coincide_the_gradient_is_finite(pids):
    features = torch.ones(len(pids), 5, requires_grad=True)
    loss = losses.margin_sample_mining(losses.euclidean_distances(features), torch.tensor(pids))
    assert loss.item() == pytest.approx(0.6 if len(set(pids)) > 1 else 0)
    assert torch.isfinite(torch.autograd.grad(loss, features)[0]).all()


def test_the_loss_does_not_look_at_values():
    """Tensors of the meta device have none: a loss that reads one on the host fails here."""
    features, people = batch(BATCHES[0])
    loss = losses.margin_sample_mining(losses.euclidean_distances(features.to("meta")), people.to("meta"))
    assert loss.is_meta and loss.shape == ()


# ---- the model ----


def test_both_terms_have_weight_1_and_the_metric_one_features_of_length_1():
    generator = torch.Generator().manual_seed(0)
    feature, logits = (torch.randn(6, width, generator=generator) for width in (5, 7))
    pids = torch.tensor([0, 0, 1, 1, 6, 6])
    found = terms(Outputs(torch.zeros(6, 5), 3 * feature, logits), Labels(pids, {}), Options(margin=0.4))
    distances = losses.euclidean_distances(feature / feature.norm(dim=1, keepdim=True))
    assert set(found) == {"softmax", "msml"}
    assert_close(found["msml"], losses.margin_sample_mining(distances, pids, 0.4))
    assert_close(found["softmax"], losses.softmax_loss(logits, pids))


def test_the_network_takes_16_21_gmac_a_clip_of_four_frames_and_4_05_a_frame():
    for frames, expected in ((4, 16.21), (1, 4.05)):
        for options in (UNIFIED, NATIVE):
            found = paper_scale.on_meta(METHOD, options)
            assert paper_scale.giga_multiplications(found, frames) == pytest.approx(expected, abs=0.005)


def test_beside_the_trunk_there_is_a_linear_classifier_and_perhaps_a_neck():
    unified, native = (paper_scale.on_meta(METHOD, options) for options in (UNIFIED, NATIVE))
    assert paper_scale.parameters([native.head]) == 2048 * 625 + 625
    assert paper_scale.parameters([unified.head]) == 2048 * 625 + 2 * 2048
    assert paper_scale.parameters([unified]) == paper_scale.parameters([unified.trunk, unified.head])


@pytest.mark.parametrize(
    "options, spec, frames",
    [(UNIFIED, paper_scale.FULL, 1), (UNIFIED, paper_scale.SMALL, 4), (NATIVE, paper_scale.SMALL, 1)],
)
def test_every_weight_learns(options, spec, frames):
    assert not paper_scale.without_gradient(METHOD, options, spec, frames)


def test_without_a_neck_the_feature_at_length_1_is_compared():
    found = network(NATIVE).eval()(some_clips())
    assert_close(found.embedding, F.normalize(found.feature))
    assert_close(found.embedding.norm(dim=1), torch.ones(3))


def test_with_a_neck_its_output_is_compared():
    ours, clips = network(UNIFIED).eval(), some_clips()
    found = ours(clips)
    maps = ours.trunk(clips.flatten(0, 1)).unflatten(0, (3, 4))
    assert_close(found.feature, maps.mean((1, 3, 4)))
    assert_close(found.embedding, ours.head.norm(found.feature))


def test_without_a_neck_half_of_the_feature_is_dropped_before_the_classifier_in_training():
    ours, clips = network(NATIVE), some_clips()
    ours.trunk.eval()
    logits = torch.stack([ours(clips).logits for _ in range(2)])
    assert (logits[0] - logits[1]).abs().max() > 0.01
    ours.eval()
    assert torch.equal(ours(clips).logits, ours(clips).logits)
    assert ours.head.dropout.p == 0.5


@pytest.mark.parametrize(
    "options, told",
    [
        ({"margin": -0.1}, "margin: -0.1 is not at least 0"),
        ({"dropout": 1.0}, "dropout: 1.0 is not at least 0 and below 1"),
        ({"label_smoothing": 1.0}, "label_smoothing: 1.0 is not at least 0 and below 1"),
    ],
)
def test_a_bad_option_is_refused_by_its_key(options, told):
    with pytest.raises(InputError, match=f"^models.m: {told}"):
        METHOD.settings(replace(paper_scale.SMALL, options=options))


def test_without_weight_the_softmax_loss_stands_alone():
    outputs = Outputs(torch.randn(4, 8), torch.randn(4, 8), torch.randn(4, 2))
    labels = Labels(torch.tensor([0, 0, 1, 1]), {})
    assert set(METHOD.losses(outputs, labels, Options(weight=0.0))) == {"softmax"}
    assert METHOD.collapsed(Options(weight=0.0)) == {}
    half, whole = (METHOD.losses(outputs, labels, Options(weight=w))["msml"] for w in (0.5, 1.0))
    assert half == pytest.approx(float(whole) / 2)
    assert METHOD.collapsed(Options(weight=0.5)) == {"msml": 0.3}
