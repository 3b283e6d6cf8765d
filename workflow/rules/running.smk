# While Snakemake runs, and when it ends in failure.

LAST_LINES = 12
FAILED = re.compile(r"^    log: (.+?) \(check log file", re.M)


def look_for_jobs_when_one_ends(scheduler):
    """Not every second besides, for each job that has ended: that takes a processor from trainings after some hundred.

    With a limit of jobs a second, each look asks for one more a second later, and they never become fewer (Snakemake
    9.27). A limit over longer time, as that of a cluster's profile, is left.
    """
    limiter = getattr(scheduler, "job_rate_limiter", None)
    if limiter is not None and limiter.timespan <= 1:
        scheduler.job_rate_limiter = None


def failures(said):
    """The path and the last lines of every log that Snakemake names beside an error, each once."""
    for path in dict.fromkeys(path.strip() for paths in FAILED.findall(said) for path in paths.split(",")):
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
