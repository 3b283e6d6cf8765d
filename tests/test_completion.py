"""VRSTC's three jobs in a row on a dataset of a few people: scores, a completion network, a completed dataset."""

import hashlib
import json
import os
import signal
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

import tiny
from killed import at_call, exit_status, on_cpu, tear_checkpoint, tell_to_end
from vreid import before_after, progress
from vreid import train as reid_training
from vreid.completion import complete, score, scorer, train
from vreid.completion.cost import step_gmac
from vreid.data.frames import FrameReader
from vreid.data.regions import frame_spans, of_tracklets, read_regions, strip_rows
from vreid.data.tracklets import expand_frames
from vreid.errors import InputError
from vreid.models.vrstc.regions import region_features
from vreid.spec import Spec

OPTIONS = {
    "width": 2,
    "steps": 6,
    "batch": 4,
    "report_every": 2,
    "held_out": 0.3,
    "held_out_frames": 8,
    "precision": "float32",
}
SPEC = {
    "model": "baseline",
    "seed": 1,
    "options": {"streams": ["reid"], "losses": ["softmax"]},
    "trunk": {"name": "small", "width": 8, "weights": "none"},
    "clips": {"frames": 2, "height": tiny.HEIGHT, "width": tiny.WIDTH},
    "training": {"epochs": 1, "people": 4, "clips": 3, "validate_every": 1, "precision": "float32"},
}


class Stage(NamedTuple):
    """A dataset, a run trained on it, and what the jobs have made of both."""

    root: Path
    table: pd.DataFrame
    index: Path
    run: Path
    out: Path

    @property
    def scorer(self) -> dict:
        return {"spec_path": self.run / "spec.json", "weights_path": self.run / "weights.pt"}

    @property
    def data(self) -> dict:
        return {"index_path": self.index, "root": self.root, "dataset": "tiny"}

    @property
    def regions(self) -> Path:
        return self.out / "regions.csv.gz"

    def column(self, name: str) -> np.ndarray:
        return of_tracklets(read_regions(self.regions, name), self.table, name, self.regions)


def cpu_everywhere(replace=setattr) -> None:
    on_cpu(replace)
    for module in (scorer, score, train, complete):
        replace(module, "device", lambda: torch.device("cpu"))


@pytest.fixture(scope="module", autouse=True)
def one_thread_on_the_cpu():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        cpu_everywhere(patch.setattr)
        yield
    torch.use_deterministic_algorithms(False)
    torch.utils.deterministic.fill_uninitialized_memory = True
    torch.set_num_threads(threads)


def score_regions(stage: Stage, out: Path, **more) -> Path:
    score.score_regions(**stage.scorer, **stage.data, options=more.pop("options", {}), out=out, **more)
    return out


def training_arguments(stage: Stage, out: Path, **changes) -> dict:
    arguments = {"regions_path": stage.regions, **stage.scorer, **stage.data, "out": out}
    return arguments | {"options": OPTIONS | changes.pop("options", {})} | changes


def train_completion(stage: Stage, out: Path, **changes) -> Path:
    train.train_completion(**training_arguments(stage, out, **changes))
    return out


def complete_frames(stage: Stage, out: Path, **changes) -> Path:
    arguments = {"regions_path": stage.regions, "weights_path": stage.out / "weights.pt", **stage.data, "out": out}
    complete.complete(**arguments | changes)
    return out


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    """The dataset, a run, its scores, and a completion network that nothing disturbed."""
    folder = tmp_path_factory.mktemp("stage")
    table = tiny.write_dataset(folder / "tiny")
    (folder / "tiny/info.txt").write_text("a side file")
    index = tiny.index(table, folder / "index.csv.gz")
    Spec.from_mapping(SPEC).save(folder / "run/spec.json")
    paths = {"spec_path": folder / "run/spec.json", "index_path": index, "root": folder / "tiny"}
    reid_training.train(**paths, dataset="tiny", headline="queries-removed", out=folder / "run")
    made = Stage(folder / "tiny", table, index, folder / "run", folder / "completion")
    score_regions(made, made.out)
    train_completion(made, made.out)
    return made


def digests(root: Path) -> dict[str, str]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


# ---- scores ----


@pytest.mark.parametrize(
    "method, options, clips",
    [
        ("trinet", {}, {}),  # no classifier
        ("nvan", {"temporal_reduction": True}, {"frames": 4}),  # no clips of one frame
    ],
)
def test_a_run_that_cannot_tell_people_apart_by_a_frame_is_no_scorer(stage, tmp_path, method, options, clips):
    other = {"method": method, "options": options, "clips": SPEC["clips"] | clips}
    Spec.from_mapping(SPEC | other | {"training": SPEC["training"] | {"epochs": 0}}).save(tmp_path / "spec.json")
    paths = {"spec_path": tmp_path / "spec.json", "index_path": stage.index, "root": stage.root}
    reid_training.train(**paths, dataset="tiny", headline="queries-removed", out=tmp_path)
    with pytest.raises(InputError, match="cannot guide a completion; name as `scorer` one with an identity classifier"):
        scorer.Scorer(tmp_path / "spec.json", tmp_path / "weights.pt")


def test_scores_are_those_of_the_trunk_s_regions_against_their_tracklet_s_mean(stage):
    found, judge = stage.column("score"), scorer.Scorer(**stage.scorer)
    reader = FrameReader(stage.root, *judge.size)
    row = int(stage.table["num_frames"].argmax())
    span = frame_spans(stage.table["num_frames"].to_numpy())[row]
    with torch.no_grad():
        r = region_features(judge.maps(reader(expand_frames(stage.table["frames"][row]))), 3).double().numpy()
    v = r.mean(0)
    cosines = (r * v).sum(2) / np.linalg.norm(r, axis=2) / np.linalg.norm(v, axis=1)
    np.testing.assert_allclose(found[span], cosines, atol=1e-5)


def test_every_frame_of_every_split_is_scored_and_the_record_says_why_the_threshold_is_what_it_is(stage):
    rows, record = (
        read_regions(stage.regions, "score", "occluded"),
        json.loads((stage.out / "regions.json").read_text()),
    )
    assert len(rows) == 3 * stage.table["num_frames"].sum()
    assert set(record["splits"]) == {"train", "query", "gallery", "junk"}
    assert (rows["occluded"] == (rows["score"] < record["tau"])).all()
    assert record["share_found_occluded"] == pytest.approx(rows["occluded"].mean(), abs=1e-4)
    training = rows.merge(stage.table[stage.table["split"] == "train"][["pid", "camid", "tracklet"]])
    assert record["share_on_train"] == pytest.approx(training["occluded"].mean(), abs=1e-4)
    assert "quantile" in record["why"] and 0.05 < record["share_on_train"] < 0.15


def test_scores_do_not_depend_on_how_the_tracklets_share_batches(stage, tmp_path, monkeypatch):
    monkeypatch.setattr(score, "FRAMES", 3)
    score_regions(stage, tmp_path, workers=1)
    again = read_regions(tmp_path / "regions.csv.gz", "score")["score"]
    np.testing.assert_allclose(again, read_regions(stage.regions, "score")["score"], atol=1e-5)


def test_an_index_without_training_tracklets_cannot_be_scored(stage, tmp_path):
    index = tiny.index(stage.table[stage.table["split"] != "train"], tmp_path / "index.csv.gz")
    with pytest.raises(InputError, match="no tracklet of the split `train`"):
        score_regions(stage._replace(index=index), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_unknown_option_is_refused_by_name(stage, tmp_path):
    with pytest.raises(InputError, match="scoring: unknown key 'taw'"):
        score_regions(stage, tmp_path, options={"taw": 0.5})
    with pytest.raises(InputError, match="training: unknown key 'stepz'"):
        train_completion(stage, tmp_path, options={"stepz": 3})


# ---- training ----


def weights(run: Path) -> dict[str, bytes]:
    state = torch.load(run / "weights.pt", weights_only=True)
    return {name: value.numpy().tobytes() for name, value in state.items()}


def history(run: Path) -> pd.DataFrame:
    return pd.read_csv(run / "history.csv")


def assert_same(run: Path, other: Path) -> None:
    assert weights(run) == weights(other)
    pd.testing.assert_frame_equal(history(run).drop(columns="seconds"), history(other).drop(columns="seconds"))


def test_the_history_has_its_rows_and_the_terms_sum_to_the_loss(stage):
    found = history(stage.out)
    assert found["step"].tolist() == [2, 4, 6]
    terms = found[["reconstruction", "adversarial_whole", "adversarial_local", "identity"]]
    np.testing.assert_allclose(terms.sum(axis=1), found["loss"], rtol=1e-5)
    assert found.notna().all(axis=None) and found["seconds"].is_monotonic_increasing


def test_the_record_tells_errors_beside_fills_that_need_no_training_and_where_all_comes_from(stage):
    record = json.loads((stage.out / "completion.json").read_text())
    assert set(record["held_out"]) == {"completed", "spatial", "mean_colour", "neighbour_copy"}
    last = history(stage.out).iloc[-1]
    assert record["held_out"]["completed"] == {"l1": last["held_out_l1"], "psnr": last["held_out_psnr"]}
    assert (record["steps"], record["regions"], record["size"]) == (6, 3, [tiny.HEIGHT, tiny.WIDTH])
    assert record["options"]["width"] == 2 and record["rendered"] is False
    assert record["inputs"].keys() == {"index", "regions", "scorer"}
    assert {"code_digest", "commit", "dirty", "host_cpu", "torch", "seconds", "parameters"} <= record.keys()


def test_the_fills_errors_are_those_of_a_loop_over_the_held_out_frames(stage, tmp_path, monkeypatch):
    """Seen from outside: the batches that are measured, and the mean colour and the nearest frame by hand."""
    seen = []
    measured = train.held_out_errors
    monkeypatch.setattr(train, "held_out_errors", lambda n, b, r, a: measured(n, seen_of(b, seen), r, a))
    train_completion(stage, tmp_path, options={"steps": 1})
    errors = {"mean_colour": [], "neighbour_copy": []}
    for batch in seen[: len(seen) // 2]:
        for i, region in enumerate(batch.region.tolist()):
            x, *others = batch.frames[:, i].double().numpy() / 255
            rows = strip_rows(tiny.HEIGHT, 3)[region]
            colour = np.delete(x, np.r_[rows], axis=1).mean((1, 2), keepdims=True)
            errors["mean_colour"].append(np.abs(x[:, rows] - colour).ravel())
            errors["neighbour_copy"].append(np.abs(x[:, rows] - others[batch.nearest[i] - 1][:, rows]).ravel())
    record = json.loads((tmp_path / "completion.json").read_text())["held_out"]
    for name, found in errors.items():
        assert record[name]["l1"] == pytest.approx(np.concatenate(found).mean(), abs=1e-4)


def test_the_multiply_adds_of_a_step_are_those_that_it_makes(stage):
    arguments = training_arguments(stage, stage.out)
    options, scored = train.Options(**OPTIONS), scorer.Scorer(**stage.scorer)
    reader = FrameReader(stage.root, *scored.size)
    trainer = train._trainer(arguments["regions_path"], stage.index, reader, scored, options, 0)
    with FlopCounterMode(display=False) as counter:
        trainer.take_step(trainer.training[0])
    expected = counter.get_total_flops() / 2e9
    assert expected > 0
    assert step_gmac(options, scored.spec, scored.people, trainer.regions) == pytest.approx(expected)


def seen_of(batches, seen: list):
    for batch in batches:
        seen.append(batch)
        yield batch


def test_the_same_seed_gives_the_same_weights_whoever_loads_the_frames(stage, tmp_path):
    torch.manual_seed(99)
    assert_same(train_completion(stage, tmp_path, workers=1), stage.out)


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"identity": 0.0}, {"adversarial": 0.0}, {"lr": 1e-3}, {"flip": 0.0}, {"attention_scale": 1.0}],
)
def test_every_option_has_its_effect_on_the_weights(stage, tmp_path, change):
    assert weights(train_completion(stage, tmp_path, options=change)) != weights(stage.out)


MOMENTS = {
    "in the middle of a stretch": lambda: at_call(5, progress.Progress, "step"),
    "with half of a checkpoint written": lambda: tear_checkpoint(2),
    "with all results but the weights": lambda: at_call(1, os, "replace", lambda _, p: p.name == "weights.pt"),
}


def _train(moment: str, arguments: dict) -> None:
    cpu_everywhere()
    train.CHECKPOINT_SECONDS = 0.0
    MOMENTS[moment]()
    train.train_completion(**arguments)


def _train_until_told(step: int, arguments: dict) -> None:
    cpu_everywhere()
    at_call(step, train.CompletionTrainer, "take_step", happens=tell_to_end)
    train.train_completion(**arguments)


@pytest.mark.parametrize("step", [1, 3, 6])
def test_a_training_that_is_told_to_end_saves_first_and_goes_on_from_there(stage, tmp_path, capsys, step):
    assert exit_status(_train_until_told, step, training_arguments(stage, tmp_path)) == 143
    assert_same(train_completion(stage, tmp_path), stage.out)
    assert f"resumed after step {step}" in capsys.readouterr().err


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_training_started_again_ends_as_if_nothing_had_happened(stage, tmp_path, capsys, moment):
    assert exit_status(_train, moment, training_arguments(stage, tmp_path)) == -signal.SIGKILL
    assert not (tmp_path / "weights.pt").exists()
    assert_same(train_completion(stage, tmp_path), stage.out)
    assert "resumed after step" in capsys.readouterr().err
    assert not (tmp_path / "resume").exists()


def test_a_training_on_other_regions_does_not_go_on_from_the_old_one_s_checkpoint(stage, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(train, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(train.shutil, "rmtree", lambda *_, **__: None)  # the checkpoints stay
    train_completion(stage, tmp_path)
    other = score_regions(stage, tmp_path / "other", options={"quantile": 0.05}) / "regions.csv.gz"
    train_completion(stage, tmp_path, regions_path=other)
    assert "resumed" not in capsys.readouterr().err


def test_a_scorer_of_other_people_is_refused(stage, tmp_path):
    fewer = stage.table[stage.table["pid"] != 1]
    index = tiny.index(fewer, tmp_path / "index.csv.gz")
    other = stage._replace(table=fewer, index=index, out=tmp_path / "scores")
    score_regions(other, other.out)
    with pytest.raises(InputError, match="7 people in the split `train`, but the scorer was trained on 8"):
        train_completion(other, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_regions_of_another_index_are_refused(stage, tmp_path):
    index = tiny.index(stage.table.iloc[1:], tmp_path / "index.csv.gz")
    with pytest.raises(InputError, match="the regions are those of another index"):
        train_completion(stage._replace(index=index), tmp_path / "out")


def test_a_loss_that_is_no_number_ends_the_training_with_one_clear_error(stage, tmp_path):
    with pytest.raises(InputError, match="lower `lr`"):
        train_completion(stage, tmp_path, options={"lr": 1e30})
    assert not (tmp_path / "weights.pt").exists()


# ---- completed frames ----


@pytest.fixture(scope="module")
def tree(stage):
    return complete_frames(stage, stage.out / "data/tiny-completed", rendered=True)


def wanted(stage: Stage) -> dict[str, np.ndarray]:
    """The frames that can be completed, and which of their regions are occluded."""
    occluded, found = stage.column("occluded") == 1, {}
    for template, span in zip(stage.table["frames"], frame_spans(stage.table["num_frames"].to_numpy())):
        hidden = occluded[span]
        if not hidden.any(1).all():
            found |= {n: regions for n, regions in zip(expand_frames(template), hidden) if regions.any()}
    return found


def test_the_frames_with_occluded_regions_change_and_no_other_file(stage, tree):
    before, after = digests(stage.root), digests(tree)
    assert before.keys() == after.keys() and "info.txt" in after
    assert {name for name in before if before[name] != after[name]} == set(wanted(stage)) != set()


def test_outside_the_occluded_regions_a_frame_stays_as_it_was_but_for_the_compression(stage, tree):
    for name, occluded in wanted(stage).items():
        before, after = (np.asarray(Image.open(root / name)).astype(int) for root in (stage.root, tree))
        for rows, hidden in zip(strip_rows(tiny.HEIGHT, 3), occluded):
            off = np.abs(before[rows] - after[rows]).mean()
            assert (off > 8) if hidden else (off < 8), name


def test_frames_that_stay_are_links_and_the_completed_ones_are_files_of_their_own(stage, tree):
    changed = wanted(stage)
    for name in digests(tree):
        assert (tree / name).samefile(stage.root / name) == (name not in changed)


def test_the_manifest_says_what_was_completed_and_digests_the_bytes_on_disk(stage, tree):
    manifest = json.loads(tree.with_name("tiny-completed.json").read_text())
    whole = hashlib.sha256()
    for name, digest in sorted(digests(tree).items()):
        whole.update(f"{name} {digest}\n".encode())
    assert manifest["sha256"] == whole.hexdigest() and manifest["files"] == len(digests(tree))
    assert (manifest["completed_from"], manifest["rendered"]) == ("tiny", True)
    changed = wanted(stage)
    assert manifest["frames"]["changed"] == len(changed)
    assert manifest["regions"]["changed"] == sum(regions.sum() for regions in changed.values())
    assert manifest["frames"]["all"] == stage.table["num_frames"].sum()


def test_the_source_is_not_touched(stage, tmp_path):
    before = digests(stage.root)
    complete_frames(stage, tmp_path / "again")
    assert digests(stage.root) == before


def test_the_same_again_gives_the_same_bytes_and_replaces_the_old_tree(stage, tree, tmp_path):
    (tmp_path / "again").mkdir()
    (tmp_path / "again/stray.jpg").write_text("from before")
    complete_frames(stage, tmp_path / "again", workers=1)
    assert digests(tmp_path / "again") == digests(tree)


def test_without_hard_links_the_files_are_copied(stage, tree, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    assert digests(complete_frames(stage, tmp_path / "copy")) == digests(tree)
    assert not (tmp_path / "copy/info.txt").samefile(stage.root / "info.txt")


def test_a_tree_that_fails_half_way_leaves_the_old_one_as_it_was(stage, tmp_path, monkeypatch):
    complete_frames(stage, tmp_path / "out")
    before = digests(tmp_path)

    def fail(*_):
        raise InputError("half way")

    monkeypatch.setattr(complete, "_link_others", fail)
    with pytest.raises(InputError, match="half way"):
        complete_frames(stage, tmp_path / "out")
    assert digests(tmp_path) == before


def test_a_missing_frame_is_one_clear_error_and_nothing_is_written(stage, tmp_path):
    with pytest.raises(InputError, match="the frame cannot be read"):
        complete_frames(stage, tmp_path / "out", root=tmp_path / "nowhere")
    assert not list(tmp_path.iterdir())


def test_a_tree_inside_its_source_is_refused(stage):
    for out in (stage.root, stage.root / "completed"):
        with pytest.raises(InputError, match="lies in the dataset that is completed"):
            complete_frames(stage, out)


def test_regions_in_another_number_than_was_learnt_are_refused(stage, tmp_path):
    regions = score_regions(stage, tmp_path, options={"regions": 2}) / "regions.csv.gz"
    with pytest.raises(InputError, match="2 regions, but the network learnt 3"):
        complete_frames(stage, tmp_path / "out", regions_path=regions)


def test_weights_without_their_record_are_refused(stage, tmp_path):
    with pytest.raises(InputError, match=r"completion\.json: no record of a completion training"):
        complete_frames(stage, tmp_path / "out", weights_path=tmp_path / "weights.pt")


# ---- the picture ----


def test_the_picture_shows_completed_frames_between_their_neighbours(stage, tree, tmp_path):
    before_after.before_after(stage.index, stage.regions, stage.root, tree, tmp_path / "picture.png")
    with Image.open(tmp_path / "picture.png") as picture:
        assert picture.width > 5 * before_after.FRAME[0] and picture.height > before_after.FRAME[1]


def test_the_frames_that_are_shown_are_completed_ones_of_different_tracklets(stage):
    occluded = stage.column("occluded") == 1
    chosen = before_after.choose(stage.table, occluded, 5)
    names = [expand_frames(stage.table["frames"][row]) for row, *_ in chosen]
    assert len({row for row, *_ in chosen}) == len(chosen) > 1
    assert {own[frame] for own, (_, frame, *_) in zip(names, chosen)} <= set(wanted(stage))
    for row, _, *sides in chosen:
        start = frame_spans(stage.table["num_frames"].to_numpy())[row].start
        assert not occluded[[start + side for side in sides]].any()


def test_where_nothing_is_completed_there_is_nothing_to_show(stage, tmp_path):
    regions = score_regions(stage, tmp_path, options={"tau": -1.0, "least": 0.0}) / "regions.csv.gz"
    with pytest.raises(InputError, match="nothing to show"):
        before_after.before_after(stage.index, regions, stage.root, stage.root, tmp_path / "picture.png")
