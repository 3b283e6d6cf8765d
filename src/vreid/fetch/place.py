"""The parts of a dataset come into place, from addresses, archives, folders and single files."""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vreid.errors import InputError
from vreid.fetch.download import PATIENCE, Patience, check_digest, digest_of
from vreid.fetch.parts import Source, came_from, known_of, missing_of, parts_of
from vreid.fetch.take import Taker, whole_archives
from vreid.files import written_whole
from vreid.locks import only_writer


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
    around them, are linked; single files are copied. Archives that are called like a part may lie in folders and in
    archives, and one that a cloud drive has cut into pieces (`<name>-001.zip`, …) is unpacked as one. What is in place
    already is left as it is. `origin` says where parts used to come from (`parts`, by name, with `from` and the
    `sha256` of those of which it is known) and on what `terms`. What came from where is noted in `<root>/fetched.json`.
    `out` does not depend on it: the same data gives the same bytes.

    A part appears whole or not at all. Raises InputError where parts are missing after all sources have been asked,
    with what was wrong with each; and for a file that is not the published one.
    """
    parts = parts_of(layout, root, attributes)
    faults: list[InputError] = []
    if missing_of(parts):
        with only_writer(root / ".fetching"):
            for pieces in whole_archives(list(map(Source.from_entry, sources))):
                if wanted := missing_of(parts):
                    taker = Taker(wanted, known_of(origin), root / ".fetching", patience)
                    try:
                        taker.take(pieces)
                    except InputError as fault:
                        faults.append(fault)
                    _note(root, pieces[0], taker.came)
    if missing := missing_of(parts):
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


def _note(root: Path, source: Source, came: Mapping[str, Mapping]) -> None:
    if not came:
        return
    path = root / "fetched.json"
    noted = json.loads(path.read_text()) if path.exists() else {}
    with written_whole(path) as aside:
        noted |= {name: {"from": source.where, **more} for name, more in came.items()}
        aside.write_text(json.dumps(noted, indent=2) + "\n")
