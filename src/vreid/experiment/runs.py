"""A run: one training, and what it is tested on. Where its files are is said here, and read back from no path."""

from collections.abc import Iterable
from typing import NamedTuple

RUN = "results/runs/{train}/{model}/seed{seed}"


class Run(NamedTuple):
    """One training: the dataset, the model, the seed."""

    train: str
    model: str
    seed: int

    @property
    def folder(self) -> str:
        return RUN.format(**self._asdict())

    @property
    def name(self) -> str:
        """What logs and benchmarks call it."""
        return f"{self.train}/{self.model}/seed{self.seed}"

    def tested_on(self, test: str) -> "Tested":
        return Tested(self, test)


class Tested(NamedTuple):
    """A run and a dataset that it is tested on."""

    run: Run
    test: str

    @property
    def folder(self) -> str:
        return f"{self.run.folder}/{self.test}"

    @property
    def name(self) -> str:
        return f"{self.run.name}/{self.test}"


def files(runs: Iterable[Run | Tested], name: str) -> list[str]:
    """The file of that name of each run."""
    return [f"{run.folder}/{name}" for run in runs]
