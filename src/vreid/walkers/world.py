"""A rendered world: its size and difficulty, what a tracklet is, and where its randomness comes from."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from vreid.errors import InputError

LAYOUTS = ("mars", "duke")
LIMITS = {
    "seed": (0, 2**31 - 1),
    "train_people": (1, 1500),
    "test_people": (1, 1000),
    "height": (16, 512),
    "width": (8, 512),
    "mean_frames": (2, 200),
    "tracklets_per_person": (0, 1),
    "camera_strength": (0, 3),
    "jitter": (0, 3),
    "fault_rate": (0, 20),
    "identity_detail": (0, 1),
}


@dataclass(frozen=True)
class World:
    """A population, its cameras and its difficulty; equal worlds are rendered to equal bytes.

    layout: `mars` (6 cameras, summer on a campus) or `duke` (8 cameras, winter in a town), on disk as well.
    train_people, test_people: distractors and junk follow in the real proportion to the test people.
    height, width: of a frame in pixels.
    mean_frames: of a tracklet; the lengths have the shape of MARS's, cut at 2 and at 4 × the mean.
    tracklets_per_person: share of the real mean (MARS 13.3, Duke 3.1); at least one in each camera visited.
    camera_strength: how far cameras differ in cast, exposure, blur, noise, height (0 not at all, 1 as usual).
    jitter: how far the detection box wanders from frame to frame (0 not at all, 1 as usual).
    fault_rate: multiplies the share of tracklets with a quality fault (1 as in the real annotations).
    identity_detail: how far people differ beyond their attributes (0 not at all, 1 as far as palettes go).
    """

    layout: str
    seed: int
    train_people: int
    test_people: int
    height: int
    width: int
    mean_frames: float
    tracklets_per_person: float
    camera_strength: float
    jitter: float
    fault_rate: float
    identity_detail: float

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> "World":
        """The world of a configuration entry; raises InputError that names an unknown, missing or bad key."""
        kinds = {field.name: field.type for field in fields(cls)}
        for key in mapping:
            if key not in kinds:
                raise InputError(f"world: unknown key '{key}'; the keys are {', '.join(kinds)}")
        for key, kind in kinds.items():
            if key not in mapping:
                raise InputError(f"world: key '{key}' is missing")
            check(key, mapping[key], kind)
        return cls(**{key: kind(mapping[key]) for key, kind in kinds.items()})


def check(key: str, value: Any, kind: type) -> None:
    if key == "layout":
        if value not in LAYOUTS:
            raise InputError(f"world: layout is {value!r}; it must be one of {', '.join(LAYOUTS)}")
        return
    low, high = LIMITS[key]
    number = isinstance(value, int) or (kind is float and isinstance(value, float))
    if not number or isinstance(value, bool) or not low <= value <= high:
        wanted = "a whole number" if kind is int else "a number"
        raise InputError(f"world: {key} is {value!r}; it must be {wanted} from {low} to {high}")


@dataclass(frozen=True)
class Tracklet:
    """One walk of one person past one camera.

    split: train, query, gallery, distractor or junk.   pid: 0 distractor (MARS's layout), -1 junk.
    number: as in the file names.   key: its place in the world, from which everything random in it is seeded.
    attributes: code of each canonical attribute name; empty where the real datasets have no annotation.
    """

    split: str
    pid: int
    camid: int
    number: int = 0
    num_frames: int = 0
    key: int = 0
    attributes: Mapping[str, int] | None = None


def generator(world: World, *key: int) -> np.random.Generator:
    """Randomness that depends on the world's seed and `key` only, never on the order of execution."""
    return np.random.default_rng([world.seed, LAYOUTS.index(world.layout), *key])
