"""What is still to run, and how long it will take."""

import copy
import json
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest

from vreid import __main__ as command_line
from vreid import provenance
from vreid.completion.cost import step_gmac as completion_step_gmac
from vreid.completion.train import Options
from vreid.cost import clip_gmac, step_gmac
from vreid.data.tracklets import compress_frames, write_tracklets
from vreid.errors import InputError
from vreid.models.vrstc.regions import Options as RegionOptions
from vreid.plan import page as plan
from vreid.plan import speed as speeds
from vreid.plan.manifest import Job, Manifest
from vreid.plan.pending import Pending, read_record
from vreid.plan.work import Workload
from vreid.spec import resolve

SETTINGS = {
    "recipe": "paper",
    "recipes": {"paper": {}},
    "budget": {
        "trunk": {"name": "small", "width": 8, "weights": "none"},
        "clips": {"frames": 2, "height": 32, "width": 16, "validation_clips": 1},
        "training": {"epochs": 4, "validate_every": 3, "people": 4, "clips": 2},
    },
    "models": {
        "baseline": {"streams": ["reid"], "losses": ["softmax", "triplet"]},
        "aitl": {"streams": ["reid"], "losses": ["softmax", "triplet", "attributes", "aitl"]},
        "zheng": {"method": "ide", "metric": "kissme"},
        "zheng-euclidean": {"method": "ide", "trained_as": "zheng", "metric": "euclidean"},
        "started": {"streams": ["reid"], "losses": ["softmax", "triplet"], "trunk": {"weights": "mars/baseline"}},
    },
}
LENGTHS = {"query": [5], "gallery": [4, 1], "junk": [2]}  # 3 + 2 + 1 + 1 dense clips of 2 frames
PEOPLE, STEPS, TEST_CLIPS, VALIDATED = 6, 4 * 2, 7, 2 * 4  # validated after epochs 3 and 4, a clip a tracklet


def write_index(root):
    tracklets = [("train", pid, camid, 3) for pid in range(1, PEOPLE + 1) for camid in (1, 2)]
    people = {"query": [7], "gallery": [7, 0], "junk": [-1]}
    for split, lengths in LENGTHS.items():
        tracklets += [(split, pid, 1 + (split == "gallery"), n) for pid, n in zip(people[split], lengths)]
    rows = [
        {
            "split": split,
            "pid": pid,
            "camid": camid,
            "tracklet": 1,
            "num_frames": frames,
            "frames": compress_frames([f"{split}/{pid}/{camid}/{frame:03d}.jpg" for frame in range(1, frames + 1)]),
        }
        for split, pid, camid, frames in tracklets
    ]
    path = root / "index" / "mars.csv.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_tracklets(pd.DataFrame(rows), path)


def runs(model, *seeds, test="mars"):
    return {"train": "mars", "model": model, "seeds": list(seeds), "test": test}


@pytest.fixture
def manifest(tmp_path):
    """Two tables that share the baseline; nothing has run, but the data is indexed."""
    write_index(tmp_path)
    return {
        "run": f"{tmp_path}/runs/{{train}}/{{model}}/seed{{seed}}",
        "settings": copy.deepcopy(SETTINGS),
        "datasets": {"mars": {"index": f"{tmp_path}/index/mars.csv.gz"}},
        "needs": [
            {"name": "Table 1", "runs": [runs("baseline", 0, 1)]},
            {"name": "Table 2", "runs": [runs("baseline", 0), runs("aitl", 0)]},
        ],
    }


def finish(manifest, model, seed, seconds=10.0, device="CPU", train_only=False):
    """The files of a finished run, as far as the forecast reads them."""
    forecast = Manifest.from_mapping(manifest)
    job = Job("mars", model, seed)
    spec, folder = forecast.spec(job), forecast.folder(job)
    spec.save(folder / "spec.json")
    trained_as = Job("mars", spec.trained_as or model, seed)
    digest = forecast.spec(trained_as).digest
    if not spec.trained_as:
        record = {
            "spec_digest": digest,
            "code_digest": provenance.code_digest("vreid.train", f"vreid.models.{spec.method}"),
            "inputs": {"index": provenance.file_digest(manifest["datasets"]["mars"]["index"])},
            "train_dataset": "mars",
            "people": PEOPLE,
            "steps": STEPS,
            "seconds": seconds,
            "device": device,
        }
        if spec.trunk.weights != "none":
            weights = forecast.folder(Job("mars", "baseline", 0)) / "weights.pt"
            record["inputs"]["trunk_weights"] = provenance.file_digest(weights)
        (folder / "train.json").write_text(json.dumps(record))
        (folder / "weights.pt").write_text(model)
        (folder / "history.csv").touch()
    if not train_only:
        (folder / "mars").mkdir()
        (folder / "mars/features.npz").touch()
        code = provenance.code_digest("vreid.embed", f"vreid.models.{spec.method}")
        origin = {"spec_digest": digest, "embedded": {"code_digest": code}}
        (folder / "mars/metrics.json").write_text(json.dumps({"provenance": origin}))
    return folder


def rewrite(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def left(manifest):
    """Job → why, in the words that follow `model seed test`."""
    forecast = Pending(Manifest.from_mapping(manifest))
    return {
        f"{job.completes and 'complete by'} {job.model} {job.seed} {job.test}".strip(): forecast.why(job)
        for job in forecast.to_run
    }


def forecast(manifest, root):
    page = plan.forecast(manifest, root / "out" / "plan")
    table, jobs = (pd.read_csv(root / "out" / name) for name in ("plan.csv", "plan-jobs.csv"))
    return page, table.set_index("needed_by"), jobs


def gmac(model):
    """By hand: a training, an embedding."""
    spec = resolve(SETTINGS, model, 0)
    step, clip = step_gmac(spec, PEOPLE), clip_gmac(spec, PEOPLE)
    return STEPS * step + VALIDATED * clip, TEST_CLIPS * clip


def test_where_nothing_has_run_everything_is_to_run_once(manifest):
    assert list(left(manifest)) == [
        "baseline 0",
        "baseline 0 mars",
        "baseline 1",
        "baseline 1 mars",
        "aitl 0",
        "aitl 0 mars",
    ]


def test_what_is_finished_is_not_to_run(manifest):
    finish(manifest, "baseline", 0)
    finish(manifest, "baseline", 1, train_only=True)
    assert list(left(manifest)) == ["baseline 1 mars", "aitl 0", "aitl 0 mars"]


def test_changed_settings_are_trained_anew(manifest):
    finish(manifest, "baseline", 0)
    finish(manifest, "aitl", 0)
    manifest["settings"]["models"]["aitl"]["margin"] = 0.2
    found = left(manifest)
    assert found["aitl 0"] == "its settings have changed"
    assert found["aitl 0 mars"] == "its weights are still to be trained"
    assert "baseline 0" not in found


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda folder: rewrite(folder / "train.json", code_digest="0123456789ab"), "its code has changed"),
        (lambda folder: rewrite(folder / "train.json", spec_digest="0123456789ab"), "its settings have changed"),
        (lambda folder: (folder / "train.json").write_text("{"), "its settings have changed"),
        (lambda folder: (folder / "weights.pt").unlink(), "weights.pt is not there"),
    ],
    ids=["code", "settings", "torn record", "no weights"],
)
def test_a_training_of_other_code_or_settings_or_without_its_files_is_to_run(manifest, change, why):
    change(finish(manifest, "baseline", 0))
    found = left(manifest)
    assert found["baseline 0"] == why
    assert found["baseline 0 mars"] == "its weights are still to be trained"


def test_a_changed_index_is_seen(manifest):
    finish(manifest, "baseline", 0)
    index = manifest["datasets"]["mars"]["index"]
    table = pd.read_csv(index)
    write_tracklets(table[table["pid"] != 1], index)
    assert left(manifest)["baseline 0"] == f"{index} has changed"


def test_an_embedding_of_other_code_is_to_run_alone(manifest):
    folder = finish(manifest, "baseline", 0)
    rewrite(folder / "mars/metrics.json", provenance={"spec_digest": read_record(folder / "train.json")["spec_digest"]})
    found = left(manifest)
    assert found["baseline 0 mars"] == "its code has changed"
    assert "baseline 0" not in found


def test_who_starts_from_a_run_waits_for_it(manifest):
    manifest["needs"] = [{"name": "Table 1", "runs": [runs("started", 0)]}]
    assert list(left(manifest)) == ["baseline 0", "started 0", "started 0 mars"]
    folder = finish(manifest, "baseline", 0)
    finish(manifest, "started", 0)
    assert left(manifest) == {}
    rewrite(folder / "train.json", code_digest="0123456789ab")
    assert left(manifest)["started 0"] == "its trunk is still to be trained"


def test_a_model_that_is_trained_as_another_is_embedded_alone(manifest):
    manifest["needs"] = [{"name": "Table 3", "runs": [runs("zheng-euclidean", 0)]}]
    assert list(left(manifest)) == ["zheng 0", "zheng-euclidean 0 mars"]
    finish(manifest, "zheng", 0)
    finish(manifest, "zheng-euclidean", 0)
    assert left(manifest) == {}
    manifest["settings"]["models"]["zheng-euclidean"]["metric"] = "xqda"
    assert left(manifest) == {"zheng-euclidean 0 mars": "its settings have changed"}


COMPLETION = {"width": 2, "steps": 6, "batch": 4}


@pytest.fixture
def completing(manifest, tmp_path):
    """A table of one run on frames that are completed by the baseline."""
    manifest["datasets"]["completed"] = {
        "index": manifest["datasets"]["mars"]["index"],
        "manifest": f"{tmp_path}/completed.json",
        "completed_from": "mars",
        "scorer": "baseline",
        "regions": f"{tmp_path}/regions.json",
        "completion": COMPLETION,
        "record": f"{tmp_path}/completion.json",
    }
    manifest["needs"] = [{"name": "Table 3", "runs": [runs("aitl", 0) | {"train": "completed", "test": "completed"}]}]
    return manifest


def test_the_completion_of_frames_and_the_run_that_it_needs_are_needed_too(completing, tmp_path):
    assert left(completing) == {
        "baseline 0": "weights.pt is not there",
        "complete by baseline 0": "its scorer is still to be trained",
        "aitl 0": "weights.pt is not there",
        "aitl 0 completed": "its weights are still to be trained",
    }
    weights = finish(completing, "baseline", 0, train_only=True) / "weights.pt"
    inputs = {
        "index": provenance.file_digest(completing["datasets"]["mars"]["index"]),
        "scorer": provenance.file_digest(weights),
    }
    records = {
        "regions": {"options": asdict(RegionOptions()), "code_digest": code_of("score", "vreid.models.multitask")},
        "completion": {
            "options": asdict(Options(**COMPLETION)),
            "code_digest": code_of("train", "vreid.models.multitask"),
            "inputs": inputs,
        },
        "completed": {"code_digest": code_of("complete")},
    }
    for name, record in records.items():
        assert left(completing)["complete by baseline 0"] == f"{tmp_path}/{name}.json is not there"
        (tmp_path / f"{name}.json").write_text(json.dumps(record))
    assert list(left(completing)) == ["aitl 0", "aitl 0 completed"]
    for name, changes, why in [
        ("regions", {"options": asdict(RegionOptions(regions=4))}, "its settings have changed"),
        ("completion", {"options": asdict(Options())}, "its settings have changed"),
        *((name, {"code_digest": "0"}, "its code has changed") for name in records),
        ("completion", {"inputs": inputs | {"scorer": "0"}}, f"{weights} has changed"),
    ]:
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(records[name] | changes))
        assert left(completing)["complete by baseline 0"] == why
        path.write_text(json.dumps(records[name]))


def code_of(name: str, *methods: str) -> str:
    return provenance.code_digest(f"vreid.completion.{name}", *methods)


def test_a_completion_costs_the_scores_of_all_frames_and_its_steps(completing, tmp_path):
    page, table, jobs = forecast(completing | {"throughput": 2.0}, tmp_path)
    spec, (own,) = resolve(SETTINGS, "baseline", 0), jobs[jobs.job == "completion"].itertuples()
    frames = 2 * PEOPLE * 3 + sum(map(sum, LENGTHS.values()))
    scored = frames * clip_gmac(spec, PEOPLE) / 2  # clips of two frames
    learnt = 6 * completion_step_gmac(Options(**COMPLETION), spec, PEOPLE, 3)
    assert own.gmac == pytest.approx(scored + learnt) and own.hours == pytest.approx(own.gmac / 2 / 3600)
    assert table.loc["Table 3", ["trainings", "embeddings", "completions"]].to_list() == [2, 1, 1]
    assert "| completion | mars         | baseline | completed" in page


def test_a_completion_is_unknown_before_the_frames_are_counted(completing, tmp_path):
    del completing["datasets"]["mars"]["index"]
    completing["datasets"]["mars"] = {"index": "nowhere.csv.gz", "expect": {"train": {"people": PEOPLE}}}
    _, _, jobs = forecast(completing | {"throughput": 1.0}, tmp_path)
    assert jobs[jobs.job == "completion"].gmac.isna().all()
    expect = {"train": {"people": PEOPLE, "frames": 30}, "test": {"frames": 16}}
    completing["datasets"]["mars"]["expect"] = expect
    _, _, jobs = forecast(completing | {"throughput": 1.0}, tmp_path)
    assert jobs[jobs.job == "completion"].gmac.notna().all()


def test_hours_are_multiply_adds_over_throughput(manifest, tmp_path):
    _, table, jobs = forecast(manifest | {"throughput": 2.5}, tmp_path)
    (train, embed), (train_aitl, embed_aitl) = gmac("baseline"), gmac("aitl")
    expected = [train, embed, train, embed, train_aitl, embed_aitl]
    assert jobs.gmac.to_list() == pytest.approx(expected)
    assert jobs.hours.to_list() == pytest.approx([value / 2.5 / 3600 for value in expected])
    assert (jobs.steps[0], jobs.clips[0], jobs.validated[0], jobs.clips[1]) == (8, 64, 8, 7)
    assert table.loc["Table 1", ["trainings", "embeddings"]].to_list() == [2, 2]
    assert table.loc["Table 2", ["trainings", "embeddings"]].to_list() == [1, 1]
    assert table.loc["Table 2", ["alone_trainings", "alone_embeddings"]].to_list() == [2, 2]
    both = (train + embed + train_aitl + embed_aitl) / 2.5 / 3600
    assert table.loc["Table 2", "alone_hours"] == pytest.approx(both)
    assert table.loc["all", "hours"] == pytest.approx(sum(expected) / 2.5 / 3600)


def test_throughput_is_the_median_of_what_finished_trainings_took(manifest, tmp_path):
    for seed, seconds in enumerate((10.0, 20.0, 80.0)):
        finish(manifest, "baseline", seed, seconds)
    manifest["needs"].append({"name": "Table 4", "runs": [runs("aitl", 1)]})
    page, _, jobs = forecast(manifest, tmp_path)
    train, _ = gmac("baseline")
    wanted, _ = gmac("aitl")
    assert jobs.hours[0] == pytest.approx(wanted / (train / 20.0) / 3600)
    assert "the median of 3 finished trainings on CPU" in page


def test_throughput_is_of_this_machine_s_gpu_or_of_that_which_trained_most(manifest, tmp_path, monkeypatch):
    finish(manifest, "baseline", 0, 10.0, device="CPU")
    finish(manifest, "baseline", 1, 1.0, device="H100")
    finish(manifest, "aitl", 0, 1.0, device="H100")
    finish(manifest, "aitl", 1, 2.0, device="A100")
    (baseline, _), (aitl, _) = gmac("baseline"), gmac("aitl")
    most = np.median([baseline, aitl])
    # A processor may be that of a login node, before nodes with GPUs.
    for here, device, value in [("A100", "A100", aitl / 2), ("B200", "H100", most), ("CPU", "H100", most)]:
        monkeypatch.setattr(speeds, "device_name", lambda here=here: here)
        speed = speeds.throughput(Workload(Manifest.from_mapping(manifest)))
        assert speed.gmac_per_second == pytest.approx(value)
        assert f"on {device}; by model" in speed.source
        assert "Left aside" in speed.source


def test_without_throughput_there_are_no_hours_and_the_page_says_how_to_get_them(manifest, tmp_path):
    page, table, jobs = forecast(manifest, tmp_path)
    assert jobs.hours.isna().all() and jobs.gmac.notna().all()
    assert table.hours.isna().all()
    assert "--config throughput=" in page
    assert "Longest" not in page


def test_before_its_index_is_there_a_dataset_is_counted_as_expected(manifest, tmp_path):
    splits = {"train": {"people": PEOPLE}, "query": {"tracklets": 1}, "gallery": {"tracklets": 2}}
    expect = splits | {"junk": {"tracklets": 1}, "test": {"frames": 16}}  # 4 tracklets of 4 frames: 8 clips of 2
    manifest["datasets"]["mars"] = {"index": "nowhere.csv.gz", "expect": expect}
    _, _, jobs = forecast(manifest | {"throughput": 1.0}, tmp_path)
    assert (jobs.steps[0], jobs.validated[0], jobs.clips[1]) == (STEPS, 2 * 4, 8)


def test_what_is_not_known_is_named_and_left_out(manifest, tmp_path):
    manifest["datasets"]["mars"] = {"index": "nowhere.csv.gz", "expect": {"train": {"people": PEOPLE}}}
    page, table, jobs = forecast(manifest | {"throughput": 1.0}, tmp_path)
    step = step_gmac(resolve(SETTINGS, "baseline", 0), PEOPLE)
    assert jobs.gmac[0] == pytest.approx(STEPS * step)
    assert np.isnan(jobs.gmac[1])
    assert table.loc["all", "unknown"] == 3
    assert "the validations of 3 trainings" in page
    assert "Unknown: 3 jobs" in page


def test_where_all_is_done_the_page_says_zero(manifest, tmp_path):
    for model, seed in (("baseline", 0), ("baseline", 1), ("aitl", 0)):
        finish(manifest, model, seed)
    _, table, jobs = forecast(manifest, tmp_path)
    assert jobs.empty
    assert table.loc["all", ["trainings", "embeddings", "hours", "unknown"]].to_list() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"runs": "results"}, "unknown key 'runs'"),
        ({"needs": [{"runs": []}]}, "the key 'name' is missing"),
        ({"needs": [{"name": "Table 1", "runs": [runs("nobody", 0)]}]}, "the model 'nobody'"),
        ({"needs": [{"name": "Table 1", "runs": [runs("baseline", 0, test="venus")]}]}, "the dataset 'venus'"),
        ({"datasets": {"mars": {"root": "data"}}}, "unknown key 'root'"),
        ({"settings": {"models": SETTINGS["models"]}}, "settings: the key 'recipe' is missing"),
        ({"throughput": -1.0}, "throughput: -1.0 is not at least 0"),
    ],
)
def test_a_manifest_that_does_not_hold_together_is_refused(manifest, tmp_path, change, told):
    with pytest.raises(InputError, match=told):
        plan.forecast(manifest | change, tmp_path / "plan")
    assert not list(tmp_path.glob("plan*"))


def test_the_verb_prints_the_page_that_it_writes(manifest, tmp_path, capsys):
    arguments = ["--manifest", json.dumps(manifest | {"throughput": 1}), "--out", str(tmp_path / "plan")]
    assert command_line.main(["plan", *arguments]) == 0
    said = capsys.readouterr().out
    assert said == (tmp_path / "plan.md").read_text()
    assert "Longest single training: aitl on mars" in said
