"""VRSTC's parts one by one: which regions are occluded, what completes them, and how well both are done."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from vreid.completion import complete as completing
from vreid.completion import train as training
from vreid.data.regions import of_tracklets, read_regions, region_table, strip_rows, write_regions
from vreid.data.tracklets import COLUMNS, write_tracklets
from vreid.errors import InputError
from vreid.models.vrstc import losses, regions, stcnet
from vreid.occlusion import average_precision, compare, precision_recall
from vreid.walkers import draw
from vreid.walkers.population import tracklets
from vreid.walkers.truth import pixels
from vreid.walkers.world import World


def random_frames(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


# ---- which regions are occluded ----


def test_regions_share_out_all_rows_as_evenly_as_can_be():
    assert [(r.start, r.stop) for r in strip_rows(64, 3)] == [(0, 21), (21, 42), (42, 64)]
    assert [(r.start, r.stop) for r in strip_rows(4, 1)] == [(0, 4)]


def test_a_row_of_the_map_that_two_regions_share_counts_for_each_as_far_as_it_lies_in_it():
    weights = regions.strip_weights(8, 3)
    expected = torch.tensor([[3, 3, 2, 0, 0, 0, 0, 0], [0, 0, 1, 3, 3, 1, 0, 0], [0, 0, 0, 0, 0, 2, 3, 3]]) / 8
    torch.testing.assert_close(weights, expected)


def test_region_features_are_the_means_over_the_regions_rows_and_all_columns():
    maps = random_frames(2, 5, 6, 4)
    found = regions.region_features(maps, 3)
    assert found.shape == (2, 3, 5)
    torch.testing.assert_close(found[1, 2], maps[1, :, 4:6].mean((1, 2)))


def test_a_region_unlike_the_rest_of_its_tracklet_scores_low_and_the_others_high():
    usual, other = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    features = usual.expand(4, 2, 2).clone()
    features[3, 1] = other  # the second region of the last frame
    scores = regions.region_scores(features)
    assert scores[:, 0].tolist() == pytest.approx([1] * 4)
    mean = math.hypot(0.75, 0.25)
    assert scores[:, 1].tolist() == pytest.approx([0.75 / mean] * 3 + [0.25 / mean])


def test_the_only_frame_of_a_tracklet_is_never_occluded():
    assert regions.region_scores(torch.rand(1, 3, 7) + 0.1).tolist()[0] == pytest.approx([1, 1, 1])


def test_the_paper_s_threshold_holds_while_a_plausible_share_falls_below_it():
    scores = np.r_[np.full(10, 0.8), np.full(90, 0.95)]
    found = regions.threshold(scores, regions.Options())
    assert (found.tau, found.share) == (0.89, 0.1) and "within" in found.why


@pytest.mark.parametrize("low", [2, 40])
def test_else_the_quantile_holds_and_it_is_said(low):
    scores = np.r_[np.linspace(0.5, 0.8, low), np.linspace(0.9, 1, 100 - low)]
    found = regions.threshold(scores, regions.Options())
    assert found.tau == pytest.approx(np.quantile(scores, 0.1)) and found.share == 0.1
    assert f"{low}.0% of the regions score below 0.89, not 5% to 15%" in found.why


@pytest.mark.parametrize(
    "options, told",
    [
        ({"regions": 0}, "regions: 0 is not at least 1"),
        ({"quantile": 0.3}, "least, quantile, most"),
        ({"tau": 2.0}, "tau: 2.0 is not at least -1 and at most 1"),
        ({"tau": float("nan")}, "tau: nan is not"),
    ],
)
def test_options_of_the_scoring_that_mean_nothing_are_refused(options, told):
    with pytest.raises(InputError, match=told):
        regions.Options(**options)


def naive_references(clean: list[bool]) -> list[tuple[int, int]]:
    found = []
    for t in range(len(clean)):
        before = [i for i in range(t) if clean[i]]
        after = [i for i in range(t + 1, len(clean)) if clean[i]]
        sides = before[-1:] + after[:1] or [-1]
        found.append((sides[0], sides[-1]))
    return found


@pytest.mark.parametrize("bits", range(32))
def test_references_are_the_nearest_unoccluded_frames_or_one_side_s_twice(bits):
    clean = [bool(bits >> t & 1) for t in range(5)]
    before, after = regions.references(np.array(clean))
    assert list(zip(before.tolist(), after.tolist())) == naive_references(clean)


# ---- the networks ----


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def network():
    """One whose batch normalisations have seen a few frames, so that no signal dies on the way through it."""
    torch.manual_seed(0)
    network = stcnet.CompletionNetwork(4, 10.0)
    with torch.no_grad():
        for seed in range(10):
            network(*random_frames(3, 2, 3, 32, 16, seed=seed), middle_missing())
    return network.eval()


def middle_missing(count: int = 2) -> torch.Tensor:
    mask = torch.zeros(count, 1, 32, 16)
    mask[:, :, 10:21] = 1
    return mask


def test_the_generators_leave_what_is_not_missing_as_it_is(network):
    x, before, after = random_frames(3, 2, 3, 32, 16)
    mask = middle_missing()
    for made in network(x, before, after, mask):
        kept = (mask == 0).expand_as(x)
        assert torch.equal(made[kept], x[kept])
        assert not torch.allclose(made[~kept], x[~kept]) and made.min() >= 0 and made.max() <= 1


def test_the_generators_do_not_see_what_is_missing(network):
    x, before, after = random_frames(3, 2, 3, 32, 16)
    mask = middle_missing()
    other = torch.where(mask > 0, random_frames(2, 3, 32, 16, seed=1), x)
    for one, two in zip(network(x, before, after, mask), network(other, before, after, mask)):
        hidden = (mask > 0).expand_as(one)
        assert torch.equal(one[hidden], two[hidden])


def test_the_spatial_generator_sees_no_neighbours_and_the_temporal_one_sees_both(network):
    x, before, after = random_frames(3, 1, 3, 32, 16)
    mask = middle_missing(1)
    spatial, temporal = network(x, before, after, mask)
    for neighbours in ((after, after), (before, before)):
        again = network(x, *neighbours, mask)
        assert torch.equal(again[0], spatial) and not torch.equal(again[1], temporal)


def test_the_network_has_the_layers_of_its_design():
    wide = stcnet.CompletionNetwork(64, 10.0)
    shapes = [tuple(m.weight.shape) for m in wide.spatial.encoder.modules() if isinstance(m, torch.nn.Conv2d)]
    assert shapes[:4] == [(64, 4, 5, 5), (128, 64, 3, 3), (128, 128, 3, 3), (256, 128, 3, 3)]
    assert shapes[4:] == [(256, 256, 3, 3)] * 8
    dilations = [m.dilation[0] for m in wide.spatial.encoder.modules() if isinstance(m, torch.nn.Conv2d)]
    assert dilations == [1, 1, 1, 1, 1, 1, 2, 4, 8, 16, 1, 1]
    assert wide.temporal.fusion[0].weight.shape == (256, 3 * 256, 3, 3)


def naive_attention(current: np.ndarray, reference: np.ndarray, scale: float) -> np.ndarray:
    """(C, h, w) each, patch by patch."""
    c, h, w = current.shape
    places = [(y, x) for y in range(h) for x in range(w)]
    a, b = (np.pad(x, ((0, 0), (1, 1), (1, 1)), mode="edge") for x in (current, reference))
    patches = [[padded[:, y : y + 3, x : x + 3] for y, x in places] for padded in (a, b)]
    total, count = np.zeros((c, h + 2, w + 2)), np.zeros((h + 2, w + 2))
    for (y, x), query in zip(places, patches[0]):
        cosines = np.array([(query * k).sum() / np.linalg.norm(query) / np.linalg.norm(k) for k in patches[1]])
        weights = np.exp(scale * cosines) / np.exp(scale * cosines).sum()
        total[:, y : y + 3, x : x + 3] += sum(weight * patch for weight, patch in zip(weights, patches[1]))
        count[y : y + 3, x : x + 3] += 1
    return (total / count)[:, 1:-1, 1:-1]


def test_temporal_attention_is_what_its_formula_says_patch_by_patch():
    current, reference = random_frames(2, 2, 3, 4, 3) - 0.5
    found = stcnet.attend(current, reference, 5.0)
    for b in range(2):
        expected = naive_attention(current[b].double().numpy(), reference[b].double().numpy(), 5.0)
        np.testing.assert_allclose(found[b], expected, rtol=1e-4, atol=1e-5)


def test_sharp_attention_finds_a_map_that_only_moved():
    """What stands one column further right in the reference comes back to where it is in the current map."""
    scene = random_frames(1, 6, 8, 9) - 0.5
    current, reference = scene[..., 1:], scene[..., :-1]
    found = stcnet.attend(current, reference, 200.0)
    torch.testing.assert_close(found[..., 1:-3], current[..., 1:-3], rtol=0, atol=0.02)


@pytest.mark.parametrize("size", [(64, 32), (256, 128), (32, 16)])
def test_discriminators_judge_whole_frames_and_the_missing_regions(size):
    judges = stcnet.Discriminators(2, size, 3).eval()
    frames, tops = random_frames(2, 3, *size), torch.tensor([0, strip_rows(size[0], 3)[2].start])
    whole, local = judges(frames, tops)
    assert whole.shape == local.shape == (2,)
    above = frames.clone()
    above[1, :, : size[0] // 2] = 0  # the second frame misses its lowest region
    assert torch.equal(judges(above, tops)[1], local) and not torch.equal(judges(above, tops)[0], whole)


def test_a_crop_begins_at_the_region_or_ends_with_the_frame():
    frames = torch.arange(10.0)[None, None, :, None].expand(2, 3, 10, 2)
    found = stcnet.crop(frames, torch.tensor([3, 8]), 4)
    assert found[0, 0, :, 0].tolist() == [3, 4, 5, 6] and found[1, 2, :, 1].tolist() == [6, 7, 8, 9]


# ---- the losses ----


def test_the_reconstruction_is_the_mean_error_of_both_generators_over_the_missing_pixels():
    x, x1, x2 = random_frames(3, 2, 3, 32, 16)
    mask = middle_missing()
    hidden = (mask > 0).expand_as(x)
    expected = (x - x1)[hidden].abs().mean() + (x - x2)[hidden].abs().mean()
    torch.testing.assert_close(losses.reconstruction(x, x1, x2, mask), expected)


def test_the_adversarial_losses_are_those_of_the_logarithms():
    real, made = torch.tensor([2.0, -1.0]), torch.tensor([0.5, -3.0])
    d_real, d_made = torch.sigmoid(real), torch.sigmoid(made)
    expected = -d_real.log().mean() - (1 - d_made).log().mean()
    torch.testing.assert_close(losses.discriminator_loss(real, made), expected)
    torch.testing.assert_close(losses.adversarial(made), -d_made.log().mean())


def test_the_guider_s_loss_is_the_cross_entropy_of_the_person():
    logits, people = torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 3.0]]), torch.tensor([1, 0])
    expected = -F.log_softmax(logits, 1)[[0, 1], people].mean()
    torch.testing.assert_close(losses.identity(logits, people), expected)


# ---- what is learnt from ----


def test_masks_cover_the_region_that_is_asked_for_and_no_other():
    masks = training.region_masks(torch.tensor([2, 0]), (64, 32), 3)
    assert masks.shape == (2, 1, 64, 32)
    assert masks[0, 0, 42:].all() and not masks[0, 0, :42].any()
    assert masks[1, 0, :21].all() and not masks[1, 0, 21:].any()


def test_only_unoccluded_frames_with_an_unoccluded_neighbour_are_learnt_from():
    hidden = [*[[0, 0], [1, 0], [0, 0], [0, 0]], *[[0, 0], [0, 1]], [0, 0]]
    found = training.samples(np.array([4, 2, 1]), np.array(hidden, bool))
    assert found.tracklet.tolist() == [0, 0, 0]
    assert found.frame.tolist() == [0, 2, 3]
    assert found.before.tolist() == [2, 0, 2]
    assert found.after.tolist() == [2, 3, 2]


def test_no_tracklet_is_both_learnt_from_and_held_out():
    every = training.samples(np.full(20, 5), np.zeros((100, 3), bool))
    learnt, held = training.split_samples(every, 20, training.Options(held_out=0.25, held_out_frames=9))
    assert len(held.frame) == 9 and len(learnt.frame) == 15 * 5
    assert not set(learnt.tracklet) & set(held.tracklet) and len(set(held.tracklet)) == 5


def test_errors_are_the_mean_and_the_psnr_over_missing_pixels():
    errors, mask = training.Errors(), middle_missing()
    x = torch.zeros(2, 3, 32, 16)
    errors.add(x, torch.where(mask > 0, 0.1, 5.0).expand_as(x), mask)
    errors.add(x, torch.where(mask > 0, 0.3, 5.0).expand_as(x), mask)
    assert errors.scores["l1"] == pytest.approx(0.2)
    assert errors.scores["psnr"] == pytest.approx(-10 * math.log10(0.05), abs=1e-3)


@pytest.mark.parametrize(
    "options, told",
    [
        ({"batch": 1}, "batch: 1"),
        ({"held_out": 1.0}, "held_out"),
        ({"flip": -0.1}, "flip"),
        ({"decay_from": 1.5}, "decay_from"),
        ({"lr": float("nan")}, "lr: nan"),
        ({"precision": "float16"}, "precision"),
    ],
)
def test_options_of_the_training_that_mean_nothing_are_refused(options, told):
    with pytest.raises(InputError, match=told):
        training.Options(**options)


def test_the_learning_rate_is_whole_until_its_decay_and_ends_near_nothing():
    options = training.Options(steps=10, decay_from=0.6)
    assert [training.rate_left(step, options) for step in (0, 5, 6, 8)] == pytest.approx([1, 1, 1, 0.5])
    assert training.rate_left(9, training.Options(steps=10)) == 1


# ---- what is completed ----


class Painter(torch.nn.Module):
    """A network that paints what is missing in the mean colour of the frame before."""

    def forward(self, x, before, after, mask):
        return x, torch.where(mask > 0, before.mean((2, 3), keepdim=True), x)


def test_every_occluded_region_is_completed_and_no_other():
    x, before, after = (torch.full((2, 3, 9, 4), value, dtype=torch.uint8) for value in (10, 20, 30))
    occluded = torch.tensor([[True, False, True], [False, True, False]])
    made = completing.completed(Painter(), torch.stack([x, before, after]), occluded, "float32")
    assert made[0, 0, :, 0].tolist() == [20] * 3 + [10] * 3 + [20] * 3
    assert made[1, 2, :, 3].tolist() == [10] * 3 + [20] * 3 + [10] * 3


def test_a_stored_frame_of_another_size_takes_the_regions_in_its_own_size():
    stored = np.zeros((30, 10, 3), np.uint8)
    frame = completing.pasted(stored, torch.full((3, 12, 4), 200, dtype=torch.uint8), np.array([False, True, False]))
    assert (frame[10:20] == 200).all() and not frame[:10].any() and not frame[20:].any()
    assert not stored.any()


# ---- the table of regions ----


def table_of(lengths: list[int], **columns) -> pd.DataFrame:
    count = len(lengths)
    keys = {"split": "train", "pid": range(1, count + 1), "camid": 1, "tracklet": 1}
    frames = [f"train/{i}/{{1..{n}}}.jpg" for i, n in enumerate(lengths)]
    return pd.DataFrame(keys | {"num_frames": lengths, "frames": frames} | columns)


def regions_of(table: pd.DataFrame, **values) -> pd.DataFrame:
    keys = table[["pid", "camid", "tracklet"]].to_numpy()
    return region_table(keys, table["num_frames"].to_numpy(), {k: np.array(v) for k, v in values.items()})


def test_a_region_table_comes_back_from_its_file(tmp_path):
    table, values = table_of([2, 1]), np.arange(6.0).reshape(3, 2) / 8
    write_regions(regions_of(table, score=values), tmp_path / "regions.csv.gz")
    found = read_regions(tmp_path / "regions.csv.gz", "score")
    assert found["frame"].tolist() == [1, 1, 2, 2, 1, 1] and found["region"].tolist() == [1, 2] * 3
    assert of_tracklets(found, table, "score", "regions").tolist() == values.tolist()


def test_regions_of_another_index_are_refused():
    found = regions_of(table_of([2, 1]), score=np.zeros((3, 2)))
    for other in ([1, 2], [2], [2, 1, 1]):
        with pytest.raises(InputError, match="here: the regions are those of another index"):
            of_tracklets(found, table_of(other), "score", "here")


@pytest.mark.parametrize(
    "edit, told",
    [
        (lambda t: t.drop(columns="score"), "no column 'score'"),
        (lambda t: t.assign(score="high"), "line 2: 'score' is no number"),
        (lambda t: t.assign(region=0), "line 2: 'region' is '0'"),
    ],
)
def test_a_file_that_is_no_region_table_is_refused(tmp_path, edit, told):
    path = tmp_path / "regions.csv.gz"
    write_regions(edit(regions_of(table_of([2]), score=np.ones((2, 2)))), path)
    with pytest.raises(InputError, match=told):
        read_regions(path, "score")


# ---- what is truly occluded ----


def test_precision_and_recall_of_a_hand_made_case():
    truly, found = np.array([1, 1, 1, 0, 0, 0, 0, 0], bool), np.array([1, 0, 0, 1, 0, 0, 0, 0], bool)
    assert precision_recall(truly, found) == {
        "all": 8,
        "occluded": 3,
        "found": 2,
        "found_rightly": 1,
        "base_rate": 0.375,
        "precision": 0.5,
        "recall": 0.3333,
    }


def test_where_nothing_is_occluded_or_found_there_is_no_recall_and_no_precision():
    nothing = precision_recall(np.zeros(4, bool), np.zeros(4, bool))
    assert nothing["precision"] is None and nothing["recall"] is None and nothing["base_rate"] == 0


def test_average_precision_is_the_mean_of_the_precisions_at_the_hits_and_ties_stand_together():
    truly = np.array([1, 0, 1, 0], bool)
    assert average_precision(truly, np.array([4.0, 3, 2, 1])) == pytest.approx((1 + 2 / 3) / 2, abs=1e-4)
    assert average_precision(truly, np.zeros(4)) == 0.5
    assert average_precision(np.zeros(4, bool), np.zeros(4)) is None


def occlusion_files(folder, truth: bool = True) -> dict:
    """Two tracklets of two frames with two regions; the first is annotated as occluded."""
    table = table_of([2, 2], occlusion=[1, 0])[[*COLUMNS, "occlusion"]]
    write_tracklets(table, folder / "index.csv.gz")
    occluded = [[1, 0], [1, 0], [0, 0], [0, 1]]
    write_regions(regions_of(table, score=1 - 0.5 * np.array(occluded), occluded=occluded), folder / "regions.csv.gz")
    target, hidden = [[10, 10], [10, 0], [10, 10], [10, 10]], [[4, 3], [0, 0], [0, 0], [0, 0]]
    if truth:
        write_regions(regions_of(table, target=target, hidden=hidden), folder / "truth.csv.gz")
    paths = {name: folder / f"{name}.csv.gz" for name in ("index", "regions")}
    return paths | {"truth": folder / "truth.csv.gz" if truth else None, "out": folder / "occlusion.json"}


def test_what_was_found_is_compared_with_pixels_and_with_annotations(tmp_path):
    compare(**occlusion_files(tmp_path), above=0.3)
    record = json.loads((tmp_path / "occlusion.json").read_text())
    regions, tracklets = record["regions"], record["tracklets"]
    assert (regions["all"], regions["occluded"], regions["found"], regions["found_rightly"]) == (8, 1, 3, 1)
    assert (tracklets["all"], tracklets["occluded"], tracklets["found"], tracklets["found_rightly"]) == (2, 1, 2, 1)
    assert record["found_by_annotation"]["occlusion"] == {"tracklets": 1, "share_found": 0.5}
    assert record["found_by_annotation"]["none of these"] == {"tracklets": 1, "share_found": 0.25}


def test_a_lower_bound_makes_more_regions_truly_occluded(tmp_path):
    compare(**occlusion_files(tmp_path), above=0.2)
    assert json.loads((tmp_path / "occlusion.json").read_text())["regions"]["occluded"] == 2


def test_without_truth_the_annotations_are_compared_alone(tmp_path):
    compare(**occlusion_files(tmp_path, truth=False), above=0.3)
    assert "regions" not in json.loads((tmp_path / "occlusion.json").read_text())


def test_a_truth_of_another_dataset_is_refused(tmp_path):
    files = occlusion_files(tmp_path)
    write_regions(regions_of(table_of([3]), target=[[1]] * 3, hidden=[[0]] * 3), files["truth"])
    with pytest.raises(InputError, match="are both of one dataset"):
        compare(**files, above=0.3)
    assert not files["out"].exists()


def test_the_truth_of_a_rendered_world_counts_the_pixels_of_its_masks():
    settings = {"layout": "duke", "seed": 3, "train_people": 6, "test_people": 6, "height": 48, "width": 24}
    strength = {"camera_strength": 1.0, "jitter": 1.0, "fault_rate": 8.0, "identity_detail": 1.0}
    world = World.from_mapping(settings | strength | {"mean_frames": 4, "tracklets_per_person": 1.0})
    walk = next(t for t in tracklets(world) if t.pid > 0 and t.attributes["occlusion"])
    counts = pixels(world, [walk], 3)
    assert counts.shape == (walk.num_frames, 3, 2) and counts[..., 1].any()
    for i in range(walk.num_frames):
        shot = draw.shot(world, walk, i)
        body = shot.target | shot.hidden
        assert counts[i].tolist() == [
            [body[rows].sum(), shot.hidden[rows].sum()] for rows in (slice(0, 16), slice(16, 32), slice(32, 48))
        ]
