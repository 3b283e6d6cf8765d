"""What a source holds of a dataset's parts, and how it is taken from there."""

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vreid.errors import InputError
from vreid.fetch.archive import is_archive, unpack
from vreid.fetch.download import Patience, WrongFile, check_digest, digest_of, download, is_address
from vreid.fetch.parts import Part, Source, missing_of
from vreid.files import written_whole

PERSON = re.compile(r"[0-9]{4}|00-1")  # what folders within folders of frames are called
STRAY = "__MACOSX"  # what a file manager leaves in archives
SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
PIECE = re.compile(r"(-[0-9]{8}T[0-9]{6}Z(?:-[0-9]+)?)?-([0-9]{3})(?=\.)")  # in the names of a cloud drive's archives
LEVELS = 2  # archives within one another
DEPTH = 4  # folders within a folder in which a part is looked for
DEEPEST = 100  # the same of an archive


def whole_archives(sources: Sequence[Source]) -> list[list[Source]]:
    """Sources one by one, but all pieces of one archive together, where the first of them stands.

    Raises InputError where pieces are missing: they go from 001 on, and the next one may not lie beside them unnamed.
    """
    found: list[list[Source]] = []
    begun: dict[str, list[list[Source]]] = {}  # one list for each time that a piece comes again, from another mirror
    for source in sources:
        if not PIECE.search(source.name):
            found.append([source])
            continue
        lists = begun.setdefault(_unnumbered(source.name), [])
        room = next((own for own in lists if source.name not in [piece.name for piece in own]), None)
        if room is None:
            lists.append(room := [])
            found.append(room)
        room.append(source)
    return [_checked(pieces) if PIECE.search(pieces[0].name) else pieces for pieces in found]


def _checked(pieces: list[Source]) -> list[Source]:
    """The pieces in their order."""
    pieces = sorted(pieces, key=lambda piece: piece.name)
    numbers = [int(PIECE.search(piece.name)[2]) for piece in pieces]
    names = ", ".join(piece.where for piece in pieces)
    for piece, number in ((pieces[0], numbers[0] - 1), (pieces[-1], numbers[-1] + 1)):
        path = Path(piece.where).expanduser()
        beside = path.with_name(PIECE.sub(lambda found, number=number: f"{found[1] or ''}-{number:03d}", path.name))
        if beside.exists():
            raise InputError(f"{names}: pieces of an archive, and {beside} is another one; name it too in `fetch`")
    if len(pieces) == 1 and numbers != [1] and not PIECE.search(pieces[0].name)[1]:
        return pieces  # a name that ends so for another reason
    if numbers != list(range(1, len(pieces) + 1)):
        raise InputError(f"{names}: pieces of an archive, of which some before the last are missing; correct `fetch`")
    return pieces


def _unnumbered(name: str) -> str:
    return PIECE.sub("", name)


def _stem(path: Path) -> str:
    """What an archive or a folder is called, without suffixes and the number of a piece."""
    return path.absolute().name if path.is_dir() else _unnumbered(path.name).partition(".")[0]


@dataclass
class Taker:
    """Puts those of the `wanted` parts in place that a source holds; `came` is what is known of each, by name."""

    wanted: Sequence[Part]
    known: Mapping[str, Source]  # what is known of published files, by the names of parts
    workshop: Path
    patience: Patience
    came: dict[str, dict] = field(default_factory=dict)

    def take(self, pieces: Sequence[Source]) -> None:
        """From one source, or from all pieces of an archive; raises InputError where something is wrong with it."""
        paths = []
        for source in pieces:
            path = Path(source.where).expanduser()
            if is_address(source.where):
                # Two addresses may end in the same name.
                path = self.workshop / hashlib.sha256(source.where.encode()).hexdigest()[:12] / source.name
                with self._thrown_away_if_wrong(path):
                    download(source.where, path, source.sha256, self.patience)
            elif not path.exists():
                raise InputError(f"{path}: no such archive, folder or file; correct `fetch` of this dataset")
            elif path.is_file():
                check_digest(path, source.sha256, path)
            paths.append(path)
        self._from(paths, self.workshop / "unpacked", LEVELS)

    @contextlib.contextmanager
    def _thrown_away_if_wrong(self, path: Path) -> Iterator[None]:
        """A download that is not what it should be, or torn: the next call shall not find it, but fetch another."""
        try:
            yield
        except WrongFile:
            if path.is_relative_to(self.workshop):
                path.unlink(missing_ok=True)
            raise

    def _missing(self) -> list[Part]:
        return missing_of(self.wanted)

    def _from(self, paths: Sequence[Path], room: Path, levels: int) -> None:
        """From what lies at a path, or from the pieces of an archive, which are unpacked in `room`."""
        path = paths[0]
        single = [part for part in self._missing() if not part.is_folder and Path(part.name).name == path.name]
        if path.is_dir():
            self._from_folder(path, path, os.symlink, DEPTH)
            self._from_archives(path, room, levels, DEPTH)
        elif single:
            with self._thrown_away_if_wrong(path):
                self._settle(single[0], path, os.symlink)
        else:
            self._from_archive(paths, room, levels)

    def _from_archive(self, pieces: Sequence[Path], room: Path, levels: int) -> None:
        for piece in pieces:
            with self._thrown_away_if_wrong(piece):
                if not is_archive(piece):
                    looked = ", ".join(part.name for part in self._missing())
                    what = f"neither a whole zip or tar archive nor one of the parts {looked}"
                    raise WrongFile(f"{piece}: {what}; get it again")
        shutil.rmtree(room, ignore_errors=True)
        try:
            for piece in pieces:
                with self._thrown_away_if_wrong(piece):
                    unpack(piece, room, self._wanted_of(piece))
            size = sum(piece.stat().st_size for piece in pieces)
            self._from_folder(room, pieces[0], os.replace, DEEPEST, {"archive_bytes": size})
            self._from_archives(room, room.with_name(f"{room.name}-within"), levels - 1, DEEPEST)
        finally:
            shutil.rmtree(room, ignore_errors=True)

    def _from_folder(
        self, folder: Path, source: Path, move: Callable[[Path, Path], object], depth: int, more: Mapping = {}
    ) -> None:
        """What a folder holds; `source` is where it came from."""
        for part, found in self._found(folder, source, depth):
            self._settle(part, found, move, more)

    def _from_archives(self, folder: Path, room: Path, levels: int, depth: int) -> None:
        """What the archives below a folder hold that are called like a part."""
        if not (levels and self._missing() and folder.exists()):
            return
        names = self._archive_names()
        found = [path for path in _entries(folder, lambda name: _is_called(name, names), depth) if path.is_file()]
        for pieces in whole_archives([Source(str(path)) for path in found]):
            if self._missing():
                self._from_archive([Path(piece.where) for piece in pieces], room, levels)

    def _wanted_of(self, archive: Path) -> Callable[[str], bool]:
        """Whether a member of an archive is of a part, or is an archive that is called like one.

        All may be, where the archive itself is called like a part: it may hold its bare content.
        """
        names, archives = {Path(part.name).name for part in self._missing()}, self._archive_names()
        bare = _stem(archive) in names

        def wanted(member: str) -> bool:
            steps = member.split("/")
            return STRAY not in steps and (bare or not names.isdisjoint(steps) or _is_called(steps[-1], archives))

        return wanted

    def _archive_names(self) -> set[str]:
        """What an archive of one part, or of a folder of parts, may be called, without suffixes."""
        return {Path(part.name).parts[0].partition(".")[0] for part in self._missing()}

    def _found(self, folder: Path, source: Path, depth: int) -> Iterator[tuple[Part, Path]]:
        """Each part that a folder holds, and where."""
        missing = self._missing()
        names = {Path(part.name).name for part in missing}
        there = list(_entries(folder, names.__contains__, depth)) if folder.exists() else []
        for part in missing:
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

    def _settle(self, part: Part, found: Path, move: Callable[[Path, Path], object], more: Mapping = {}) -> None:
        """Let a part appear where it belongs: a folder by `move`, which is done at once, a file as a copy."""
        part.target.parent.mkdir(parents=True, exist_ok=True)
        if part.is_folder:
            if part.target.is_symlink():  # to what is gone
                part.target.unlink()
            elif part.target.is_dir():  # an empty one
                part.target.rmdir()
            move(found.resolve(), part.target)
            self.came[part.name] = dict(more)
            return
        check_digest(found, self.known.get(part.name, Source("")).sha256, found)
        with written_whole(part.target) as aside:
            shutil.copy2(found, aside)
        self.came[part.name] = {**more, "bytes": part.target.stat().st_size, "sha256": digest_of(part.target)}


def _is_called(name: str, stems: set[str]) -> bool:
    """Whether an archive is called by one of the `stems`."""
    return name.lower().endswith(SUFFIXES) and _unnumbered(name).partition(".")[0] in stems


def _holds_people(folder: Path) -> bool:
    return any(PERSON.fullmatch(path.name) for path in folder.iterdir())


def _entries(folder: Path, called: Callable[[str], bool], depth: int) -> Iterator[Path]:
    """What is called so, below a folder; within what is found, only the same name is looked for.

    What cannot be looked into is passed by, and so is what is hidden, or was left by a file manager.
    """
    try:
        with os.scandir(folder) as scanned:
            entries = sorted(scanned, key=lambda entry: entry.name)
    except PermissionError:
        return
    for entry in entries:
        path = Path(entry.path)
        if called(entry.name):
            inner = path / entry.name
            yield inner if inner.is_dir() else path
        elif depth > 1 and entry.is_dir() and not entry.name.startswith((".", STRAY)):
            yield from _entries(path, called, depth - 1)
