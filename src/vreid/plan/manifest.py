"""What a forecast is asked, as plain data:

    {"run": "results/runs/{train}/{model}/seed{seed}",
     "settings": {"recipe": …, "recipes": …, "budget": …, "models": …},    as `vreid.spec.resolve` takes them
     "datasets": {"mars": {"index": "….csv.gz", "expect": {"train": {"people": 625}, …}}},
     "needs": [{"name": "Table 1", "runs": [{"train": "mars", "model": "aitl", "test": "mars", "seeds": [0, 1]}]}],
     "throughput": 900.0}

`throughput` (10⁹ multiply-adds a second) may be left out. A run without `test` is trained and not tested.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from vreid.errors import InputError
from vreid.spec import Spec, build, resolve, within


class Job(NamedTuple):
    """A training; with the dataset that is tested, an embedding; with the one that it completes, a completion."""

    train: str
    model: str
    seed: int
    test: str = ""
    completes: str = ""

    @property
    def kind(self) -> str:
        return "completion" if self.completes else "embedding" if self.test else "training"


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
    scoring: Mapping[str, Any] = field(default_factory=dict)  # options of that …
    regions: str = ""  # … which writes this
    completion: Mapping[str, Any] = field(default_factory=dict)  # options of the completion network's training …
    record: str = ""  # … which writes this


@dataclass(frozen=True)
class Manifest:
    """See the module's text."""

    run: str
    settings: Mapping[str, Any]
    datasets: Mapping[str, Dataset]
    needs: tuple[Need, ...]
    throughput: float = 0.0  # 0: as measured

    def __post_init__(self):
        within(self, "throughput", at_least=0)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> "Manifest":
        """Raises InputError where a key is unknown or missing, or a value of a wrong type."""
        plain = build(cls, mapping, "manifest")
        datasets = {name: build(Dataset, entry, f"manifest: datasets.{name}") for name, entry in plain.datasets.items()}
        return replace(plain, datasets=datasets)

    def dataset(self, name: str) -> Dataset:
        if name not in self.datasets:
            raise InputError(f"manifest: the dataset {name!r} is none of {', '.join(self.datasets)}")
        return self.datasets[name]

    def spec(self, job: Job) -> Spec:
        known = self.settings.get("models", {})
        if job.model not in known:
            raise InputError(f"manifest: the model {job.model!r} is none of {', '.join(known)}")
        try:
            return resolve(self.settings, job.model, job.seed)
        except KeyError as error:
            raise InputError(f"manifest: settings: the key {error} is missing") from None

    def folder(self, job: Job) -> Path:
        return Path(self.run.format(**job._asdict()))
