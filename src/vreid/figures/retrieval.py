"""The retrieval gallery: what two models find first for the same queries, and Fig. 1 of the paper in frames."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from vreid import gaps
from vreid.data.tracklets import KEY, expand_frames, read_tracklets
from vreid.distances import DISTANCES, Distance
from vreid.errors import InputError
from vreid.figures.drawing import BLUE, INK, ORANGE, STYLE, Said, cell, save, signed
from vreid.figures.frames import height_of, read_picture
from vreid.metrics import JUNK, PROTOCOLS, Protocol, evaluate_features
from vreid.score import LABELS, read_features

Spec = Mapping[str, Any]

TOP = 5
RIGHT, WRONG = "✓", "✗"
EXPLANATION = (
    "What a higher or lower mAP looks like: the tracklets that two models find first for the same queries. Below them, "
    "Fig. 1 of the paper in frames: of one person, tracklets to which an anchor is close and far (DVDP), which AITL is "
    "meant to even out."
)


@dataclass(frozen=True)
class Run:
    """The features of a model on the N tracklets of a test set, Q of them queries."""

    about: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]
    protocol: Protocol
    source: Path

    @property
    def model(self) -> str:
        return self.about["model"]

    @property
    def features(self) -> np.ndarray:
        return self.arrays["features"]

    @property
    def distance(self) -> Distance:
        named = {n.removeprefix("distance_"): a for n, a in self.arrays.items() if n.startswith("distance_")}
        return partial(DISTANCES[self.about["distance"]], **named)

    @cached_property
    def precision(self) -> np.ndarray:
        """(Q,) average precision under the protocol, NaN of queries without a match."""
        is_query = self.arrays["splits"] == "query"
        given = self.features, self.arrays["pids"], self.arrays["camids"], is_query
        try:
            results = evaluate_features(*given, protocols=[self.protocol], distance=self.distance)
        except ValueError as error:
            raise InputError(f"{self.source}: {error}; check the splits of the dataset") from error
        return results[self.protocol.name]["average_precision"]

    def first(self, query: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows and distances of the TOP tracklets that are ranked first for a row of the features."""
        rows = ranked(self.arrays, query, self.protocol)
        distances = self.distance(self.features[[query]], self.features[rows])[0]
        # Among equal distances the others come first, as in vreid.metrics.
        order = np.lexsort((self.arrays["pids"][rows] == self.arrays["pids"][query], distances))[:TOP]
        return rows[order], distances[order]


def retrieval(
    spec: Spec,
    features: Sequence[str | Path],
    headline: str,
    index_path: str | Path,
    root: str | Path,
    out_stem: str | Path,
) -> None:
    """Write the gallery as `out_stem`.svg, .png, .csv and .json.

    `spec`: {"title": …, "train": …, "test": …, "seed": 0, "models": ["baseline", "asta+aitl"],
             "queries_per_side": 2, "people": 3}; `features`: the features.npz of each of the two models, in their
    order; `headline`: the protocol.

    The CSV has a row a frame and model (`drawn`). Raises InputError for features that are not of these runs or not of
    the same tracklets, for an index or a root of another dataset, and where too few queries have a match.
    """
    one, other = runs = read_runs(spec, features, headline)
    queries = choose(other.precision - one.precision, one.arrays, spec["queries_per_side"], one.source)
    of_people = [gaps.anchor_gaps(run.features, run.arrays["pids"], run.distance) for run in runs]
    if of_people[0].empty:
        raise InputError(f"{one.source}: no person has three test tracklets; test on a larger dataset")
    frame = drawn(runs, queries, gaps.largest(of_people[0], spec["people"]), read_tracklets(index_path), index_path)
    most = height_of(frame["frame"].nunique())
    pictures = {name: np.asarray(read_picture(Path(root) / name, most)) for name in frame["frame"].unique()}
    with matplotlib.rc_context(STYLE | {"image.composite_image": False}):
        save(_draw(runs, frame, pictures), spec, frame, said(spec, runs, frame, of_people), out_stem)


def read_runs(spec: Spec, features: Sequence[str | Path], headline: str) -> tuple[Run, Run]:
    """The two runs of `spec`, whose features are of the same tracklets in one order."""
    protocols = {protocol.name: protocol for protocol in PROTOCOLS}
    if headline not in protocols:
        raise InputError(f"no protocol is called {headline!r}: the headline is one of {', '.join(protocols)}")
    if len(features) != 2 or len(spec["models"]) != 2:
        raise InputError(
            f"figure {spec['title']!r} compares two models: name two, and give the features of each in their order"
        )
    found = []
    for model, path in zip(spec["models"], features):
        arrays, about = read_features(path)
        if missing := [key for key in ("recipe", "rendered") if key not in about]:
            raise InputError(f"{path}: does not say its {missing[0]!r}; embed the test set again")
        wanted = {"model": model, "seed": spec["seed"], "train_dataset": spec["train"], "test_dataset": spec["test"]}
        for key, value in wanted.items():
            if about.get(key) != value:
                raise InputError(f"{path}: its {key} is {about.get(key)!r}, but the figure is of {value!r}")
        found.append(Run(about, arrays, protocols[headline], Path(path)))
    one, other = found
    for name in LABELS:
        if not np.array_equal(one.arrays[name], other.arrays[name]):
            raise InputError(
                f"{other.source}: its {name} are not those of {one.source}; embed the same test set with both models"
            )
    return one, other


def ranked(arrays: Mapping[str, np.ndarray], query: int, protocol: Protocol) -> np.ndarray:
    """The rows ranked for a query: without junk, its own person in its own camera and, by protocol, queries."""
    pids, camids = arrays["pids"], arrays["camids"]
    left = (pids != JUNK) & ~((pids == pids[query]) & (camids == camids[query]))
    if not protocol.queries_in_gallery:
        left &= arrays["splits"] != "query"
    return np.flatnonzero(left)


Queries = list[tuple[str, int, int]]  # which ΔAP it has, its place among the queries, its row in the features


def choose(difference: np.ndarray, arrays: Mapping[str, np.ndarray], per_side: int, source: object) -> Queries:
    """The `per_side` queries with the highest ΔAP, the one nearest to the median, the `per_side` with the lowest.

    `difference` (Q,) is NaN where a query has no match. Among the highest no person is twice, nor among the lowest; of
    equal ones the first is taken. Exchanging the two models thus exchanges the ends and nothing else.
    """
    rows = np.flatnonzero(arrays["splits"] == "query")
    pids, valid = arrays["pids"][rows], np.flatnonzero(~np.isnan(difference))
    picked: dict[str, list[int]] = {}

    def take(which: str, badness: np.ndarray, count: int) -> None:
        used = [place for places in picked.values() for place in places]
        left = [place for place in valid[np.argsort(badness, kind="stable")] if place not in used]
        firsts = {pids[place]: place for place in reversed(left)}.values()
        picked[which] = sorted(firsts, key=left.index)[:count]
        if len(picked[which]) < count:
            raise InputError(
                f"{source}: {len(valid)} queries have a match, too few people for {per_side} with the highest, "
                f"{per_side} with the lowest and one with the median ΔAP; lower `queries_per_side`"
            )

    known = difference[valid]
    take("highest", -known, per_side)
    take("lowest", known, per_side)
    take("median", np.abs(known - np.median(known)), 1)
    order = [*picked["highest"], *picked["median"], *reversed(picked["lowest"])]
    names = {place: which for which, places in picked.items() for place in places}
    return [(names[place], int(place), int(rows[place])) for place in order]


def drawn(
    runs: tuple[Run, Run], queries: Queries, pairs: pd.DataFrame, index: pd.DataFrame, source: object
) -> pd.DataFrame:
    """A row a frame and model, in the order of the figure.

    `panel` is "query" or "gap", `block` counts in it, and `chosen` says why it is there. `role`: query (no model, but
    how many `matches` are ranked) or gallery (`rank`, `distance` from the query, whether it is `right`); anchor (no
    model), nearest or farthest (`distance` from the anchor). `average_precision` is that of query and model. split,
    pid, camid, tracklet and `frame`, the tracklet's middle one, say what is shown; frames are named from the dataset's
    root.
    """
    arrays = runs[0].arrays
    table = pd.DataFrame([*_query_rows(runs, queries), *_gap_rows(runs, pairs)])
    for name in (*KEY, "split"):
        table[name] = arrays[f"{name}s"][table["row"]]
    table = table.merge(index[[*KEY, "frames"]], "left", on=KEY)
    if table["frames"].isna().any():
        raise InputError(f"{source}: lacks tracklets of {runs[0].source}; give the index of that test set")
    table["frame"] = [names[len(names) // 2] for names in map(expand_frames, table["frames"])]
    columns = ["panel", "block", "chosen", "role", "matches", "model", "rank", "distance", "right"]
    table = table.astype({"matches": "Int64", "rank": "Int64"})
    return table[[*columns, "average_precision", "split", *KEY, "frame"]].round({"distance": 6, "average_precision": 6})


def _query_rows(runs: tuple[Run, Run], queries: Queries) -> Iterator[dict[str, Any]]:
    pids = runs[0].arrays["pids"]
    for block, (which, place, query) in enumerate(queries, 1):
        about = {"panel": "query", "block": block, "chosen": f"{which.capitalize()} ΔAP"}
        matches = int((pids[ranked(runs[0].arrays, query, runs[0].protocol)] == pids[query]).sum())
        yield {**about, "role": "query", "row": query, "matches": matches}
        for run in runs:
            found = {"role": "gallery", "model": run.model, "average_precision": run.precision[place]}
            for rank, (row, distance) in enumerate(zip(*run.first(query)), 1):
                right = bool(pids[row] == pids[query])
                yield {**about, **found, "rank": rank, "row": row, "distance": distance, "right": right}


def _gap_rows(runs: tuple[Run, Run], pairs: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for run in runs:
        measured = gaps.measured_again(pairs, run.features, run.distance)
        for block, pair in enumerate(measured.itertuples(), 1):
            about = {"panel": "gap", "block": block, "chosen": f"Largest gap of {runs[0].model}"}
            if run is runs[0]:
                yield {**about, "role": "anchor", "row": pair.anchor}
            yield {**about, "role": "nearest", "model": run.model, "row": pair.nearest, "distance": pair.near}
            yield {**about, "role": "farthest", "model": run.model, "row": pair.farthest, "distance": pair.far}


def said(spec: Spec, runs: tuple[Run, Run], frame: pd.DataFrame, of_people: Sequence[pd.DataFrame]) -> Said:
    one, other = runs
    difference = other.precision - one.precision
    valid = ~np.isnan(difference)
    people = frame[frame["panel"] == "gap"]["block"].nunique()
    pictures = "the people are rendered, drawn by a program" if one.about["rendered"] else "the people are filmed"
    side = spec["queries_per_side"]
    caption = (
        f"Measured on {measured_on(runs)}; {pictures}. One seed: another training may rank otherwise. ΔAP is the AP "
        f"(average precision) of {other.model} less that of {one.model}; of the {valid.sum()} queries with a match it "
        f"is above zero for {(difference > 0).sum()} and below for {(difference < 0).sum()}. Shown are the {side} with "
        f"the highest ΔAP and the {side} with the lowest, on neither side a person twice, and the one nearest to the "
        "median: a rule that favours no model, and that shows what is rare. A query is followed by the first "
        f"{TOP} of its gallery, in which there is no junk and nothing of its own person from its own camera: the "
        f"middle frame of each tracklet, its distance ({_either(runs, 'distance')}), whose it is, and whether that is "
        f"the query’s person ({RIGHT}, round, unbroken edge) or not ({WRONG}, square, dashed edge). At the bottom an "
        f"anchor of each of the {people} people with the largest gap in {one.model}, and the person’s nearest and "
        f"farthest other tracklet, from whatever camera. They are {one.model}’s own extremes, which in any other model "
        "are likely to be smaller; the table says what holds for all people, and for the extremes of either."
    )
    return Said(caption, _alt(runs, frame), EXPLANATION, [_queries(spec, runs, frame), _gaps(spec, runs, of_people)])


def measured_on(runs: tuple[Run, Run]) -> str:
    """Whose features these are, so that no copy of the picture can pass for another dataset's."""
    about = runs[0].about
    kind = "rendered" if about["rendered"] else "filmed"
    trained = "" if about["train_dataset"] == about["test_dataset"] else f", trained on {about['train_dataset']}"
    of_run = f"seed {about['seed']}, recipe {_either(runs, 'recipe')}, protocol {runs[0].protocol.name}"
    return f"{about['test_dataset']} ({kind}){trained}, {of_run}"


def _either(runs: tuple[Run, Run], key: str) -> str:
    """What is said of the two runs, once if it is the same."""
    return " and ".join(dict.fromkeys(run.about[key] for run in runs))


def _alt(runs: tuple[Run, Run], frame: pd.DataFrame) -> str:
    parts = [f"Frames of queries and of the first {TOP} tracklets that {runs[0].model} and {runs[1].model} find."]
    for block in _blocks(frame, "query"):
        counts = [f"{int(_found(block, run)['right'].sum())} by {run.model}" for run in runs]
        parts.append(f"{block['chosen'].iloc[0]}, {_who(block.iloc[0])}: right are {' and '.join(counts)}.")
    for block in _blocks(frame, "gap"):
        words = [f"{run.model} {near:.3f} and {far:.3f}" for run, near, far in _ends(runs, block)]
        parts.append(f"Person {block['pid'].iloc[0]}, nearest and farthest from an anchor: {'; '.join(words)}.")
    return " ".join(parts)


def _queries(spec: Spec, runs: tuple[Run, Run], frame: pd.DataFrame) -> dict[str, Any]:
    """The average precision of the queries that are shown, and of all."""
    links = [(run.model, spec["train"], spec["test"]) for run in runs]
    rows = []
    for block in _blocks(frame, "query"):
        found = [_found(block, run) for run in runs]
        values = [float(part["average_precision"].iloc[0]) for part in found]
        right = [f"{int(part['right'].sum())} of {len(part)}" for part in found]
        query = block.iloc[0]
        rows.append([_who(query), query["chosen"], str(query["matches"]), *_compared(values, links), *right])
    means = [float(np.nanmean(run.precision)) for run in runs]
    rows.append(
        [f"all {np.isfinite(runs[0].precision).sum()} with a match", "mean", "", *_compared(means, links), "", ""]
    )
    names = [run.model for run in runs]
    of_each = [[f"{what}, {name}" for name in names] for what in ("AP", "right")]
    heads = ["Query", "chosen as", "matches", *of_each[0], "ΔAP", *of_each[1]]
    return {
        "title": f"The queries: average precision in %, and how many of the first {TOP} are right",
        "heads": heads,
        "rows": rows,
    }


def _compared(values: Sequence[float], links: Sequence[tuple[str, str, str]]) -> list[dict[str, Any]]:
    cells = [cell(f"{100 * value:.1f}", link, value) for value, link in zip(values, links)]
    return [*cells, cell(signed(points(values), ".1f"), sort=points(values))]


def points(values: Sequence[float]) -> float:
    """ΔAP of two fractions in points, to a tenth, and never −0.0."""
    return round(100 * (values[1] - values[0]), 1) + 0.0


def _gaps(spec: Spec, runs: tuple[Run, Run], of_people: Sequence[pd.DataFrame]) -> dict[str, Any]:
    """DVDP of all people, and of the extremes of each model under both."""
    links = [(run.model, spec["train"], spec["test"]) for run in runs]
    means = [gaps.mean_gap(table) for table in of_people]
    scales = [gaps.spread(run.features, run.arrays["pids"], run.distance) for run in runs]
    count = of_people[0]["pid"].nunique()
    rows = [
        [f"mean over all {count} people", *(cell(f"{mean:.4f}", link, mean) for mean, link in zip(means, links))],
        ["distance between different people", *(cell(f"{scale:.4f}", sort=scale) for scale in scales)],
        [
            "the mean in % of that",
            *(f"{100 * mean / scale:.1f}" if scale else "—" for mean, scale in zip(means, scales)),
        ],
    ]
    for run, table in zip(runs, of_people):
        chosen = gaps.largest(table, spec["people"])
        again = [gaps.measured_again(chosen, each.features, each.distance)["gap"].mean() for each in runs]
        rows.append([f"the {len(chosen)} largest of {run.model}, same pairs", *(plain(value, 4) for value in again)])
    heads = ["Farthest less nearest", *(run.model for run in runs)]
    return {"title": "Gap between a person’s farthest and nearest tracklet (DVDP)", "heads": heads, "rows": rows}


def plain(value: float, digits: int) -> str:
    """With a real minus, if it has one."""
    return f"{value:.{digits}f}".replace("-", "−")


def _blocks(frame: pd.DataFrame, panel: str) -> list[pd.DataFrame]:
    return [block for _, block in frame[frame["panel"] == panel].groupby("block")]


def _found(block: pd.DataFrame, run: Run) -> pd.DataFrame:
    return block[block["model"] == run.model]


def _ends(runs: tuple[Run, Run], block: pd.DataFrame) -> list[tuple[Run, float, float]]:
    """The distances of the nearest and the farthest under each model."""
    return [(run, *_found(block, run).set_index("role")["distance"][["nearest", "farthest"]]) for run in runs]


def _who(row: pd.Series) -> str:
    return f"person {row['pid']}, camera {row['camid']}, tracklet {row['tracklet']}"


def _name(pid: int) -> str:
    return "distractor" if pid == 0 else f"person {pid}"


# Inches, of a figure that is WIDE inches wide and grows downwards.
FRAME, STEP, APART, MARGIN = 0.57, 0.64, 0.2, 0.06
LINE = 0.155
WIDE = (1 + 2 * TOP) * STEP + 2 * APART
QUERY_HIGH = 2.4 * LINE + 2 * FRAME + 2.2 * LINE + 0.16
GAP_HIGH = 2.4 * LINE + 2 * FRAME + 3.2 * LINE + 0.16
PAIRS_A_ROW = 3
SMALL, TINY = 8.5, 7.5  # points


def _draw(runs: tuple[Run, Run], frame: pd.DataFrame, pictures: Mapping[str, np.ndarray]) -> Figure:
    """A row a query: its frame, what one model finds, what the other finds; then three people a row."""
    queries, people = _blocks(frame, "query"), _blocks(frame, "gap")
    head, title = 3.2 * LINE, 2 * LINE
    high = head + len(queries) * QUERY_HIGH + title + -(-len(people) // PAIRS_A_ROW) * GAP_HIGH
    figure = Figure(figsize=(WIDE + 2 * MARGIN, high))
    page = figure.add_axes((0, 0, 1, 1))
    page.set_axis_off()
    page.text(0, 0.6 * LINE, measured_on(runs), fontsize=SMALL, va="center")
    for at, right, words in ((0.09, True, "right: the query’s person"), (1.9, False, "wrong: not that person")):
        _badge(page, at, 1.9 * LINE, right)
        page.text(at + 0.14, 1.9 * LINE, words, fontsize=SMALL, va="center")
    words = f"below a frame: its distance ({_either(runs, 'distance')}), and whose it is"
    page.text(WIDE, 1.9 * LINE, words, fontsize=SMALL, ha="right", va="center")
    top = head
    for block in queries:
        _query(page, top, runs, block, pictures)
        top += QUERY_HIGH
    words = f"Largest gaps of {runs[0].model}: a person’s nearest and farthest tracklet, distances from the anchor"
    page.text(0, top + 0.5 * LINE, words, fontsize=SMALL + 0.5, weight="bold", va="center")
    top += title
    for place, block in enumerate(people):
        row, column = divmod(place, PAIRS_A_ROW)
        _gap(page, column * WIDE / PAIRS_A_ROW, top + row * GAP_HIGH, runs, block, pictures)
    page.set(xlim=(-MARGIN, WIDE + MARGIN), ylim=(high, 0), aspect="auto")
    return figure


def _query(page: Axes, top: float, runs: tuple[Run, Run], block: pd.DataFrame, pictures: Mapping) -> None:
    query = block.iloc[0]
    values = [_found(block, run)["average_precision"].iloc[0] for run in runs]
    words = f"{query['chosen']} ({signed(points(values), '.1f')} points): {_who(query)}"
    page.text(0, top + 0.5 * LINE, words, fontsize=SMALL + 0.5, weight="bold", va="center")
    over, under = top + 1.65 * LINE, top + 2.4 * LINE
    page.text(0, over, "query", fontsize=SMALL, va="center")
    _picture(page, 0, under, pictures[query["frame"]])
    matches = f"{query['matches']} match{'es' * int(query['matches'] > 1)}"
    _below(page, 0, under, [f"camera {query['camid']}", matches])
    for side, (run, value) in enumerate(zip(runs, values)):
        left = STEP + APART + side * (TOP * STEP + APART)
        page.text(left, over, f"{run.model}: AP {100 * value:.1f} %", fontsize=SMALL, va="center")
        for place, row in enumerate(_found(block, run).itertuples()):
            x = left + place * STEP
            _picture(page, x, under, pictures[row.frame], row.right)
            _below(page, x, under, [f"{row.distance:.3f} {RIGHT if row.right else WRONG}", _name(row.pid)])


def _gap(page: Axes, left: float, top: float, runs: tuple[Run, Run], block: pd.DataFrame, pictures: Mapping) -> None:
    shown = block.drop_duplicates("role").set_index("role")
    page.text(left, top + 0.5 * LINE, f"Person {block['pid'].iloc[0]}", fontsize=SMALL, weight="bold", va="center")
    under = top + 2.4 * LINE
    lines = {role: [f"camera {row.camid}"] for role, row in shown.iterrows()}
    lines["gap"] = [""]
    for run, near, far in _ends(runs, block):
        lines["anchor"].append(run.model)
        lines["nearest"].append(f"{near:.3f}")
        lines["farthest"].append(f"{far:.3f}")
        lines["gap"].append(plain(far - near, 3))
    for place, (role, below) in enumerate(lines.items()):
        x = left + place * STEP
        page.text(x, top + 1.65 * LINE, role, fontsize=SMALL, va="center")
        _below(page, x, under, below)
        if role in shown.index:
            _picture(page, x, under, pictures[shown.loc[role, "frame"]])


def _picture(page: Axes, x: float, y: float, picture: np.ndarray, right: bool | None = None) -> None:
    """A frame, and around it whether it is right: by colour and line, and by a badge."""
    page.imshow(picture, extent=(x, x + FRAME, y + 2 * FRAME, y), interpolation="none", aspect="auto")
    if right is not None:
        look = {"edgecolor": BLUE, "linestyle": "-"} if right else {"edgecolor": ORANGE, "linestyle": (0, (3, 1.6))}
        page.add_patch(Rectangle((x, y), FRAME, 2 * FRAME, fill=False, linewidth=1.8, zorder=3, **look))
        _badge(page, x + FRAME - 0.1, y + 0.1, right)


def _badge(page: Axes, x: float, y: float, right: bool) -> None:
    shape, colour = ("o", BLUE) if right else ("s", ORANGE)
    page.plot(x, y, shape, color=colour, markersize=10, markeredgecolor="white", markeredgewidth=0.6, zorder=4)
    mark = RIGHT if right else WRONG
    page.text(x, y, mark, color="white", fontsize=7, weight="bold", ha="center", va="center", zorder=5)


def _below(page: Axes, x: float, y: float, lines: Sequence[str]) -> None:
    for place, line in enumerate(lines):
        page.text(x, y + 2 * FRAME + (0.75 + place) * LINE, line, fontsize=TINY, va="center", color=INK)
