"""What every run took: from Snakemake's benchmark files to a table, and what is refused."""

import json
import math
from pathlib import Path

import pandas as pd
import pytest

from made_up import write_benchmark, write_cost, write_metrics, write_train_json
from vreid import usage
from vreid.errors import InputError
from vreid.results import read_cost

SPEC = {"number": "S4", "title": "What every run took", "labels": {"baseline": "Baseline", "aitl": "Baseline + AITL"}}
HEAD = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"


def run(root, model, seed, training=None, embedding=None, **who):
    """A run as the workflow lists it; `training` and `embedding` are (seconds, peak MiB)."""
    tsv = root / "benchmarks" / model / f"seed{seed}"
    if embedding is None:
        entry = {"record": str(write_train_json(root, model, seed, **who))}
    else:
        entry = {"record": str(write_metrics(root, model, seed, 0.5, **who))}
        entry["embedding"] = str(write_benchmark(tsv / "embed.tsv", *embedding))
    if training is not None:
        entry["training"] = str(write_benchmark(tsv / "train.tsv", *training))
    return entry


def made(root, runs, models=("baseline", "aitl", "trunk")):
    return usage.tabulate(SPEC, runs, [read_cost(write_cost(root, model)) for model in models])


@pytest.fixture
def runs(tmp_path):
    """Two seeds of one model, one of another, and a training that was never tested. Records say 60 s a training."""
    return [
        run(tmp_path, "baseline", 0, (70.0, 400.0), (8.0, 300.0)),
        run(tmp_path, "baseline", 1, (80.0, 500.0), (10.0, "NA")),
        run(tmp_path, "aitl", 0, (90.5, 600.4), (9.0, 310.0)),
        run(tmp_path, "trunk", 0, (200.0, 450.0), train="synth-people"),
    ]


def test_seconds_and_peak_memory_are_means_over_the_seeds(tmp_path, runs):
    frame = made(tmp_path, runs).set_index("model")
    assert frame.training_seconds_mean["baseline"] == 75 and frame.training_max_rss_mean["baseline"] == 450
    assert frame.training_seconds_std["baseline"] == pytest.approx(50**0.5, abs=1e-3)
    assert frame.embedding_seconds_mean["baseline"] == 9
    assert math.isnan(frame.training_seconds_std["aitl"])
    assert frame.parameters["aitl"] == 24.79 and frame.GMAC["aitl"] == 16.21


def test_a_job_that_was_over_before_it_was_looked_at_has_no_memory_and_counts_in_no_mean(tmp_path, runs):
    assert made(tmp_path, runs).embedding_max_rss_mean[0] == 300
    runs[0]["embedding"] = str(write_benchmark(tmp_path / "short.tsv", 8.0, "NA"))
    frame = made(tmp_path, runs)
    assert math.isnan(frame.embedding_max_rss_mean[0])
    assert [cell.text for cell in usage.shown(SPEC, frame).groups[-1].rows[0]] == ["9.0", "—"]


def test_a_training_that_was_never_tested_has_no_embedding(tmp_path, runs):
    shown = usage.shown(SPEC, made(tmp_path, runs))
    assert shown.labels == ["Baseline", "Baseline + AITL", "trunk"]
    which, _, training, embedding = (group.rows[2] for group in shown.groups)
    assert [cell.text for cell in which] == ["synth-people", "—", "1"]
    assert [cell.text for cell in training] == ["200.0", "450"] and {cell.text for cell in embedding} == {"—"}


def test_a_run_with_the_weights_of_another_has_no_training_of_its_own(tmp_path, runs):
    borrowed = run(tmp_path, "aitl", 1, None, (5.0, 200.0))
    record = Path(borrowed["record"])
    content = json.loads(record.read_text())
    content["provenance"] |= {"trained_as": "baseline"}
    record.write_text(json.dumps(content))
    frame = made(tmp_path, [*runs[:2], borrowed])
    assert frame.training_seconds_mean.isna().to_list() == [False, True]
    assert "Baseline + AITL: the trainings of Baseline." in usage.shown(SPEC, frame).notes


def test_the_seconds_of_a_resumed_training_do_not_pass_for_the_whole_of_it(tmp_path, runs):
    runs[1]["training"] = str(write_benchmark(tmp_path / "resumed.tsv", 20.0, 500.0))  # of the 60 s that it took
    frame = made(tmp_path, runs)
    assert frame.resumed[0] == "1" and frame.training_seconds_mean[0] == 70 and frame.training_max_rss_mean[0] == 450
    assert any("seed 1 went on from a checkpoint" in note for note in usage.shown(SPEC, frame).notes)
    assert not any("checkpoint" in note for note in usage.shown(SPEC, made(tmp_path, runs[2:])).notes)


def test_a_completion_is_a_row_of_its_own_that_is_no_model(tmp_path, runs):
    record = tmp_path / "completion.json"
    record.write_text(json.dumps({"dataset": "synth-mars", "seconds": 30.0, "host_cpu": "an abacus, 2 cores"}))
    jobs = {"training": (40.0, 700.0), "scoring": (5.0, "NA"), "completing": (7.5, 650.0)}
    files = {job: str(write_benchmark(tmp_path / f"{job}.tsv", *took)) for job, took in jobs.items()}
    frame = made(tmp_path, [*runs, {"record": str(record), **files}])
    shown = usage.shown(SPEC, frame)
    assert shown.labels[-1] == "Completion of frames"
    assert [[cell.text for cell in group.rows[-1]] for group in shown.groups] == [
        ["synth-mars", "—", "1"],
        ["—", "—"],
        ["40.0", "700"],
        ["12.5", "650"],
    ]
    assert any(note.startswith("Completion of frames is what VRSTC needs") for note in shown.notes)
    assert not any("Completion" in note for note in usage.shown(SPEC, made(tmp_path, runs)).notes)
    frame.to_csv(tmp_path / "cost.csv", index=False)
    assert usage.shown(SPEC, usage.read(tmp_path / "cost.csv")) == shown
    record.write_text("{}")
    with pytest.raises(InputError, match="train the completion again"):
        made(tmp_path, [*runs, {"record": str(record), **files}])


def test_one_training_tested_on_two_datasets_is_two_rows(tmp_path, runs):
    other = run(tmp_path, "aitl", 0, (90.5, 600.4), (3.0, 250.0), test="synth-duke")
    frame = made(tmp_path, [*runs, other])
    assert frame[frame.model == "aitl"].test.to_list() == ["synth-mars", "synth-duke"]
    assert frame[frame.model == "aitl"].training_seconds_mean.to_list() == [90.5, 90.5]


def test_the_files_are_written_and_the_csv_reads_back(tmp_path, runs):
    costs = [write_cost(tmp_path, model) for model in ("baseline", "aitl", "trunk")]
    usage.make(SPEC, runs, costs, tmp_path / "cost")
    frame = usage.read(tmp_path / "cost.csv")
    pd.testing.assert_frame_equal(frame, made(tmp_path, runs), check_dtype=False)
    assert usage.shown(SPEC, frame) == usage.shown(SPEC, made(tmp_path, runs))
    page, tex = ((tmp_path / f"cost.{kind}").read_text() for kind in ("md", "tex"))
    assert "75.0 ± 7.1" in page and "an abacus, 2 cores" in page
    assert r"\multicolumn{2}{c}{training} & \multicolumn{2}{c}{embedding}" in tex and r"75.0 $\pm$ 7.1 & 450" in tex


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "no such file; run its job again"),
        ("", "cannot be read as TSV"),
        ("s\th:m:s\n1.0\t0:00:01\n", "no column 'max_rss'"),
        (HEAD, "0 rows, not one"),
        (HEAD + "\t".join(["1.0"] * 10) + "\n" + "\t".join(["1.0"] * 10) + "\n", "2 rows, not one"),
        (HEAD + "\t".join(["NA"] * 10) + "\n", "line 2: s is 'NA', no time"),
        (HEAD + "\t".join(["-3"] * 10) + "\n", "line 2: s is '-3', not a number from 0"),
        (HEAD + "\t".join(["1.0", "0:00:01", "much", *["1"] * 7]) + "\n", "line 2: max_rss is 'much', not a number"),
        (HEAD + "\t".join(["1.0", "0:00:01", "inf", *["1"] * 7]) + "\n", "line 2: max_rss is 'inf', not a number"),
    ],
)
def test_a_torn_benchmark_is_named_with_its_mend(tmp_path, content, complaint):
    path = tmp_path / "job.tsv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=complaint) as caught:
        usage.read_benchmark(path)
    assert str(path) in str(caught.value) and "again" in str(caught.value)


def test_what_snakemake_writes_of_a_job_is_read():
    """The header is Snakemake's own, so that a version that renames a column is noticed."""
    from snakemake.benchmark import BenchmarkRecord

    assert BenchmarkRecord.get_header() == HEAD.split()


def test_what_snakemake_writes_of_a_short_job_has_no_memory(tmp_path):
    from snakemake.benchmark import BenchmarkRecord

    path = tmp_path / "job.tsv"
    path.write_text(HEAD + BenchmarkRecord(running_time=0.25).to_tsv(False) + "\n")
    found = usage.read_benchmark(path)
    assert found.seconds == 0.25 and math.isnan(found.max_rss)


def test_a_run_that_is_given_twice_is_refused(tmp_path, runs):
    with pytest.raises(InputError, match="seed 0, is given twice; give it once"):
        made(tmp_path, [*runs, runs[0]])


def test_a_model_without_its_cost_is_named(tmp_path, runs):
    with pytest.raises(InputError, match="table S4: no cost of the model 'trunk' is given; count it"):
        made(tmp_path, runs, ("baseline", "aitl"))


def test_a_record_that_says_not_whose_it_is_is_refused(tmp_path, runs):
    (tmp_path / "metrics.json").write_text('{"provenance": {"model": "aitl"}}')
    with pytest.raises(InputError, match=r"metrics\.json: the key 'seed' is missing; score the run again"):
        made(tmp_path, [runs[0] | {"record": str(tmp_path / "metrics.json")}])
