# While Snakemake runs, and when it ends in failure.

import os
import re
import sys
import time
from pathlib import Path

import snakemake_executor_plugin_slurm as slurm_plugin
from snakemake.exceptions import WorkflowError

from vreid.errors import InputError
from vreid.experiment.cluster import LEAST_AGE
from vreid.orphans import refuse_beside_others

LAST_LINES = 12
BEGAN = time.time()
# What Snakemake says of a job that failed, or of each of a group: why, if it knows, and its outputs and logs.
FAILED = re.compile(
    r"^    message: (?P<why>(?s:.+?))\n    jobid: "
    r"|^ +output: (?P<outputs>.+)\n +log: (?P<logs>.+?) \(check log file"
    r"|^Error in ",
    re.M,
)


def look_for_jobs_when_one_ends(scheduler):
    """Not every second besides, for each job that has ended: that takes a processor from trainings after some hundred.

    With its own limit of 100 jobs a second, each look asks for one more a second later, and they never become fewer
    (Snakemake 9.27). A limit that a user or a profile sets is left.
    """
    limiter = getattr(scheduler, "job_rate_limiter", None)
    if limiter is not None and (limiter.max_jobs, limiter.timespan) == (100, 1):
        scheduler.job_rate_limiter = None


def stay_with_squeue(settings):
    """Not with sacct in its place as soon as scontrol does not answer: SLURM's plugin (2.8) looks again at every poll.

    Without an accounting database sacct says nothing, and the plugin forgets all jobs.
    """
    if settings.status_command == "squeue":
        age = slurm_plugin.get_min_job_age() or LEAST_AGE
        slurm_plugin.get_min_job_age = lambda: age


def failures(said):
    """Why jobs failed, as far as SLURM says it, and the last lines of the logs that Snakemake names beside, each once.

    Of what failed and was made in another attempt there is nothing to say.
    """
    why, missing = "", {}
    for found in FAILED.finditer(said):
        if not found["outputs"]:
            why = (found["why"] or "").partition("For further error details")[0].strip()
        elif not all(map(os.path.exists, found["outputs"].split(", "))):
            missing |= dict.fromkeys(found["logs"].split(", "), why)
    for path, why in missing.items():
        ends = [f"{path} ends:", *(f"    {line}" for line in last_lines(path))]
        yield "\n".join([why] * bool(why) + ends * (len(ends) > 1))


def last_lines(path):
    """Of a log; none of one that this Snakemake's jobs have not written to, for those that never started left it."""
    try:
        if os.path.getmtime(path) < BEGAN - 60:  # of another machine's clock
            return []
        return Path(path).read_text(errors="replace").splitlines()[-LAST_LINES:]
    except OSError:
        return []


onstart:
    if workflow.is_main_process and workflow.executor_plugin.name == "slurm":
        try:
            refuse_beside_others(Path())
        except InputError as error:
            raise WorkflowError(str(error))
        stay_with_squeue(workflow.executor_settings)
    look_for_jobs_when_one_ends(workflow.scheduler)


onerror:
    if workflow.is_main_process:
        said = "\n".join(Path(path).read_text(errors="replace") for path in log)
        print(*filter(None, failures(said)), sep="\n", file=sys.stderr)
