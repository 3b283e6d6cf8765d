"""On a real SLURM of the tests' own: the whole workflow, and what befalls jobs and Snakemake there.

What happens is mostly waiting, so that all of it happens at once; each test waits for one event's end. The whole
workflow takes longest, and starts first.
"""

import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from conftest import REPOSITORY, TINY, Checkout, copied
from slurm import Slurm, missing

RUN = "results/runs/synth-mars/baseline/seed1"
WEIGHTS = f"{RUN}/weights.pt"
LOG = "logs/train/synth-mars/baseline/seed1.log"
PROFILE = ["--workflow-profile", "workflow/profiles/slurm"]
HEAD_START = 40  # seconds
QUICK = [
    "--slurm-init-seconds-before-status-checks",
    "2",
    "--max-status-checks-per-second",
    "10",
    "--latency-wait",
    "5",
]
SAME_RUN = ["--spec", f"{RUN}/spec.json", "--index", "results/index/synth-mars/annotated.csv.gz", "--dataset"]
SAME_RUN += ["synth-mars", "--root", "results/data/synth-mars", "--headline", "queries-removed", "--out", RUN]
SAME_RUN += ["--trunk-weights", "results/runs/synth-people/trunk/seed0/weights.pt"]
UNLIKE_A_SHELL = (
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
)


class Site(Checkout):
    """A checkout whose jobs go to a SLURM."""

    def __init__(self, root: Path, slurm: Slurm, overlay: str = TINY):
        super().__init__(root, overlay)
        self.slurm = slurm
        (root / "mischief").mkdir()
        shutil.copy2(REPOSITORY / "tests/workflow/mischief.py", root / "mischief/sitecustomize.py")
        self.env |= slurm.env | {"VREID_DEVICE": "cpu"}  # its GPUs are none
        self.env["PYTHONPATH"] = os.pathsep.join([str(root / "mischief"), self.env["PYTHONPATH"]])

    def submit(self, *arguments: str, succeeds: bool = True) -> str:
        return self.snakemake(*PROFILE, *QUICK, *arguments, succeeds=succeeds)

    def start(self, *arguments: str) -> subprocess.Popen:
        """Snakemake as a user starts it, whom it hears when they interrupt it."""
        command = [sys.executable, "-c", UNLIKE_A_SHELL, *self.command(*PROFILE, *QUICK, *arguments)]
        return subprocess.Popen(
            command,
            cwd=self.root,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def verb(self, *words: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "vreid", *words]
        return subprocess.run(command, cwd=self.root, env=self.env, text=True, capture_output=True, timeout=120)

    def job_in_training(self) -> str:
        """Wait until the one job of this checkout has taken a step; its id."""
        self.slurm.wait(lambda: self.steps_said() >= 1, 240)
        (job,) = self.slurm.jobs(self.root)
        return job

    def steps_said(self) -> int:
        path = self.root / LOG
        said = re.findall(r"^train baseline seed 1: (\d+)/", path.read_text(), re.M) if path.exists() else []
        return int(said[-1]) if said else 0

    def assert_as_if_nothing_had_happened(self, finished: Checkout) -> None:
        assert "resumed after epoch" in (self.root / LOG).read_text()
        assert_same_weights(self.root / WEIGHTS, finished.root / WEIGHTS)
        assert "Nothing to be done" in self.snakemake("--dry-run", WEIGHTS)


def assert_same_weights(path: Path, other: Path) -> None:
    ours, theirs = (torch.load(each, weights_only=True) for each in (path, other))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def ended(process: subprocess.Popen, seconds: float = 420) -> tuple[int, str]:
    """The exit status of a Snakemake, and what it said; it does not outlive a test that has waited long enough."""
    try:
        said, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return process.returncode, said


def to_partition(name: str) -> list[str]:
    return ["--set-resources", f"train:slurm_partition={name}"]


def a_job_that_fails_once_is_tried_again(site: Site, finished: Checkout) -> None:
    """Also where scontrol, which Snakemake's plugin asks at every poll, answers once and then no more."""
    scontrol, asked = site.root / "mischief/scontrol", site.root / "asked"
    scontrol.write_text(f'#!/bin/sh\n[ -e {asked} ] && exit 1\ntouch {asked}\nexec /usr/bin/scontrol "$@"\n')
    scontrol.chmod(0o755)
    site.env["PATH"] = os.pathsep.join([str(scontrol.parent), site.env["PATH"]])
    site.env["FAIL_ONCE"] = str(site.root / "failed")
    site.submit(WEIGHTS)
    assert (site.root / "failed").exists()
    assert_same_weights(site.root / WEIGHTS, finished.root / WEIGHTS)
    assert "Nothing to be done" in site.snakemake("--dry-run", WEIGHTS)
    minutes = sorted(int(job.minutes) for job in site.slurm.ended() if job.folder == str(site.root))
    assert minutes == [720, 1440]


def a_job_that_keeps_failing_says_why_at_the_end_and_others_go_on(site: Site, finished: Checkout) -> None:
    other = WEIGHTS.replace("baseline", "aitl")
    (site.root / other).unlink()
    site.env["FAIL"] = "train baseline"
    said = site.submit(WEIGHTS, other, "--retries", "0", succeeds=False)
    assert (site.root / other).exists() and not (site.root / WEIGHTS).exists()
    last = "\n".join(said.splitlines()[-60:])
    assert f"{LOG} ends:" in last and "error: made to fail" in last


def a_cancelled_job_has_saved_and_goes_on(site: Site, finished: Checkout) -> None:
    site.env["SAVE_ONLY_WHEN_TOLD"] = "yes"
    process = site.start(WEIGHTS, "--retries", "1")
    site.slurm.ask("scancel", site.job_in_training())
    status, said = ended(process)
    assert status == 0, said
    site.assert_as_if_nothing_had_happened(finished)


def a_job_at_its_time_limit_has_saved_and_goes_on(site: Site, finished: Checkout) -> None:
    site.env["SAVE_ONLY_WHEN_TOLD"] = "yes"
    site.env["PAUSE"] = "8"  # of 12 steps
    process = site.start(WEIGHTS, "--retries", "1", *to_partition("gpu"), "train:runtime=1+5*(attempt-1)")
    status, said = ended(process)
    assert status == 0 and "Trying to restart job" in said, said
    assert {job.state for job in site.slurm.ended() if job.folder == str(site.root)} == {"TIMEOUT", "COMPLETED"}
    site.assert_as_if_nothing_had_happened(finished)


def a_job_whose_node_dies_goes_on_on_another(site: Site, finished: Checkout) -> None:
    site.env["PAUSE"] = "3"
    process = site.start(WEIGHTS, "--retries", "1", *to_partition("frail"))
    job = site.job_in_training()
    site.slurm.wait(lambda: list((site.root / RUN / "resume").glob("step-*.pt")), 120)
    node = site.slurm.ask("squeue", "-h", "-j", job, "-o", "%N").strip()
    site.slurm.kill_node(node)
    status, said = ended(process)
    assert status == 0, said
    site.assert_as_if_nothing_had_happened(finished)


def a_preempted_job_has_saved_and_goes_on(site: Site, finished: Checkout) -> None:
    site.env["SAVE_ONLY_WHEN_TOLD"] = "yes"
    process = site.start(WEIGHTS, "--retries", "0", *to_partition("idle-time"))
    job = site.job_in_training()
    site.slurm.ask("sbatch", "-p", "urgent", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 1")
    site.slurm.wait(lambda: site.slurm.jobs(site.root).get(job) != "RUNNING", 60)
    status, said = ended(process)
    assert status == 0, said
    site.assert_as_if_nothing_had_happened(finished)


def an_interrupted_snakemake_cancels_its_jobs_which_go_on_later(site: Site, finished: Checkout) -> None:
    process = site.start(WEIGHTS)
    site.job_in_training()
    process.send_signal(signal.SIGINT)
    status, said = ended(process)
    assert status == 1, said
    site.slurm.wait(lambda: not site.slurm.jobs(site.root), 60)
    site.env["PAUSE"] = "0"
    site.submit(WEIGHTS)
    site.assert_as_if_nothing_had_happened(finished)


def a_snakemake_that_is_told_to_end_waits_for_its_jobs(site: Site, finished: Checkout) -> None:
    figure = site.root / "results/figures/fig7.csv"
    drawn = figure.stat().st_mtime_ns
    process = site.start(WEIGHTS, str(figure.relative_to(site.root)), "--forcerun", "curves")
    site.job_in_training()
    process.send_signal(signal.SIGTERM)
    status, said = ended(process)
    assert status == 1 and "Will exit after finishing currently running jobs" in said, said
    assert_same_weights(site.root / WEIGHTS, finished.root / WEIGHTS)
    assert not site.slurm.jobs(site.root) and figure.stat().st_mtime_ns == drawn
    assert "Nothing to be done" in site.snakemake("--dry-run", WEIGHTS)


def a_job_that_slurm_refuses_says_why_at_the_end(site: Site, finished: Checkout) -> None:
    (site.root / LOG).write_text("of another day")
    os.utime(site.root / LOG, (0, 0))
    partition = to_partition("'none-' + wildcards.model")  # which the pre-flight cannot know
    said = site.submit(WEIGHTS, "--retries", "0", *partition, succeeds=False)
    last = "\n".join(said.splitlines()[-20:])
    assert "invalid partition specified: none-baseline" in last and "of another day" not in said


def the_jobs_of_a_killed_snakemake_are_found_and_cancelled(site: Site, finished: Checkout) -> None:
    site.env["PAUSE"] = "25"
    process = site.start(WEIGHTS)
    job = site.job_in_training()
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    site.snakemake("--unlock")
    refused = site.submit(WEIGHTS, succeeds=False)
    assert f"jobs of another Snakemake in this folder are in SLURM's queue: {job} (train, RUNNING)." in refused
    by_hand = site.verb("train", *SAME_RUN)
    assert by_hand.returncode == 2 and f"SLURM job {job} is writing here" in by_hand.stderr
    assert site.slurm.jobs(site.root) == {job: "RUNNING"}
    listed = site.verb("orphans")
    assert listed.returncode == 1 and job in listed.stdout
    assert site.verb("orphans", "--cancel").returncode == 0
    assert not site.slurm.jobs(site.root)
    site.env["PAUSE"] = "0"
    site.submit(WEIGHTS)
    site.assert_as_if_nothing_had_happened(finished)


def a_job_that_outlives_its_snakemake_and_ends_is_taken_for_what_it_is(site: Site, finished: Checkout) -> None:
    process = site.start(WEIGHTS)
    site.job_in_training()
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    site.slurm.wait(lambda: not site.slurm.jobs(site.root), 240)
    assert "missing provenance" in site.verb("orphans").stdout
    site.snakemake("--unlock")
    site.snakemake("--touch", "--cores", "1", WEIGHTS)
    assert_same_weights(site.root / WEIGHTS, finished.root / WEIGHTS)
    assert "Nothing to be done" in site.snakemake("--dry-run", WEIGHTS)
    site.append("src/vreid/losses.py", "CHANGED = True")
    assert "train synth-mars baseline 1" in site.plan()


EVENTS = [
    a_job_whose_node_dies_goes_on_on_another,
    a_job_at_its_time_limit_has_saved_and_goes_on,
    the_jobs_of_a_killed_snakemake_are_found_and_cancelled,
    a_preempted_job_has_saved_and_goes_on,
    a_cancelled_job_has_saved_and_goes_on,
    an_interrupted_snakemake_cancels_its_jobs_which_go_on_later,
    a_snakemake_that_is_told_to_end_waits_for_its_jobs,
    a_job_that_slurm_refuses_says_why_at_the_end,
    a_job_that_outlives_its_snakemake_and_ends_is_taken_for_what_it_is,
    a_job_that_fails_once_is_tried_again,
    a_job_that_keeps_failing_says_why_at_the_end_and_others_go_on,
]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory) -> Iterator[Slurm]:
    if reason := missing():
        assert os.environ.get("VREID_SLURM") != "required", reason
        pytest.skip(reason)
    with Slurm(tmp_path_factory.mktemp("slurm") / "daemons") as slurm:
        yield slurm


@pytest.fixture(scope="module")
def happening(slurm, finished, tmp_path_factory) -> Iterator[dict[Callable, Future]]:
    """Every event, each in a copy of the finished checkout that has lost the weights of one run."""

    def happen(event: Callable) -> None:
        time.sleep(HEAD_START)
        root = tmp_path_factory.mktemp(event.__name__) / "copy"
        shutil.copytree(finished.root, root)
        (root / WEIGHTS).unlink()
        (root / LOG).unlink()
        site = Site(root, slurm)
        site.env["PAUSE"] = "3"
        event(site, finished)

    with ThreadPoolExecutor(len(EVENTS)) as pool:
        yield {event: pool.submit(happen, event) for event in EVENTS}


@pytest.fixture(scope="module")
def submitted(slurm, happening, tmp_path_factory) -> Site:
    """A fresh copy, run to its end while all that happens."""
    site = Site(copied(tmp_path_factory.mktemp("submitted")), slurm, f"{TINY} tests/workflow/cluster.yaml")
    site.submit()
    return site


def test_everything_from_frames_to_report_runs_there_and_comes_out_as_it_does_here(submitted, finished):
    for model in ("baseline", "aitl"):
        path = f"results/runs/synth-mars/{model}/seed0/weights.pt"
        assert_same_weights(submitted.root / path, finished.root / path)
    assert (submitted.root / "results/report/index.html").exists()
    assert submitted.plan() == set()


def test_every_training_has_one_gpu_and_no_gpu_two_jobs(submitted, slurm):
    of_jobs = [each for each in slurm.allocations() if each.ended < float("inf")]  # who is killed says no end
    own = [(each.job, each.gpu) for each in of_jobs if each.folder == str(submitted.root)]
    assert len(set(own)) == len({job for job, _ in own}) == 5  # the trunk, two models, their tests
    jobs = Counter((job.partition, job.minutes) for job in slurm.ended() if job.folder == str(submitted.root))
    assert jobs["gpu", "720"] == 3  # the minutes of a training
    assert {partition for partition, _ in jobs} == {"gpu", "cpu"}
    assert sum(count for (partition, _), count in jobs.items() if partition == "gpu") == 5
    for one, other in itertools.combinations(of_jobs, 2):
        assert one.job == other.job or one.gpu != other.gpu or one.ended <= other.began or other.ended <= one.began


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.__name__)
def test_events(event, happening):
    happening[event].result(timeout=600)
