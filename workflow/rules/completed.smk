# Which datasets are completed, from what, and by which run.

COMPLETION = "results/completion/{dataset}"
COMPLETED = [name for name in DATASETS if "completed" in DATASETS[name]]


def completed(w):
    """The entry of a completed dataset: what it is completed from, by what and how."""
    return DATASETS[w.dataset]["completed"]


def scorer_run(w):
    """The run that scores the regions, and guides the completion."""
    return RUN.format(train=completed(w)["from"], model=completed(w)["scorer"], seed=0)


def scorer_threads(w):
    return 1024 if GPU else resolve(config, completed(w)["scorer"], 0).training.threads


def scorer_code(w, job):
    """The digest of a job's code and of the scorer's method."""
    return code_digest(job, f"vreid.models.{resolve(config, completed(w)['scorer'], 0).method}")


def completed_index(w):
    """The annotated index of the dataset that is completed."""
    return f"results/index/{completed(w)['from']}/annotated.csv.gz"


def truth_file(w):
    """What is truly hidden, which is known of rendered datasets alone."""
    return f"{COMPLETION}/truth.csv.gz".format(dataset=w.dataset) if is_rendered(w.dataset) else []
