"""What a dataset's folder must hold, and how it comes there: from addresses, archives, folders and single files."""

import hashlib
import itertools
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
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
SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
PIECE = re.compile(r"(-[0-9]{8}T[0-9]{6}Z(-[0-9]+)?)?-[0-9]{3}(?=\.)")  # what a cloud drive adds to an archive's name
EVERYWHERE = 1000  # folders
LEVELS = 2  # archives within one another
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

    @property
    def name(self) -> str:
        return name_of(self.where) if is_address(self.where) else Path(self.where).name


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
    around them, are linked; single files are copied. Archives of single parts may lie in folders and in archives, and
    one that a cloud drive has cut into several (`<name>-001.zip`, …), sources side by side, is unpacked as one. What is
    in place already is left as it is. `origin` says where
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
            for pieces in _cut(map(Source.from_entry, sources)):
                if wanted := _missing(parts):
                    try:
                        _note(root, pieces[0], _take(pieces, wanted, known_of(origin), root / ".fetching", patience))
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


def _cut(sources: Iterable[Source]) -> Iterator[list[Source]]:
    """Sources one by one, but the pieces of one archive together."""
    for _, pieces in itertools.groupby(sources, lambda source: PIECE.sub("", source.name)):
        pieces = list(pieces)
        names = {source.name for source in pieces if PIECE.search(source.name)}
        yield from [pieces] if len(names) == len(pieces) else ([source] for source in pieces)


def _take(
    pieces: Sequence[Source], wanted: Sequence[Part], known: Mapping[str, Source], workshop: Path, patience: Patience
) -> dict[str, dict]:
    """Put those of the `wanted` parts in place that a source holds; what is known of each, by name."""
    downloaded, paths = [], []
    try:
        for source in pieces:
            path = Path(source.where).expanduser()
            if is_address(source.where):
                # Two addresses may end in the same name.
                path = workshop / hashlib.sha256(source.where.encode()).hexdigest()[:12] / name_of(source.where)
                downloaded.append(path)
                download(source.where, path, source.sha256, patience)
            elif not path.exists():
                raise InputError(f"{path}: no such archive, folder or file; correct `fetch` of this dataset")
            elif path.is_file():
                check_digest(path, source.sha256, path)
            paths.append(path)
        return _held(paths, wanted, known, workshop / "unpacked")
    except WrongFile:
        for path in downloaded:
            path.unlink(missing_ok=True)  # the next call shall not find it, and fetch another
        raise


def _held(
    paths: Sequence[Path], wanted: Sequence[Part], known: Mapping[str, Source], room: Path, levels: int = LEVELS
) -> dict[str, dict]:
    """The same of what lies at a path, or of the pieces of an archive; `room` is for what is unpacked."""
    path = paths[0]
    if path.is_dir():
        came = {part.name: _settle(part, found, known, os.symlink) for part, found in _found(wanted, path, path)}
        return came | _held_within(path, wanted, known, room, levels, DEPTH)
    names = {Path(part.name).name for part in wanted}
    single = [part for part in wanted if not part.is_folder and Path(part.name).name == path.name]
    if single:
        return {part.name: _settle(part, path, known, os.symlink) for part in single}
    for piece in paths:
        if not is_archive(piece):
            looked = ", ".join(part.name for part in wanted)
            raise WrongFile(f"{piece}: neither a whole zip or tar archive nor one of the parts {looked}; get it again")
    shutil.rmtree(room, ignore_errors=True)
    try:
        for piece in paths:
            bare = _stem(piece) in names
            unpack(piece, room, partial(_belongs, names=names | _archives(wanted), bare=bare))
        came = {}
        for part, found in _found(wanted, room, path, EVERYWHERE):  # it holds nothing else
            size = sum(piece.stat().st_size for piece in paths)
            came[part.name] = {"archive_bytes": size} | _settle(part, found, known, os.replace)
        within = room.with_name(f"{room.name}-within")
        return came | _held_within(room, wanted, known, within, levels - 1, EVERYWHERE)
    finally:
        shutil.rmtree(room, ignore_errors=True)


def _held_within(
    folder: Path, wanted: Sequence[Part], known: Mapping[str, Source], room: Path, levels: int, depth: int
) -> dict[str, dict]:
    """The same of the archives below a folder that are called like a part."""
    came: dict[str, dict] = {}
    for path in _entries(folder, _archives(_missing(wanted)), depth) if levels and folder.exists() else ():
        if (missing := _missing(wanted)) and path.is_file():
            came |= _held([path], missing, known, room, levels)
    return came


def _archives(wanted: Sequence[Part]) -> set[str]:
    """What an archive of one part, or of a folder of parts, may be called."""
    return {name + suffix for part in wanted for name in Path(part.name).parts for suffix in SUFFIXES}


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
    """What an archive or a folder is called, without its suffixes, and the number of a piece."""
    return path.absolute().name if path.is_dir() else PIECE.sub("", path.name).partition(".")[0]


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
