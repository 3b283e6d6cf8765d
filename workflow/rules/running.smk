# While Snakemake runs, and when it ends in failure.

import os
import re
import sys
from pathlib import Path

LAST_LINES = 12
FAILED = re.compile(r"^ +output: (.+)\n +log: (.+?) \(check log file", re.M)  # of a job, or of one of a group


def look_for_jobs_when_one_ends(scheduler):
    """Not every second besides, for each job that has ended: that takes a processor from trainings after some hundred.

    With its own limit of 100 jobs a second, each look asks for one more a second later, and they never become fewer
    (Snakemake 9.27). A limit that a user or a profile sets is left.
    """
    limiter = getattr(scheduler, "job_rate_limiter", None)
    if limiter is not None and (limiter.max_jobs, limiter.timespan) == (100, 1):
        scheduler.job_rate_limiter = None


def failures(said):
    """The path and the last lines of the logs that Snakemake names beside errors, each once.

    Of what failed and was made in another attempt there is nothing to say.
    """
    missing = (logs for outputs, logs in FAILED.findall(said) if not all(map(os.path.exists, outputs.split(", "))))
    for path in dict.fromkeys(path for logs in missing for path in logs.split(", ")):
        try:
            lines = Path(path).read_text(errors="replace").splitlines()
        except OSError:
            continue
        yield "\n".join([f"{path} ends:", *(f"    {line}" for line in lines[-LAST_LINES:])])


onstart:
    look_for_jobs_when_one_ends(workflow.scheduler)


onerror:
    if workflow.is_main_process:
        said = "\n".join(Path(path).read_text(errors="replace") for path in log)
        print(*failures(said), sep="\n", file=sys.stderr)
