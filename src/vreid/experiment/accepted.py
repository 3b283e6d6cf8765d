"""What methods accept: asked of themselves, and noted, since they need torch, which takes seconds to load."""

import hashlib
from collections.abc import Collection, Sequence
from pathlib import Path
from pkgutil import iter_modules

import vreid.models
from vreid.files import written_whole
from vreid.provenance import code_digest
from vreid.spec import SECTIONS, Spec, canonical

NOTES = Path(".snakemake/accepted")


def refused(
    specs: Sequence[Spec], planned: Collection[str], named: Collection[tuple[str, str]] = frozenset()
) -> list[str]:
    """A line for every spec that its method refuses, and for every method that a recipe (recipe, method) invents.

    Whether a network can be built is asked of what is planned, since sizes that suit some models need not suit all.
    What all accept is noted under a digest of what was asked and of the methods' code; they are asked again when either
    changes.
    """
    methods = [f"vreid.models.{module.name}" for module in iter_modules(vreid.models.__path__)]
    asked = [code_digest("vreid.outline", *methods), sorted(named), planned, [spec.digest for spec in specs]]
    note = NOTES / hashlib.sha256(canonical(asked).encode()).hexdigest()
    if note.exists():
        return []
    from vreid.outline import faults, strangers

    known, unknown = ", ".join(SECTIONS), strangers({key for _, key in named})
    found = faults(specs, planned)
    for recipe, key in sorted(named):
        if key in unknown:
            found.append(f"recipes.{recipe}: {key!r} is neither a section ({known}) nor a method in src/vreid/models")
    if not found:
        with written_whole(note) as aside:
            aside.touch()
    return found
