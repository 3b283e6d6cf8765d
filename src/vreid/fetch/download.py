"""A file over HTTP: it goes on where it broke off, and appears whole or not at all."""

import hashlib
import http.client
import json
import os
import shutil
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from vreid.errors import InputError
from vreid.files import written_whole
from vreid.progress import Progress

BLOCK = 2**20  # bytes
PASSING = {408, 425, 429, 500, 502, 503, 504}  # status codes that another try may not meet again
REFUSALS = {
    401: "it asks for a login",
    403: "it refuses to give the file",
    404: "there is no such file any more",
    410: "the file was taken away",
}
A_PAGE = "a web page came, and not the file; the link asks for a login or a confirmation, or is dead"
BY_HAND = "download it in a browser if you may, and give the path of the file in place of the address"


class Patience(NamedTuple):
    """How long to try."""

    tries: int = 5  # in a row that bring nothing new
    pause: float = 2.0  # seconds after the first of them, then twice as long each time
    stall: float = 60.0  # seconds without a byte


PATIENCE = Patience()


class WrongFile(InputError):
    """What came is not what was asked for, or is torn: another try must not find it."""


class BrokenOff(Exception):
    """A transfer ended early; the next one may come further."""


def is_address(source: str) -> bool:
    return source.startswith(("http://", "https://"))


def name_of(address: str) -> str:
    """What the file at an address is called."""
    return Path(urlsplit(address).path).name or "download"


def download(address: str, path: Path, sha256: str = "", patience: Patience = PATIENCE) -> None:
    """Fetch `address` to `path`, unless it is there; `sha256` is its digest or how that begins.

    What has come stays beside `path`, as `.<name>.part`, and a later call goes on there if the server says that its
    file is the same (by ETag or Last-Modified). Raises InputError where the server refuses, breaks off time and again,
    or sends something else.
    """
    if not path.exists():
        part = Part(path, address)
        _persistently(part, patience)
        try:
            _refuse_web_page(part.path, address)
            check_digest(part.path, sha256, address)
        except WrongFile:
            part.discard()
            raise
        part.finish()
    else:
        check_digest(path, sha256, path)


def obtain(source: str, path: Path, sha256: str = "", patience: Patience = PATIENCE) -> None:
    """Get one file, from an address or a path, to `path`; `sha256` is its digest or how that begins."""
    if is_address(source):
        return download(source, path, sha256, patience)
    if not Path(source).is_file():
        raise InputError(f"{source}: no such file")
    check_digest(Path(source), sha256, source)
    with written_whole(path) as aside:
        shutil.copyfile(source, aside)


def check_digest(path: Path, sha256: str, source: object) -> None:
    """Raise WrongFile unless the SHA-256 of a file begins with `sha256`; an empty one is that of all."""
    if sha256 and not (found := digest_of(path)).startswith(sha256.lower()):
        raise WrongFile(
            f"{source}: its SHA-256 is {found}, but {sha256} is that of the file looked for; it is another file, or a "
            "torn one: get another copy"
        )


def digest_of(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Part:
    """What has come of a file, and the version that it is of."""

    def __init__(self, target: Path, address: str):
        self.target, self.address = target, address
        self.path = target.with_name(f".{target.name}.part")
        self.note = target.with_name(f".{target.name}.part.json")
        target.parent.mkdir(parents=True, exist_ok=True)

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def version(self) -> dict:
        """What the server said of the file that the part is of; empty where nothing can be added to it."""
        try:
            said = json.loads(self.note.read_text())
        except (OSError, ValueError):
            return {}
        return said if self.size and said.get("address") == self.address and said.get("validator") else {}

    def start(self, headers: http.client.HTTPMessage) -> int:
        """Throw away what there is; note the version that now comes, and its length, -1 if that is not said."""
        self.path.write_bytes(b"")
        total = int(headers.get("Content-Length", -1))
        with written_whole(self.note) as aside:
            aside.write_text(json.dumps({"address": self.address, "validator": validator_of(headers), "total": total}))
        return total

    def goes_on(self, headers: http.client.HTTPMessage) -> int:
        """The length of the file of which the rest comes; raises BrokenOff if it is not the rest of this part."""
        span, _, total = headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
        known, said = self.version(), validator_of(headers)
        another = said and said != known["validator"]
        if another or span.partition("-")[0] != str(self.size) or total not in (str(known["total"]), "*"):
            self.discard()
            raise BrokenOff("the server sends a piece of another file, or another piece, than was asked for")
        return known["total"]

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def finish(self) -> None:
        os.replace(self.path, self.target)
        self.note.unlink(missing_ok=True)


def validator_of(headers: http.client.HTTPMessage) -> str:
    """What a server calls this version of its file; empty if it says nothing that can be relied on."""
    tag = headers.get("ETag", "")
    return headers.get("Last-Modified", "") if tag.startswith("W/") or not tag else tag


def _persistently(part: Part, patience: Patience) -> None:
    furthest, misses = part.size, 0
    while True:
        try:
            return _transfer(part, patience.stall)
        except BrokenOff as reason:
            misses = 0 if part.size > furthest else misses + 1
            furthest = max(furthest, part.size)
            if misses >= patience.tries:
                raise InputError(
                    f"{part.address}: {reason}; tried {misses} times in a row. Try again later (it goes on where it "
                    f"is), or {BY_HAND}"
                ) from None
            pause = patience.pause * 2**misses
            print(f"{part.address}: {reason}; trying again in {pause:.0f} s", file=sys.stderr, flush=True)
            time.sleep(pause)


def _transfer(part: Part, stall: float) -> None:
    """One request, from the end of what there is to the end of the file; raises BrokenOff short of that."""
    headers = {"User-Agent": "vreid", "Accept-Encoding": "identity"}
    known = part.version()
    if known and part.size == known["total"]:
        return
    if known:
        headers |= {"Range": f"bytes={part.size}-", "If-Range": known["validator"]}
    try:
        with urllib.request.urlopen(urllib.request.Request(part.address, headers=headers), timeout=stall) as response:
            if response.status not in (200, 206):
                raise InputError(f"{part.address}: the server sends no file (status {response.status}); {BY_HAND}")
            if (packed := response.headers.get("Content-Encoding", "identity")) != "identity":
                raise InputError(f"{part.address}: the server sends the file in the encoding {packed!r}; {BY_HAND}")
            if part.size and response.status == 200 and response.headers.get_content_type() == "text/html":
                raise InputError(f"{part.address}: {A_PAGE}: {BY_HAND}. What had come is kept")
            total = part.goes_on(response.headers) if response.status == 206 else part.start(response.headers)
            _receive(response, part, total)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # the part is as long as the file, or longer, and may be of another
            part.discard()
            raise BrokenOff("the file is not the one that was begun") from None
        if error.code in PASSING:
            raise BrokenOff(f"the server answers {error.code} {error.reason}") from None
        refusal = REFUSALS.get(error.code, f"the server says {error.reason!r}")
        raise InputError(f"{part.address}: {refusal} (status {error.code}); {BY_HAND}") from None
    except urllib.error.URLError as error:
        raise BrokenOff(f"the server cannot be reached ({error.reason})") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        if isinstance(error, OSError) and error.filename:
            raise InputError(f"{error.filename}: {error.strerror}") from None
        raise BrokenOff(f"the transfer broke off ({error or type(error).__name__})") from None


def _receive(response: http.client.HTTPResponse, part: Part, total: int) -> None:
    """Append what comes; `total` bytes make the file, or all that comes if that is negative."""
    free = shutil.disk_usage(part.path.parent).free
    if total - part.size > free:
        raise InputError(f"{part.address}: {total:,} bytes, but {free:,} are free in {part.path.parent}; make room")
    scale = 10**6
    bar = Progress(f"fetch {part.target.name}, MB", max(1, total // scale), part.size // scale)
    with open(part.path, "ab") as file:
        while block := response.read1(BLOCK):
            try:
                file.write(block)
                file.flush()
            except OSError as error:  # a quota, of which the free space says nothing
                raise InputError(f"{part.path}: {error.strerror}; make room: the next call goes on there") from None
            if total >= 0:
                bar.step(file.tell() // scale - bar.done)
    if part.size != total >= 0:
        raise BrokenOff(f"the transfer broke off after {part.size:,} of {total:,} bytes")


def _refuse_web_page(path: Path, address: str) -> None:
    with open(path, "rb") as file:
        start = file.read(512).lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        raise WrongFile(f"{address}: {A_PAGE}: {BY_HAND}")
