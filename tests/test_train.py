"""From frames to weights, features and scores, on a dataset of a few people."""

import json
import math
import random
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch

import tiny
from killed import ENDINGS, MOMENTS, on_cpu, train_until, train_until_told
from vreid import __main__ as command_line
from vreid import checkpoints
from vreid import embed as embedding
from vreid import train as training
from vreid.data import clips
from vreid.data.attributes import IRRELEVANT, RELEVANT_MARS
from vreid.data.frames import FrameReader
from vreid.data.tracklets import COLUMNS, expand_frames, read_tracklets
from vreid.errors import InputError
from vreid.locks import only_writer
from vreid.metrics import evaluate_features
from vreid.models import method as methods
from vreid.score import score
from vreid.spec import Spec, Training

FULL = {"streams": ["reid", "irrelevant", "relevant"], "losses": ["softmax", "triplet", "attributes", "aitl"]}
BASELINE = {"streams": ["reid"], "losses": ["softmax", "triplet"]}
EPOCHS, STEPS_PER_EPOCH = 6, 2  # eight people, four a batch


def spec(**changes) -> Spec:
    sections = {
        "model": "asta+aitl",
        "seed": 1,
        "options": FULL,
        "trunk": {"name": "small", "width": 8, "weights": "none"},
        "clips": {"frames": 2, "height": tiny.HEIGHT, "width": tiny.WIDTH},
        "augment": {"pad": 2},
        "training": {
            "epochs": EPOCHS,
            "people": 4,
            "clips": 3,
            "lr": 2e-3,
            "milestones": [0.7],
            "validate_every": 4,
            "precision": "float32",
        },
    }
    for name, value in changes.items():
        whole = name == "options" or not isinstance(value, dict)
        sections[name] = value if whole else {**sections.get(name, {}), **value}
    return Spec.from_mapping(sections)


class World(NamedTuple):
    root: Path
    table: pd.DataFrame
    index: Path


def make_world(root: Path, **settings) -> World:
    table = tiny.write_dataset(root, **settings)
    return World(root, table, tiny.index(table, root / "annotated.csv.gz"))


def arguments(world: World, out: Path, run: Spec) -> dict:
    """What `train` is called with; writes the spec's file."""
    run.save(out / "spec.json")
    return {
        "spec_path": out / "spec.json",
        "index_path": world.index,
        "root": world.root,
        "dataset": "tiny",
        "headline": "queries-removed",
        "out": out,
    }


def train(world: World, out: Path, run: Spec, **more) -> Path:
    training.train(**arguments(world, out, run), **more)
    return out


def embed(world: World, run: Path, dataset: str = "tiny", **more) -> Path:
    out = run / dataset / "features.npz"
    spec_path = more.pop("spec_path", run / "spec.json")
    embedding.embed(spec_path, run / "weights.pt", world.index, world.root, dataset, out, **more)
    return out


def weights(run: Path) -> dict[str, bytes]:
    state = torch.load(run / "weights.pt", weights_only=True)
    return {name: value.numpy().tobytes() for name, value in state.items()}


def history(run: Path) -> pd.DataFrame:
    return pd.read_csv(run / "history.csv")


def history_but_seconds(run: Path) -> str:
    return history(run).drop(columns="seconds").to_csv()


def differing(run: Path, other: Path) -> list[str]:
    """The weights that are not the same to the bit."""
    one, another = weights(run), weights(other)
    return [name for name in one | another if one.get(name) != another.get(name)]


def assert_same_run(run: Path, other: Path) -> None:
    assert not differing(run, other)
    assert history_but_seconds(run) == history_but_seconds(other)


@pytest.fixture(scope="module", autouse=True)
def one_thread_on_the_cpu():
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        on_cpu(patch.setattr)
        yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def finished(world, tmp_path_factory):
    """A run of the full model that nothing disturbed."""
    return train(world, tmp_path_factory.mktemp("finished"), spec())


# ---- schedule ----


def test_the_learning_rate_warms_up_then_falls_at_the_milestones():
    schedule = Training(lr=1.0, warmup=0.2, warmup_from=0.1, milestones=(0.5, 0.8), decay=0.1)
    rates = [training.learning_rate(step, 10, schedule) for step in range(10)]
    assert rates == pytest.approx([0.1, 0.55, 1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01])


def test_without_warm_up_the_learning_rate_starts_whole():
    assert training.learning_rate(0, 10, Training(lr=0.5, warmup=0.0)) == 0.5


def test_a_budget_scales_the_learning_rate_of_whatever_recipe():
    for recipe in (3.0e-4, 3.5e-4):
        schedule = Training(lr=recipe, lr_scale=2.0, warmup=0.2, warmup_from=0.1)
        plain = Training(lr=recipe, warmup=0.2, warmup_from=0.1)
        for step in range(10):
            rate = training.learning_rate(step, 10, schedule)
            assert rate == pytest.approx(2 * training.learning_rate(step, 10, plain))


def test_an_exponential_schedule_falls_from_its_milestone_to_the_end():
    schedule = Training(lr=1.0, warmup=0.0, schedule="exponential", milestones=(0.5,), decay=0.01)
    rates = [training.learning_rate(step, 10, schedule) for step in range(11)]
    assert rates == pytest.approx([1] * 5 + [0.01 ** (i / 5) for i in range(6)])


# ---- optimiser ----


class Two(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk, self.head = torch.nn.Linear(1, 1, bias=False), torch.nn.Linear(1, 1, bias=False)


@pytest.mark.parametrize("name, expected", [("adam", "Adam"), ("sgd", "SGD"), ("nesterov", "SGD")])
def test_the_trunk_s_rate_is_a_share_of_the_rest_s(name, expected):
    network = Two()
    optimiser = training.optimiser_of(network, Training(optimiser=name, trunk_rate=0.1, momentum=0.8, weight_decay=0.5))
    assert type(optimiser).__name__ == expected
    shares = {weight: group["share"] for group in optimiser.param_groups for weight in group["params"]}
    assert shares == {network.trunk.weight: 0.1, network.head.weight: 1.0}
    assert all(group["weight_decay"] == 0.5 for group in optimiser.param_groups)
    assert all(group.get("momentum", 0.8) == 0.8 for group in optimiser.param_groups)
    assert all(group.get("nesterov", False) == (name == "nesterov") for group in optimiser.param_groups)


def test_a_trunk_with_rate_0_stands_still(world, tmp_path):
    still = spec(training={"epochs": 1, "trunk_rate": 0.0, "weight_decay": 0.0, "optimiser": "sgd", "lr": 0.1})
    start = spec(training={"epochs": 0})
    one, other = train(world, tmp_path / "1", still), train(world, tmp_path / "0", start)
    changed = differing(one, other)
    assert "head.classifier.weight" in changed
    assert not [name for name in changed if name.startswith("trunk.") and name.endswith(("conv1.weight", "bn1.weight"))]


# ---- no training, failed training ----


def test_no_epochs_leave_the_network_as_it_starts(world, tmp_path):
    run = train(world, tmp_path, spec(training={"epochs": 0}))
    assert json.loads((run / "train.json").read_text())["steps"] == 0
    assert len(history(run)) == 0 and {"epoch", "dvdp", "mAP"} <= set(history(run))
    with np.load(embed(world, run)) as stored:
        assert np.isfinite(stored["features"]).all()


def collapse_of(history: list[dict], collapsed: dict[str, float], epochs: int | None = None) -> str | None:
    """What is said of a training of so many epochs, by default as many as its history has, if anything."""
    method = methods.Method(options=dict, network=None, losses=None, collapsed=lambda options: collapsed)
    asked, data = spec(training={"epochs": epochs or len(history)}), SimpleNamespace(steps_per_epoch=1)
    trainer = training.Trainer(asked, method, {}, data, None, None, None, len(history), history)
    try:
        trainer._refuse_collapse()
    except InputError as error:
        return str(error)
    return None


def test_a_training_that_tells_nobody_apart_is_refused():
    assert "at mean cosine distance 1.0e-05" in collapse_of([{"spread": 1e-5}], {})
    assert collapse_of([{"spread": 0.4}], {}) is None


def test_a_training_that_draws_all_people_together_is_refused():
    shrinking = [{"spread": value} for value in (0.5, 0.4, 0.3, 0.2, 0.1, 0.04)]
    assert "at mean cosine distance 4.0e-02" in collapse_of(shrinking, {})
    assert collapse_of([*shrinking, {"spread": 0.06}], {}) is None


def told(triplet: list[float], spread: list[float], epochs: int | None = None) -> str | None:
    """What is said of a training whose triplet loss would be 0.3 for equal features."""
    history = [{"spread": s, "triplet": t} for s, t in zip(spread, triplet, strict=True)]
    return collapse_of(history, {"triplet": 0.3}, epochs)


ALIKE, DRAWN_APART, SHRINKING = [0.4] * 6, [0.4, 0.41, 0.42, 0.43, 0.44, 0.45], [0.4, 0.3, 0.25, 0.22, 0.21, 0.2]


def test_a_metric_loss_parked_at_its_value_for_equal_features_is_refused():
    parked = [0.33, 0.31, 0.305, 0.301, 0.298, 0.296]
    assert "the term `triplet` stands at 0.2960, where equal features give 0.3000" in told(parked, ALIKE)
    assert told(parked, DRAWN_APART) is None
    assert told(parked, ALIKE, epochs=8) is None  # it may yet leave
    assert "stands at" in told([*parked[:5], 0.29], ALIKE)  # one epoch elsewhere is no leaving
    assert told([*parked[:3], 0.293, 0.29, 0.28], ALIKE) is None  # it has left
    assert told(parked[:3], ALIKE[:3]) is None  # too early to tell
    assert collapse_of([{"spread": 0.4, "triplet": 0.0}] * 6, {"triplet": 0.0}) is None  # a margin of 0, kept by all
    assert collapse_of([{"spread": 0.4}] * 6, {"triplet": 0.3}) is None  # a model without that loss


def test_a_metric_loss_that_stays_above_that_value_is_refused_if_people_are_drawn_together():
    """Margin sample mining did, before the neck: drawing all together is what brings the batch's worst pairs closer."""
    falling = [0.45, 0.41, 0.39, 0.37, 0.36, 0.355]
    assert "stands at 0.3550, where equal features give 0.3000, and people are at mean" in told(falling, SHRINKING)
    assert told(falling, DRAWN_APART) is None  # it comes from above, as hard mining does
    assert told(falling, ALIKE) is None  # hard data
    assert "stands at 0.3550" in told(falling, SHRINKING, epochs=8)  # which is seen before the end
    assert told([*falling[:5], 0.29], SHRINKING) is None


def test_a_collapse_is_found_at_a_validation_in_mid_training_and_writes_nothing(world, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "SHRUNK", 10.0)  # no training draws people so far apart
    with pytest.raises(InputError, match="the training has collapsed by epoch 6"):
        train(world, tmp_path, spec(options=BASELINE, training={"epochs": 12, "validate_every": 3}))
    assert not list(tmp_path.rglob("weights.pt")) and not list(tmp_path.rglob("train.json"))


def test_a_collapse_in_the_last_epoch_is_found_again_by_who_tries_again(world, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "SHRUNK", 10.0)
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    for _ in range(2):
        with pytest.raises(InputError, match="the training has collapsed by epoch 6"):
            train(world, tmp_path, spec(options=BASELINE, training={"epochs": 6, "validate_every": 6}))
    assert not list(tmp_path.rglob("weights.pt"))


def test_a_term_with_the_name_of_a_column_is_refused(world, tmp_path, monkeypatch):
    own = methods.load("multitask")
    named = replace(own, losses=lambda *given: {"spread": sum(own.losses(*given).values())})
    monkeypatch.setattr(training.methods, "load", lambda name: named)
    with pytest.raises(InputError, match="a term of its loss may not be named 'spread'"):
        train(world, tmp_path, spec())


# ---- what a training leaves behind ----


def test_the_loss_falls(finished):
    found = history(finished)
    for term, share in {"loss": 0.95, "softmax": 0.95, "triplet": 0.95, "attributes_relevant": 0.99}.items():
        assert found[term].iloc[-2:].mean() < share * found[term].iloc[:2].mean(), term  # attributes start low


def test_the_history_has_a_row_an_epoch_and_a_column_a_term(finished):
    found = history(finished)
    terms = ["softmax", "triplet", "aitl", "attributes_irrelevant", "attributes_relevant"]
    columns = ["epoch", "step", "lr", "loss", *terms, "dvdp", "spread", "seconds", "mAP", "R1"]
    assert list(found) == columns
    assert found["epoch"].tolist() == list(range(1, EPOCHS + 1))
    assert found["step"].tolist() == list(range(STEPS_PER_EPOCH, EPOCHS * STEPS_PER_EPOCH + 1, STEPS_PER_EPOCH))
    np.testing.assert_allclose(found[terms].sum(axis=1), found["loss"], rtol=1e-5)
    assert found["lr"].tolist() == pytest.approx([2e-3] * 4 + [6e-4] * 2)
    assert found["dvdp"].between(0, 2).all() and (found["dvdp"] >= found["aitl"] - 1e-6).all()
    assert found["seconds"].is_monotonic_increasing


def test_a_term_is_the_mean_over_the_steps_of_its_epoch(world, tmp_path):
    """A classifier that has learnt nothing loses the logarithm of the number of people at every step."""
    run = train(world, tmp_path, spec(options=BASELINE, training={"epochs": 1, "lr": 1e-9}))
    assert history(run)["softmax"].item() == pytest.approx(math.log(8), abs=0.05)


def test_dvdp_is_blank_where_nobody_has_three_clips(world, tmp_path):
    run = train(world, tmp_path, spec(options=BASELINE, training={"epochs": 1, "clips": 2}))
    assert history(run)["dvdp"].isna().all() and history(run)["loss"].notna().all()


def test_accuracy_stands_at_validation_epochs_and_at_the_last(finished):
    found = history(finished)
    assert found.loc[found["mAP"].notna(), "epoch"].tolist() == [4, 6]
    assert found.loc[found["R1"].notna(), "epoch"].tolist() == [4, 6]
    assert found[["mAP", "R1"]].dropna().stack().between(0, 1).all()


def test_the_record_says_what_was_trained_how_and_on_what(finished):
    record = json.loads((finished / "train.json").read_text())
    assert record["spec_digest"] == spec().digest
    assert (record["model"], record["recipe"], record["seed"]) == ("asta+aitl", "paper", 1)
    assert (record["train_dataset"], record["people"]) == ("tiny", 8)
    assert record["attributes"] == {"irrelevant": IRRELEVANT, "relevant": RELEVANT_MARS}
    assert (record["device"], record["precision"], record["threads"]) == ("CPU", "float32", 1)
    assert record["steps"] == EPOCHS * STEPS_PER_EPOCH
    state = torch.load(finished / "weights.pt", weights_only=True)
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    learnt = [value.numel() for name, value in state.items() if not name.endswith(statistics)]
    assert record["parameters"] == sum(learnt)
    assert record["torch"] == torch.__version__
    assert record["started"] <= record["finished"]
    assert {"code_digest", "commit", "dirty", "host_cpu", "python", "seconds"} <= record.keys()
    assert 0 < record["seconds_waited"] < record["seconds_in_steps"] < record["seconds"]


def test_no_checkpoint_is_left_when_a_training_is_done(world, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    run = train(world, tmp_path, spec(training={"epochs": 2}))
    assert sorted(path.name for path in run.iterdir()) == [
        "history.csv",
        "spec.json",
        "train.json",
        "weights.pt",
    ]


# ---- the same and not the same ----


def test_the_same_seed_gives_the_same_weights_to_the_bit(world, finished, tmp_path):
    torch.manual_seed(99)  # what happened before means nothing
    assert_same_run(train(world, tmp_path, spec()), finished)


def test_loader_processes_do_not_change_the_weights(world, finished, tmp_path):
    assert_same_run(train(world, tmp_path, spec(), workers=1), finished)


def test_another_seed_gives_other_weights(world, finished, tmp_path):
    other = train(world, tmp_path, spec(seed=2))
    assert "trunk.conv1.weight" in differing(other, finished)


@pytest.mark.parametrize(
    "change",
    [
        {"training": {"lr": 1e-3}},
        {"training": {"weight_decay": 0.1}},
        {"training": {"warmup": 0.9}},
        {"training": {"warmup_from": 0.5}},
        {"training": {"milestones": [0.1]}},
        {"training": {"decay": 0.9}},
        {"training": {"people": 3}},
        {"training": {"clips": 4}},
        {"clips": {"frames": 3}},
        {"clips": {"order": "shuffled"}},
        {"augment": {"pad": 1}},
        {"augment": {"flip": 0.9}},
        {"augment": {"erase": 0.1}},
        {"options": BASELINE | {"margin": 0.0}},
        {"options": BASELINE | {"label_smoothing": 0.1}},
        {"trunk": {"width": 9}},
    ],
)
def test_every_setting_has_its_effect_on_the_weights(world, two_epochs, tmp_path, change):
    settings = {"options": BASELINE} | change
    settings["training"] = {"epochs": 2} | change.get("training", {})
    assert differing(train(world, tmp_path, spec(**settings)), two_epochs)


@pytest.fixture(scope="module")
def two_epochs(world, tmp_path_factory):
    run = spec(options=BASELINE, training={"epochs": 2})
    return train(world, tmp_path_factory.mktemp("two epochs"), run)


def test_the_shares_of_the_classes_are_those_of_the_annotated_training_tracklets(world):
    table = pd.read_csv(world.index)
    annotated = table[(table.split == "train") & table.pose.notna()]
    run = spec()
    reader = FrameReader(world.root, run.clips.height, run.clips.width)
    data = training.TrainingData(read_tracklets(world.index), world.index, reader, run, methods.load(run.method))
    for name, count in (IRRELEVANT | RELEVANT_MARS).items():
        expected = [(annotated[name] == value).mean() for value in range(count)]
        assert data.population.shares[name] == pytest.approx(expected)


def test_a_training_starts_from_the_trunk_that_it_is_given(world, finished, tmp_path):
    still = {"epochs": 1, "lr": 1e-12, "weight_decay": 0.0}
    run = spec(training=still, trunk={"weights": "another run"})
    train(world, tmp_path, run, trunk_weights=finished / "weights.pt")
    start, end = (torch.load(folder / "weights.pt", weights_only=True) for folder in (finished, tmp_path))
    torch.testing.assert_close(end["trunk.conv1.weight"], start["trunk.conv1.weight"], rtol=0, atol=1e-9)
    assert not torch.allclose(end["head.classifier.weight"], start["head.classifier.weight"])


# ---- killed and started again ----


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_training_started_again_ends_as_if_nothing_had_happened(moment, world, finished, tmp_path):
    assert train_until(moment, **arguments(world, tmp_path, spec()))
    assert not (tmp_path / "weights.pt").exists()
    assert_same_run(train(world, tmp_path, spec()), finished)
    assert not (tmp_path / "resume").exists()


def test_a_training_killed_again_and_again_at_any_moment_ends_with_the_same_weights(world, finished, tmp_path):
    delays = [random.uniform(0.05, 0.6) for _ in range(3)]
    killed = [train_until(delay, **arguments(world, tmp_path, spec())) for delay in delays]
    train(world, tmp_path, spec())
    assert any(killed)
    assert not differing(tmp_path, finished), f"killed {killed} after {delays} seconds"
    assert history_but_seconds(tmp_path) == history_but_seconds(finished)


@pytest.mark.parametrize("moment", ENDINGS)
def test_a_training_that_is_told_to_end_saves_first_and_ends_with_the_same_weights(moment, world, finished, tmp_path):
    assert train_until_told(moment, **arguments(world, tmp_path, spec())) == 143
    assert len(list((tmp_path / "resume").iterdir())) == 1
    assert not (tmp_path / "weights.pt").exists()
    assert_same_run(train(world, tmp_path, spec()), finished)


def test_a_training_whose_loaders_are_told_to_end_too_saves_first(world, finished, tmp_path):
    told = arguments(world, tmp_path, spec()) | {"workers": 2}
    assert train_until_told("in the middle of an epoch", **told) == 143
    assert len(list((tmp_path / "resume").iterdir())) == 1
    assert_same_run(train(world, tmp_path, spec()), finished)


def test_the_step_at_which_a_training_is_told_to_end_is_not_lost(world, tmp_path, capsys):
    assert train_until_told("in the middle of an epoch", **arguments(world, tmp_path, spec())) == 143
    train(world, tmp_path, spec())
    assert "resumed after epoch 3, step 7" in capsys.readouterr().err


def test_seconds_of_steps_and_of_waiting_are_saved_together_within_an_epoch(world, tmp_path):
    assert train_until_told("in the first epoch", **arguments(world, tmp_path, spec())) == 143
    saved = checkpoints.load_newest(tmp_path / "resume")
    assert saved["step"] == 1 and 0 < saved["waited"] < saved["stepped"] <= saved["seconds"]


def test_a_training_saves_within_an_epoch_too(world, finished, tmp_path, capsys, monkeypatch):
    assert train_until("long in the middle of an epoch", **arguments(world, tmp_path, spec()))
    assert_same_run(train(world, tmp_path, spec()), finished)
    assert "resumed after epoch 3, step 7" in capsys.readouterr().err


def test_a_second_training_of_a_run_is_refused_and_the_first_one_left_alone(world, finished, tmp_path):
    with only_writer(tmp_path):
        for _ in range(2):  # and who is refused does not undo the lock
            assert train_until_told("in the first epoch", **arguments(world, tmp_path, spec())) == 1
    assert not (tmp_path / "resume").exists() and not (tmp_path / ".writer").exists()
    assert_same_run(train(world, tmp_path, spec()), finished)


def test_a_killed_training_goes_on_from_its_last_epoch(world, finished, tmp_path, capsys):
    assert train_until("in the middle of an epoch", **arguments(world, tmp_path, spec()))
    assert sorted(path.name[:13] for path in (tmp_path / "resume").iterdir()) == [
        "step-00000004",
        "step-00000006",
    ]
    train(world, tmp_path, spec())
    assert "resumed after epoch 3, step 6" in capsys.readouterr().err
    seconds = history(tmp_path)["seconds"]
    assert seconds.is_monotonic_increasing


def test_of_a_torn_checkpoint_the_one_before_is_used(world, finished, tmp_path, capsys):
    assert train_until("in the middle of an epoch", **arguments(world, tmp_path, spec()))
    newest = max((tmp_path / "resume").iterdir())
    newest.write_bytes(newest.read_bytes()[:-100])
    train(world, tmp_path, spec())
    assert "resumed after epoch 2, step 4" in capsys.readouterr().err
    assert_same_run(tmp_path, finished)


def test_when_every_checkpoint_is_torn_the_training_starts_afresh(world, finished, tmp_path, capsys):
    assert train_until("in the middle of an epoch", **arguments(world, tmp_path, spec()))
    for path in (tmp_path / "resume").iterdir():
        path.write_bytes(b"torn")
    train(world, tmp_path, spec())
    assert "resumed" not in capsys.readouterr().err
    assert_same_run(tmp_path, finished)


def test_a_changed_spec_does_not_go_on_from_the_old_one_s_checkpoint(world, tmp_path, capsys):
    assert train_until("in the middle of an epoch", **arguments(world, tmp_path / "killed", spec()))
    other = spec(training={"lr": 1e-3})
    train(world, tmp_path / "killed", other)
    assert "resumed" not in capsys.readouterr().err
    assert_same_run(tmp_path / "killed", train(world, tmp_path / "fresh", other))


def test_a_changed_index_does_not_go_on_from_the_old_one_s_checkpoint(world, tmp_path, capsys):
    assert train_until("in the middle of an epoch", **arguments(world, tmp_path / "killed", spec()))
    fewer = world.table.drop(index=0)
    changed = world._replace(index=tiny.index(fewer, tmp_path / "changed.csv.gz"))
    train(changed, tmp_path / "killed", spec())
    assert "resumed" not in capsys.readouterr().err
    assert_same_run(tmp_path / "killed", train(changed, tmp_path / "fresh", spec()))


def test_checkpoints_are_not_written_more_often_than_asked(world, tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(checkpoints, "save", lambda folder, step, state: saved.append(step))
    train(world, tmp_path / "never", spec())
    assert saved == []
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    train(world, tmp_path / "always", spec())
    assert saved == [STEPS_PER_EPOCH * epoch for epoch in range(1, EPOCHS + 1)]


# ---- features and scores ----


def test_features_of_a_run_give_metrics(world, finished, tmp_path):
    features = embed(world, finished, rendered=True)
    score(features, "queries-removed", tmp_path / "metrics.json", tmp_path / "per_query.csv.gz")
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    found = metrics["protocols"]["queries-removed"]
    assert (found["num_queries"], found["num_valid_queries"], found["num_gallery"]) == (4, 4, 9)
    assert found["mAP"] > 0.5
    record = json.loads((finished / "train.json").read_text()) | {"rendered": True}  # of what is tested
    assert metrics["provenance"].items() >= record.items()
    assert (metrics["provenance"]["test_dataset"], metrics["provenance"]["rendered"]) == ("tiny", True)


def test_the_last_validation_of_a_training_is_what_its_features_score(world, finished):
    with np.load(embed(world, finished)) as stored:
        labels = [stored[name] for name in ("features", "pids", "camids")]
        found = evaluate_features(*labels, stored["splits"] == "query")["queries-removed"]
    last = history(finished).iloc[-1]
    assert (last["mAP"], last["R1"]) == pytest.approx((found["mAP"], found["R1"]))


def test_features_stand_beside_the_labels_of_their_tracklets(world, finished):
    tested = world.table[world.table["split"] != "train"]
    with np.load(embed(world, finished)) as stored:
        assert stored["features"].shape == (len(tested), 3 * 64) and stored["features"].dtype == np.float32
        for array, column in {"pids": "pid", "camids": "camid", "tracklets": "tracklet"}.items():
            assert stored[array].dtype == np.int64
            assert stored[array].tolist() == tested[column].tolist()
        assert stored["splits"].tolist() == tested["split"].tolist()


def load_network(run: Path):
    chosen = spec()
    method = methods.load(chosen.method)
    record = json.loads((run / "train.json").read_text())
    population = methods.Population(record["people"], record["attributes"])
    network = method.network(method.settings(chosen), chosen, population)
    network.load_state_dict(torch.load(run / "weights.pt", weights_only=True))
    return network.eval()


def test_a_tracklet_s_feature_is_the_mean_of_its_clips_embeddings(world, finished):
    network, reader = load_network(finished), FrameReader(world.root, tiny.HEIGHT, tiny.WIDTH)
    tested = world.table[world.table["split"] != "train"]["frames"]
    with np.load(embed(world, finished)) as stored, torch.no_grad():
        for feature, template in zip(stored["features"], tested):
            names = expand_frames(template)
            names += names[-1:] * (len(names) % 2)  # clips of two frames, the last padded
            frames = clips.normalise(reader(names)).unflatten(0, (-1, 2))
            alone = [network(clip[None]).embedding[0] for clip in frames]
            expected = torch.stack(alone).mean(0).numpy()
            np.testing.assert_allclose(feature, expected, rtol=1e-3, atol=1e-4)


def test_another_dataset_of_other_people_without_attributes_is_embedded_too(finished, tmp_path):
    other = make_world(tmp_path / "other", seed=7, train_people=2, test_people=5)
    bare = other._replace(index=tiny.index(other.table[COLUMNS], tmp_path / "bare.csv.gz"))
    with np.load(embed(bare, finished, "elsewhere")) as stored:
        assert stored["features"].shape == (5 * 3 + 2, 192)
        provenance = json.loads(str(stored["provenance"]))
    assert (provenance["train_dataset"], provenance["test_dataset"]) == ("tiny", "elsewhere")


def test_features_do_not_depend_on_the_loader_processes(world, finished):
    with (
        np.load(embed(world, finished, "alone")) as alone,
        np.load(embed(world, finished, "helped", workers=1)) as helped,
    ):
        assert np.array_equal(alone["features"], helped["features"])


def test_bfloat16_trains_and_embeds_in_float32_files(world, tmp_path):
    run = train(world, tmp_path, spec(training={"precision": "bfloat16", "epochs": 1}))
    state = torch.load(run / "weights.pt", weights_only=True)
    assert all(value.dtype in (torch.float32, torch.int64) for value in state.values())
    assert np.isfinite(history(run)["loss"]).all()
    with np.load(embed(world, run)) as stored:
        assert stored["features"].dtype == np.float32 and np.isfinite(stored["features"]).all()


# ---- models without attributes ----


@pytest.fixture(scope="module")
def bare(world, tmp_path_factory):
    """The same people, not annotated."""
    return world._replace(index=tiny.index(world.table[COLUMNS], tmp_path_factory.mktemp("bare") / "bare.csv.gz"))


def test_a_baseline_trains_without_attributes(bare, tmp_path):
    run = train(bare, tmp_path, spec(options=BASELINE, training={"epochs": 1}))
    assert list(history(run))[3:7] == ["loss", "softmax", "triplet", "dvdp"]


def test_attributes_change_nothing_for_a_model_that_does_not_use_them(world, bare, tmp_path):
    baseline = spec(options=BASELINE, training={"epochs": 2})
    assert_same_run(train(world, tmp_path / "world", baseline), train(bare, tmp_path / "bare", baseline))


def test_tracklets_without_annotation_are_trained_on_all_the_same(world, tmp_path):
    table = world.table.copy()
    table.loc[:5, [name for name in table if name not in COLUMNS]] = pd.NA
    some = world._replace(index=tiny.index(table, tmp_path / "some.csv.gz"))
    run = train(some, tmp_path, spec(training={"epochs": 1}))
    assert np.isfinite(history(run)["loss"]).all()


# ---- what is refused ----


def refused(world: World, out: Path, run: Spec, told: str, **more) -> None:
    with pytest.raises(InputError, match=told):
        train(world, out, run, **more)
    assert {path.name for path in out.iterdir()} <= {"spec.json", "index.csv.gz"}


def with_rows(world: World, rows, path: Path) -> World:
    return world._replace(index=tiny.index(world.table[rows], path))


def test_streams_of_attributes_are_refused_without_attributes(bare, tmp_path):
    refused(
        bare,
        tmp_path,
        spec(),
        r"models\.asta\+aitl: the training data has no irrelevant attributes; annotate",
    )


def test_one_person_cannot_be_told_apart(world, tmp_path):
    alone = (world.table["pid"] == 1) | (world.table["split"] != "train")
    one = with_rows(world, alone, tmp_path / "index.csv.gz")
    refused(one, tmp_path, spec(), r"index\.csv\.gz: 1 people in the split `train`; .* at least two")


@pytest.mark.parametrize("split", ["query", "gallery"])
def test_an_index_that_cannot_be_tested_on_is_refused_before_the_training(world, split, tmp_path):
    without = with_rows(world, world.table["split"] != split, tmp_path / "index.csv.gz")
    refused(without, tmp_path, spec(), rf"index\.csv\.gz: no tracklet of the split `{split}`")


def test_queries_that_match_nothing_are_an_error_that_names_the_index(world, tmp_path):
    matchless = (world.table["split"] != "gallery") | (world.table["pid"] == 0)
    without = with_rows(world, matchless, tmp_path / "index.csv.gz")
    run = spec(training={"epochs": 1})
    with pytest.raises(InputError, match=r"index\.csv\.gz: none of the 4 queries has a match"):
        train(without, tmp_path, run)


def test_a_bad_frame_ends_the_training_with_its_name(world, tmp_path):
    other = make_world(tmp_path / "other")
    for frame in (tmp_path / "other" / "train" / "0003").rglob("*.jpg"):
        frame.write_bytes(b"")
    for workers in (0, 1):
        refused(other, tmp_path / "run", spec(), r"train/0003/./00.\.jpg: the frame is empty", workers=workers)


def test_a_loss_that_is_not_finite_ends_the_training(world, tmp_path):
    wild = spec(training={"lr": 1e30, "milestones": [], "validate_every": 1})
    with pytest.raises(InputError, match=r"asta\+aitl: the loss is nan in epoch \d; lower `training.lr`"):
        train(world, tmp_path, wild)


def test_weights_of_another_spec_are_refused(world, finished, tmp_path):
    spec(seed=5).save(tmp_path / "spec.json")
    with pytest.raises(InputError, match=r"train\.json: trained with another spec than the one given"):
        embed(world, finished, spec_path=tmp_path / "spec.json")


@pytest.fixture
def copied(finished, tmp_path):
    """A finished run that may be damaged."""
    for name in ("spec.json", "train.json", "weights.pt"):
        (tmp_path / name).write_bytes((finished / name).read_bytes())
    return tmp_path


@pytest.mark.parametrize(
    "name, content, told",
    [
        ("train.json", None, r"train\.json: the record of the training cannot be read"),
        ("train.json", b"{", r"train\.json: the record of the training cannot be read"),
        ("train.json", b"{}", r"train\.json: the key 'spec_digest' is missing"),
        ("weights.pt", None, r"weights\.pt: no such weights"),
        ("weights.pt", b"torn", r"weights\.pt: not a file of weights"),
        ("spec.json", None, r"spec\.json: no such spec"),
    ],
)
def test_a_run_with_a_missing_or_torn_file_is_not_embedded(world, copied, name, content, told):
    (copied / name).unlink()
    if content is not None:
        (copied / name).write_bytes(content)
    with pytest.raises(InputError, match=told):
        embed(world, copied)
    assert not (copied / "tiny").exists()


class RunsCode:
    def __reduce__(self):
        return (exec, ("raise SystemExit('a pickle was run')",))


def test_code_in_a_weights_file_is_not_run(world, copied):
    torch.save(RunsCode(), copied / "weights.pt")
    with pytest.raises(InputError, match=r"weights\.pt: not a file of weights"):
        embed(world, copied)


def test_torn_weights_are_refused(world, copied):
    (copied / "weights.pt").write_bytes((copied / "weights.pt").read_bytes()[:-500])
    with pytest.raises(InputError, match=r"weights\.pt: not a file of weights"):
        embed(world, copied)


# ---- by command ----


def test_the_verbs_lead_from_a_spec_to_metrics(world, tmp_path):
    chosen = spec(options=BASELINE, training={"epochs": 1})
    data = ["--index", world.index, "--root", world.root, "--dataset", "tiny", "--frame-size", "64x32"]
    headline = ["--headline", "queries-removed"]
    spec_file, weights_file, features = (tmp_path / n for n in ("spec.json", "weights.pt", "features.npz"))
    outputs = ["--out", tmp_path / "metrics.json", "--per-query", tmp_path / "per_query.csv.gz"]
    for command in (
        ["freeze", "--spec", json.dumps(asdict(chosen)), "--out", spec_file],
        ["train", "--spec", spec_file, *data, *headline, "--out", tmp_path],
        ["embed", "--spec", spec_file, *data, "--weights", weights_file, "--out", features],
        ["score", "--features", features, *headline, *outputs],
    ):
        assert command_line.main([str(word) for word in command]) == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["headline"] == "queries-removed"
    assert metrics["provenance"]["spec_digest"] == chosen.digest
    assert metrics["protocols"]["queries-removed"]["mAP"] == pytest.approx(history(tmp_path)["mAP"].iloc[-1])


def test_frames_of_another_size_than_the_dataset_s_are_refused_by_command(world, tmp_path, capsys):
    spec().save(tmp_path / "spec.json")
    command = ["train", "--spec", tmp_path / "spec.json", "--index", world.index, "--root", world.root]
    command += ["--dataset", "tiny", "--headline", "queries-removed", "--out", tmp_path]
    assert command_line.main([*map(str, command), "--frame-size", "256x128"]) == 2
    assert "the frame is 64×32 pixels, but every frame of this dataset should be 256×128" in capsys.readouterr().err


# ---- tested in another way ----


def test_a_model_trained_as_another_takes_its_weights(world, finished, tmp_path):
    again = spec(model="again", trained_as="asta+aitl", clips={"test": "spread"})
    again.save(tmp_path / "spec.json")
    with np.load(embed(world, finished, "tiny-again", spec_path=tmp_path / "spec.json")) as stored:
        record = json.loads(str(stored["provenance"]))
        features = stored["features"]
    with np.load(embed(world, finished)) as stored:
        assert not np.allclose(features, stored["features"])
    assert (record["model"], record["trained_as"]) == ("again", "asta+aitl")
    spec(model="again", trained_as="another").save(tmp_path / "spec.json")
    with pytest.raises(InputError, match="not the training of 'another' with seed 1"):
        embed(world, finished, spec_path=tmp_path / "spec.json")


# ---- pooling ----


@pytest.fixture(scope="module")
def clips_of_three():
    """Five clips of three tracklets, in no order: rows, places, embeddings (5, 2)."""
    rows, places = torch.tensor([2, 0, 2, 1, 2]), torch.tensor([1, 0, 0, 0, 2])
    return rows, places, torch.tensor([[1.0, -8.0], [2.0, 2.0], [3.0, -4.0], [4.0, 0.0], [5.0, -3.0]])


@pytest.mark.parametrize("pool, third", [("mean", [3.0, -5.0]), ("max", [5.0, -3.0])])
def test_clips_are_pooled_to_one_feature(clips_of_three, pool, third):
    rows, places, embeddings = clips_of_three
    pooled = embedding.POOLS[pool](torch.tensor([1, 1, 3]))
    for part in (slice(0, 2), slice(2, 5)):
        pooled.add(rows[part], places[part], embeddings[part])
    assert pooled.value().tolist() == [[2.0, 2.0], [4.0, 0.0], third]


def test_all_clips_may_be_kept_those_that_lack_are_nan(clips_of_three):
    kept = embedding.POOLS["all"](torch.tensor([1, 1, 3]))
    kept.add(*clips_of_three)
    assert kept.value().shape == (3, 3, 2)
    assert kept.value()[2].tolist() == [[3.0, -4.0], [1.0, -8.0], [5.0, -3.0]]
    assert np.isnan(kept.value()[:2, 1:]).all() and not np.isnan(kept.value()[:2, 0]).any()


# ---- attributes ----


def test_recognised_attributes_stand_beside_the_annotated_ones(world, finished):
    tested = world.table[world.table["split"] != "train"]
    with np.load(embed(world, finished)) as stored:
        for group, vocabulary in {"irrelevant": IRRELEVANT, "relevant": RELEVANT_MARS}.items():
            found, true = stored[f"recognised_{group}"], stored[f"annotated_{group}"]
            assert found.shape == true.shape == (len(tested), len(vocabulary))
            assert ((found >= 0) & (found < np.array(list(vocabulary.values())))).all()
            assert (true == tested[list(vocabulary)].fillna(-1).to_numpy(int)).all()


def test_the_recognised_class_is_the_one_with_the_highest_mean_logit():
    known = {"relevant": {"hat": 2, "age": 3}}
    rows = pd.DataFrame({name: pd.array([0, pd.NA], "Int64") for name in {**IRRELEVANT, **RELEVANT_MARS}})
    logits = {"relevant": np.array([[0.1, 0.2, 3.0, 1.0, 2.0], [5.0, 0.0, 0.0, 0.0, 9.0]])}
    vocabulary = {"relevant": dict(RELEVANT_MARS)}
    assert embedding.recognised(logits, known, rows, "index") == {}  # other attributes than the test set's
    wide = {"relevant": np.eye(2, sum(RELEVANT_MARS.values()))}
    found = embedding.recognised(wide, vocabulary, rows, "index")
    assert found["recognised_relevant"][:, 0].tolist() == [0, 1]
    assert found["annotated_relevant"][:, 0].tolist() == [0, -1]
