"""How a table is shown: groups of columns, cells and notes, and from these Markdown and LaTeX.

Our numbers and the published ones never share a group, and every group's title says what was measured.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from tabulate import tabulate

BLANK = "—"
COST = "cost with ResNet-50 at 256×128"
BOLD_RULE = (
    "Bold marks the best mean of a column if its lead over the next best exceeds the sum of their standard "
    "deviations, both over two seeds or more."
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
        seconds = ("s a training",) if "seconds_mean" in frame else ()
        lost = (f"decline of {spec['decline']}",) if "decline" in spec and first.train != first.test else ()
        ours = {row.model: _measured(row, metrics, best) for row in part.itertuples(index=False)}
        found.append(_group(title, True, ("seeds", *metrics, *lost, *seconds), ours, models))
        if first.published_test:
            where = pair(*(NAMES.get(name, name) for name in (first.published_train, first.published_test)))
            shown = [f"{metric}_published" for metric in metrics]
            differ = len(set(part.published_protocol) - {""}) > 1
            heads, shown = (*metrics, *["protocol"] * differ), [*shown, *["published_protocol"] * differ]
            values = part.set_index("model")[shown].replace("", BLANK)
            rows = {model: tuple(Cell(value) for value in row) for model, *row in values.itertuples()}
            found.append(_group(f"published ({where})", False, heads, rows, models))
    if "GMAC" in frame:
        once = frame.drop_duplicates("model")
        costs = {row.model: (Cell(f"{row.parameters:.2f}"), Cell(f"{row.GMAC:.2f}")) for row in once.itertuples()}
        found.append(_group(COST, True, ("parameters, M", "GMAC a clip"), costs, models))
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
        first = part.iloc[0]
        spread = (
            "mean ± sample standard deviation over the seeds" if part.num_seeds.max() > 1 else "one seed, so no spread"
        )
        kind = "rendered pictures" if first.rendered else "measured here"
        said.append(
            f"{pair(first.column_train, first.column_test)} ({kind}): {spread}, in percent; protocol {first.protocol}, "
            f"{recipes(part)}, seeds {listed(part.seeds)}."
        )
        for row in part[(part.train != part.column_train) | (part.test != part.column_test)].itertuples():
            said.append(f"{row.label} is trained and tested on {pair(row.train, row.test)}.")
        said += above_the_floor(spec, part)
    said += [f"{row['label']}: {row['note']}" for row in spec["rows"] if "note" in row]
    if "decline" in spec:
        said.append(
            f"Decline: the share of {spec['decline']} that is lost against the test on a model's own data, in percent."
        )
    if "GMAC" in frame:
        said.append(f"{COST}: counted, not timed; a GMAC is 10⁹ multiply-adds of one test clip.")
    if sources := sorted({source for text in frame.published_source for source in text.split("; ") if source}):
        said.append(f"Published: as printed in {'; '.join(sources)}; {BLANK} where not printed or not legible.")
    return [*said, BOLD_RULE]


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


def pair(train: str, test: str) -> str:
    return test if train == test else f"{train} → {test}"


def listed(texts: pd.Series) -> str:
    """Distinct seed lists: "0, 1, 2", or "0, 1, 2 or 0" where rows differ."""
    return " or ".join(dict.fromkeys(text.replace(" ", ", ") for text in texts))


def markdown(spec: Mapping[str, Any], frame: pd.DataFrame) -> str:
    across = groups(spec, frame)
    heads = ["Model", *(f"{head} {group.title}" for group in across for head in group.heads)]
    lines = []
    for index, label in enumerate(labels(frame)):
        lines.append([label, *(_in_markdown(cell) for group in across for cell in group.rows[index])])
    cells = [[_escape_markdown(text) for text in line] for line in lines]
    align = ["left", *["right"] * (len(heads) - 1)]
    table = tabulate(cells, map(_escape_markdown, heads), "pipe", colalign=align, disable_numparse=True)
    said = "\n".join(f"- {_escape_markdown(note)}" for note in notes(spec, frame))
    return f"**Table {spec['number']}. {_escape_markdown(spec['title'])}**\n\n{table}\n\n{said}\n"


def latex(spec: Mapping[str, Any], frame: pd.DataFrame) -> str:
    """A `table` environment; needs \\usepackage{booktabs}."""
    across = groups(spec, frame)
    titles, rules, start = [""], [], 2
    for group in across:
        end = start + len(group.heads) - 1
        titles.append(rf"\multicolumn{{{len(group.heads)}}}{{c}}{{{_escape_latex(group.title)}}}")
        rules.append(rf"\cmidrule(lr){{{start}-{end}}}")
        start = end + 1
    body = [
        [_escape_latex(label), *(_in_latex(cell) for group in across for cell in group.rows[index])]
        for index, label in enumerate(labels(frame))
    ]
    heads = ["Model", *(_escape_latex(head) for group in across for head in group.heads)]
    return "\n".join(
        [
            r"% needs \usepackage{booktabs}",
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_escape_latex(spec['title'])}. {_escape_latex(' '.join(notes(spec, frame)))}}}",
            rf"\label{{tab:table{spec['number']}}}",
            rf"\begin{{tabular}}{{l{''.join(' ' + 'r' * len(group.heads) for group in across)}}}",
            r"\toprule",
            " & ".join(titles) + r" \\",
            " ".join(rules),
            " & ".join(heads) + r" \\",
            r"\midrule",
            *(" & ".join(line) + r" \\" for line in body),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _measured(row: Any, metrics: tuple[str, ...], best: Mapping[str, str | None]) -> tuple[Cell, ...]:
    run = (row.model, row.train, row.test)
    cells = [Cell(str(row.num_seeds), run=run)]
    for metric in metrics:
        mean, std = getattr(row, f"{metric}_mean"), getattr(row, f"{metric}_std")
        spread = "" if pd.isna(std) else f"{std:.1f}"
        cells.append(Cell(f"{mean:.1f}", spread, best[metric] == row.model, run))
    if hasattr(row, "decline_mean") and row.train != row.test:
        spread = "" if pd.isna(row.decline_std) else f"{row.decline_std:.1f}"
        cells.append(Cell(f"{row.decline_mean:.1f}", spread, run=run))
    if hasattr(row, "seconds_mean"):
        cells.append(Cell(f"{row.seconds_mean:.0f}", run=run))
    return tuple(cells)


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
    }
    return "".join(special.get(character, character) for character in text)
