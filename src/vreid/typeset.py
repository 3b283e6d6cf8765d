"""How a table is shown: labels, groups of columns, cells and notes, and from these Markdown and LaTeX.

Our numbers and the published ones never share a group, and every group's title says what was measured.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from tabulate import tabulate

from vreid.files import written_whole
from vreid.published import UNCHECKED

BLANK = "—"
WIDE = 9  # columns; a table of more is made to fit the page
MARK = "†"  # of a published value that was not checked against its source
BOLD_RULE = (
    "Bold marks the best mean of a column if its lead over the next best exceeds the sum of their standard "
    "deviations, both over two seeds or more. The noise of queries is not in that; it is in the ledger of claims."
)
NAMES = {
    "mars": "MARS",
    "duke": "DukeMTMC-VID",
}  # the datasets of the published values, as the paper writes them


@dataclass(frozen=True)
class Cell:
    """One number as shown. `run` = (model, train, test) on our own numbers only."""

    text: str
    std: str = ""
    best: bool = False
    run: tuple[str, str, str] | None = None


@dataclass(frozen=True)
class Group:
    """Neighbouring columns of one origin: measured by us on one dataset pair, or published."""

    title: str
    ours: bool
    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]  # in the order of `labels`


def in_supplement(number: str | int) -> bool:
    """Whether the table or figure of this number is one of the supplement's: S1, S2, …"""
    return str(number).startswith("S")


@dataclass(frozen=True)
class Shown:
    """A table as it is shown, whatever it is of."""

    number: int | str
    title: str
    head: str  # what its rows are
    labels: list[str]  # of the rows, top to bottom
    groups: list[Group]
    notes: list[str]


def shown(spec: Mapping[str, Any], frame: pd.DataFrame) -> Shown:
    """A table of scores, from a frame made by `tables.tabulate`."""
    return Shown(spec["number"], spec["title"], "Model", labels(frame), groups(spec, frame), notes(spec, frame))


def write(table: Shown, frame: pd.DataFrame, out_stem: str | Path) -> None:
    """Write `out_stem`.csv, which is the frame, and .md and .tex, which are the table."""
    texts = {".csv": frame.to_csv(index=False), ".md": markdown(table), ".tex": latex(table)}
    for suffix, text in texts.items():
        with written_whole(f"{out_stem}{suffix}") as aside:
            aside.write_text(text)


def labels(frame: pd.DataFrame) -> list[str]:
    """The rows' labels, top to bottom, of a frame made by `tables.tabulate`."""
    return frame.drop_duplicates("model").label.to_list()


def groups(spec: Mapping[str, Any], frame: pd.DataFrame) -> list[Group]:
    """The column groups, left to right: for each dataset pair ours, then the published values beside it."""
    metrics, models, found = tuple(spec["metrics"]), list(dict.fromkeys(frame.model)), []
    for _, part in columns(frame):
        first = part.iloc[0]
        title = f"{pair(first.column_train, first.column_test)}, {'rendered' if first.rendered else 'measured here'}"
        title += f", {first.protocol}" * several_protocols(frame)
        best = {metric: leader(part, metric) for metric in metrics}
        seconds = ("feature length", "training, s") if "seconds_mean" in frame else ()
        lost = (f"decline of {spec['decline']}",) if "decline" in spec and first.train != first.test else ()
        ours = {row.model: _measured(row, metrics, best) for row in part.itertuples(index=False)}
        found.append(_group(title, True, ("seeds", *metrics, *lost, *seconds), ours, models))
        if first.published_test:
            where = pair(*(NAMES.get(name, name) for name in (first.published_train, first.published_test)))
            differ = len(set(part.published_protocol) - {""}) > 1
            rows = {row["model"]: _printed(row, metrics, differ) for row in part.to_dict("records")}
            found.append(_group(f"published ({where})", False, (*metrics, *["protocol"] * differ), rows, models))
    if "GMAC" in frame:
        once = frame.drop_duplicates("model")
        shown = {
            row.model: (f"{row.parameters:.2f}", f"{row.frames:.0f}", f"{row.GMAC:.2f}") for row in once.itertuples()
        }
        costs = {model: tuple(map(Cell, texts)) for model, texts in shown.items()}
        found.append(_group(cost_title(frame), True, ("parameters, M", "frames a clip", "GMAC a clip"), costs, models))
    return found


def columns(frame: pd.DataFrame):
    """The rows of each of a table's columns."""
    return frame.groupby(["column_train", "column_test", "protocol"], sort=False)


def several_protocols(frame: pd.DataFrame) -> bool:
    """Whether the same models are shown under several protocols."""
    return bool(frame.duplicated(["model", "column_train", "column_test"]).any())


def _group(title: str, ours: bool, heads: tuple[str, ...], rows: Mapping[str, tuple[Cell, ...]], models) -> Group:
    """A row for each of the models, blank where the column has none."""
    blank = tuple(Cell(BLANK) for _ in heads)
    return Group(title, ours, heads, tuple(rows.get(model, blank) for model in models))


def leader(part: pd.DataFrame, metric: str) -> str | None:
    """The model whose mean leads its column clearly enough to be bold (BOLD_RULE), if any."""
    ranked = part.sort_values(f"{metric}_mean", ascending=False).head(2)
    if len(ranked) < 2 or ranked.num_seeds.min() < 2:
        return None
    lead = ranked[f"{metric}_mean"].iloc[0] - ranked[f"{metric}_mean"].iloc[1]
    return ranked.model.iloc[0] if lead > ranked[f"{metric}_std"].sum() else None


def notes(spec: Mapping[str, Any], frame: pd.DataFrame) -> list[str]:
    """What a reader must know to read the table; every fact in it is taken from the frame."""
    said = []
    for _, part in columns(frame):
        said.append(how_measured(part, f"protocol {part.protocol.iloc[0]}, "))
        for row in part[(part.train != part.column_train) | (part.test != part.column_test)].itertuples():
            said.append(f"{row.label} is trained and tested on {pair(row.train, row.test)}.")
        said += above_the_floor(spec, part)
    said += [f"{row['label']}: {row['note']}" for row in spec["rows"] if "note" in row]
    if "decline" in spec:
        said.append(
            f"Decline: the share of {spec['decline']} that is lost against the test on a model's own data, in percent."
        )
    if "GMAC" in frame:
        said.append(f"{cost_title(frame)}: counted, not timed; a GMAC is 10⁹ multiply-adds of one test clip.")
    if sources := published_sources(frame):
        said.append(f"Published: from {'; '.join(sources)}; {BLANK} where not printed or not legible.")
        if frame.published_unchecked.any():
            said.append(f"{MARK} recollected, and not checked against the source.")
    return [*said, BOLD_RULE]


def how_measured(part: pd.DataFrame, protocol: str = "") -> str:
    """What holds for all of a table's numbers of ours in one column."""
    first = part.iloc[0]
    spread = "mean ± sample standard deviation over the seeds" if part.num_seeds.max() > 1 else "one seed, so no spread"
    kind = "pictures drawn from attributes, which favours who learns these" if first.rendered else "measured here"
    return (
        f"{pair(first.column_train, first.column_test)} ({kind}): {spread}, in percent; {protocol}{recipes(part)}, "
        f"seeds {listed(part.seeds)}."
    )


def published_sources(frame: pd.DataFrame) -> list[str]:
    """Where published values stand; a source that not every row with such values has is followed by its rows."""
    rows = frame[frame.published_source != ""].drop_duplicates(["label", "published_source"])
    whose: dict[str, list[str]] = {}
    for label, sources in zip(rows.label, rows.published_source):
        for source in sources.split("; "):
            whose.setdefault(source.removesuffix(UNCHECKED), []).append(label)
    everyone = set(rows.label)
    return [s if set(whose[s]) == everyone else f"{s} ({', '.join(dict.fromkeys(whose[s]))})" for s in sorted(whose)]


def above_the_floor(spec: Mapping[str, Any], part: pd.DataFrame) -> list[str]:
    """By how much the rows of a column lie above the one that `floor` names: each must, or is named."""
    floor = part[part.model == spec.get("floor")]
    if floor.empty:
        return []
    lead = part[part.model != spec["floor"]].set_index("label").mAP_mean - floor.mAP_mean.item()
    where = pair(floor.column_train.item(), floor.column_test.item())
    if (lead > 0).all():
        return [f"On {where} every row lies {lead.min():.1f} points of mAP or more above {floor.label.item()!r}."]
    return [f"On {where} no better than {floor.label.item()!r}: {', '.join(lead.index[lead <= 0])}."]


def recipes(part: pd.DataFrame) -> str:
    """ "recipe paper", or that of most rows, and the others with their rows."""
    rows = part.groupby("recipe", sort=False).label.agg(list).sort_values(key=lambda rows: -rows.str.len())
    others = [f"{recipe} for {', '.join(labels)}" for recipe, labels in rows.iloc[1:].items()]
    return "; but ".join([f"recipe {rows.index[0]}", *others])


def cost_title(frame: pd.DataFrame) -> str:
    """What parameters and multiply-adds are counted with, such as "cost with ResNet-50 at 256×128"."""
    return f"cost with {' or '.join(dict.fromkeys(frame.scale))}"


def pair(train: str, test: str) -> str:
    return test if train == test else f"{train} → {test}"


def listed(texts: pd.Series) -> str:
    """Distinct seed lists: "0, 1, 2", or "0, 1, 2 or 0" where rows differ."""
    return " or ".join(dict.fromkeys(text.replace(" ", ", ") for text in texts))


def markdown(shown: Shown) -> str:
    heads = [shown.head, *(f"{head} {group.title}" for group in shown.groups for head in group.heads)]
    lines = []
    for index, label in enumerate(shown.labels):
        lines.append([label, *(_in_markdown(cell) for group in shown.groups for cell in group.rows[index])])
    cells = [[_escape_markdown(text) for text in line] for line in lines]
    align = ["left", *["right"] * (len(heads) - 1)]
    table = tabulate(cells, map(_escape_markdown, heads), "pipe", colalign=align, disable_numparse=True)
    said = "\n".join(f"- {_escape_markdown(note)}" for note in shown.notes)
    return f"**Table {shown.number}. {_escape_markdown(shown.title)}**\n\n{table}\n\n{said}\n"


def latex(shown: Shown) -> str:
    """A `table` environment, made to fit the page where it is wide; its notes stand below it."""
    titles, rules, start = [""], [], 2
    for group in shown.groups:
        end = start + len(group.heads) - 1
        titles.append(rf"\multicolumn{{{len(group.heads)}}}{{c}}{{{_escape_latex(group.title)}}}")
        rules.append(rf"\cmidrule(lr){{{start}-{end}}}")
        start = end + 1
    body = [
        [_escape_latex(label), *(_in_latex(cell) for group in shown.groups for cell in group.rows[index])]
        for index, label in enumerate(shown.labels)
    ]
    heads = [shown.head, *(_escape_latex(head) for group in shown.groups for head in group.heads)]
    wide = start - 1 > WIDE
    return "\n".join(
        [
            rf"% needs \usepackage{{booktabs{',graphicx' * wide}}}",
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_escape_latex(shown.title)}.}}",
            rf"\label{{tab:table{shown.number}}}",
            *[r"\resizebox{\textwidth}{!}{%"] * wide,
            rf"\begin{{tabular}}{{l{''.join(' ' + 'r' * len(group.heads) for group in shown.groups)}}}",
            r"\toprule",
            " & ".join(titles) + r" \\",
            " ".join(rules),
            " & ".join(heads) + r" \\",
            r"\midrule",
            *(" & ".join(line) + r" \\" for line in body),
            r"\bottomrule",
            r"\end{tabular}",
            *["}"] * wide,
            r"\par\smallskip",
            rf"\parbox{{\textwidth}}{{\footnotesize {_escape_latex(' '.join(shown.notes))}}}",
            r"\end{table}",
            "",
        ]
    )


def _measured(row: Any, metrics: tuple[str, ...], best: Mapping[str, str | None]) -> tuple[Cell, ...]:
    run = (row.model, row.train, row.test)
    cells = [Cell(str(row.num_seeds), run=run)]
    for metric in metrics:
        cells.append(averaged(row, metric, run, best=best[metric] == row.model))
    if hasattr(row, "decline_mean") and row.train != row.test:
        cells.append(averaged(row, "decline", run))
    if hasattr(row, "seconds_mean"):
        cells += [Cell(f"{row.length:.0f}", run=run), Cell(f"{row.seconds_mean:.0f}", run=run)]
    return tuple(cells)


def _printed(row: Mapping[str, Any], metrics: tuple[str, ...], protocol: bool) -> tuple[Cell, ...]:
    marks = {metric: MARK for metric in row["published_unchecked"].split()}
    values = [(row[f"{metric}_published"], marks.get(metric, "")) for metric in metrics]
    cells = [Cell(f"{value}{mark}" if value else BLANK) for value, mark in values]
    return (*cells, *[Cell(row["published_protocol"] or BLANK)] * protocol)


def averaged(row: Any, name: str, run: tuple[str, str, str], digits: int = 1, best: bool = False) -> Cell:
    """The mean `name`_mean of a frame's row and its deviation `name`_std, blank where they are NaN."""
    mean, std = getattr(row, f"{name}_mean"), getattr(row, f"{name}_std")
    if pd.isna(mean):
        return Cell(BLANK)
    return Cell(f"{mean:.{digits}f}", "" if pd.isna(std) else f"{std:.{digits}f}", best, run)


def _in_markdown(cell: Cell) -> str:
    text = f"{cell.text} ± {cell.std}" if cell.std else cell.text
    return f"**{text}**" if cell.best else text


def _in_latex(cell: Cell) -> str:
    text = _escape_latex(f"{cell.text} ± {cell.std}" if cell.std else cell.text)
    return rf"\textbf{{{text}}}" if cell.best else text


def _escape_markdown(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", r"\|")


def _escape_latex(text: str) -> str:
    special = {c: rf"\{c}" for c in "&%$#_{}"} | {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "±": r"$\pm$",
        "→": r"$\rightarrow$",
        "—": "---",
        "×": r"$\times$",
        "⁹": r"\textsuperscript{9}",
        "†": r"$\dagger$",
    }
    return "".join(special.get(character, character) for character in text)
