"""Results of runs that never ran, in the files that real runs leave behind."""

import json
from pathlib import Path

import pandas as pd
from PIL import Image

from tiny import write_dataset
from vreid import claims, tables
from vreid.data.tracklets import write_tracklets
from vreid.figures.curves import dvdp_curves

PUBLISHED = Path(__file__).parents[1] / "config" / "published.csv"

TABLE = {
    "number": 1,
    "title": "Ablation study",
    "metrics": ["R1", "mAP"],
    "published": "1",
    "reference": "baseline",
    "rows": [{"model": "baseline", "label": "Baseline"}, {"model": "aitl", "label": "Baseline + AITL"}],
    "columns": [{"train": "synth-mars", "test": "synth-mars", "published_train": "mars", "published_test": "mars"}],
}
FIGURE = {
    "number": 7,
    "title": "DVDP and mAP",
    "pairs": [{"label": "Baseline", "without": "baseline", "with": "aitl"}],
}


def write_train_json(root: Path, model: str, seed: int, recipe="paper", train="synth-mars") -> Path:
    path = root / "runs" / train / model / f"seed{seed}" / "train.json"
    record = {
        "spec_digest": f"5bec{seed:08d}",
        "code_digest": "c0de00000000",
        "commit": "0123456789abcdef",
        "dirty": seed == 1,
        "model": model,
        "recipe": recipe,
        "seed": seed,
        "train_dataset": train,
        "device": "CPU",
        "precision": "float32",
        "threads": 1,
        "host_cpu": "an abacus, 2 cores",
        "torch": "2.13.0",
        "seconds": 60.0,
        "steps": 760,
        "validation_clips": 1,
        "rendered": True,
        "parameters": 700_000,
        "finished": "2026-01-02T03:04:05+00:00",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))
    return path


def write_metrics(root: Path, model: str, seed: int, mAP: float, headline="queries-removed", **who) -> Path:
    """One metrics.json; R1 is mAP + 0.1, and the two protocols that are not the headline score 0.05 more."""
    test = who.pop("test", "synth-mars")
    record = write_train_json(root, model, seed, **who)
    counts = {"num_queries": 30, "num_valid_queries": 28, "num_gallery": 90}
    protocols = {}
    for name in ("queries-removed", "queries-in-gallery", "mars-script"):
        score = mAP + 0.05 * (name != headline)
        protocols[name] = {"mAP": score, "R1": score + 0.1, "R5": 0.9, "R10": 0.95, "R20": 0.99, **counts}
    more = {"test_dataset": test, "embed_seconds": 3.0, "score_seconds": 0.5, "rendered": True}
    path = record.parent / test / "metrics.json"
    path.parent.mkdir(exist_ok=True)
    content = {"headline": headline, "feature_length": 128, "protocols": protocols}
    path.write_text(json.dumps(content | {"provenance": json.loads(record.read_text()) | more}))
    return path


def write_scores(root: Path, scores: dict[str, list[float]], **who) -> list[Path]:
    """metrics.json of models → mAP of seeds 0, 1, …"""
    runs = [(model, seed, mAP) for model, own in scores.items() for seed, mAP in enumerate(own)]
    return [write_metrics(root, *run, **who) for run in runs]


def write_benchmark(path: Path, seconds: float, max_rss: float | str = "NA") -> Path:
    """As Snakemake 9 writes it; NA where the job was over before it was looked at."""
    head = ["s", "h:m:s", "max_rss", "max_vms", "max_uss", "max_pss", "io_in", "io_out", "mean_load", "cpu_time"]
    rss = max_rss if isinstance(max_rss, str) else f"{max_rss:.2f}"
    row = [f"{seconds:.2f}", "0:00:00", rss, *["NA" if rss == "NA" else "1.00"] * 7]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join("\t".join(line) + "\n" for line in (head, row)))
    return path


def write_cost(root: Path, model: str, **cost) -> Path:
    path = root / "cost" / f"{model}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        json.dumps(
            {
                "model": model,
                "scale": "ResNet-50 at 256×128",
                "parameters": 24_790_000,
                "clip_frames": 4,
                "clip_gmac": 16.21,
                "tracklet_frames": 56,
                "tracklet_gmac": 226.94,
                **cost,
            }
        )
    )
    return path


def write_history(
    root: Path, model: str, seed: int, dvdp: list[float], mAP: list[float | None], spread: float = 0.4, **who
) -> Path:
    record = write_train_json(root, model, seed, **who)
    epochs = range(1, len(dvdp) + 1)
    path = record.with_name("history.csv")
    pd.DataFrame({"epoch": epochs, "loss": 1.0, "dvdp": dvdp, "spread": spread, "mAP": mAP}).to_csv(path, index=False)
    return path


def write_inputs(root: Path, table=TABLE, figure=FIGURE, scores: dict[str, list[float]] | None = None) -> dict:
    """Everything that a report shows, and its manifest."""
    metrics = write_scores(root, scores or {row["model"]: [0.5, 0.6] for row in table["rows"]})
    histories = [write_history(root, model, 0, [0.04, 0.03], [None, 0.5]) for model in ("baseline", "aitl")]
    tables.make(table, metrics, PUBLISHED, root / "tables" / "table1")
    dvdp_curves(figure, histories, root / "figures" / "fig7")
    index = write_dataset(root / "data", train_people=3, test_people=2)
    write_tracklets(index, root / "annotated.csv.gz")
    Image.new("RGB", (60, 40), "teal").save(root / "figures" / "contact.png")
    people = {"name": "synth-mars", "rendered": True, "index": str(root / "annotated.csv.gz")}
    return {
        "tables": [{"spec": table, "stem": str(root / "tables" / "table1")}],
        "figures": [str(root / "figures" / "fig7")],
        "datasets": [people | {"contact_sheet": str(root / "figures" / "contact.png")}],
        "metrics": list(map(str, metrics)),
        "trainings": [str(write_train_json(root, "trunk", 0, train="synth-people"))],
    }


def write_ledger(path: Path, statement="<b>AITL</b> helps", note="not measured: no run of wide") -> Path:
    """A ledger with one claim of each verdict; the statement is that of the first, the note that of the last."""
    row = {
        "where": "Table 1",
        "measure": "mAP, points",
        "num_seeds": 3,
        "num_queries": 304,
        "data": "synth-mars",
        "note": "",
    }
    rows = [
        row | {"statement": statement, "verdict": "does not hold", "effect": -0.5, "low": -0.9, "high": -0.1},
        row | {"statement": "ASTA helps", "verdict": "holds", "effect": 1.8, "low": 1.1, "high": 2.6},
        row | {"statement": "wide", "verdict": "cannot tell", "measure": "", "note": note},
    ]
    pd.DataFrame(rows, columns=claims.COLUMNS).to_csv(path, index=False)
    return path
