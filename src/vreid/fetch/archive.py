"""Archives are unpacked into a folder and nowhere else, whatever they say of themselves."""

import bz2
import contextlib
import errno
import gzip
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from vreid.errors import InputError
from vreid.fetch.download import WrongFile
from vreid.progress import Progress

BLOCK = 2**20  # bytes
MOST_EXPANSION = 100  # times the archive's size; frames are JPEG, which hardly shrinks, and lists of names shrink less
MOST_MEMBERS = 5_000_000  # MARS has 1.2 million frames
OTHERS = (b"Rar!", b"7z\xbc\xaf", b"\x28\xb5\x2f\xfd")  # how archives begin that are not unpacked here: rar, 7z, zstd
UNKNOWN = "an archive of a kind that is not unpacked here; unpack it by hand, and give the folder"
LINK = "a link or a device; if you trust this archive, unpack it by hand, and give the folder"
SLACK = 10 * 2**20  # bytes that are unpacked in any case
TORN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    UnicodeDecodeError,  # of names
)


class Member(NamedTuple):
    """A file within an archive."""

    name: str
    size: int
    content: BinaryIO
    read: int  # bytes of the archive that have been read when it is there


def is_archive(path: Path) -> bool:
    """Whether it is a zip or a tar; raises InputError for an archive of another kind, which no second try will mend."""
    with open(path, "rb") as file:
        if file.read(6).startswith(OTHERS):
            raise InputError(f"{path}: {UNKNOWN}")
    return is_tar(path) or zipfile.is_zipfile(path)


def is_tar(path: Path) -> bool:
    """Asked first: a tar whose last member is a zip passes for a zip."""
    try:
        return tarfile.is_tarfile(path)
    except TORN:
        return False


def unpack(path: Path, folder: Path, wanted: Callable[[str], bool] = lambda name: True) -> None:
    """Write the files of an archive (zip; tar, also compressed) below `folder`, which must be empty or not exist.

    Files that are not `wanted` are passed by, but not trusted either.

    Raises InputError, naming the member, for one that would be written elsewhere (an absolute path, `..`), is no plain
    file (a link, a device) or stands twice, and for an archive that is torn, encrypted, or unpacks to more than 100
    times its size or than there is room. What was written so far is then left to the caller.
    """
    size = path.stat().st_size
    most, free = MOST_EXPANSION * size + SLACK, shutil.disk_usage(_existing(folder)).free
    scale, written, made = 10**6, 0, set()
    bar = Progress(f"unpack {path.name}, MB", max(1, size // scale))
    try:
        members = _tar_members(path) if is_tar(path) else _zip_members(path, wanted)
        for count, member in enumerate(members, start=1):
            if count > MOST_MEMBERS:
                raise InputError(f"{path}: it holds more than {MOST_MEMBERS:,} files; is it what it should be?")
            target = folder / _checked(member.name, path)
            if not wanted(member.name):
                continue
            try:
                if target.parent not in made:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    made.add(target.parent)
                with open(target, "xb") as file:
                    while block := member.content.read(BLOCK):
                        written += len(block)
                        if written > free:
                            raise InputError(f"{path}: {free:,} bytes are free in {folder.parent}, and it has more")
                        if written > most:
                            raise InputError(
                                f"{path}: it unpacks to more than {MOST_EXPANSION} times its size; is it right?"
                            )
                        file.write(block)
                    if file.tell() != member.size:
                        raise EOFError(f"{member.name!r} ends early")
            except (FileExistsError, IsADirectoryError, NotADirectoryError):
                raise InputError(f"{path}: {member.name!r} stands in it twice, or as a folder too") from None
            bar.step(member.read // scale - bar.done)
    except NotImplementedError as error:  # of a zip whose method of compression Python does not know
        raise InputError(f"{path}: {UNKNOWN} ({error})") from None
    except (*TORN, OSError) as error:
        if isinstance(error, OSError) and error.errno:  # of the disk, and not of who decompresses
            room = "; make room" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
            raise InputError(f"{path}: it cannot be unpacked into {folder} ({error.strerror}){room}") from None
        raise WrongFile(f"{path}: torn, or no archive of a kind that is known ({error}); get it again") from None


def _checked(name: str, source: Path) -> str:
    """The name, if it stays within its folder whatever the system."""
    steps = name.split("/")
    if name.startswith("/") or ".." in steps or "\\" in name or "\0" in name or steps[0][1:2] == ":":
        raise InputError(f"{source}: {name!r} would be written outside its folder, here or on other systems")
    return name


def _zip_members(path: Path, wanted: Callable[[str], bool]) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        files = [member for member in archive.infolist() if not member.is_dir()]
        for member in files:  # all of them before the first is written, and those that will not be
            _checked(member.filename, path)
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG):
                raise InputError(f"{path}: {member.filename!r} is {LINK}")
            if member.flag_bits & 1:
                raise InputError(f"{path}: {member.filename!r} is encrypted; unpack it by hand, and give the folder")
        read = 0
        for member in filter(lambda member: wanted(member.filename), files):
            read += member.compress_size
            with archive.open(member) as content:
                yield Member(member.filename, member.file_size, content, read)


def _tar_members(path: Path) -> Iterator[Member]:
    with open(path, "rb") as file, _decompressed(file) as content:
        stream = Watched(content)
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                if member.isdir():
                    _checked(member.name, path)
                elif not member.isreg():
                    raise InputError(f"{path}: {member.name!r} is {LINK}")
                else:
                    yield Member(member.name, member.size, archive.extractfile(member), file.tell())
                archive.members = []  # it would keep a million of them
        while stream.read(BLOCK):  # to the check sum of what was compressed
            pass
        # What was cut off between two members, tarfile takes for whole.
        if stream.last.strip(b"\0") or len(stream.last) < tarfile.BLOCKSIZE:
            raise tarfile.TarError("it has no end")


def _decompressed(file: BinaryIO) -> BinaryIO:
    start = file.read(6)
    file.seek(0)
    openers = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
    return next((openers[magic](file) for magic in openers if start.startswith(magic)), contextlib.nullcontext(file))


class Watched:
    """A stream that remembers its last block."""

    def __init__(self, stream: BinaryIO):
        self.stream, self.last = stream, b""

    def read(self, size: int) -> bytes:
        block = self.stream.read(size)
        self.last = (self.last + block)[-tarfile.BLOCKSIZE :]
        return block


def _existing(folder: Path) -> Path:
    return next(place for place in (folder, *folder.parents) if place.exists())
