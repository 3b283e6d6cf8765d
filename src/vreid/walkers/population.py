"""Who walks where: the people of a world, their attributes and their tracklets before its cameras."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache

import numpy as np

from vreid.walkers import marginals
from vreid.walkers.world import Tracklet, World, generator

MOST_TRACKLETS = 20  # of a person in one camera; the real ones reach 180, which would fill a small world
FRAMES = (2, 4.0)  # the shortest tracklet in frames, the longest in multiples of the mean


@cache
def tracklets(world: World) -> tuple[Tracklet, ...]:
    """Every tracklet of `world`, in the order of the files on disk."""
    facts, rng = marginals.load()[world.layout], generator(world, 0)
    walks = people_walks(world, facts, rng) + crowd_walks(world, facts, rng)
    walks = sorted(walks, key=lambda walk: (walk.split != "train", walk.pid, walk.camid))
    walks = with_lengths(world, with_codes(world, facts, walks, rng), rng)
    return tuple(numbered(world, walks))


def people_walks(world: World, facts: dict, rng: np.random.Generator) -> list[Tracklet]:
    """Train, query and gallery tracklets, and Duke's distractors, who are annotated people of one camera."""
    itineraries = []
    for split, people in (("train", world.train_people), ("test", world.test_people)):
        patterns, shares = zip(*facts["itineraries"][split])
        counts = thinned(np.array(patterns), np.array(shares), world.tracklets_per_person)
        itineraries += [(split, counts[i]) for i in drawn(shares, people, rng)]
    if world.layout == "duke":
        extra = round(sum(facts["distractors"]) * world.test_people / facts["people"]["test"])
        alone = np.eye(len(facts["distractors"]), dtype=int)
        itineraries += [("distractor", alone[i]) for i in drawn(facts["distractors"], extra, rng)]
    pids = 1 + rng.permutation(len(itineraries))
    walks = []
    for pid, (split, counts) in zip(pids.tolist(), itineraries):
        visited = np.flatnonzero(counts)
        asked = set(visited.tolist() if world.layout == "mars" else [int(rng.choice(visited))])
        for camera in visited.tolist():
            query = int(rng.integers(counts[camera])) if split == "test" and camera in asked else None
            for k in range(counts[camera]):
                role = split if split != "test" else "query" if k == query else "gallery"
                walks.append(Tracklet(role, pid, camera + 1))
    return walks


def crowd_walks(world: World, facts: dict, rng: np.random.Generator) -> list[Tracklet]:
    """MARS's unannotated tracklets: distractors (pid 0), junk (pid -1), in proportion to the test people."""
    if world.layout != "mars":
        return []
    walks = []
    for split, pid, counts in (("distractor", 0, facts["distractors"]), ("junk", -1, facts["junk"])):
        share = world.tracklets_per_person * world.test_people / facts["people"]["test"]
        walks += [Tracklet(split, pid, int(i) + 1) for i in drawn(counts, round(sum(counts) * share), rng)]
    return walks


def thinned(patterns: np.ndarray, shares: np.ndarray, scale: float) -> np.ndarray:
    """Tracklets per camera (patterns × cameras) with `scale` × the real mean, or one a camera if more.

    A person with one tracklet in a camera keeps it and one with several keeps two at least, so that the share
    of queries without a match stays as it is.
    """
    capped, wanted = np.minimum(patterns, MOST_TRACKLETS), scale * np.average(patterns.sum(1), weights=shares)

    def kept(share: float) -> np.ndarray:
        return np.where(capped > 0, 1 + np.ceil(share * (capped - 1)).astype(int), 0)

    return kept(solved(lambda share: np.average(kept(share).sum(1), weights=shares), wanted, 0.0, 1.0))


def with_codes(world: World, facts: dict, walks: list[Tracklet], rng: np.random.Generator) -> list[Tracklet]:
    """Give the tracklets of real people their ID-relevant (by person) and ID-irrelevant (by camera) codes."""
    annotated = [i for i, walk in enumerate(walks) if walk.pid > 0]
    people = sorted({walks[i].pid for i in annotated})
    wardrobe = dict(zip(people, relevant_codes(facts, len(people), rng)))
    other = relevant_codes(facts, len(annotated), rng)
    by_camera = defaultdict(list)
    for i in annotated:
        by_camera[walks[i].camid].append(i)
    irrelevant = {}
    for camid, rows in sorted(by_camera.items()):
        combinations = facts["irrelevant"][camid - 1]
        shares = [n * (world.fault_rate if "1" in codes[2:] else 1) for codes, n in combinations.items()]
        texts = list(combinations)
        irrelevant |= {i: texts[k] for i, k in zip(rows, drawn(shares, len(rows), rng))}
    walks = list(walks)
    for i, instead in zip(annotated, other):
        codes = dict(zip(facts["irrelevant columns"], map(int, irrelevant[i])))
        for name in facts["relevant columns"]:
            varies = rng.random() < facts["varies"][name]  # a bag put down, a jacket taken off
            codes[name] = (instead if varies else wardrobe[walks[i].pid])[name]
        walks[i] = replace(walks[i], attributes=codes)
    return walks


def relevant_codes(facts: dict, count: int, rng: np.random.Generator) -> list[dict[str, int]]:
    """ID-relevant codes of `count` people: each group of attributes jointly, the groups independently."""
    people = [{} for _ in range(count)]
    for group in facts["relevant"]:
        texts = list(group["people"])
        for codes, k in zip(people, drawn(list(group["people"].values()), count, rng)):
            codes.update(zip(group["columns"], map(int, texts[k])))
    return people


def with_lengths(world: World, walks: list[Tracklet], rng: np.random.Generator) -> list[Tracklet]:
    real = marginals.load()["mars"]["lengths"]
    kinds = [walk.split if world.layout == "mars" and walk.pid <= 0 else "people" for walk in walks]
    frames = np.zeros(len(walks), int)
    for kind in sorted(set(kinds)):
        facts = real["distractors" if kind == "distractor" else kind]
        rows = np.flatnonzero(np.array(kinds) == kind)
        shares = (rng.permutation(len(rows)) + rng.random()) / len(rows)
        shape = np.interp(shares, np.linspace(0, 1, len(facts["quantiles"])), facts["quantiles"])
        mean, longest = (
            world.mean_frames * facts["mean"] / real["people"]["mean"],
            FRAMES[1] * world.mean_frames,
        )

        def scaled(factor: float, shape=shape, longest=longest) -> np.ndarray:
            return np.clip(np.rint(factor * shape), FRAMES[0], longest).astype(int)

        frames[rows] = scaled(solved(lambda factor: scaled(factor).mean(), mean, 0.0, 4.0))
    return [replace(walk, num_frames=n) for walk, n in zip(walks, frames.tolist())]


def numbered(world: World, walks: list[Tracklet]) -> Iterator[Tracklet]:
    """Number the tracklets as each dataset does: MARS within (person, camera), Duke throughout."""
    taken = defaultdict(int)
    for key, walk in enumerate(walks):
        series = (walk.pid, walk.camid) if world.layout == "mars" else ()
        taken[series] += 1
        yield replace(walk, number=taken[series], key=key)


def drawn(shares: Sequence[float], count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` indices into `shares`, in random order, each as often as its share says to within one.

    Systematic sampling: a small world has the proportions of a large one.
    """
    bounds = np.cumsum(shares) / np.sum(shares)
    points = (np.arange(count) + rng.random()) / max(1, count)
    return rng.permutation(np.minimum(np.searchsorted(bounds, points, side="right"), len(bounds) - 1))


def solved(function: Callable[[float], float], wanted: float, low: float, high: float) -> float:
    """The argument in [low, high] at which the increasing `function` reaches `wanted`, by bisection."""
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) < wanted else (low, middle)
    return high
