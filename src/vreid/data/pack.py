"""The frames of a split in one file, for file systems on which a million small files are slow.

A pack is a header (MAGIC, the number of frames N, where the index begins), the frames' bytes as they are, tracklet
after tracklet, and, from a multiple of 8 on, the index: four little-endian arrays of N, in the order of the keys, which
are hashes of the frames' names.
"""

import hashlib
import mmap
import os
import struct
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from vreid.data.jpeg import fault
from vreid.data.tracklets import expand_frames, read_tracklets
from vreid.errors import InputError
from vreid.files import written_whole
from vreid.progress import Progress

MAGIC = b"vreidpk1"  # what the rule `pack` goes by: another format, another name
HEADER = struct.Struct("<8sQQ")
INDEX = {"key": "<u8", "start": "<u8", "size": "<u4", "check": "<u4"}  # check is the frame's CRC-32
SPLITS = {"train": ["train"], "test": ["query", "gallery", "junk"]}
AHEAD = 1024  # frames that are read at a time when a pack is verified
SHOWN = 5  # of the frames that are wrong
MEND = "pack the dataset again (snakemake --forcerun pack)"


class Pack:
    """Frames by name, from a pack that is mapped into memory: processes share it, and none holds more than it reads."""

    def __init__(self, path: Path):
        self.path = Path(path)
        try:
            with open(self.path, "rb") as file:
                self.mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self.content = np.frombuffer(self.mapped, np.uint8)
            magic, count, begin = HEADER.unpack(self.content[: HEADER.size].tobytes())
        except FileNotFoundError:
            raise InputError(f"{path}: there is no such pack; {MEND}") from None
        except (ValueError, struct.error) as error:
            raise InputError(f"{path}: not a whole pack ({error}); {MEND}") from None
        length = sum(np.dtype(kind).itemsize for kind in INDEX.values())
        if magic != MAGIC or len(self.content) != begin + count * length:
            raise InputError(f"{path}: not a whole pack; {MEND}")
        for name, kind in INDEX.items():
            width = np.dtype(kind).itemsize * count
            setattr(self, name, self.content[begin : begin + width].view(kind))
            begin += width

    def __reduce__(self):  # what a process is sent is the path, and not the bytes
        return Pack, (self.path,)

    def __len__(self) -> int:
        return len(self.key)

    def find(self, name: str) -> int | None:
        """The place of a frame in the index."""
        key = key_of(name)
        place = int(np.searchsorted(self.key, key))
        return place if place < len(self) and self.key[place] == key else None

    def prefetch(self, place: int) -> None:
        """Have the system read the frame at a place, without waiting for it.

        Else the first look at each frame waits for the disk, which reads ten times as much: what lies around it.
        """
        start = int(self.start[place])
        page = start // mmap.PAGESIZE * mmap.PAGESIZE
        self.mapped.madvise(mmap.MADV_WILLNEED, page, start + int(self.size[place]) - page)

    def read(self, place: int) -> np.ndarray:
        """The bytes of the frame at a place, uint8 (size,); raises InputError if they are not what was packed."""
        start = int(self.start[place])
        encoded = np.array(self.content[start : start + int(self.size[place])])
        if zlib.crc32(encoded) != self.check[place]:
            raise InputError(f"{self.path}: the frame at byte {start:,} is damaged; {MEND}")
        return encoded


class Packs:
    """Frames by name, from any of some packs."""

    mend = "unpack the dataset and pack it again (snakemake --forcerun pack)"

    def __init__(self, paths: Sequence[Path]):
        self.packs = [Pack(path) for path in paths]
        self.where = " or ".join(str(path) for path in paths)

    def prefetch(self, names: Iterable[str]) -> None:
        """Begin to read frames that will be asked for; of those that are not there nothing is said yet."""
        for name in names:
            for pack in self.packs:
                if (place := pack.find(name)) is not None:
                    pack.prefetch(place)

    def __call__(self, name: str) -> np.ndarray:
        for pack in self.packs:
            if (place := pack.find(name)) is not None:
                return pack.read(place)
        raise InputError(f"{self.where}: there is no frame {name}; {MEND}")


def key_of(name: str) -> np.uint64:
    return np.uint64(int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little"))


def pack(index_path: Path, root: Path, split: str, out: Path) -> None:
    """Write the frames of a split (train, or test: queries, gallery and junk) of a tracklet table, found below `root`.

    Then all are read from it, and the checksum of each is compared. Raises InputError where frames are not there, or
    were cut short, after all have been looked at: it says how many, and names the first of them.
    """
    table = read_tracklets(index_path)
    templates = table.loc[table["split"].isin(SPLITS[split]), "frames"]
    names = [name for template in templates for name in expand_frames(template)]
    for left in out.parent.glob(f".*.{out.name}"):  # by a call that was killed; it has gigabytes
        left.unlink()
    with written_whole(out) as aside:
        _write(names, Path(root), aside, f"pack {out.name}")
        _verify(aside, names, f"verify {out.name}")


def _write(names: Sequence[str], root: Path, path: Path, label: str) -> None:
    bar, position, faults = Progress(label, len(names)), HEADER.size, []
    rows = np.empty(len(names), [(name, kind) for name, kind in INDEX.items()])
    with open(path, "wb") as file:
        file.write(bytes(HEADER.size))
        for number, name in enumerate(names):
            try:
                frame = (root / name).read_bytes()
            except OSError as error:
                faults.append(f"{root / name}: {error.strerror}")
                continue
            if wrong := fault(frame):
                faults.append(f"{root / name}: {wrong}")
            file.write(frame)
            rows[number] = key_of(name), position, len(frame), zlib.crc32(frame)
            position += len(frame)
            bar.step()
        if faults:
            more = [f"and {len(faults) - SHOWN:,} more"] if len(faults) > SHOWN else []
            raise InputError("\n".join([*faults[:SHOWN], *more, "unpack the dataset again, and index it"]))
        rows.sort(order="key")
        if len(again := np.flatnonzero(rows["key"][1:] == rows["key"][:-1])):
            raise InputError(f"{root}: {len(again)} frames stand twice in the tracklet table; index the dataset again")
        file.write(bytes(-position % 8))  # an index that is not aligned would be copied at every search
        position += -position % 8
        for name in INDEX:
            file.write(np.ascontiguousarray(rows[name]).tobytes())
        file.seek(0)
        file.write(HEADER.pack(MAGIC, len(names), position))
        file.flush()
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # so that it is the disk that is read from


def _verify(path: Path, names: Sequence[str], label: str) -> None:
    """Read every frame back, as a training will."""
    written, bar = Packs([path]), Progress(label, len(names))
    for first in range(0, len(names), AHEAD):
        written.prefetch(names[first : first + AHEAD])
        for name in names[first : first + AHEAD]:
            written(name)
            bar.step()
