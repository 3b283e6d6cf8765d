"""IDE: frames that are classified one by one, and a metric that is learned of the training tracklets."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch.testing import assert_close

import paper_scale
import tiny
from vreid import __main__ as command_line
from vreid import losses
from vreid.data.clips import normalise
from vreid.data.frames import FrameReader
from vreid.data.tracklets import expand_frames, read_tracklets
from vreid.embed import load_network
from vreid.errors import InputError
from vreid.models.ide import METHOD, Options, build, finish, terms
from vreid.models.method import Labels, Outputs, Tracklets
from vreid.spec import Spec

UNIFIED, NATIVE = Options(), Options(neck=False)


def network(options=UNIFIED):
    torch.manual_seed(0)
    return build(options, paper_scale.SMALL, paper_scale.MARS)


def some_clips():
    return torch.randn(3, 4, 3, 64, 32, generator=torch.Generator().manual_seed(1))


# ---- size ----


def test_four_frames_take_16_21_gmac_and_one_with_the_original_stride_2_67():
    assert paper_scale.giga_multiplications(paper_scale.on_meta(METHOD, UNIFIED), 4) == pytest.approx(16.21, abs=0.01)
    native = paper_scale.on_meta(METHOD, NATIVE, last_stride=2)
    assert paper_scale.giga_multiplications(native, 1) == pytest.approx(2.67, abs=0.005)


def test_beside_the_trunk_there_is_a_linear_classifier_and_perhaps_a_neck():
    unified, native = (paper_scale.on_meta(METHOD, options) for options in (UNIFIED, NATIVE))
    assert paper_scale.parameters([native.trunk]) == pytest.approx(23.51e6, abs=5e3)
    assert paper_scale.parameters([native.head]) == 2048 * 625 + 625
    assert paper_scale.parameters([unified.head]) == 2048 * 625 + 2 * 2048


@pytest.mark.parametrize(
    "options, spec, frames",
    [(UNIFIED, paper_scale.FULL, 1), (UNIFIED, paper_scale.SMALL, 4), (NATIVE, paper_scale.SMALL, 1)],
)
def test_every_weight_learns(options, spec, frames):
    assert not paper_scale.without_gradient(METHOD, options, spec, frames)


# ---- frames ----


@pytest.mark.parametrize("options", [UNIFIED, NATIVE])
def test_no_frame_knows_of_another(options):
    ours, clips = network(options).eval(), some_clips()
    together = ours(clips).extra["frames"]
    alone = torch.stack([ours(clips[:, t : t + 1]).logits for t in range(4)], dim=1)
    assert_close(together, alone, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("pooling, over", [("max", torch.amax), ("mean", torch.mean)])
@pytest.mark.parametrize("neck", [True, False])
def test_a_clip_is_the_largest_or_the_mean_value_of_each_channel_over_its_frames(pooling, over, neck):
    ours, clips = network(Options(neck=neck, pooling=pooling)).eval(), some_clips()
    alone = [ours(clips[:, t : t + 1]) for t in range(4)]
    found = ours(clips)
    assert_close(found.embedding, over(torch.stack([frame.embedding for frame in alone]), 0), rtol=1e-4, atol=1e-5)
    assert_close(found.feature, over(torch.stack([frame.feature for frame in alone]), 0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pooling", ["max", "mean"])
def test_the_clips_of_a_tracklet_are_pooled_as_its_frames_are(pooling):
    assert METHOD.pooling(replace(paper_scale.SMALL, options={"pooling": pooling})) == pooling


def test_the_loss_is_the_mean_cross_entropy_of_all_frames():
    logits = torch.randn(3, 4, 7, generator=torch.Generator().manual_seed(0))
    pids = torch.tensor([2, 0, 6])
    outputs = Outputs(torch.zeros(3, 5), torch.zeros(3, 5), logits.mean(1), extra={"frames": logits})
    found = terms(outputs, Labels(pids, {}), UNIFIED)
    each = [losses.softmax_loss(logits[b, t][None], pids[b][None]) for b in range(3) for t in range(4)]
    assert list(found) == ["softmax"]
    assert_close(found["softmax"], torch.stack(each).mean())
    assert abs(found["softmax"] - losses.softmax_loss(outputs.logits, pids)) > 0.05  # not that of the mean logits


# ---- the metric ----


def some_tracklets(seed=0, people=8):
    """Three tracklets a person, one a camera, around a direction of their own."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(people, 6)).repeat(3, 0) + 0.5 * rng.normal(size=(3 * people, 6))
    return Tracklets(features.astype(np.float32), np.arange(people).repeat(3), np.tile([1, 2, 3], people))


def never():
    raise AssertionError("the training tracklets were embedded for nothing")


@pytest.mark.parametrize("options, training", [(Options(), never), (Options(metric="kissme"), None)])
def test_without_a_learned_metric_and_in_mid_training_features_have_length_1(options, training):
    features = some_tracklets(1).features
    found = finish(features, options, training)
    assert_allclose(found, features / np.linalg.norm(features, axis=1)[:, None])


@pytest.mark.parametrize("metric", ["kissme", "xqda"])
def test_a_learned_metric_does_not_see_how_long_features_are(metric):
    train, test = some_tracklets(), some_tracklets(1).features
    longer = train._replace(features=train.features * np.linspace(1, 9, 24, dtype=np.float32)[:, None])
    once = finish(test, Options(metric=metric), lambda: train)
    again = finish(3 * test, Options(metric=metric), lambda: longer)
    assert once.dtype == np.float32
    assert_allclose(once, again, rtol=1e-3, atol=1e-4)


def test_the_metrics_differ():
    train, test = some_tracklets(), some_tracklets(1).features
    stored = [finish(test, Options(metric=metric), lambda: train) for metric in ("euclidean", "kissme", "xqda")]
    distances = [np.linalg.norm(found[0] - found, axis=1)[1:] for found in stored]
    assert np.corrcoef(distances).min() < 0.99


# ---- from frames to features ----


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of 8 people, and a function that embeds it with a metric: options → what `embed` stored, or its status."""
    root = tmp_path_factory.mktemp("world")
    index = tiny.index(tiny.write_dataset(root), root / "annotated.csv.gz")
    sections = {
        "trunk": {"name": "small", "width": 8, "weights": "none"},
        "clips": {"frames": 2, "height": tiny.HEIGHT, "width": tiny.WIDTH},
        "training": {"epochs": 4, "people": 4, "clips": 3, "lr": 2e-3, "precision": "float32"},
    }
    base = {"seed": 1, "method": "ide", **sections}
    data = ["--index", index, "--root", root, "--dataset", "tiny"]

    def verb(*words):
        return command_line.main([str(word) for word in words])

    Spec.from_mapping({"model": "zheng", **base}).save(root / "spec.json")
    train = ["train", "--spec", root / "spec.json", *data, "--headline", "queries-removed", "--out", root]
    assert verb(*train) == 0

    def embed(metric, *more):
        row = {"model": f"zheng-{metric}", "trained_as": "zheng", "options": {"metric": metric}}
        Spec.from_mapping(base | row).save(root / "row.json")
        out = root / metric / "features.npz"
        words = ["embed", "--spec", root / "row.json", *data, "--weights", root / "weights.pt", "--out", out]
        status = verb(*words, *more)
        return dict(np.load(out)) if status == 0 else status

    yield embed, ["--train-index", index, "--train-root", root], root
    torch.use_deterministic_algorithms(False)


def test_one_training_is_tested_under_three_metrics(trained):
    embed, training, _ = trained
    stored = {metric: embed(metric, *training) for metric in ("euclidean", "kissme", "xqda")}
    assert_allclose(np.linalg.norm(stored["euclidean"]["features"], axis=1), 1, rtol=1e-5)
    for metric, found in stored.items():
        provenance = json.loads(str(found["provenance"]))
        assert (provenance["trained_as"], provenance["distance"]) == ("zheng", "euclidean")
        assert np.isfinite(found["features"]).all() and found["features"].dtype == np.float32
        people = found["pids"] > 0
        features, pids = found["features"][people], found["pids"][people]
        distances = np.linalg.norm(features[:, None] - features, axis=-1)
        same = pids[:, None] == pids
        assert distances[same].mean() < 0.5 * distances[~same].mean(), metric


def test_a_tracklet_is_the_largest_value_of_each_channel_over_all_its_frames(trained):
    """However they are cut into clips."""
    embed, _, root = trained
    spec = Spec.load(root / "spec.json")
    *_, ours = load_network(spec, root / "weights.pt", json.loads((root / "train.json").read_text()))
    table = read_tracklets(root / "annotated.csv.gz")
    tested = table[table["split"] != "train"]["frames"]
    reader = FrameReader(root, tiny.HEIGHT, tiny.WIDTH)
    for stored, template in zip(embed("euclidean")["features"], tested, strict=True):
        frames = normalise(reader(expand_frames(template)))
        with torch.no_grad():
            alone = ours.eval()(frames[:, None]).embedding
        largest = alone.amax(0)
        assert_allclose(stored, largest / largest.norm(), rtol=1e-3, atol=1e-4)


def test_a_learned_metric_asks_for_the_training_tracklets(trained, capsys):
    embed, *_ = trained
    assert embed("xqda") == 2
    told = "models.zheng-xqda: its metric is learned on the training tracklets; give --train-index and --train-root"
    assert told in capsys.readouterr().err


def test_training_frames_of_another_size_than_the_dataset_s_are_refused(trained, capsys):
    embed, training, _ = trained
    assert embed("kissme", *training, "--train-frame-size", "256x128") == 2
    assert "every frame of this dataset should be 256×128" in capsys.readouterr().err


# ---- options ----


@pytest.mark.parametrize(
    "options, told",
    [
        ({"pooling": "sum"}, "pooling: 'sum' is none of max, mean"),
        ({"label_smoothing": 1.0}, "label_smoothing: 1.0 is not at least 0 and below 1"),
        ({"metric": "cosine"}, "metric: 'cosine' is none of euclidean, kissme, xqda"),
    ],
)
def test_a_bad_option_is_refused_by_its_key(options, told):
    with pytest.raises(InputError, match=f"^models.m: {told}"):
        METHOD.settings(replace(paper_scale.SMALL, options=options))
