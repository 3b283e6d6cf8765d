"""A forecast: which trainings and embeddings are still to run, and how long a device will work on them.

A run is done when its files are there and say that they were made from today's settings and code, by the digests that
`vreid.provenance` and `vreid.spec` put into them. What is left is counted in multiply-adds (`vreid.cost`), and divided
by those that finished trainings made a second. The manifest is plain data:

    {"run": "results/runs/{train}/{model}/seed{seed}",
     "settings": {"recipe": …, "recipes": …, "budget": …, "models": …},    as `vreid.spec.resolve` takes them
     "datasets": {"mars": {"index": "….csv.gz", "expect": {"train": {"people": 625}, …}}},
     "needs": [{"name": "Table 1", "runs": [{"train": "mars", "model": "aitl", "test": "mars", "seeds": [0, 1]}]}],
     "throughput": 900.0}

`throughput` (10⁹ multiply-adds a second) may be left out. A run without `test` is trained and not tested.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from vreid import provenance
from vreid.cost import clip_gmac, step_gmac
from vreid.data import clips
from vreid.data.tracklets import read_tracklets
from vreid.embed import TEST_SPLITS
from vreid.errors import InputError
from vreid.files import written_whole
from vreid.hardware import device_name
from vreid.models import method as methods
from vreid.progress import Progress
from vreid.spec import Augment, Spec, build, canonical, resolve, within


class Job(NamedTuple):
    """A training, or, with the dataset that is tested, an embedding."""

    train: str
    model: str
    seed: int
    test: str = ""


@dataclass(frozen=True)
class Runs:
    """Runs of one model that differ in their seed."""

    train: str
    model: str
    seeds: tuple[int, ...]
    test: str = ""


@dataclass(frozen=True)
class Need:
    """What needs runs: a table, a figure, the claims."""

    name: str
    runs: tuple[Runs, ...]


@dataclass(frozen=True)
class Dataset:
    """Where the index of a dataset is, and what is known of it before it is there."""

    index: str
    manifest: str = ""  # of a dataset that is made
    expect: Mapping[str, Any] = field(default_factory=dict)  # split → counts, of people, tracklets, frames
    completed_from: str = ""  # the dataset whose frames are completed …
    scorer: str = ""  # … by the regions that this model scores


@dataclass(frozen=True)
class Manifest:
    """See the module's text."""

    run: str
    settings: Mapping[str, Any]
    datasets: Mapping[str, Any]
    needs: tuple[Need, ...]
    throughput: float = 0.0

    def __post_init__(self):
        within(self, "throughput", at_least=0)


class Counts(NamedTuple):
    """What is known of a dataset; None of what is not."""

    people: int | None  # of the train split
    tracklets: int | None  # of the train split
    lengths: np.ndarray | None  # frames of each test tracklet; all of one length where only their sum is known


class Work(NamedTuple):
    """What a job takes."""

    steps: int
    clips: int  # of all steps, or all test clips
    frames: int  # of a clip
    step_gmac: float  # 10⁹ multiply-adds of a step, forwards and backwards; 0 of an embedding
    clip_gmac: float  # of a test clip
    validated: float  # clips of all validations; NaN if the test frames are not known
    gmac: float  # of all; of a training without its validations if these are not known


class Speed(NamedTuple):
    """10⁹ multiply-adds a second, and where the number comes from."""

    gmac_per_second: float  # NaN where nothing says it
    source: str


class Forecast:
    """What of a manifest is still to run. Raises InputError where the manifest does not hold together."""

    def __init__(self, manifest: Mapping[str, Any]):
        self.manifest = build(Manifest, manifest, "manifest")
        self.datasets = {
            name: build(Dataset, entry, f"manifest: datasets.{name}") for name, entry in self.manifest.datasets.items()
        }
        self._counts: dict[str, Counts] = {}
        self._gmac: dict[str, tuple[float, float]] = {}
        self._why: dict[Job, str] = {}
        self._specs: dict[tuple[str, int], Spec] = {}

    @cached_property
    def needs(self) -> dict[str, list[Job]]:
        """All jobs that each table, figure … needs, done or not, those of other runs that it starts from first."""
        return {need.name: list(dict.fromkeys(self._jobs(need))) for need in self.manifest.needs}

    @cached_property
    def to_run(self) -> list[Job]:
        """The jobs that are still to run, each once, in the order in which they are needed."""
        every = dict.fromkeys(job for jobs in self.needs.values() for job in jobs)
        return [job for job in every if self.why(job)]

    def _jobs(self, need: Need) -> Iterable[Job]:
        for runs in need.runs:
            for seed in runs.seeds:
                training = self._training(Job(runs.train, runs.model, seed))
                yield from self._before(training)
                yield training
                if runs.test:
                    yield from self._scorer(runs.test)
                    yield Job(runs.train, runs.model, seed, runs.test)

    def _training(self, job: Job) -> Job:
        """The training that a job's weights are of."""
        return Job(job.train, self.spec(job).trained_as or job.model, job.seed)

    def _before(self, training: Job) -> list[Job]:
        """The trainings without which this one cannot start, the first of them first."""
        trunk = self._trunk(training)
        direct = [*self._scorer(training.train), *([trunk] if trunk else [])]
        return [job for one in direct for job in [*self._before(one), one]]

    def _trunk(self, training: Job) -> Job | None:
        """The run that the trunk starts from."""
        train, _, model = self.spec(training).trunk.weights.partition("/")
        return Job(train, model, 0) if train in self.datasets else None

    def _scorer(self, dataset: str) -> list[Job]:
        """The run by which a dataset's frames are completed."""
        own = self.dataset(dataset)
        return [Job(own.completed_from, own.scorer, 0)] if own.completed_from else []

    def spec(self, job: Job) -> Spec:
        known = self.manifest.settings.get("models", {})
        if job.model not in known:
            raise InputError(f"manifest: the model {job.model!r} is none of {', '.join(known)}")
        if (job.model, job.seed) not in self._specs:
            try:
                self._specs[job.model, job.seed] = resolve(self.manifest.settings, job.model, job.seed)
            except KeyError as error:
                raise InputError(f"manifest: settings: the key {error} is missing") from None
        return self._specs[job.model, job.seed]

    def dataset(self, name: str) -> Dataset:
        if name not in self.datasets:
            raise InputError(f"manifest: the dataset {name!r} is none of {', '.join(self.datasets)}")
        return self.datasets[name]

    def folder(self, job: Job) -> Path:
        return Path(self.manifest.run.format(train=job.train, model=job.model, seed=job.seed))

    # ---- what is still to run ---------------------------------------------------------------------------------------

    def why(self, job: Job) -> str:
        """Why a job is still to run; "" if it is done."""
        if job not in self._why:
            self._why[job] = self._embedding(job) if job.test else self._train(job)
        return self._why[job]

    def _train(self, job: Job) -> str:
        folder, spec, trunk = self.folder(job), self.spec(job), self._trunk(job)
        if missing := _missing(folder, "weights.pt", "train.json", "history.csv", "spec.json"):
            return missing
        if trunk and self.why(trunk):
            return "its trunk is still to be trained"
        if anew := self._data(job.train):
            return anew
        record = _read(folder / "train.json")
        if record.get("spec_digest") != spec.digest or _frozen(folder) != spec.digest:
            return "its settings have changed"
        if record.get("code_digest") != provenance.code_digest("vreid.train", f"vreid.models.{spec.method}"):
            return "its code has changed"
        data = self.dataset(job.train)
        files = {"index": data.index, "manifest": data.manifest}
        if trunk:
            files["trunk_weights"] = self.folder(trunk) / "weights.pt"
        for name, path in files.items():
            known = _part(record, "inputs").get(name)
            if path and known and known != provenance.file_digest(path):
                return f"{path} has changed"
        return ""

    def _embedding(self, job: Job) -> str:
        folder, spec, training = self.folder(job), self.spec(job), self._training(job)
        if self.why(training):
            return "its weights are still to be trained"
        if missing := _missing(folder, f"{job.test}/features.npz", f"{job.test}/metrics.json", "spec.json"):
            return missing
        if anew := self._data(job.test):
            return anew
        if _frozen(folder) != spec.digest:
            return "its settings have changed"
        origin = _part(_read(folder / job.test / "metrics.json"), "provenance")
        if origin.get("spec_digest") != self.spec(training).digest:
            return "its settings have changed"
        code = provenance.code_digest("vreid.embed", f"vreid.models.{spec.method}")
        return "" if _part(origin, "embedded").get("code_digest") == code else "its code has changed"

    def _data(self, name: str) -> str:
        """What of a dataset is still to be made."""
        data = self.dataset(name)
        if any(self.why(scorer) for scorer in self._scorer(name)):
            return f"the frames of {name} are still to be completed"
        absent = [path for path in (data.manifest, data.index) if path and not Path(path).exists()]
        return f"{absent[0]} is still to be made" if absent else ""

    # ---- what it takes ----------------------------------------------------------------------------------------------

    def counts(self, name: str) -> Counts:
        """From the index if it is there, else what is expected."""
        if name not in self._counts:
            data = self.dataset(name)
            found = _counted(data.index) if Path(data.index).exists() else _expected(dict(data.expect))
            self._counts[name] = found
        return self._counts[name]

    def work(self, job: Job) -> Work | None:
        """What a job takes; None where its data is not known."""
        spec, people = self.spec(job), self.counts(job.train).people
        if people is None:
            return None
        if job.test:
            tested = _test_clips(spec, self.counts(job.test), spec.clips.test_clips)
            if tested is None:
                return None
            each = self._counted_gmac(spec, people)[1]
            return Work(0, round(tested), spec.clips.frames, 0.0, each, 0, tested * each)
        steps = _steps(spec, self.counts(job.train))
        return None if steps is None else self._training_work(spec, people, steps, self.counts(job.train))

    def _training_work(self, spec: Spec, people: int, steps: int, counts: Counts) -> Work:
        epochs, every = spec.training.epochs, spec.training.validate_every
        validations = epochs // every + (epochs % every > 0)
        each = _test_clips(spec, counts, spec.clips.validation_clips) if validations else 0.0
        validated = np.nan if each is None else validations * each
        step, clip = self._counted_gmac(spec, people)
        size = spec.training.people * spec.training.clips
        gmac = steps * step + float(np.nan_to_num(validated)) * clip
        return Work(steps, steps * size, spec.clips.frames, step, clip, validated, gmac)

    def _counted_gmac(self, spec: Spec, people: int) -> tuple[float, float]:
        """Of a step and of a test clip; counted once for runs that differ in what changes neither."""
        batch = replace(type(spec.training)(), people=spec.training.people, clips=spec.training.clips)
        alike = {"model": spec.model, "seed": 0, "recipe": "", "trained_as": "", "augment": Augment()}
        bare = replace(spec, **alike, trunk=replace(spec.trunk, weights="none"), training=batch)
        key = canonical([asdict(bare) | {"model": ""}, people])
        if key not in self._gmac:
            self._gmac[key] = step_gmac(bare, people), clip_gmac(bare, people)
        return self._gmac[key]

    # ---- how fast ---------------------------------------------------------------------------------------------------

    def speed(self) -> Speed:
        """As given; else the median of the finished trainings, of this machine's device if it has trained any."""
        if self.manifest.throughput:
            return Speed(self.manifest.throughput, "Throughput: as given.")
        trained = self._measured()
        if not trained:
            return Speed(
                np.nan,
                "Throughput: not known, so there are no hours. No training of this folder is finished: train one run, "
                "or give 10⁹ multiply-adds a second, `--config throughput=…`.",
            )
        here = device_name()
        device = here if here in trained else max(trained, key=lambda name: len(trained[name]))
        values = [value for _, value in trained[device]]
        by_model = pd.Series(values).groupby([model for model, _ in trained[device]]).median()
        median = float(np.median(values))
        others = [f"{name} ({len(own)} runs)" for name, own in trained.items() if name != device]
        return Speed(
            median,
            f"Throughput: {median:.4g} · 10⁹ multiply-adds a second, the median of {len(values)} finished "
            f"training{'s' * (len(values) != 1)} on {device}; by model {by_model.min():.4g} ({by_model.idxmin()}) to "
            f"{by_model.max():.4g} ({by_model.idxmax()}), so a single forecast may be as far off."
            + (f" Left aside: {', '.join(others)}." if others else ""),
        )

    def _measured(self) -> dict[str, list[tuple[str, float]]]:
        """Device → (model, 10⁹ multiply-adds a second) of every finished training of the folder."""
        everything = Path(self.manifest.run.format(train="*", model="*", seed="*"))
        base = next(parent for parent in everything.parents if "*" not in str(parent))
        records = sorted(base.glob(f"{everything.relative_to(base)}/train.json"))
        bar, found = Progress("count the finished trainings", len(records)), {}
        for path in records:
            bar.step()
            record = _read(path)
            if _frozen(path.parent) != record.get("spec_digest") or record.get("train_dataset") not in self.datasets:
                continue
            numbers = [record.get(key) for key in ("seconds", "steps", "people")]
            if not all(isinstance(number, int | float) and number > 0 for number in numbers):
                continue  # an untrained network among them
            spec, counts = Spec.load(path.with_name("spec.json")), self.counts(record["train_dataset"])
            work = self._training_work(spec, record["people"], record["steps"], counts)
            if not np.isnan(work.validated):
                found.setdefault(record.get("device", "an unknown device"), []).append(
                    (spec.model, work.gmac / record["seconds"])
                )
        return found


def _missing(folder: Path, *names: str) -> str:
    absent = [name for name in names if not (folder / name).exists()]
    return f"{absent[0]} is not there" if absent else ""


def _read(path: Path) -> dict:
    """A record; nothing of one that is torn, which is made anew."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _part(record: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = record.get(key)
    return value if isinstance(value, dict) else {}


def _frozen(folder: Path) -> str:
    """The digest of the spec that a run was frozen to."""
    try:
        return Spec.load(folder / "spec.json").digest
    except InputError:  # of another version
        return ""


def _counted(index: str) -> Counts:
    table = read_tracklets(index)
    train = table[table["split"] == "train"]
    tested = table[table["split"].isin(TEST_SPLITS)]
    return Counts(train["pid"].nunique(), len(train), tested["num_frames"].to_numpy(int))


def _expected(expect: Mapping[str, Mapping[str, int]]) -> Counts:
    train, test = expect.get("train", {}), expect.get("test", {})
    tested = test.get("tracklets") or sum(expect.get(split, {}).get("tracklets", 0) for split in TEST_SPLITS)
    lengths = np.full(tested, test["frames"] / tested) if tested and "frames" in test else None
    return Counts(train.get("people"), train.get("tracklets"), lengths)


def _steps(spec: Spec, counts: Counts) -> int | None:
    """Steps of the whole training, as `vreid.data.clips.steps_per_epoch` has them."""
    whole = counts.tracklets if spec.training.batch == "tracklets" else counts.people
    size = spec.training.people * (spec.training.clips if spec.training.batch == "tracklets" else 1)
    if not spec.training.epochs:
        return 0
    return None if whole is None else spec.training.epochs * -(-whole // size)


def _test_clips(spec: Spec, counts: Counts, most: int) -> float | None:
    """Clips of T frames that the test rule makes of all test tracklets; of other lengths, by their frames."""
    if counts.lengths is None:
        return None
    choose = clips.chosen(clips.TEST_CLIPS, spec.clips.test, methods.load(spec.method).test_clips, "clips.test")
    lengths, times = np.unique(np.maximum(1, counts.lengths.round().astype(int)), return_counts=True)
    frames = [choose(np.arange(length), spec.clips, most).size for length in lengths]
    return float(np.dot(times, frames)) / spec.clips.frames


# ---- what is shown --------------------------------------------------------------------------------------------------


JOBS = ["job", "train", "model", "seed", "test", "why", "first_needed_by", *Work._fields, "hours"]


def forecast(manifest: Mapping[str, Any], stem: Path) -> str:
    """Write `stem`.csv and .md (hours by table and figure) and `stem`-jobs.csv (every job to run); returns the page."""
    plan = Forecast(manifest)
    speed = plan.speed()
    jobs = listed(plan, speed)
    table = by_need(plan, jobs)
    page = shown(plan, speed, jobs, table)
    for path, text in {
        stem.with_name(f"{stem.name}-jobs.csv"): jobs.to_csv(index=False),
        stem.with_name(f"{stem.name}.csv"): table.to_csv(index=False),
        stem.with_name(f"{stem.name}.md"): page + "\n",
    }.items():
        with written_whole(path) as aside:
            aside.write_text(text)
    return page


def listed(plan: Forecast, speed: Speed) -> pd.DataFrame:
    """One row a job that is still to run, with the columns JOBS; hours and counts that are not known are NaN."""
    first = {job: name for name, jobs in reversed(plan.needs.items()) for job in jobs}
    bar, rows = Progress("count the multiply-adds", len(plan.to_run)), []
    for job in plan.to_run:
        work = plan.work(job)
        known = work._asdict() | {"hours": work.gmac / speed.gmac_per_second / 3600} if work else {}
        kind = "embedding" if job.test else "training"
        rows.append({"job": kind, **job._asdict(), "why": plan.why(job), "first_needed_by": first[job], **known})
        bar.step(note=job.model)
    return pd.DataFrame(rows, columns=JOBS)


def by_need(plan: Forecast, jobs: pd.DataFrame) -> pd.DataFrame:
    """One row a table or figure: jobs and hours that it adds to those before it, and all of its own; then all.

    Multiply-adds (10⁹) and hours are those of the jobs of which they are known; `unknown` counts the others.
    """
    own = [Job(*row) for row in jobs[list(Job._fields)].itertuples(index=False, name=None)]
    rows = []
    for name, needed in plan.needs.items():
        wanted = set(needed)
        alone = _sums(
            jobs[np.array([job in wanted for job in own], dtype=bool)]
        )  # a list would choose columns if empty
        rows.append({"needed_by": name} | _sums(jobs[jobs.first_needed_by == name]) | _prefixed("alone", alone))
    return pd.DataFrame([*rows, {"needed_by": "all"} | _sums(jobs) | _prefixed("alone", _sums(jobs))])


def _sums(jobs: pd.DataFrame) -> dict[str, float]:
    trainings = int((jobs.job == "training").sum())
    gmac, hours = (float(jobs[name].sum(min_count=min(1, len(jobs)))) for name in ("gmac", "hours"))
    unknown = int(jobs.gmac.isna().sum())
    return {
        "trainings": trainings,
        "embeddings": len(jobs) - trainings,
        "gmac": gmac,
        "hours": hours,
        "unknown": unknown,
    }


def _prefixed(prefix: str, sums: Mapping[str, float]) -> dict[str, float]:
    return {f"{prefix}_{key}": value for key, value in sums.items()}


def shown(plan: Forecast, speed: Speed, jobs: pd.DataFrame, table: pd.DataFrame) -> str:
    """The page, in Markdown."""
    names = ["needed by", "trainings", "embeddings", "10¹⁵ multiply-adds", "hours"]
    names += [f"alone: {name}" for name in ("trainings", "embeddings", "hours")]
    cells = []
    for row in table.itertuples():
        first = row.trainings, row.embeddings, _number(row.gmac / 1e6), _hours(row.hours, row.unknown)
        alone = row.alone_trainings, row.alone_embeddings, _hours(row.alone_hours, row.alone_unknown)
        cells.append([row.needed_by, *first, *alone])
    said = [
        "Hours of one device. A job counts where it is first needed; `alone` is what a table or figure needs if "
        "nothing else is made.",
        speed.source,
        *_longest(jobs),
        *_unknown(jobs),
        "Not seen: changed images or annotations that are not indexed yet, and changed files that Snakemake knows by "
        "their time; `snakemake -n` has the last word on what runs. Not counted: jobs on processors, attention maps, "
        "the scoring and completion of frames, waiting in queues and for data, and what interrupted trainings have "
        "behind them. Backward passes are counted, losses are not; embeddings are taken to be as fast as trainings.",
    ]
    page = ["# What is still to run", _markdown(names, cells), *said]
    if len(jobs):
        page += [
            "## Jobs",
            _markdown(["job", "trained on", "model", "tested on", "seeds", "hours", "why"], _grouped(jobs)),
        ]
    return "\n\n".join(page)


def _longest(jobs: pd.DataFrame) -> list[str]:
    trainings = jobs[(jobs.job == "training") & jobs.hours.notna()]
    if trainings.empty:
        return []
    longest = trainings.loc[trainings.hours.idxmax()]
    return [
        f"Longest single training: {longest.model} on {longest.train}, {_number(longest.hours)} hours; it must end "
        "within the `runtime` of the rule `train`."
    ]


def _unknown(jobs: pd.DataFrame) -> list[str]:
    """What the sums leave out because the data is not there to be counted."""
    lines = []
    if (count := int(jobs.gmac.isna().sum())) > 0:
        lines.append(
            f"Unknown: {count} jobs, whose data is not indexed yet and whose `expect` does not say enough. "
            "`snakemake --cores 1 results/index/<dataset>/annotated.csv.gz` indexes it."
        )
    unvalidated = (jobs.job == "training") & jobs.gmac.notna() & jobs.validated.isna()
    if count := int(unvalidated.sum()):
        lines.append(f"Left out: the validations of {count} trainings, whose test frames are not known yet.")
    return lines


def _grouped(jobs: pd.DataFrame) -> list[list[str]]:
    """A row for jobs that differ in their seed alone."""
    rows = []
    for (*who, why), own in jobs.groupby(["job", "train", "model", "test", "why"], sort=False):
        sums = _sums(own)
        rows.append([*who, " ".join(map(str, own.seed)), _hours(sums["hours"], sums["unknown"]), why])
    return rows


def _number(value: float) -> str:
    if np.isnan(value):
        return ""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2g}"


def _hours(hours: float, unknown: int) -> str:
    """Hours, and the number of jobs of which they are not known."""
    parts = [_number(hours), f"{unknown} unknown" if unknown else ""]
    return " + ".join(part for part in parts if part)


def _markdown(names: list[str], rows: list[list[Any]]) -> str:
    return pd.DataFrame(rows, columns=names).astype(str).to_markdown(index=False, disable_numparse=True)
