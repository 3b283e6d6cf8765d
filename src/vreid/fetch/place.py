"""What a dataset's folder must hold, and how it comes there: from addresses, archives, folders and single files."""

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from vreid.errors import InputError
from vreid.fetch.archive import is_archive, unpack
from vreid.fetch.download import (
    PATIENCE,
    Patience,
    WrongFile,
    check_digest,
    digest_of,
    download,
    is_address,
    name_of,
)
from vreid.files import written_whole
from vreid.locks import only_writer

# What each layout holds below its root: folders of frames, and files. The attributes, which a configuration may keep
# elsewhere, come on top.
FOLDERS = {"mars": ["bbox_train", "bbox_test"], "duke": ["train", "query", "gallery"]}
LISTS = ["train_name.txt", "test_name.txt", "tracks_train_info.mat", "tracks_test_info.mat", "query_IDX.mat"]
FILES = {"mars": [f"info/{name}" for name in LISTS], "duke": []}
PERSON = re.compile(r"[0-9]{4}|00-1")  # what folders within these folders are called
STRAY = "__MACOSX"  # what a file manager leaves in archives
DEPTH = 4  # folders within a folder in which a part is looked for; in archives it may lie at any depth


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


def parts_of(layout: str, root: Path, attributes: Path) -> list[Part]:
    folders = [Part(name, root / name, True) for name in FOLDERS[layout]]
    files = [Part(name, root / name, False) for name in FILES[layout]]
    return [*folders, *files, Part(attributes.name, attributes, False)]


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


def fetch(
    layout: str,
    root: Path,
    attributes: Path,
    sources: Sequence[str | Mapping[str, str]],
    origin: Mapping[str, Any],
    out: Path,
    patience: Patience = PATIENCE,
) -> None:
    """Put every part of a dataset in place; write to `out` (JSON) the digests of its files, and what its folders hold.

    Each of the `sources` may hold any of the parts: archives, at any depth, are unpacked; folders, with some folders
    around them, are linked; single files are copied. What is in place already is left as it is. `origin` says where
    parts used to come from (`parts`, by name, with `from` and the `sha256` of those of which it is known) and on what
    `terms`. What came from where is noted in `<root>/fetched.json`. `out` does not depend on it: the same data gives
    the same bytes.

    A part appears whole or not at all. Raises InputError where parts are missing after all sources have been asked,
    with what was wrong with each; and for a file that is not the published one.
    """
    parts = parts_of(layout, root, attributes)
    faults: list[InputError] = []
    if _missing(parts):
        with only_writer(root / ".fetching"):
            for source in map(Source.from_entry, sources):
                if wanted := _missing(parts):
                    try:
                        _note(root, source, _take(source, wanted, known_of(origin), root / ".fetching", patience))
                    except InputError as fault:
                        faults.append(fault)
    if missing := _missing(parts):
        looked = ", ".join(Source.from_entry(source).where for source in sources) or "no source"
        said = [*map(str, faults), f"looked in {looked}; these parts are missing:\n{came_from(missing, origin)}"]
        raise InputError("\n".join(said))
    for fault in faults:
        print(f"not needed after all: {fault}", file=sys.stderr)
    shutil.rmtree(root / ".fetching", ignore_errors=True)
    known = known_of(origin)
    for part in (part for part in parts if not part.is_folder):
        check_digest(part.target, known.get(part.name, Source("")).sha256, part.target)
    held = {part.name: _content(part.target) if part.is_folder else digest_of(part.target) for part in parts}
    with written_whole(out) as aside:
        aside.write_text(json.dumps(held, indent=2) + "\n")


def _content(folder: Path) -> dict[str, int | str]:
    """How many files a folder of frames holds, their bytes, and one digest of all their names and sizes."""
    names, count, volume, seen = hashlib.sha256(), 0, 0, set()
    for here, folders, files in os.walk(folder, followlinks=True):
        folders.sort()
        if (own := os.path.realpath(here)) in seen:  # a link leads back
            folders.clear()
            continue
        seen.add(own)
        for name in sorted(files):
            path = os.path.join(here, name)
            size = os.stat(path).st_size
            names.update(f"{os.path.relpath(path, folder)} {size}\n".encode())
            count, volume = count + 1, volume + size
    return {"files": count, "bytes": volume, "names_and_sizes": names.hexdigest()}


def _missing(parts: Sequence[Part]) -> list[Part]:
    return [part for part in parts if not part.is_there()]


def _note(root: Path, source: Source, came: Mapping[str, Mapping]) -> None:
    path = root / "fetched.json"
    noted = json.loads(path.read_text()) if path.exists() else {}
    with written_whole(path) as aside:
        noted |= {name: {"from": source.where, **more} for name, more in came.items()}
        aside.write_text(json.dumps(noted, indent=2) + "\n")


def _take(
    source: Source, wanted: Sequence[Part], known: Mapping[str, Source], workshop: Path, patience: Patience
) -> dict[str, dict]:
    """Put those of the `wanted` parts in place that a source holds; what is known of each, by name."""
    path = Path(source.where).expanduser()
    if is_address(source.where):
        # Two addresses may end in the same name.
        path = workshop / hashlib.sha256(source.where.encode()).hexdigest()[:12] / name_of(source.where)
    try:
        if is_address(source.where):
            download(source.where, path, source.sha256, patience)
        elif not path.exists():
            raise InputError(f"{path}: no such archive, folder or file; correct `fetch` of this dataset")
        elif path.is_file():
            check_digest(path, source.sha256, path)
        return _held(path, wanted, known, workshop)
    except WrongFile:
        if is_address(source.where):
            path.unlink(missing_ok=True)  # the next call shall not find it, and fetch another
        raise


def _held(path: Path, wanted: Sequence[Part], known: Mapping[str, Source], workshop: Path) -> dict[str, dict]:
    """The same of what lies at a path."""
    if path.is_dir():
        return {part.name: _settle(part, found, known, os.symlink) for part, found in _found(wanted, path, path)}
    names = {Path(part.name).name for part in wanted}
    single = [part for part in wanted if not part.is_folder and Path(part.name).name == path.name]
    if single:
        return {part.name: _settle(part, path, known, os.symlink) for part in single}
    if not is_archive(path):
        looked = ", ".join(part.name for part in wanted)
        raise WrongFile(f"{path}: neither a whole zip or tar archive nor one of the parts {looked}; get it again")
    unpacked = workshop / "unpacked"
    shutil.rmtree(unpacked, ignore_errors=True)
    try:
        unpack(path, unpacked, partial(_belongs, names=names, bare=_stem(path) in names))
        came = {}
        for part, found in _found(wanted, unpacked, path, depth=1000):  # it holds nothing else
            came[part.name] = {"archive_bytes": path.stat().st_size} | _settle(part, found, known, os.replace)
        return came
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)


def _settle(
    part: Part, found: Path, known: Mapping[str, Source], move: Callable[[Path, Path], object]
) -> dict[str, int | str]:
    """Let a part appear where it belongs: a folder by `move`, which is done at once, a file as a copy."""
    part.target.parent.mkdir(parents=True, exist_ok=True)
    if not part.is_folder:
        check_digest(found, known.get(part.name, Source("")).sha256, found)
        with written_whole(part.target) as aside:
            shutil.copy2(found, aside)
        return {"bytes": part.target.stat().st_size, "sha256": digest_of(part.target)}
    if part.target.is_symlink():  # to what is gone
        part.target.unlink()
    elif part.target.is_dir():  # an empty one
        part.target.rmdir()
    move(found.resolve(), part.target)
    return {}


def _found(wanted: Sequence[Part], folder: Path, source: Path, depth: int = DEPTH) -> Iterator[tuple[Part, Path]]:
    """Each of the wanted parts that a folder holds, and where; `source` is what the folder came from."""
    there = list(_entries(folder, {Path(part.name).name for part in wanted}, depth)) if folder.exists() else []
    for part in wanted:
        places = [path for path in there if path.name == Path(part.name).name and path.is_dir() == part.is_folder]
        if part.is_folder:
            if not places and _stem(source) == part.name and folder.exists():
                places = [folder]
            places = [path for path in places if _holds_people(path)]
        if len(places) > 1:
            shown = " and ".join(str(path.relative_to(folder)) for path in places)
            raise InputError(f"{source}: {part.name} stands in it twice, as {shown}; give the folder of one")
        if places:
            yield part, places[0]


def _belongs(member: str, names: Set[str], bare: bool) -> bool:
    """Whether a member of an archive is of a part that is called by one of the `names`.

    All may be, where the archive itself is called so: it may hold a part's content `bare`.
    """
    steps = member.split("/")
    return STRAY not in steps and (bare or not names.isdisjoint(steps))


def _stem(path: Path) -> str:
    """What an archive or a folder is called, without its suffixes."""
    return path.absolute().name if path.is_dir() else path.name.partition(".")[0]


def _holds_people(folder: Path) -> bool:
    return any(PERSON.fullmatch(path.name) for path in folder.iterdir())


def _entries(folder: Path, names: set[str], depth: int) -> Iterator[Path]:
    """What is called by one of the `names`, below a folder; within what is found, only the same name is looked for.

    What cannot be looked into is passed by, and so is what is hidden, or was left by a file manager.
    """
    try:
        with os.scandir(folder) as scanned:
            entries = sorted(scanned, key=lambda entry: entry.name)
    except PermissionError:
        return
    for entry in entries:
        path = Path(entry.path)
        if entry.name in names:
            inner = path / entry.name
            yield inner if inner.is_dir() else path
        elif depth > 1 and entry.is_dir() and not entry.name.startswith((".", STRAY)):
            yield from _entries(path, names, depth - 1)
