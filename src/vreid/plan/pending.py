"""Which jobs are needed, and why each is still to run.

A run is done when its files are there and say that they were made from today's settings and code, by the digests that
`vreid.provenance` and `vreid.spec` put into them.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from vreid.completion.train import Options
from vreid.errors import InputError
from vreid.models.vrstc.regions import Options as RegionOptions
from vreid.plan.manifest import Job, Manifest, Need
from vreid.provenance import code_digest, file_digest
from vreid.spec import Spec, build


class Pending:
    """The jobs of a manifest. Raises InputError where a run or a dataset is not in its settings.

    `needs` has all jobs of each table, figure …, done or not, each after those that it waits for; `to_run` those that
    are still to run, each once, in the order in which they are needed; `why(job)` says why, "" of one that is done.
    """

    def __init__(self, manifest: Manifest):
        self.manifest = manifest
        self.why = cache(self._why)
        self.needs = {need.name: list(dict.fromkeys(self._jobs(need))) for need in manifest.needs}
        every = dict.fromkeys(job for jobs in self.needs.values() for job in jobs)
        self.to_run = [job for job in every if self.why(job)]

    def _jobs(self, need: Need) -> Iterable[Job]:
        for runs in need.runs:
            for seed in runs.seeds:
                run = Job(runs.train, runs.model, seed, runs.test)
                yield from self._and_before(run if run.test else self._training(run))

    def _training(self, job: Job) -> Job:
        """The training that a job's weights are of."""
        return Job(job.train, self.manifest.spec(job).trained_as or job.model, job.seed)

    def _and_before(self, job: Job) -> Iterable[Job]:
        """The jobs without which this one cannot start, the first of them first, and itself."""
        if job.completes:
            before = [self._training(job)]
        elif job.test:
            before = [self._training(job), *self._completion(job.test)]
        else:
            before = [*self._completion(job.train), *self._trunk(job)]
        for one in before:
            yield from self._and_before(one)
        yield job

    def _trunk(self, training: Job) -> list[Job]:
        """The run that the trunk starts from, if any."""
        train, _, model = self.manifest.spec(training).trunk.weights.partition("/")
        return [Job(train, model, 0)] if train in self.manifest.datasets else []

    def _completion(self, dataset: str) -> list[Job]:
        """What completes a dataset's frames, if they are completed."""
        own = self.manifest.dataset(dataset)
        return [Job(own.completed_from, own.scorer, 0, completes=dataset)] if own.completed_from else []

    def _why(self, job: Job) -> str:
        return {"training": self._train, "embedding": self._embedding, "completion": self._complete}[job.kind](job)

    def _train(self, job: Job) -> str:
        folder, spec, data = self.manifest.folder(job), self.manifest.spec(job), self.manifest.dataset(job.train)
        if missing := _missing(folder, "weights.pt", "train.json", "history.csv", "spec.json"):
            return missing
        trunk = self._trunk(job)
        if any(map(self.why, trunk)):
            return "its trunk is still to be trained"
        if unmade := self._data(job.train):
            return unmade
        record = read_record(folder / "train.json")
        if not record.get("spec_digest") == frozen_digest(folder) == spec.digest:
            return "its settings have changed"
        if record.get("code_digest") != code_digest("vreid.train", f"vreid.models.{spec.method}"):
            return "its code has changed"
        files = [("index", data.index), ("manifest", data.manifest)]
        files += [("trunk_weights", self.manifest.folder(run) / "weights.pt") for run in trunk]
        for name, path in files:
            known = _part(record, "inputs").get(name)
            if path and known and known != file_digest(path):
                return f"{path} has changed"
        return ""

    def _embedding(self, job: Job) -> str:
        folder, spec, training = self.manifest.folder(job), self.manifest.spec(job), self._training(job)
        if self.why(training):
            return "its weights are still to be trained"
        if missing := _missing(folder, f"{job.test}/features.npz", f"{job.test}/metrics.json", "spec.json"):
            return missing
        if unmade := self._data(job.test):
            return unmade
        origin = _part(read_record(folder / job.test / "metrics.json"), "provenance")
        trained = self.manifest.spec(training).digest
        if (frozen_digest(folder), origin.get("spec_digest")) != (spec.digest, trained):
            return "its settings have changed"
        code = code_digest("vreid.embed", f"vreid.models.{spec.method}")
        return "" if _part(origin, "embedded").get("code_digest") == code else "its code has changed"

    def _complete(self, job: Job) -> str:
        training, data = self._training(job), self.manifest.dataset(job.completes)
        if self.why(training):
            return "its scorer is still to be trained"
        if unmade := self._data(job.train):
            return unmade
        paths = [Path(data.regions), Path(data.record), Path(data.manifest)]
        if absent := [path for path in paths if not path.exists()]:
            return f"{absent[0]} is not there"
        spec, (regions, record, made) = self.manifest.spec(training), map(read_record, paths)
        where = f"manifest: datasets.{job.completes}"
        scoring = asdict(build(RegionOptions, data.scoring, f"{where}.scoring"))
        learning = asdict(build(Options, data.completion, f"{where}.completion"))
        if (regions.get("options"), record.get("options")) != (scoring, learning):
            return "its settings have changed"
        for name, code in [("score", regions), ("train", record), ("complete", made)]:
            methods = [] if name == "complete" else [f"vreid.models.{spec.method}"]
            if code.get("code_digest") != code_digest(f"vreid.completion.{name}", *methods):
                return "its code has changed"
        source = self.manifest.dataset(job.train)
        files = {"index": source.index, "scorer": self.manifest.folder(training) / "weights.pt"}
        changed = (path for name, path in files.items() if _part(record, "inputs").get(name) != file_digest(path))
        return next((f"{path} has changed" for path in changed), "")

    def _data(self, name: str) -> str:
        """What of a dataset is still to be made."""
        data = self.manifest.dataset(name)
        if any(map(self.why, self._completion(name))):
            return f"the frames of {name} are still to be completed"
        absent = [path for path in (data.manifest, data.index) if path and not Path(path).exists()]
        return f"{absent[0]} is still to be made" if absent else ""


def read_record(path: Path) -> dict[str, Any]:
    """A record; nothing of one that is torn, which is made anew."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def frozen_digest(folder: Path) -> str:
    """The digest of the spec that a run was frozen to; "" of one of another version."""
    try:
        return Spec.load(folder / "spec.json").digest
    except InputError:
        return ""


def _missing(folder: Path, *names: str) -> str:
    absent = [name for name in names if not (folder / name).exists()]
    return f"{absent[0]} is not there" if absent else ""


def _part(record: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = record.get(key)
    return value if isinstance(value, dict) else {}
