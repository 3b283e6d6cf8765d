"""What happens in a tracklet, frame by frame: from its codes and its camera's habits to a script.

ID-irrelevant codes, each for a part of the tracklet's frames where it is a fault:
motion 0 walking, 1 standing, 2 running, 3 riding a bicycle, 4 various (stops or starts to run on the way);
pose 0 front, 1 front-side, 2 side, 3 back-side, 4 back, 5 various (turns on the way);
occlusion: a tree, bush, car or sign passes before the target; cut-out: the box cuts off a part of the body;
multi-person: another pedestrian beside or before the target; background-dominant: the target is small;
target-change: the box ends on another person; target-miss: nobody is in the box for a while;
wrong-target: another person at first, for most of the frames.
Distractors (MARS's layout) are pieces of bodies, streets without people, other people; junk is people
badly framed.
"""

from dataclasses import dataclass
from functools import cache
from math import pi

import numpy as np

from vreid.walkers import marginals
from vreid.walkers.cameras import GRAIN, camera
from vreid.walkers.looks import Look, look, traits
from vreid.walkers.population import relevant_codes
from vreid.walkers.world import Tracklet, World, generator

MOTIONS = ("walking", "standing", "running", "riding")
TEMPO = {"walking": 0.8, "standing": 0.03, "running": 1.05, "riding": 0.6}  # radians of the cycle a frame
VIEWS = (0, pi / 4, pi / 2, 3 * pi / 4, pi)  # yaw of pose 0 … 4


@dataclass(frozen=True)
class Script:
    """What happens in each of a tracklet's frames (arrays of length num_frames; lengths in frame heights).

    cast: 0 nobody, 1 the target, 2 the other person is in the box.   beside: the other person is there too.
    """

    target: Look
    other: Look
    motion: list[str]
    phase: np.ndarray
    yaw: np.ndarray
    x: np.ndarray
    y: np.ndarray
    size: np.ndarray
    cast: np.ndarray
    beside: np.ndarray
    occluded: np.ndarray
    exposure: np.ndarray
    street: tuple[float, float]
    companion: tuple[float, float, float]
    occluder: tuple[int, float, float, int]
    grain: np.ndarray


@cache
def own_traits(world: World, pid: int) -> dict[str, float]:
    return traits(generator(world, 2, pid), world.identity_detail)


def stranger(world: World, rng: np.random.Generator) -> Look:
    """Somebody who is nobody in the data set."""
    codes = relevant_codes(marginals.load()[world.layout], 1, rng)[0]
    return look(world.layout, codes, traits(rng, world.identity_detail))


def script(world: World, tracklet: Tracklet) -> Script:
    """The course of `tracklet`, from its codes, its camera's habits and its own seed."""
    rng, n = generator(world, 3, tracklet.key), tracklet.num_frames
    eye, other = camera(world, tracklet.camid), stranger(world, rng)
    codes = tracklet.attributes or {}
    target = look(world.layout, codes, own_traits(world, tracklet.pid)) if codes else stranger(world, rng)
    motion = motions(codes.get("motion", 0), n, rng)
    tempo = np.array([TEMPO[m] for m in motion]) * target.pace * rng.normal(1, 0.05)
    drift = wander(n, rng, 0.024 * world.jitter), wander(n, rng, 0.016 * world.jitter)
    size = np.where(np.array(motion) == "riding", 0.79, 0.86) * (1 + wander(n, rng, 0.03 * world.jitter))
    plan = {
        "x": drift[0],
        "y": drift[1],
        "size": size * rng.uniform(0.96, 1.04),
        "yaw": yaws(codes.get("pose", int(rng.integers(5))), n, rng, eye.rightward),
        "cast": np.ones(n, int),
    }
    happening = faults(codes, plan, n, rng)
    if not codes:
        misframed(tracklet, plan, n, rng)
    return Script(
        target=target,
        other=other,
        motion=motion,
        phase=rng.uniform(0, 2 * pi) + np.cumsum(tempo),
        exposure=exposures(n, rng),
        street=tuple(rng.random(2)),
        companion=companion(rng),
        occluder=occluder(rng),
        grain=rng.integers(0, GRAIN, (n, 2)),
        **plan,
        **happening,
    )


def faults(codes: dict, plan: dict, n: int, rng: np.random.Generator) -> dict:
    """Bend `plan` (in place) where a code names a fault; returns the frames with company, and occluded."""
    span = {name: part(n, rng) for name in ("cut-out", "background-dominant", "target-miss", "multi", "occlusion")}
    edge, far, tail = rng.integers(3), rng.uniform(0.55, 0.68), rng.uniform(0.3, 0.5)
    sign = rng.choice([-1, 1])
    if codes.get("background-dominant"):
        plan["size"] = plan["size"] * np.where(span["background-dominant"], far, 1)
        plan["y"] = plan["y"] - 0.12 * span["background-dominant"]
    if codes.get("cut-out"):
        cut = span["cut-out"]
        plan["size"] = plan["size"] * np.where(cut, 1.25, 1)
        plan["x"] = plan["x"] + (0.17 * sign * cut if edge == 2 else 0)
        plan["y"] = plan["y"] + (0.0 if edge == 2 else (0.42, 0.02)[edge]) * cut
    late = np.arange(n) >= min(n - 1, max(1, round(n * (1 - tail))))
    if codes.get("target-change"):
        plan["cast"] = np.where(late, 2, plan["cast"])
    if codes.get("wrong-target"):
        plan["cast"] = np.where(np.arange(n) < max(1, round(n * (1 - tail / 2))) - (n < 4), 2, plan["cast"])
    if codes.get("target-miss"):
        plan["cast"] = np.where(span["target-miss"], 0, plan["cast"])
    none = np.zeros(n, bool)
    return {
        "beside": span["multi"] if codes.get("multi-person") else none,
        "occluded": span["occlusion"] if codes.get("occlusion") else none,
    }


def misframed(tracklet: Tracklet, plan: dict, n: int, rng: np.random.Generator) -> None:
    """Bend `plan` (in place) into a distractor's or into junk's."""
    kind = rng.choice(["piece", "street", "person"], p=[0.45, 0.2, 0.35])
    if tracklet.split == "junk":
        kind = rng.choice(["aside", "piece"], p=[0.6, 0.4])
    if kind == "piece":
        plan["size"] = plan["size"] * rng.uniform(1.5, 2.6)
        plan["y"] = plan["y"] + rng.uniform(0.0, 1.0)
        plan["x"] = plan["x"] + rng.uniform(-0.12, 0.12)
    elif kind == "aside":
        plan["size"] = plan["size"] * rng.uniform(0.55, 1.15)
        plan["x"] = plan["x"] + rng.choice([-1, 1]) * rng.uniform(0.13, 0.24)
        plan["y"] = plan["y"] + rng.uniform(-0.2, 0.3)
    elif kind == "street":
        plan["cast"] = np.zeros(n, int)


def companion(rng: np.random.Generator) -> tuple[float, float, float]:
    """The other person's place beside the target, size relative to it (above 1: in front) and yaw."""
    behind, before = rng.uniform(0.78, 0.98), rng.uniform(1.02, 1.12)
    share = before if rng.random() < 0.35 else behind
    return rng.choice([-1, 1]) * rng.uniform(0.10, 0.22), share, rng.uniform(-pi, pi)


def occluder(rng: np.random.Generator) -> tuple[int, float, float, int]:
    """Kind, place, size and seed of what stands between camera and target."""
    return int(rng.integers(6)), rng.uniform(-0.14, 0.14), rng.uniform(0.75, 1.1), int(rng.integers(2**31))


def part(n: int, rng: np.random.Generator) -> np.ndarray:
    """A run of 35–65 % of `n` frames, never all of them (a fault hits part of a tracklet)."""
    count = int(np.clip(round(n * rng.uniform(0.35, 0.65)), 1, max(1, n - 1)))
    first = int(rng.integers(0, n - count + 1))
    return (np.arange(n) >= first) & (np.arange(n) < first + count)


def motions(code: int, n: int, rng: np.random.Generator) -> list[str]:
    later, turn = ("standing", "running")[rng.integers(2)], round(n * rng.uniform(0.35, 0.6))
    if code < 4:
        return [MOTIONS[code]] * n
    return ["walking"] * turn + [later] * (n - turn)


def yaws(code: int, n: int, rng: np.random.Generator, rightward: float) -> np.ndarray:
    side, start = (1 if rng.random() < rightward else -1), rng.uniform(-pi, pi)
    swing, sweep = rng.normal(0, 0.12) + wander(n, rng, 0.06), rng.uniform(1.8, 3.6)
    if code == 5:
        return start + side * np.linspace(0, sweep, n) + swing
    return side * VIEWS[code] + swing


def wander(n: int, rng: np.random.Generator, spread: float) -> np.ndarray:
    """A detector's error: half of it lasts, half is new in every frame."""
    fresh, slow = rng.normal(0, 1, (2, n))
    for i in range(1, n):
        slow[i] = 0.85 * slow[i - 1] + 0.53 * slow[i]
    return spread * (fresh + slow) / 2**0.5


def exposures(n: int, rng: np.random.Generator) -> np.ndarray:
    """Exposure of each frame around 1: sun and shade along the way."""
    swing = 0.06 * np.sin(rng.uniform(0, 2 * pi) + np.arange(n) * rng.uniform(0.05, 0.3))
    return (1 + swing) * np.exp(rng.normal(0, 0.06))
