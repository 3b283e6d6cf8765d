"""Facts about the real datasets that the rendered worlds follow: `marginals.json`, written by `derive`."""

import json
from functools import cache
from pathlib import Path


@cache
def load() -> dict:
    """The facts, by layout (`mars`, `duke`)."""
    return json.loads(Path(__file__).with_name("marginals.json").read_text())
