"""What a dataset's folder must hold, and where its parts are to be found."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vreid.fetch.download import is_address, name_of

# What each layout holds below its root: folders of frames, and files. The attributes, which a configuration may keep
# elsewhere, come on top.
FOLDERS = {"mars": ["bbox_train", "bbox_test"], "duke": ["train", "query", "gallery"]}
LISTS = ["train_name.txt", "test_name.txt", "tracks_train_info.mat", "tracks_test_info.mat", "query_IDX.mat"]
FILES = {"mars": [f"info/{name}" for name in LISTS], "duke": []}


class Part(NamedTuple):
    """A folder or a file that a dataset needs."""

    name: str  # below the root, or of the attributes
    target: Path
    is_folder: bool

    def is_there(self) -> bool:
        if self.is_folder:
            return self.target.is_dir() and any(self.target.iterdir())
        return self.target.is_file() and self.target.stat().st_size > 0


class Source(NamedTuple):
    """Where parts are to be found: an address, or the path of an archive, a folder or a file."""

    where: str
    sha256: str = ""  # of an archive or file, or how that begins

    @classmethod
    def from_entry(cls, entry: str | Mapping[str, str]) -> "Source":
        return cls(entry) if isinstance(entry, str) else cls(entry["from"], entry.get("sha256", ""))

    @property
    def name(self) -> str:
        return name_of(self.where) if is_address(self.where) else Path(self.where).name


def parts_of(layout: str, root: Path, attributes: Path) -> list[Part]:
    folders = [Part(name, root / name, True) for name in FOLDERS[layout]]
    files = [Part(name, root / name, False) for name in FILES[layout]]
    return [*folders, *files, Part(attributes.name, attributes, False)]


def missing_of(parts: Sequence[Part]) -> list[Part]:
    return [part for part in parts if not part.is_there()]


def known_of(origin: Mapping[str, Any]) -> dict[str, Source]:
    """Where each part once came from, and the digest of those that are published files."""
    return {name: Source.from_entry(entry) for name, entry in origin.get("parts", {}).items()}


def came_from(missing: Sequence[Part], origin: Mapping[str, Any]) -> str:
    """A line for each missing part: where it has to be, and where it used to come from, as far as `origin` knows."""
    known = known_of(origin)
    lines = [
        f"    {part.target}" + (f", which came from {known[part.name].where}" if part.name in known else "")
        for part in missing
    ]
    return "\n".join([*lines, *filter(None, [origin.get("terms")])])
