"""What a dataset's folder must hold, and how it comes there: from addresses, archives, folders and single files."""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vreid.errors import InputError
from vreid.fetch.archive import is_archive, unpack
from vreid.fetch.download import PATIENCE, Patience, check_digest, digest_of, download, is_address, name_of
from vreid.files import written_whole
from vreid.termination import only_writer

# What each layout holds below its root: folders of frames, and files. The attributes, which a configuration may keep
# elsewhere, come on top.
FOLDERS = {"mars": ["bbox_train", "bbox_test"], "duke": ["train", "query", "gallery"]}
FILES = {
    "mars": [
        f"info/{name}"
        for name in (
            "train_name.txt",
            "test_name.txt",
            "tracks_train_info.mat",
            "tracks_test_info.mat",
            "query_IDX.mat",
        )
    ],
    "duke": [],
}
DEPTH = 4  # folders within folders in which a part is looked for
STRAY = {"__MACOSX", ".DS_Store", "Thumbs.db"}  # what file managers leave in archives


class Part(NamedTuple):
    """A folder or a file that a dataset needs."""

    name: str  # below the root, or of the attributes
    target: Path
    is_folder: bool

    def is_there(self) -> bool:
        if not self.is_folder:
            return self.target.is_file()
        return self.target.is_dir() and next(self.target.iterdir(), None) is not None


class Source(NamedTuple):
    """Where parts are to be found: an address, or the path of an archive, a folder or a file."""

    where: str
    sha256: str = ""  # of an archive or file, or how that begins

    @classmethod
    def from_entry(cls, entry: str | Mapping[str, str]) -> "Source":
        return cls(entry) if isinstance(entry, str) else cls(entry["from"], entry.get("sha256", ""))


def parts_of(layout: str, root: Path, attributes: Path) -> list[Part]:
    folders = [Part(name, root / name, True) for name in FOLDERS[layout]]
    files = [Part(name, root / name, False) for name in FILES[layout]]
    return [*folders, *files, Part(attributes.name, attributes, False)]


def came_from(missing: Sequence[Part], origin: Mapping[str, Any]) -> str:
    """A line for each missing part: where it has to be, and where it used to come from, as far as `origin` knows."""
    known = origin.get("parts", {})
    lines = [
        f"    {part.target}" + (f", which came from {known[part.name]['from']}" if part.name in known else "")
        for part in missing
    ]
    return "\n".join([*lines, *filter(None, [origin.get("terms")])])


def fetch(
    layout: str,
    root: Path,
    attributes: Path,
    sources: Sequence[str | Mapping[str, str]],
    origin: Mapping[str, Any],
    out: Path,
    patience: Patience = PATIENCE,
) -> None:
    """Put every part of a dataset in place; write to `out` (JSON) what came from where.

    Each of the `sources` may hold any of the parts, at whatever depth: archives are unpacked, folders are linked,
    single files are copied. What is in place already is left as it is. `origin` says where parts used to come from
    (`parts`, by name, with `from` and the `sha256` of those of which it is known) and on what `terms`.

    Raises InputError for a source that cannot be had, is torn or unsafe, or holds a part twice; for a file that is not
    the published one; and, last, where parts are still missing. A part appears whole or not at all.
    """
    parts = parts_of(layout, root, attributes)
    digests = {name: known["sha256"] for name, known in origin.get("parts", {}).items() if "sha256" in known}
    workshop = root / ".fetching"
    record: dict[str, Any] = {"parts": {part.name: "was there" for part in parts if part.is_there()}}
    with only_writer(workshop):
        for source in map(Source.from_entry, sources):
            wanted = [part for part in parts if not part.is_there()]
            if wanted:
                came = _take(source, wanted, digests, workshop, patience)
                record["parts"] |= {name: {"from": source.where} | more for name, more in came.items()}
    if missing := [part for part in parts if not part.is_there()]:
        looked = ", ".join(Source.from_entry(source).where for source in sources) or "no source"
        raise InputError(f"looked in {looked}; these parts are missing:\n{came_from(missing, origin)}")
    shutil.rmtree(workshop, ignore_errors=True)
    record["attributes_sha256"] = digest_of(attributes)
    with written_whole(out) as aside:
        aside.write_text(json.dumps(record, indent=2) + "\n")


def _take(
    source: Source, wanted: Sequence[Part], digests: Mapping[str, str], workshop: Path, patience: Patience
) -> dict[str, dict]:
    """Put those of the `wanted` parts in place that a source holds; what is known of each, by name."""
    path = Path(source.where).expanduser()
    if is_address(source.where):
        path = workshop / name_of(source.where)
        download(source.where, path, source.sha256, patience)
    elif not path.exists():
        raise InputError(f"{path}: no such archive, folder or file; correct `fetch` of this dataset")
    elif path.is_file():
        check_digest(path, source.sha256, path)
    if path.is_dir():
        return {part.name: _settle(part, found, digests, os.symlink) for part, found in _found(wanted, path, path)}
    single = [part for part in wanted if not part.is_folder and Path(part.name).name == path.name]
    if single:
        return {part.name: _settle(part, path, digests, os.symlink) for part in single}
    unpacked = workshop / "unpacked"
    shutil.rmtree(unpacked, ignore_errors=True)
    try:
        if not is_archive(path):
            names = ", ".join(part.name for part in wanted)
            raise InputError(f"{path}: neither a whole zip or tar archive nor one of the parts {names}; get it again")
        unpack(path, unpacked)
        known = {"archive_bytes": path.stat().st_size, "archive_sha256": digest_of(path)}
        found = _found(wanted, unpacked, path)
        return {part.name: known | _settle(part, place, digests, os.replace) for part, place in found}
    except InputError:
        if is_address(source.where):
            path.unlink()  # the next call shall not find it, and fetch another
        raise
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)


def _settle(
    part: Part, found: Path, digests: Mapping[str, str], move: Callable[[Path, Path], object]
) -> dict[str, int | str]:
    """Let a part appear where it belongs: a folder by `move`, which is done at once, a file as a copy."""
    part.target.parent.mkdir(parents=True, exist_ok=True)
    if not part.is_folder:
        check_digest(found, digests.get(part.name, ""), found)
        with written_whole(part.target) as aside:
            shutil.copy2(found, aside)
        return {"bytes": part.target.stat().st_size, "sha256": digest_of(part.target)}
    if part.target.is_symlink():  # to what is gone
        part.target.unlink()
    elif part.target.is_dir():  # an empty one
        part.target.rmdir()
    move(found.resolve(), part.target)
    return {}


def _found(wanted: Sequence[Part], folder: Path, source: Path) -> Iterator[tuple[Part, Path]]:
    """Each of the wanted parts that a folder holds, and where; `source` is what the folder came from.

    An archive or a folder that is itself called as a part, and holds none of that name, is the part.
    """
    there = list(_entries(folder, {Path(part.name).name for part in wanted}, DEPTH))
    called = source.name.partition(".")[0] if source.is_file() else source.resolve().name
    for part in wanted:
        places = [path for path in there if path.name == Path(part.name).name and path.is_dir() == part.is_folder]
        if len(places) > 1:
            shown = " and ".join(str(path.relative_to(folder)) for path in places)
            raise InputError(f"{source}: {part.name} stands in it twice, as {shown}; give the folder of one")
        if places:
            yield part, places[0]
        elif part.is_folder and called == part.name and next(folder.iterdir(), None):
            yield part, folder


def _entries(folder: Path, names: set[str], depth: int) -> Iterator[Path]:
    """What is called by one of the `names`, below a folder; within what is found, only the same name is looked for."""
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.name in STRAY:
                continue
            path = Path(entry.path)
            if entry.name in names:
                inner = path / entry.name
                yield inner if inner.is_dir() else path
            elif depth > 1 and entry.is_dir():
                yield from _entries(path, names, depth - 1)
