"""The frames of a tracklet as one readable template, in the manner of shell braces.

`0001C1T0001F{001..034}.jpg` names 34 frames; `F{001..010,012..034}` leaves one out; `{00123..00387..8}` goes
in steps of 8. Two braces advance together (zipped, not multiplied): `F{0001..0003}_X{0100,0108,0120}`.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np

from vreid.errors import InputError

NUMBER = re.compile("([0-9]+)")
BRACES = re.compile(r"\{([^{}]*)\}")
STRAY_BRACE = re.compile("[{}]")
RANGE = re.compile(r"([0-9]+)(?:\.\.([0-9]+)(?:\.\.([0-9]+))?)?")


def compress_frames(names: Sequence[str]) -> str:
    """One template for distinct names that differ in their numbers (below 2^63) only, in the given order.

    Raises ValueError for names that no template can stand for.
    """
    if not names or len(set(names)) < len(names) or STRAY_BRACE.search("".join(names)):
        raise ValueError("frames must be one or more distinct names without braces")
    literals = NUMBER.split(names[0])[::2]
    shape = re.compile("([0-9]+)".join(map(re.escape, literals)))
    matches = [shape.fullmatch(name) for name in names]
    if None in matches:
        stranger = names[matches.index(None)]
        raise ValueError(f"frames must differ in their numbers only, unlike {names[0]!r} and {stranger!r}")
    fields = map(number_field, zip(*(match.groups() for match in matches)))
    return literals[0] + "".join(field + literal for field, literal in zip(fields, literals[1:]))


def number_field(texts: Sequence[str]) -> str:
    if len(set(texts)) == 1:
        return texts[0]
    stretches = ((list(map(int, same)), width) for width, same in groupby(texts, len))
    return braces(part for numbers, width in stretches for part in ranges(numbers, width))


def braces(parts: Iterator[str] | Sequence[str]) -> str:
    return "{" + ",".join(parts) + "}"


def ranges(numbers: Sequence[int] | np.ndarray, width: int) -> list[str]:
    """Numbers in their order as `first..last`, `first..last..step` and single ones, padded to `width`."""
    numbers = np.asarray(numbers, dtype=np.int64)
    steps = np.diff(numbers)
    ends = [*(np.flatnonzero(np.diff(steps)) + 1).tolist(), len(steps)]  # where a stretch of equal steps ends
    numbers, parts, start = numbers.tolist(), [], 0
    for end in ends:
        step = numbers[end] - numbers[end - 1] if end > start else 0
        if step == 1 or (step > 1 and end - start >= 2):
            last = f"{numbers[end]:0{width}d}" + (f"..{step}" if step > 1 else "")
            parts.append(f"{numbers[start]:0{width}d}..{last}")
            start = end + 1
        else:
            parts += [f"{number:0{width}d}" for number in numbers[start:end]]
            start = end
    return parts + [f"{number:0{width}d}" for number in numbers[start:]]


def expand_frames(template: str) -> list[str]:
    """The names that a template stands for, in its order; raises InputError for one that cannot be read."""
    pieces = BRACES.split(template)
    literals, fields = pieces[::2], [expand_field(text, template) for text in pieces[1::2]]
    if STRAY_BRACE.search("".join(literals)):
        raise InputError(f"frames {template!r}: a brace without its partner")
    if not fields:
        return [template]
    if len(set(map(len, fields))) > 1:
        counts = " and ".join(str(len(field)) for field in fields)
        raise InputError(f"frames {template!r}: the braces stand for different numbers of frames ({counts})")
    form = "%s".join(literal.replace("%", "%%") for literal in literals)
    return [form % numbers for numbers in zip(*fields)]


def expand_field(text: str, template: str) -> list[str]:
    names = []
    for part in text.split(","):
        match = RANGE.fullmatch(part)
        if not match:
            raise InputError(
                f"frames {template!r}: {part!r} is neither a number, nor first..last, nor first..last..step"
            )
        first, last, step = match[1], match[2] or match[1], int(match[3] or 1)
        if len(first) != len(last) or int(first) > int(last) or step < 1:
            raise InputError(f"frames {template!r}: {part!r} must ascend, both ends with the same number of digits")
        names += [f"{number:0{len(first)}d}" for number in range(int(first), int(last) + 1, step)]
    return names
