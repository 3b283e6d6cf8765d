"""How figures look, and the files of each: the drawing (SVG, PNG), what is drawn (CSV), and what is said of it (JSON).

The report shows any figure from these files alone:

    {"number": "7" or "", "title": …, "explanation": a paragraph above it, "caption": …, "alt": what it shows, in words,
     "tables": [{"title": …, "heads": [text, …], "rows": [[cell, …], …]}]}

A cell is text, or {"text": …, "run": [model, train, test] or [model, train], "sort": number}; a run makes it a link to
the runs behind it. The first cell of a row is its label.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from vreid.files import written_whole

# Orange and blue, which colour-blind readers tell apart.
ORANGE, BLUE = "#d55e00", "#1b7fc4"
INK = "#6f757d"  # a grey legible on white and on near-black; in the SVG it can be restyled as `currentColor`
FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"
STYLE = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "vreid",  # ids that do not change from one drawing to the next
    **dict.fromkeys(["text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"], INK),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid": True,
    "grid.color": INK,
    "grid.linewidth": 0.5,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
}


@dataclass(frozen=True)
class Said:
    """What is said of a figure, beside its number and title."""

    caption: str
    alt: str  # what the picture shows, for those who do not see it
    explanation: str = ""
    tables: Sequence[Mapping[str, Any]] = field(default=())


def cell(text: str, run: Sequence[str] = (), sort: float | None = None) -> dict[str, Any]:
    """A cell of a table that stands beside a figure; see the module's text."""
    return {"text": text, "run": list(run), "sort": sort}


def signed(value: float, form: str) -> str:
    """A difference with its sign, and with a real minus."""
    return format(value, f"+{form}").replace("-", "−")


def save(figure: Figure, spec: Mapping[str, Any], frame: pd.DataFrame, said: Said, stem: str | Path) -> None:
    """Write `stem`.svg, .png, .csv (`frame`, what is drawn) and .json; the figure is made under STYLE."""
    with (
        written_whole(f"{stem}.svg") as svg,
        written_whole(f"{stem}.png") as png,
        written_whole(f"{stem}.csv") as csv,
        written_whole(f"{stem}.json") as words,
    ):
        figure.savefig(png, dpi=200, facecolor="white", metadata={"Software": None})
        blank = dict.fromkeys(["Creator", "Date", "Format", "Type"])
        figure.savefig(svg, transparent=True, metadata={"Title": spec["title"], **blank})
        svg.write_text(_restylable(svg.read_text()))
        frame.to_csv(csv, index=False)
        named = {"number": str(spec.get("number", "")), "title": spec["title"]}
        words.write_text(json.dumps(named | dataclasses.asdict(said), indent=1, ensure_ascii=False) + "\n")


def _restylable(svg: str) -> str:
    """The same picture whose ink follows the CSS `color` around it, in the reader's own fonts."""
    svg = svg.replace(INK, "currentColor").replace("'DejaVu Sans'", FONTS)
    return svg.replace("<svg ", f'<svg color="{INK}" ', 1)
