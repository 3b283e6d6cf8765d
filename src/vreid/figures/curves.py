"""Fig. 7: DVDP and mAP in the course of training, with and without AITL."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from vreid.errors import InputError
from vreid.figures.drawing import BLUE, ORANGE, STYLE, Said, cell, save, signed
from vreid.results import Training, read_trainings

Spec = Mapping[str, Any]

# The dashes tell the lines apart without colour.
LINES = {
    "without": {"color": ORANGE, "linestyle": (0, (4, 1.5))},
    "with": {"color": BLUE, "linestyle": "-"},
}
EXPLANATION = (
    "DVDP is how much farther from a clip its farthest clip of the same person lies than its nearest (Eq.\u00a01). "
    "AITL is meant to reduce it. What draws all clips together lowers it as well; the second row therefore shows it in "
    "shares of the mean distance between clips of different people."
)


class Quantity(NamedTuple):
    """What a row of panels draws."""

    name: str
    axis: str
    form: str


QUANTITIES = {
    "dvdp": Quantity("DVDP", "DVDP (cosine distance)", ".4f"),
    "relative": Quantity("DVDP / distance between people", "DVDP / distance\nbetween people", ".3f"),
    "mAP": Quantity("mAP", "mAP (%)", ".1f"),
}


def dvdp_curves(spec: Spec, histories: Iterable[str | Path], out_stem: str | Path) -> None:
    """Write Fig. 7 as `out_stem`.svg, .png, .csv and .json.

    `spec`: {"number": 7, "title": …,
             "pairs": [{"label": "Baseline", "without": "baseline", "with": "aitl"}, …]}.
    `histories`: history.csv files, each beside its train.json; of every model named at least one,
        and of no other.

    Lines are means over the seeds, bands reach from the least to the greatest. DVDP (Eq. 1) is the mean over
    anchors of an epoch, a cosine distance, `relative` is DVDP over the epoch's `spread`; mAP is that of the epoch's
    validation, in percent.
    Raises InputError for a history that is missing, is not of this figure, or has other epochs than the rest.
    """
    frame = curves(spec, read_trainings(histories))
    with matplotlib.rc_context(STYLE):
        save(_draw(spec, frame), spec, frame, said(frame), out_stem)


def curves(spec: Spec, trainings: list[Training]) -> pd.DataFrame:
    """What Fig. 7 draws: a row a pair × side (without, with AITL) × epoch; mean, min, max over seeds."""
    parts = []
    _check_alike(spec, trainings)
    for pair in spec["pairs"]:
        for side in LINES:
            trained = [run for run in trainings if run.model == pair[side]]
            runs = [run.history for run in trained]
            if not runs:
                raise InputError(f"figure {spec['number']}: no history.csv given is of model {pair[side]!r}")
            rows = pd.concat(runs)
            epochs = rows.assign(mAP=100 * rows.mAP, relative=rows.dvdp / rows.spread).groupby("epoch")
            columns = {
                f"{name}_{which}": epochs[name].agg(which) for name in QUANTITIES for which in ("mean", "min", "max")
            }
            part = pd.DataFrame(columns).round(6).reset_index()
            who = {
                "pair": pair.get("label", pair["without"]),
                "side": side,
                "model": pair[side],
                "num_seeds": len(runs),
                "train": trained[0].train,
                "rendered": trained[0].rendered,
                "recipe": trained[0].recipe,
                "validation_clips": trained[0].validation_clips,
            }
            parts.append(pd.DataFrame(who, index=part.index).join(part))
    return pd.concat(parts, ignore_index=True)


def measured_on(frame: pd.DataFrame) -> str:
    """Whose curves these are, so that no copy of the picture can pass for another dataset's."""
    kind = "rendered" if frame.rendered.iloc[0] else "filmed"
    return f"{frame.train.iloc[0]} ({kind}), recipe {' and '.join(frame.recipe.unique())}"


def endings(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Where the curves end, a row a pair and quantity: the means and whether the bands are apart."""
    found = []
    for label, part in frame.groupby("pair", sort=False):
        for name in QUANTITIES:
            last = part.dropna(subset=f"{name}_mean").groupby("side").last()
            mean, low, high = (last[f"{name}_{which}"] for which in ("mean", "min", "max"))
            several = part.num_seeds.min() > 1
            apart = bool(low.max() > high.min()) if several else None
            found.append(
                {
                    "pair": label,
                    "train": part.train.iloc[0],
                    "models": part.groupby("side").model.first().to_dict(),
                    "name": name,
                    "epoch": int(last.epoch.max()),
                    "without": mean["without"],
                    "with": mean["with"],
                    "apart": apart,
                }
            )
    return found


def said(frame: pd.DataFrame) -> Said:
    """What the report says of the curves: whose they are, and where they end."""
    ends = endings(frame)
    seeds = sorted(set(frame.num_seeds))
    clips = int(frame.validation_clips.max())
    alt = ["Curves of DVDP and mAP by epoch, with and without AITL."]
    rows = []
    for end in ends:
        name, _, form = QUANTITIES[end["name"]]
        values = {side: format(end[side], form) for side in LINES}
        alt.append(f"{end['pair']}, epoch {end['epoch']}: {name} {values['without']} without, {values['with']} with.")
        runs = [cell(values[side], (end["models"][side], end["train"]), end[side]) for side in LINES]
        bands = "—" if end["apart"] is None else "apart" if end["apart"] else "overlap"
        rows.append([end["pair"], name, str(end["epoch"]), *runs, signed(end["with"] - end["without"], form), bands])
    heads = ["Model", "quantity", "epoch", "without AITL", "with AITL", "difference", "bands"]
    return Said(
        explanation=EXPLANATION,
        caption=(
            f"Measured on {measured_on(frame)}. Lines are means over {' or '.join(map(str, seeds))} "
            f"seed{'s' * (seeds != [1])}; bands reach from the lowest seed to the highest. DVDP is averaged over the "
            "anchors of an epoch, in training; mAP is that of the validations, on at most "
            f"{clips} clip{'s' * (clips != 1)} of each tracklet (the tables test them all)."
        ),
        alt=" ".join(alt),
        tables=[{"title": "Where the curves end", "heads": heads, "rows": rows}],
    )


def _check_alike(spec: Spec, trainings: list[Training]) -> None:
    named = {pair[side] for pair in spec["pairs"] for side in LINES}
    seen: dict[tuple, Path] = {}
    for run in trainings:
        if run.model not in named:
            raise InputError(f"{run.path}: figure {spec['number']} draws no model {run.model!r}; leave it out")
        if (run.model, run.seed) in seen:
            raise InputError(f"{run.path}: the same run as {seen[run.model, run.seed]}; give one")
        seen[run.model, run.seed] = run.path
        if run.history.mAP.isna().all():
            raise InputError(f"{run.path}: no epoch was validated; set training.validate_every")
        first = trainings[0]
        for what, ours, theirs in (
            ("training dataset", run.train, first.train),
            ("recipe", run.recipe, next(other.recipe for other in trainings if other.model == run.model)),
            ("number of epochs", len(run.history), len(first.history)),
        ):
            if ours != theirs:
                raise InputError(f"{run.path}: the {what} is {ours}, but {theirs} in {first.path}")


def _draw(spec: Spec, frame: pd.DataFrame) -> Figure:
    """One row of panels a quantity, one column a pair."""
    pairs = list(frame.pair.unique())
    figure = Figure(figsize=(3.5 * max(2, len(pairs)), 6.4), layout="constrained")
    panels = figure.subplots(len(QUANTITIES), len(pairs), sharex=True, sharey="row", squeeze=False)
    for column, label in enumerate(pairs):
        for row, (name, quantity) in enumerate(QUANTITIES.items()):
            panel = panels[row][column]
            for side, style in LINES.items():
                line = frame[(frame.pair == label) & (frame.side == side)].dropna(subset=f"{name}_mean")
                panel.plot(line.epoch, line[f"{name}_mean"], label=f"{side} AITL", **style)
                band = line[f"{name}_min"], line[f"{name}_max"]
                panel.fill_between(line.epoch, *band, color=style["color"], alpha=0.18, linewidth=0)
            if column == 0:
                panel.set_ylabel(quantity.axis)
        panels[0][column].set_title(label)
        panels[-1][column].set_xlabel("epoch")
    for row in (0, 1):
        panels[row][0].set_ylim(bottom=0)
    figure.suptitle(measured_on(frame), x=0.01, ha="left", fontsize=8)
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return figure
