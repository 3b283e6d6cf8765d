"""Checkpoints that survive being killed at any moment.

A checkpoint's file name holds its step and a digest of its bytes, so a torn or altered file is known for what it is,
and the one before it is used. Two are kept.
"""

import hashlib
import io
import shutil
import sys
from pathlib import Path
from typing import Any

import torch

from vreid.files import written_whole


def save(folder: Path, step: int, state: dict[str, Any]) -> None:
    """Write the state of `step` whole, then remove all but the two newest."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    with written_whole(folder / f"step-{step:08d}-{_digest(content)}.pt") as aside:
        aside.write_bytes(content)
    for old in _newest_first(folder)[2:]:
        old.unlink(missing_ok=True)


def load_newest(folder: Path) -> dict[str, Any] | None:
    """The newest state whose bytes are what was written, or None; files that are not are removed."""
    for path in _newest_first(folder):
        content = path.read_bytes()
        if path.stem.rsplit("-", 1)[1] == _digest(content):
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        path.unlink()  # else it would count as one of the two that are kept
    return None


def resume(folder: Path, identity: str) -> dict[str, Any] | None:
    """The newest state if its `identity` is the same; otherwise all checkpoints are removed, and there is None."""
    found = load_newest(folder)
    if found is not None and found["identity"] == identity:
        return found
    if found is not None:
        print(
            f"{folder}: the checkpoints are of other settings, data, code, precision or kind of device, and nothing "
            "can go on from them; starting anew",
            file=sys.stderr,
        )
    shutil.rmtree(folder, ignore_errors=True)
    return None


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*-*.pt"), reverse=True)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
