"""What the paper costs on a GPU: `uv run python benchmarks/hours.py`, written to hours.md.

The forecast of the target `plan`, of config/paper.yaml with nothing run so far, for MARS's real tracklets (by its lists
and annotations; no frame is needed) at the speed that gpu.py measured; and how long frames are read at its pace.
"""

import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from gpu import PEOPLE, configuration, specs
from measure import HERE, verb, write_page

from vreid.cost import step_gmac
from vreid.experiment.forecast import plan_manifest
from vreid.plan.page import forecast

sys.path.insert(0, str(HERE.parent / "tests"))

import realdata

LOADERS = (7, 15)  # of the SLURM profile, and of the machine of gpu.md


def rates() -> dict[str, float]:
    """10⁹ multiply-adds a second of a training step, forwards and backwards, by model, as gpu.py measured them."""
    measured = json.loads((HERE / "gpu.json").read_text())["steps"]
    seconds = {step["model"]: step["seconds"] for step in measured if step["recipe"] != "native"}
    known = [spec for spec in specs(configuration()) if spec.model in seconds]
    return {spec.model: step_gmac(spec, PEOPLE) / seconds[spec.model] for spec in known}


def loading(jobs: pd.DataFrame, pace: float, loaders: int) -> tuple[float, float]:
    """Hours to read the frames of all jobs, and those of all where each is as slow as the slower of its two sides."""
    read = (jobs.clips + jobs.validated) * jobs.frames / (pace * loaders) / 3600
    return float(read.sum()), float(np.maximum(read, jobs.hours).sum())


def planned(overlays: Sequence[str], typical: int, indexed: Path, folder: Path) -> list[str]:
    """The forecast of a configuration, with MARS in place."""
    manifest = plan_manifest(configuration(("config.yaml", *overlays)) | {"throughput": typical})
    manifest["run"] = f"{folder}/{manifest['run']}"
    manifest["datasets"]["mars"]["index"] = str(indexed)
    page = forecast(manifest, folder / "plan")
    jobs = pd.read_csv(folder / "plan-jobs.csv")
    frames = float(((jobs.clips + jobs.validated) * jobs.frames).sum())
    read = [(source, pace, n, *loading(jobs, pace, n)) for source, pace in paces().items() for n in LOADERS]
    return [
        page.partition("## Jobs")[0].partition("\n")[2].strip(),
        "",
        f"{frames / 1e6:,.0f} million frames are read. How long that takes depends on the cores beside the GPU: "
        "processes are taken not to slow each other down any further than where they were measured, and a job to "
        "take the longer of its computing and its reading. Neither was measured on a GPU.",
        "",
        "| frames a second and loading process | processes | hours of reading | of all jobs |",
        "|---|---:|---:|---:|",
        *(f"| {pace:,.0f}, {source} | {n} | {hours:.0f} | {whole:.0f} |" for source, pace, n, hours, whole in read),
        "",
    ]


def paces() -> dict[str, float]:
    """Frames a second of one loading process, by where it was measured."""
    then = json.loads((HERE / "gpu.json").read_text())["loading"]
    now = json.loads((HERE / "reading.json").read_text())
    workers, found = max(now["frames_per_second"].items(), key=lambda item: int(item[0]))
    at_once = then["workers"]
    return {
        f"{at_once} at once in gpu.md, by the code of that day": then["frames"] / then["loaded"] / at_once,
        f"{workers} at once in reading.md, on {now['cpu']}": found / int(workers),
    }


def main() -> None:
    speed, measured = rates(), json.loads((HERE / "gpu.json").read_text())
    typical = round(statistics.median(speed.values()))
    slowest, fastest = min(speed, key=speed.get), max(speed, key=speed.get)
    lines = [
        f"What `uv run snakemake --cores 1 plan --configfile config/paper.yaml --config throughput={typical}` says "
        "with MARS in place, and the same with config/duke.yaml laid over, DukeMTMC-VideoReID counted as published "
        "(all its test tracklets of one length). The throughput, in 10⁹ multiply-adds a second, is the median of the "
        f"training steps in gpu.md ({measured['device']}, {measured['day']}), where models range from "
        f"{speed[slowest]:,.0f} ({slowest}) to {speed[fastest]:,.0f} ({fastest}).",
        "",
    ]
    with tempfile.TemporaryDirectory() as thrown_away:
        folder = Path(thrown_away)
        index, annotated = folder / "tracklets.csv.gz", folder / "annotated.csv.gz"
        realdata.write_mars_info(folder / "mars")
        verb("index", "--layout", "mars", "--root", folder / "mars", "--names-only", "--out", index)
        verb("annotate", "--index", index, "--attributes", realdata.MARS_ATTRIBUTES, "--out", annotated)
        lines += ["## MARS", "", *planned(["paper.yaml"], typical, annotated, folder)]
        lines += ["## MARS and Duke", "", *planned(["paper.yaml", "duke.yaml"], typical, annotated, folder)]
    write_page("hours.md", "What the paper costs on a GPU", "uv run python benchmarks/hours.py", lines)


if __name__ == "__main__":
    main()
