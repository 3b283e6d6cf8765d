"""Files (JSON) that tell a job what does not stand in its command; the command has their path."""

import hashlib
from pathlib import Path
from typing import Any

from vreid.files import written_whole
from vreid.spec import canonical

FOLDER = Path(".snakemake/told")


def told(name: str, what: Any) -> str:
    """The path of a file that says what is no reason to run a job again once it is done."""
    path = FOLDER / f"{name}.json"
    if not path.exists() or path.read_text() != canonical(what):
        with written_whole(path) as aside:
            aside.write_text(canonical(what))
    return str(path)


def told_at_length(name: str, what: Any) -> str:
    """The same of what is a reason, and may be too long for a command line (128 KiB): its digest is in the path."""
    return told(f"{name}-{hashlib.sha256(canonical(what).encode()).hexdigest()[:16]}", what)
