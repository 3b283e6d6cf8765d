"""Fig. 8: mAP over the multiply-adds of a clip and of a whole tracklet, ours and those that the paper printed."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

from vreid.errors import InputError
from vreid.figures.drawing import STYLE, Said, cell, save
from vreid.published import read_published
from vreid.results import mean_and_std, read_cost, read_results

Spec = Mapping[str, Any]

COLOURS = ("#d55e00", "#1b7fc4", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#6f757d", "#7b5cd6")
MARKERS = "oDsv^<>P"  # shapes tell models apart without colour
PANELS = {
    "clip": ("a clip, measured here", "GMAC of a clip"),
    "tracklet": ("a whole tracklet, measured here", "GMAC of a tracklet"),
    "published": ("a clip, published (MARS)", "GMAC of a clip"),
}
EXPLANATION = (
    "What a better mAP costs. Methods test tracklets by rules of their own, some by all frames and some by a few, so a "
    "clip says only half of it."
)
TIE = 1.01  # costs that differ by less are as good as equal


def cost_figure(
    spec: Spec,
    metrics: Iterable[str | Path],
    costs: Iterable[str | Path],
    published: str | Path,
    out_stem: str | Path,
) -> None:
    """Write Fig. 8 as `out_stem`.svg, .png, .csv and .json.

    `spec`: {"number": 8, "title": …, "train": …, "test": …,
             "rows": [{"model": …, "label": …, "published": the row's name in the CSV, if it has one}, …]}.
    Raises InputError for a model without scores or costs.
    """
    frame = points(spec, metrics, costs, published)
    with matplotlib.rc_context(STYLE):
        save(_draw(spec, frame), spec, frame, said(spec, frame), out_stem)


def points(spec: Spec, metrics: Iterable, costs: Iterable, published: str | Path) -> pd.DataFrame:
    """A row a point: `panel` (clip, tracklet, published), model, GMAC, and mAP in percent with its deviation."""
    known = {cost["model"]: cost for cost in map(read_cost, costs)}
    printed = read_published(published).value
    results = [run for run in read_results(metrics) if (run.train, run.test) == (spec["train"], spec["test"])]
    models = [entry["model"] for entry in spec["rows"]]
    shared = set.intersection(*({run.seed for run in results if run.model == model} for model in models))
    rows = []
    for entry in spec["rows"]:
        who = (entry["model"], spec["train"], spec["test"])
        own = [run for run in results if run.model == entry["model"]]
        runs = [run for run in own if run.seed in shared] or own  # those of all, so that all are of the same draws
        if not runs or entry["model"] not in known:
            lacking = "metrics.json" if not runs else "cost"
            raise InputError(f"figure {spec['number']}: no {lacking} given is of {who}; make it, or take the row out")
        mean, std = mean_and_std(100 * run.scores["mAP"] for run in runs)
        about = {"label": entry["label"], "model": entry["model"], "frames": known[entry["model"]]["clip_frames"]}
        about |= {key: known[entry["model"]][key] for key in ("scale", "tracklet_frames")}
        own = {"mAP": round(mean, 6), "std": round(std, 6), "num_seeds": len(runs), "rendered": runs[0].rendered}
        own["protocol"] = runs[0].headline
        for panel in ("clip", "tracklet"):
            rows.append({"panel": panel, **about, "GMAC": round(known[entry["model"]][f"{panel}_gmac"], 4), **own})
        key = ("fig8", entry.get("published", ""), "mars", "mars")
        if (*key, "mAP") in printed and (*key, "GMAC") in printed:
            values = {name: float(printed[(*key, name)]) for name in ("GMAC", "mAP")}
            rows.append({"panel": "published", **about, **values, "num_seeds": 0, "rendered": False})
    return pd.DataFrame(rows)


def said(spec: Spec, frame: pd.DataFrame) -> Said:
    own, tracklet, printed = (frame[frame.panel == panel].set_index("model") for panel in PANELS)
    kind = "rendered" if own.rendered.any() else "filmed"
    rows = []
    for model, row in own.iterrows():
        run = (model, spec["train"], spec["test"])
        mAP = f"{row.mAP:.1f}" + ("" if pd.isna(row["std"]) else f" ± {row['std']:.1f}")
        there = [f"{printed.loc[model, name]:.1f}" if model in printed.index else "—" for name in ("GMAC", "mAP")]
        costs = [cell(f"{part.loc[model, 'GMAC']:.2f}", (), part.loc[model, "GMAC"]) for part in (own, tracklet)]
        rows.append([row.label, str(row.frames), *costs, cell(mAP, run, row.mAP), str(row.num_seeds), *there])
    heads = ["Model", "T", "GMAC a clip", "GMAC a tracklet", "mAP", "seeds", "published GMAC", "published mAP"]
    both = printed.GMAC / own.GMAC.reindex(printed.index)
    hand = f" Printed counts are {both.min():.2f} to {both.max():.2f} times ours." if len(both) else ""
    single = f" One seed: {', '.join(own.label[own.num_seeds == 1])}." if (own.num_seeds == 1).any() else ""
    alt = [f"mAP over multiply-adds of {len(own)} models, measured on {spec['test']} ({kind})."]
    alt += [f"{row.label}: {row.GMAC:.1f} GMAC, mAP {row.mAP:.1f}." for row in own.itertuples()]
    return Said(
        explanation=EXPLANATION + hand,
        caption=(
            f"Filled: measured on {spec['test']} ({kind}), protocol {own.protocol.iloc[0]}, mean over the seeds with "
            "their sample standard deviation. Hollow: as the paper printed it, on MARS, which is another scale and "
            "therefore a panel of its own. Multiply-adds are counted with torch’s FlopCounterMode, halved, with "
            f"{' or '.join(dict.fromkeys(own.scale))}, whatever trunk the mAP is of; those of a tracklet by each "
            f"method’s own test rule, of {own.tracklet_frames.iloc[0]} frames. "
            f"A clip costs least by {_cheapest(own)}, a whole tracklet by {_cheapest(tracklet)}.{single}"
        ),
        alt=" ".join(alt),
        tables=[{"title": "The points", "heads": heads, "rows": rows}],
    )


def _cheapest(part: pd.DataFrame) -> str:
    return " and ".join(part.label[TIE * part.GMAC.min() >= part.GMAC])


def _draw(spec: Spec, frame: pd.DataFrame) -> Figure:
    figure = Figure(figsize=(10.5, 3.9), layout="constrained")
    panels = dict(zip(PANELS, figure.subplots(1, 3)))
    labels = list(frame.label.unique())
    for name, (title, axis) in PANELS.items():
        panel, part = panels[name], frame[frame.panel == name]
        for row in part.itertuples():
            index = labels.index(row.label)
            colour = COLOURS[index % len(COLOURS)]
            face = "none" if name == "published" else colour
            look = {"marker": MARKERS[index % len(MARKERS)], "color": colour, "markerfacecolor": face}
            spread = 0 if pd.isna(row.std) else row.std
            panel.errorbar(row.GMAC, row.mAP, spread, linestyle="", markersize=7, elinewidth=1.2, **look)
        panel.set(title=title, xlabel=axis, xscale="log")
        _ticks(panel, part.GMAC)
    panels["clip"].set_ylabel(f"mAP on {spec['test']} (%)")
    panels["published"].set_ylabel("mAP on MARS (%)")
    handles = [
        matplotlib.lines.Line2D([], [], linestyle="", marker=MARKERS[i % len(MARKERS)], color=COLOURS[i % len(COLOURS)])
        for i in range(len(labels))
    ]
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


def _ticks(panel: Any, values: pd.Series) -> None:
    """A few round numbers on a logarithmic axis that spans less than two decades."""
    if values.empty:
        return
    low, high = values.min() / 1.25, values.max() * 1.25
    round_ones = [base * 10**power for power in range(5) for base in (1, 1.5, 2, 3, 4, 6)]
    panel.set_xlim(low, high)
    panel.xaxis.set_major_locator(FixedLocator([tick for tick in round_ones if low <= tick <= high]))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_major_formatter(ScalarFormatter())
