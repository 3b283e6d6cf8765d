"""What the configuration says of a dataset, and which files stand for it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from vreid.experiment.runs import Run
from vreid.fetch.parts import Part, parts_of

FETCHED = "results/fetched/{dataset}.json"


@dataclass(frozen=True)
class Dataset:
    """An entry of `datasets`; of a completed one, `source` is the dataset whose frames are completed."""

    name: str
    entry: Mapping[str, Any]
    source: "Dataset | None" = None

    @property
    def layout(self) -> str:
        return self.entry["layout"]

    @property
    def root(self) -> str:
        return self.entry["root"]

    @property
    def attributes(self) -> str:
        return self.entry["attributes"]

    @property
    def headline(self) -> str:
        return self.entry["headline"]

    @property
    def has_world(self) -> bool:
        """Whether the workflow renders it, from a world of its own."""
        return "render" in self.entry

    @property
    def is_completed(self) -> bool:
        return "completed" in self.entry

    @property
    def is_made(self) -> bool:
        """Whether the workflow makes it, rendered or completed; a filmed one must be in place."""
        return self.has_world or self.is_completed

    @property
    def is_fetched(self) -> bool:
        """Whether the workflow puts its parts, which are filmed, in place."""
        return "fetch" in self.entry

    @property
    def is_rendered(self) -> bool:
        """Whether its pedestrians are drawn; those of a completed one are if those of its source are."""
        return self.source.is_rendered if self.source else self.has_world

    @property
    def completed(self) -> Mapping[str, Any]:
        """What a completed one is completed from, by which model, and how."""
        return self.entry["completed"]

    @property
    def scorer(self) -> Run:
        """The run that scores its regions, and guides the completion."""
        return Run(self.completed["from"], self.completed["scorer"], 0)

    @property
    def expected(self) -> Mapping[str, Any]:
        """What is known before it is there: the people of a rendered one, the `expect` of a filmed one."""
        if self.source:
            return self.source.expected
        if self.has_world:
            return {"train": {"people": self.entry["render"]["train_people"]}}
        return self.entry.get("expect", {})

    @property
    def manifest(self) -> str:
        """What is written last of a dataset that is made, with the digest of its pixels."""
        return f"results/data/{self.name}.json"

    @property
    def record(self) -> str:
        """What is written last of a dataset that is fetched."""
        return FETCHED.format(dataset=self.name)

    @property
    def index(self) -> str:
        return f"results/index/{self.name}/annotated.csv.gz"

    @property
    def parts(self) -> list[Part]:
        """Its folders and files; the attributes come last."""
        return parts_of(self.layout, Path(self.root), Path(self.attributes))

    @property
    def source_files(self) -> list[str]:
        """What says that it has changed: its manifest, its record, or the lists of one put in place by hand."""
        if self.is_made:
            return [self.manifest]
        if self.is_fetched:
            return [self.record]
        *parts, _ = self.parts
        lists = [part for part in parts if not part.is_folder]
        return [str(part.target) for part in lists or parts]

    @property
    def packs(self) -> list[str]:
        """The files that networks read its frames from; none of one that is not packed."""
        packed = self.entry.get("pack", False)
        return [f"results/packs/{self.name}/{split}.pack" for split in ("train", "test")] if packed else []

    @property
    def frames_root(self) -> str:
        return f"results/packs/{self.name}" if self.packs else self.root

    @property
    def annotations(self) -> list[str]:
        """What says that its attributes have changed; for those that come with it, its source files."""
        inside = Path(self.attributes).is_relative_to(self.root)
        return self.source_files if (self.is_made and inside) or self.is_fetched else [self.attributes]

    @cached_property
    def lists_digest(self) -> str:
        """What its lists say: they are too large for Snakemake to tell a touch from a change."""
        if self.is_made or self.is_fetched:
            return ""  # what stands for them is small
        found = [Path(path) for path in self.source_files if Path(path).is_file()]
        return hashlib.sha256(b"".join(path.read_bytes() for path in found)).hexdigest() if found else ""

    @property
    def edited_attributes(self) -> str:
        """The digest of annotations that were edited after they had been fetched; else nothing."""
        record, attributes = Path(self.record), Path(self.attributes)
        if not (self.is_fetched and record.exists() and attributes.exists()):
            return ""
        digest = hashlib.sha256(attributes.read_bytes()).hexdigest()
        return "" if digest == json.loads(record.read_text()).get(attributes.name) else digest


def datasets_of(config: Mapping[str, Any]) -> dict[str, Dataset]:
    """All datasets by name; a completed one has a source if that is there, and not completed itself."""
    entries = config["datasets"]
    sources = {name: Dataset(name, entry) for name, entry in entries.items() if "completed" not in entry}
    return {
        name: sources.get(name) or Dataset(name, entry, sources.get(entry["completed"]["from"]))
        for name, entry in entries.items()
    }
