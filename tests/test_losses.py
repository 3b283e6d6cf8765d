"""The losses against loops written from the equations of Section 3, one anchor at a time."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from vreid import losses

THREE_EACH = [0, 0, 0, 1, 1, 1, 2, 2, 2]
PAIRS = [0, 0, 1, 1, 2, 2]
SINGLES = [0, 1, 2, 3]
MIXED = [0, 1, 0, 2, 0, 1, 0]
ONE_PERSON = [5, 5, 5, 5]
BATCHES = [THREE_EACH, PAIRS, SINGLES, MIXED, ONE_PERSON]


def batch(pids, seed=0, width=6):
    """Features that want a gradient, attribute vectors, and people."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(len(pids), width, generator=generator, requires_grad=True)
    attributes = torch.randn(len(pids), 5, generator=generator, requires_grad=True)
    return features, attributes, torch.tensor(pids)


# ---- the equations, one anchor at a time ----


def naive_cosine(a, b):
    return 1 - (a @ b) / (a.norm() * b.norm())


def naive_euclidean(a, b):
    return ((a - b) ** 2).sum().sqrt()


def table(vectors, distance):
    """The distances as nested lists of scalars; 0 from a clip to itself."""
    rows = list(vectors.unbind())
    zero = vectors.sum() * 0
    return [[zero if i == j else distance(a, b) for j, b in enumerate(rows)] for i, a in enumerate(rows)]


def naive_gap(feature_distances, choosing_distances, pids, self_pair=False):
    """Eqs. 1 to 3; an anchor counts when it has two clips to choose from."""
    gaps = []
    for a, pid in enumerate(pids):
        others = [j for j, other in enumerate(pids) if other == pid and (self_pair or j != a)]
        if len(others) < 2:
            continue
        negative = max(others, key=lambda j: choosing_distances[a][j].item())
        positive = min(others, key=lambda j: choosing_distances[a][j].item())
        gap = feature_distances[a][negative] - feature_distances[a][positive]
        gaps.append(gap if gap > 0 else gap * 0)
    return sum(gaps) / len(gaps) if gaps else feature_distances[0][0] * 0


def naive_batch_hard(distances, pids, margin):
    terms = []
    for a, pid in enumerate(pids):
        positives = [distances[a][j] for j, other in enumerate(pids) if other == pid]
        negatives = [distances[a][j] for j, other in enumerate(pids) if other != pid]
        if not negatives:
            terms.append(distances[a][a] * 0)
            continue
        hinge = margin + max(positives, key=Tensor.item) - min(negatives, key=Tensor.item)
        terms.append(hinge if hinge > 0 else hinge * 0)
    return sum(terms) / len(terms)


def naive_softmax(logits, labels, smoothing):
    total = 0
    for row, label in zip(logits, labels):
        log_p = row - row.exp().sum().log()
        people = len(row)
        for person in range(people):
            target = smoothing / people + (1 - smoothing) * (person == label)
            total = total - target * log_p[person]
    return total / len(labels)


def naive_bce(logits, targets, annotated):
    terms = []
    for row, wanted, known in zip(logits, targets, annotated):
        for output, target in zip(row, wanted) if known else ():
            p = output.sigmoid()
            terms.append(-(target * p.log() + (1 - target) * (1 - p).log()))
    return sum(terms) / len(terms) if terms else logits.sum() * 0


def naive_cross_entropy(logits, targets, annotated, classes):
    """Of each attribute, from the probabilities of its own classes."""
    found, start = {}, 0
    for name, width in classes.items():
        terms = []
        for row, wanted, known in zip(logits, targets, annotated):
            scores = [output.exp() for output in row[start : start + width]]
            right = wanted[start : start + width].argmax()
            terms += [-(scores[right] / sum(scores)).log()] if known else []
        found[name] = sum(terms) / len(terms) if terms else logits.sum() * 0
        start += width
    return found


def assert_same_value_and_gradient(ours, naive, *inputs):
    assert_close(ours, naive, rtol=1e-4, atol=1e-6)
    for mine, theirs in zip(gradients(ours, inputs), gradients(naive, inputs)):
        assert_close(mine, theirs, rtol=1e-3, atol=1e-6)


def gradients(value, inputs):
    found = torch.autograd.grad(value, inputs, allow_unused=True, retain_graph=True)
    return [torch.zeros_like(x) if g is None else g for g, x in zip(found, inputs)]


# ---- distances ----


def test_cosine_distance_is_0_along_1_across_2_against():
    vectors = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0], [-1.0, 0.0]])
    expected = torch.tensor([[0.0, 0, 1, 2], [0, 0, 1, 2], [1, 1, 0, 1], [2, 2, 1, 0]])
    assert_close(losses.cosine_distances(vectors), expected)


@pytest.mark.parametrize(
    "ours, naive",
    [(losses.cosine_distances, naive_cosine), (losses.euclidean_distances, naive_euclidean)],
)
def test_distances_are_those_of_every_pair(ours, naive):
    features, *_ = batch(MIXED)
    expected = torch.stack([torch.stack(row) for row in table(features, naive)])
    assert_close(ours(features), expected, rtol=1e-5, atol=1e-6)


def test_euclidean_distances_of_near_vectors_far_from_the_origin_keep_their_digits():
    vectors = 1000 + torch.tensor([[0.0], [0.25], [1.0]])
    expected = torch.tensor([[0, 0.25, 1], [0.25, 0, 0.75], [1, 0.75, 0]])
    assert torch.equal(losses.euclidean_distances(vectors), expected)


def test_distances_of_half_precision_features_are_computed_in_float32():
    features = torch.randn(4, 8).bfloat16()
    for distances in (losses.cosine_distances(features), losses.euclidean_distances(features)):
        assert distances.dtype == torch.float32
    assert_close(losses.cosine_distances(features), losses.cosine_distances(features.float()))


# ---- each loss against its loop ----


@pytest.mark.parametrize("pids", BATCHES)
@pytest.mark.parametrize("seed", range(3))
def test_dvdp_is_eq_1(pids, seed):
    features, _, people = batch(pids, seed)
    distances = table(features, naive_cosine)
    ours = losses.dvdp(losses.cosine_distances(features), people)
    assert_same_value_and_gradient(ours, naive_gap(distances, distances, pids), features)


@pytest.mark.parametrize("pids", BATCHES)
@pytest.mark.parametrize("self_pair", [False, True])
@pytest.mark.parametrize(
    "measure, naive",
    [(losses.cosine_distances, naive_cosine), (losses.euclidean_distances, naive_euclidean)],
)
def test_aitl_is_eq_2(pids, self_pair, measure, naive):
    features, attributes, people = batch(pids, seed=1)
    ours = losses.aitl(losses.cosine_distances(features), measure(attributes), people, self_pair)
    loop = naive_gap(table(features, naive_cosine), table(attributes, naive), pids, self_pair)
    assert_same_value_and_gradient(ours, loop, features)


@pytest.mark.parametrize("pids", BATCHES)
@pytest.mark.parametrize("margin", [0.0, 0.3, 1.5])
def test_batch_hard_triplet_takes_the_farthest_positive_and_the_nearest_negative(pids, margin):
    features, _, people = batch(pids, seed=2)
    ours = losses.batch_hard_triplet(losses.cosine_distances(features), people, margin)
    naive = naive_batch_hard(table(features, naive_cosine), pids, margin)
    assert_same_value_and_gradient(ours, naive, features)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_softmax_loss_spreads_the_smoothing_over_all_people(smoothing):
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    labels = torch.tensor([0, 3, 1, 1, 2])
    ours = losses.softmax_loss(logits, labels, smoothing)
    assert_same_value_and_gradient(ours, naive_softmax(logits, labels.tolist(), smoothing), logits)


@pytest.mark.parametrize("annotated", [[True] * 4, [True, False, True, False], [False] * 4])
def test_attribute_bce_is_the_mean_over_the_outputs_of_annotated_clips(annotated):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 6, generator=generator, requires_grad=True)
    targets = (torch.rand(4, 6, generator=generator) < 0.4).float()
    ours = losses.attribute_bce(logits, targets, torch.tensor(annotated))
    assert_same_value_and_gradient(ours, naive_bce(logits, targets, annotated), logits)


# ---- cases with known answers ----

# One person, distances from clip 0: 0.1 to clip 1, 0.4 to clip 2, 0.9 to clip 3.
LINE = torch.tensor([[0, 0.1, 0.4, 0.9], [0.1, 0, 0.3, 0.8], [0.4, 0.3, 0, 0.5], [0.9, 0.8, 0.5, 0]])


def test_dvdp_of_a_batch_worked_out_by_hand():
    gaps = [0.9 - 0.1, 0.8 - 0.1, 0.5 - 0.3, 0.9 - 0.5]
    assert float(losses.dvdp(LINE, torch.zeros(4))) == pytest.approx(sum(gaps) / 4)


def test_aitl_measures_by_features_the_pair_that_attributes_choose():
    attribute_distances = torch.tensor([[0, 3, 2, 1], [3, 0, 1, 2], [2, 1, 0, 3], [1, 2, 3, 0.0]])
    people = torch.zeros(4)
    pair = losses.intra_class_pair(attribute_distances, people)
    assert pair.negative.tolist() == [1, 0, 3, 2]
    assert pair.positive.tolist() == [3, 2, 1, 0]
    gaps = [0.1 - 0.9, 0.1 - 0.3, 0.5 - 0.3, 0.5 - 0.9]
    expected = sum(max(0, gap) for gap in gaps) / 4
    assert float(losses.aitl(LINE, attribute_distances, people)) == pytest.approx(expected)


def test_a_gap_that_features_order_the_other_way_costs_nothing():
    """Where the attribute-farthest clip is the feature-nearest one, the hinge is shut."""
    assert float(losses.aitl(LINE, -LINE, torch.zeros(4))) == 0


def test_batch_hard_triplet_of_a_batch_worked_out_by_hand():
    distances = torch.tensor([[0, 0.2, 0.6, 0.7], [0.2, 0, 0.4, 0.9], [0.6, 0.4, 0, 0.5], [0.7, 0.9, 0.5, 0]])
    hinges = [0.3 + 0.2 - 0.6, 0.3 + 0.2 - 0.4, 0.3 + 0.5 - 0.4, 0.3 + 0.5 - 0.7]
    expected = sum(max(0, hinge) for hinge in hinges) / 4
    loss = losses.batch_hard_triplet(distances, torch.tensor([0, 0, 1, 1]), margin=0.3)
    assert float(loss) == pytest.approx(expected)


def test_softmax_loss_of_a_clueless_network_is_the_logarithm_of_the_people():
    loss = losses.softmax_loss(torch.zeros(3, 625), torch.tensor([0, 7, 624]), smoothing=0.1)
    assert float(loss) == pytest.approx(math.log(625), rel=1e-6)


def test_attribute_bce_of_a_clueless_network_is_the_logarithm_of_two():
    loss = losses.attribute_bce(torch.zeros(2, 25), torch.zeros(2, 25), torch.tensor([True, False]))
    assert float(loss) == pytest.approx(math.log(2))


# ---- what the definitions promise ----


@pytest.mark.parametrize("pids", BATCHES)
def test_itl_minimises_dvdp_itself(pids):
    """A step against its gradient makes Eq. 1 smaller."""
    features, _, people = batch(pids)
    features = features.detach().requires_grad_()
    before = losses.dvdp(losses.cosine_distances(features), people)
    losses.itl(losses.cosine_distances(features), people).backward()
    after = losses.dvdp(losses.cosine_distances(features.detach() - 1e-3 * features.grad), people)
    assert after < before or before == 0


def test_aitl_with_feature_distances_for_attribute_distances_is_itl():
    features, _, people = batch(MIXED)
    distances = losses.cosine_distances(features)
    assert torch.equal(losses.aitl(distances, distances, people), losses.itl(distances, people))


def test_aitl_is_never_above_dvdp():
    """FN and FP are the widest pair there is."""
    for seed in range(10):
        features, attributes, people = batch(MIXED, seed)
        distances = losses.cosine_distances(features)
        aitl = losses.aitl(distances, losses.cosine_distances(attributes), people)
        assert aitl <= losses.dvdp(distances, people) + 1e-7


def test_the_anchor_is_never_its_own_pair():
    _, attributes, people = batch(THREE_EACH)
    pair = losses.intra_class_pair(losses.cosine_distances(attributes), people)
    anchors = torch.arange(len(people))
    assert pair.valid.all()
    assert (pair.positive != anchors).all() and (pair.negative != anchors).all()
    assert torch.equal(people[pair.positive], people) and torch.equal(people[pair.negative], people)


def test_with_self_pair_the_anchor_is_its_own_nearest():
    features, attributes, people = batch(PAIRS)
    attribute_distances = losses.euclidean_distances(attributes)
    pair = losses.intra_class_pair(attribute_distances, people, self_pair=True)
    anchors = torch.arange(len(people))
    assert torch.equal(pair.positive, anchors)
    assert torch.equal(pair.negative, anchors ^ 1)  # the other clip of the person
    assert pair.valid.all()
    distances = losses.cosine_distances(features)
    pulled_in = distances[anchors, anchors ^ 1].mean()
    assert_close(losses.aitl(distances, attribute_distances, people, self_pair=True), pulled_in)


def test_with_two_clips_a_person_there_is_no_gap():
    features, attributes, people = batch(PAIRS)
    distances = losses.cosine_distances(features)
    assert not losses.intra_class_pair(distances, people).valid.any()
    assert losses.dvdp(distances, people) == 0
    assert losses.aitl(distances, losses.cosine_distances(attributes), people) == 0


def test_people_with_too_few_clips_do_not_dilute_the_mean():
    features, _, people = batch(THREE_EACH)
    more = torch.cat([features, torch.randn(3, features.shape[1])])
    people_more = torch.cat([people, torch.tensor([7, 8, 8])])
    alone = losses.dvdp(losses.cosine_distances(features), people)
    assert_close(losses.dvdp(losses.cosine_distances(more), people_more), alone)


def test_no_gradient_reaches_the_attribute_distances():
    features, attributes, people = batch(THREE_EACH)
    loss = losses.aitl(losses.cosine_distances(features), losses.euclidean_distances(attributes), people)
    to_features, to_attributes = torch.autograd.grad(loss, [features, attributes], allow_unused=True)
    assert to_features.abs().sum() > 0
    assert to_attributes is None


# ---- attributes of several classes ----

ATTRIBUTES = {"motion": 3, "hat": 2, "age": 4}


def recognised(annotated, seed=0):
    """Logits that want a gradient, one-hot targets of clips, and which of them are annotated."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(len(annotated), 9, generator=generator, requires_grad=True)
    classes = [torch.randint(n, (len(annotated),), generator=generator) for n in ATTRIBUTES.values()]
    onehot = [torch.nn.functional.one_hot(own, n) for own, n in zip(classes, ATTRIBUTES.values())]
    known = torch.tensor(annotated)
    return logits, torch.cat(onehot, dim=1).float() * known[:, None], known


@pytest.mark.parametrize("annotated", [[True] * 5, [True, False, True, False], [False, True], [False, False]])
def test_each_attribute_has_the_cross_entropy_of_its_own_classes_over_annotated_clips(annotated):
    logits, targets, known = recognised(annotated)
    ours = losses.attribute_cross_entropy(logits, targets, known, ATTRIBUTES)
    naive = naive_cross_entropy(logits, targets, known, ATTRIBUTES)
    assert list(ours) == list(ATTRIBUTES)
    for name, value in ours.items():
        assert_same_value_and_gradient(value, naive[name], logits)


def test_the_cross_entropy_of_a_uniform_prediction_is_the_log_of_the_number_of_classes():
    _, targets, known = recognised([True, True])
    found = losses.attribute_cross_entropy(torch.full((2, 9), 7.0), targets, known, ATTRIBUTES)
    assert found == {name: pytest.approx(math.log(n)) for name, n in ATTRIBUTES.items()}


def test_an_unannotated_clip_changes_no_attribute_s_cross_entropy():
    logits, targets, known = recognised([True, False, True])
    spoilt = torch.where(known[:, None], targets, 1.0)
    found = losses.attribute_cross_entropy(logits, spoilt, known, ATTRIBUTES)
    alone = losses.attribute_cross_entropy(logits[known], targets[known], known[known], ATTRIBUTES)
    for name, value in found.items():
        assert_close(value, alone[name])
        assert gradients(value, [logits])[0][1].abs().sum() == 0


def test_an_attribute_that_nothing_recognises_spoils_no_other():
    logits, targets, known = recognised([True, True, False])
    blank = torch.cat([logits[:, :3], torch.full((3, 2), torch.nan), logits[:, 5:]], dim=1)
    found = losses.attribute_cross_entropy(blank, targets, known, ATTRIBUTES)
    whole = losses.attribute_cross_entropy(logits, targets, known, ATTRIBUTES)
    assert found["hat"].isnan()
    assert_same_value_and_gradient(found["motion"] + found["age"], whole["motion"] + whole["age"], logits)


# ---- batches that divide by nothing ----


def every_loss(features, attributes, people):
    distances = losses.cosine_distances(features)
    annotated = torch.zeros(len(people), dtype=torch.bool, device=people.device)
    return {
        "triplet": losses.batch_hard_triplet(distances, people),
        "dvdp": losses.dvdp(distances, people),
        "aitl": losses.aitl(distances, losses.cosine_distances(attributes), people),
        "aitl, released": losses.aitl(distances, losses.euclidean_distances(attributes), people, True),
        "softmax": losses.softmax_loss(features, people % features.shape[1], 0.1),
        "bce": losses.attribute_bce(attributes, torch.zeros_like(attributes), annotated),
    }


@pytest.mark.parametrize("pids", [*BATCHES, [0], [0, 0], [0, 0, 0]])
@pytest.mark.parametrize("spread", [1.0, 0.0, 1e-20, 1e15])
def test_values_and_gradients_are_finite_in_every_batch(pids, spread):
    features, attributes, people = batch(pids)
    features = (features.detach() * spread).requires_grad_()
    for name, loss in every_loss(features, attributes, people).items():
        assert torch.isfinite(loss), name
        for gradient in gradients(loss, [features, attributes]):
            assert torch.isfinite(gradient).all(), name


def test_identical_features_have_no_gap_and_lose_the_margin():
    features = torch.ones(6, 4, requires_grad=True)
    people = torch.tensor([0, 0, 0, 1, 1, 1])
    distances = losses.cosine_distances(features)
    assert losses.dvdp(distances, people) == 0
    assert_close(losses.batch_hard_triplet(distances, people, 0.3), torch.tensor(0.3))
    for loss in every_loss(features, features * 2, people).values():
        assert torch.isfinite(gradients(loss, [features])[0]).all()


def test_a_batch_of_one_person_has_no_triplet_loss():
    features, _, people = batch(ONE_PERSON)
    loss = losses.batch_hard_triplet(losses.cosine_distances(features), people)
    assert loss == 0
    assert gradients(loss, [features])[0].abs().sum() == 0


def test_ties_among_attribute_distances_still_choose_two_clips_of_the_same_person():
    _, _, people = batch(MIXED)
    pair = losses.intra_class_pair(torch.zeros(len(people), len(people)), people)
    for chosen in (pair.positive, pair.negative):
        assert torch.equal(people[chosen[pair.valid]], people[pair.valid])
        assert (chosen != torch.arange(len(people)))[pair.valid].all()


# ---- nothing waits, nothing loops ----


def test_losses_do_not_look_at_values():
    """Tensors of the meta device have none: a loss that reads one on the host fails here."""
    features, attributes, people = (tensor.to("meta") for tensor in batch(THREE_EACH))
    for name, loss in every_loss(features, attributes, people).items():
        assert loss.is_meta and loss.shape == (), name
        gradients(loss, [features])


class CountingOperators(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        self.count += 1
        return operator(*args, **(kwargs or {}))


def operators(people, clips):
    features, attributes, pids = batch([person for person in range(people) for _ in range(clips)])
    with CountingOperators() as counting:
        for loss in every_loss(features, attributes, pids).values():
            gradients(loss, [features])
    return counting.count


def test_the_number_of_operators_does_not_grow_with_the_batch():
    assert operators(2, 3) == operators(8, 4) == operators(16, 4)


# ---- the order of the batch means nothing ----


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_losses_do_not_depend_on_the_order_of_the_batch(data):
    pids = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=12))
    order = torch.tensor(data.draw(st.permutations(range(len(pids)))))
    features, attributes, people = batch(pids, seed=data.draw(st.integers(0, 2**32 - 1)), width=8)
    shuffled = every_loss(features[order], attributes[order], people[order])
    for name, loss in every_loss(features, attributes, people).items():
        assert_close(shuffled[name], loss, rtol=1e-5, atol=1e-6, msg=name)


# ---- soft margin, spread ----


def test_the_soft_margin_triplet_loss_is_the_softplus_of_each_anchor_s_hardest_gap():
    generator = torch.Generator().manual_seed(5)
    features, pids = torch.randn(12, 6, generator=generator), torch.tensor([0, 1, 2, 3] * 3)
    distances = losses.euclidean_distances(features)
    expected = []
    for a in range(12):
        positive = max(distances[a, p] for p in range(12) if pids[p] == pids[a])
        negative = min(distances[a, n] for n in range(12) if pids[n] != pids[a])
        expected.append(math.log(1 + math.exp(positive - negative)))
    assert losses.soft_batch_hard_triplet(distances, pids).item() == pytest.approx(sum(expected) / 12, rel=1e-5)


def test_equal_features_give_a_soft_margin_of_ln_2():
    distances, pids = torch.zeros(6, 6), torch.tensor([0, 0, 1, 1, 2, 2])
    assert losses.soft_batch_hard_triplet(distances, pids).item() == pytest.approx(math.log(2))


def test_one_person_alone_has_no_soft_margin_loss():
    assert losses.soft_batch_hard_triplet(torch.rand(4, 4), torch.zeros(4, dtype=torch.long)).item() == 0


def test_spread_is_the_mean_distance_between_different_people():
    distances = torch.tensor([[0.0, 9.0, 1.0], [9.0, 0.0, 3.0], [1.0, 3.0, 0.0]])
    assert losses.spread(distances, torch.tensor([0, 0, 1])).item() == 2
    assert losses.spread(distances, torch.tensor([4, 4, 4])).item() == 0
