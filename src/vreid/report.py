"""The report: one HTML file that needs no network, in which every number of ours leads to its runs.

`build` takes a manifest, plain data that names the files to show:

    {"title": …,
     "tables": [{"spec": {…}, "stem": "results/tables/table1"}],
     "usage": {"spec": {…}, "stem": "results/tables/cost"},
     "figures": ["results/figures/fig7"],
     "datasets": [{"name": …, "rendered": true, "index": "….csv.gz", "contact_sheet": "….png"}],
     "claims": "results/claims.csv",
     "metrics": ["…/metrics.json"],
     "trainings": ["…/train.json"],
     "completions": [{"name": …, "from": …, "picture": "….png", "occlusion": "….json", "completion": "….json",
                      "regions": "….json", "dataset": "….json"}]}

A spec is what the table was made from (`tables.make`, `recognition.make`, `usage.make`); its "reference" is the model
that the others are compared with, if set. A figure is the stem of its files (`figures.drawing`). `title`, `usage`,
`claims`, `trainings` and `completions` can be left out; the trainings count in the cost and need not have been tested,
and the completions are datasets with completed frames.
"""

import base64
import io
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import pandas as pd
from PIL import Image

from vreid import claims, recognition, tables, typeset, usage
from vreid.data.tracklets import SPLITS, read_tracklets
from vreid.errors import InputError
from vreid.files import written_whole
from vreid.results import Result, machine, mean_and_std, read_json, read_provenance, read_results

PROTOCOLS = {
    "queries-removed": "No query is in the gallery. AP is the mean precision at the ranks of the matches.",
    "queries-in-gallery": "The other queries stay in the gallery. AP is the mean precision at the matches.",
    "mars-script": "MARS’s own script: the other queries stay in the gallery, and AP is trapezoidal.",
}
SAID = ("number", "title", "explanation", "caption", "alt", "tables")
NEEDED_OF_COMPLETIONS = {
    "completion": ("held_out", "held_out_frames", "training_frames", "seconds", "parameters"),
    "regions": ("regions", "tau", "why", "share_found_occluded"),
    "dataset": ("frames", "regions"),
}
# Inside an <img> a drawing sees nothing of the page's style, only the reader's preference.
INK = "<style>:root{color:#3b3e44}@media screen and (prefers-color-scheme:dark){:root{color:#c4c1b9}}</style>"


def build(manifest: Mapping[str, Any], out: str | Path) -> None:
    """Write the report to `out`; the files it shows are linked to relative to it.

    Raises InputError for a file that is missing or torn, and for a number without its runs among `metrics`.
    """
    out = Path(out)
    results = read_results(manifest["metrics"])
    trainings = [read_provenance(path) for path in manifest.get("trainings", [])]
    groups = run_groups(results)
    rows = [row for entry in manifest["tables"] for row in entry["spec"]["rows"]]
    labels = {row["model"]: row.get("label", row["model"]) for row in reversed(rows)}  # the first table's
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["link"] = lambda path: quote(os.path.relpath(path, out.parent))
    anchors = {who: group["anchor"] for group in reversed(groups) for who in (group["who"], group["who"][:2])}
    environment.globals["anchor"] = lambda run: anchors.get(tuple(run), "untested")
    environment.filters |= {"duration": duration, "machine": machine, "commit": commit}
    shown = [table_section(entry, results) for entry in manifest["tables"]]
    page = environment.get_template("report.html.j2").render(
        title=manifest.get("title", "Video person re-identification"),
        labels=labels,
        shown=[name for name in ("R1", "R5", "R10", "R20", "mAP") if all(name in r.scores for r in results)],
        results=results,
        tested=tested(results),
        tables=shown,
        protocols_repeated=any(table["several_protocols"] for table in shown),
        figures=[figure_section(stem) for stem in manifest["figures"]],
        claims=claims_section(manifest["claims"]) if "claims" in manifest else None,
        bold_rule=typeset.BOLD_RULE,
        protocols=protocol_rows(groups),
        explained=PROTOCOLS,
        datasets=[dataset_section(entry) for entry in manifest["datasets"]],
        completions=[completion_section(entry) for entry in manifest.get("completions", [])],
        groups=groups,
        anchors=anchors,
        untested=[run for run in trainings if trained(run) not in {trained(r.provenance) for r in results}],
        cost=cost(results, trainings),
        usage=usage_section(manifest["usage"]) if "usage" in manifest else None,
    )
    with written_whole(out) as aside:
        aside.write_text(page)


def tested(results: Iterable[Result]) -> dict[bool, list[str]]:
    """Whether rendered → the datasets that were tested on."""
    found: dict[bool, list[str]] = {}
    for test, rendered in dict.fromkeys((result.test, result.rendered) for result in results):
        found.setdefault(rendered, []).append(test)
    return found


def trained(run: Mapping[str, Any]) -> tuple[str, str, int]:
    """Which training a record is of."""
    return run["train_dataset"], run["model"], run["seed"]


def run_groups(results: Iterable[Result]) -> list[dict[str, Any]]:
    """The runs behind one cell of a table go together: a model trained on one dataset and tested on one."""
    found: dict[tuple, list[Result]] = {}
    for result in results:
        found.setdefault((result.model, result.train, result.test), []).append(result)
    return [
        {"who": who, "anchor": f"runs-{number}", "results": sorted(runs, key=lambda run: run.seed)}
        for number, (who, runs) in enumerate(found.items(), 1)
    ]


def table_section(entry: Mapping[str, Any], results: Sequence[Result]) -> dict[str, Any]:
    spec, stem = entry["spec"], entry["stem"]
    kind, show = (recognition, recognition.shown) if spec.get("per_attribute") else (tables, typeset.shown)
    frame = _read(kind.read, f"{stem}.csv")
    known = {(result.model, result.train, result.test) for result in results}
    for who in zip(frame.model, frame.train, frame.test):
        if who not in known:
            raise InputError(f"{stem}.csv: none of the metrics given is of {who}; list them in the manifest")
    gains = [] if kind is recognition else tables.gains(spec, frame, results)
    return {
        **shown_section(show(spec, frame), stem),
        "several_protocols": kind is not recognition and typeset.several_protocols(frame),
        "named": dict(zip(frame.model, frame.label)),
        "reference": spec.get("reference"),
        "gains": gains,
        "gains_printed": any(not math.isnan(gain["published"]) for gain in gains),
    }


def usage_section(entry: Mapping[str, Any]) -> dict[str, Any]:
    frame = _read(usage.read, f"{entry['stem']}.csv")
    return shown_section(usage.shown(entry["spec"], frame), entry["stem"])


def shown_section(shown: typeset.Shown, stem: str) -> dict[str, Any]:
    """A table, its files, and what of them can be copied; the page says the rule of bold numbers once."""
    files = {kind: f"{stem}.{kind}" for kind in ("csv", "md", "tex")}
    return {
        "shown": replace(shown, notes=[note for note in shown.notes if note != typeset.BOLD_RULE]),
        "supplement": typeset.in_supplement(shown.number),
        "files": files,
        "sources": {kind: _read(lambda path: Path(path).read_text(), files[kind]) for kind in ("tex", "md")},
    }


def figure_section(stem: str) -> dict[str, Any]:
    """A figure from its files (`figures.drawing`): the drawing, and all that is said of it."""
    said = read_json(Path(f"{stem}.json"))
    if missing := [key for key in SAID if key not in said]:
        raise InputError(f"{stem}.json: the key {missing[0]!r} is missing; draw the figure again")
    svg = _read(lambda path: Path(path).read_text(), f"{stem}.svg")
    head, mark, drawing = svg.partition("<defs>")
    data = base64.b64encode((head + INK + mark + drawing).encode()).decode()
    return {
        **said,
        "anchor": Path(stem).name,
        "supplement": typeset.in_supplement(said["number"]),
        "name": f"Fig. {said['number']}" if said["number"] else said["title"],
        "image": f"data:image/svg+xml;base64,{data}",
        "files": {kind: f"{stem}.{kind}" for kind in ("csv", "svg", "png")},
    }


def claims_section(path: str) -> dict[str, Any]:
    """The ledger as it was written, and how many claims, of the paper and of ours, have each verdict."""
    frame = _read(partial(pd.read_csv, dtype={"note": str, "measure": str}), path)
    if missing := [name for name in claims.COLUMNS if name not in frame]:
        raise InputError(f"{path}: no column {missing[0]!r}; write the ledger again")
    frame[["note", "measure"]] = frame[["note", "measure"]].fillna("")
    ours = frame["where"].str.contains("asked by us")
    counts = {
        whose: {verdict: int((part.verdict == verdict).sum()) for verdict in (claims.HOLDS, claims.FAILS, claims.OPEN)}
        for whose, part in (("of the paper", frame[~ours]), ("that we ask beside them", frame[ours]))
        if len(part)
    }
    return {"rows": frame.to_dict("records"), "counts": counts, "path": path}


def protocol_rows(groups: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For each group of runs and each protocol: mAP and R1 over seeds, in percent, and what was ranked."""
    rows = []
    for group in groups:
        first = group["results"][0]
        scores = {}
        for name, counts in first.protocols.items():
            values = {m: [100 * r.protocols[name][m] for r in group["results"]] for m in ("mAP", "R1")}
            scores[name] = {"counts": counts, **{m: mean_and_std(v) for m, v in values.items()}}
        tested_on = typeset.pair(*group["who"][1:])
        rows.append({"who": group["who"], "tested_on": tested_on, "headline": first.headline, "scores": scores})
    return rows


def dataset_section(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Counts of each split, and the contact sheet as a picture small enough to carry along."""
    index = read_tracklets(entry["index"])
    counts = []
    for split, part in index.groupby("split", sort=False):
        people = part.pid > 0
        counts.append(
            {
                "split": split,
                "tracklets": len(part),
                "people": part.pid[people].nunique(),
                "cameras": part.camid.nunique(),
                "distractors or junk": int((~people).sum()),
                "frames": int(part.num_frames.sum()),
                "frames a tracklet (median)": float(part.num_frames.median()),
            }
        )
    counts.sort(key=lambda row: SPLITS.index(row["split"]))
    return {**entry, "counts": counts, **carried(entry["contact_sheet"])}


def carried(path: str) -> dict[str, Any]:
    """A picture small enough to carry along: its size, and its content as an address."""
    buffer = io.BytesIO()
    sheet = _read(lambda path: Image.open(path).convert("RGB"), path)
    sheet.save(buffer, "WEBP", quality=82, method=6)
    data = base64.b64encode(buffer.getvalue()).decode()
    return {"size": sheet.size, "image": f"data:image/webp;base64,{data}"}


def completion_section(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What VRSTC found and completed in a dataset, from the files of its jobs, and the picture of it."""
    parts = {name: read_json(Path(entry[name])) for name in ("occlusion", "completion", "regions", "dataset")}
    for name, keys in NEEDED_OF_COMPLETIONS.items():
        if missing := [key for key in keys if key not in parts[name]]:
            raise InputError(f"{entry[name]}: the key {missing[0]!r} is missing; run what writes it again")
    return {**entry, "parts": parts, **carried(entry["picture"])}


def cost(results: Sequence[Result], trainings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Seconds by model and in all; a training counts once, however many datasets it was tested on."""
    provenances = [*trainings, *(result.provenance for result in results)]
    once = {trained(run): run for run in provenances}
    rows = []
    for train, model in dict.fromkeys(who[:2] for who in once):
        own = [run for who, run in once.items() if who[:2] == (train, model)]
        tests = [result.provenance for result in results if (result.train, result.model) == (train, model)]
        seconds = {
            "training": sum(run.get("seconds", 0) for run in own),
            "embedding": sum(run.get("embed_seconds", 0) for run in tests),
            "scoring": sum(run.get("score_seconds", 0) for run in tests),
        }
        rows.append({"train": train, "model": model, "runs": len(own), "first": own[0], "seconds": seconds})
    return {
        "rows": rows,
        "total": sum(sum(row["seconds"].values()) for row in rows),
        "machines": list(dict.fromkeys(map(machine, provenances))),
        "commits": list(dict.fromkeys(map(commit, provenances))),
    }


def commit(run: Mapping[str, Any]) -> str:
    return (run.get("commit", "")[:10] or "no commit") + ("+dirty" if run.get("dirty") else "")


def duration(seconds: float) -> str:
    """In words such as 5.2 s, 58 s, 14 min 33 s, 3 h 05 min."""
    if round(seconds) < 60:
        return f"{seconds:.0f} s" if seconds >= 9.95 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _read(reader: Callable[[Any], Any], path: str) -> Any:
    try:
        return reader(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run what writes it first") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); remove it and run what writes it again") from None
