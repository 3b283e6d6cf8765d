"""What the paper costs on a GPU: `uv run python benchmarks/hours.py`, written to hours.md.

The forecast of the target `plan`, of config/paper.yaml with nothing run so far, for MARS's real tracklets (by its lists
and annotations; no frame is needed) at the speed that gpu.py measured.
"""

import json
import statistics
import sys
import tempfile
from pathlib import Path

from gpu import PEOPLE, configuration, specs
from measure import HERE, verb, write_page

from vreid.cost import step_gmac
from vreid.experiment.forecast import plan_manifest
from vreid.plan.page import forecast

sys.path.insert(0, str(HERE.parent / "tests"))

import realdata


def rates() -> dict[str, float]:
    """10⁹ multiply-adds a second of a training step, forwards and backwards, by model, as gpu.py measured them."""
    measured = json.loads((HERE / "gpu.json").read_text())["steps"]
    seconds = {step["model"]: step["seconds"] for step in measured if step["recipe"] != "native"}
    known = [spec for spec in specs(configuration()) if spec.model in seconds]
    return {spec.model: step_gmac(spec, PEOPLE) / seconds[spec.model] for spec in known}


def main() -> None:
    speed, measured = rates(), json.loads((HERE / "gpu.json").read_text())
    typical = round(statistics.median(speed.values()))
    with tempfile.TemporaryDirectory() as thrown_away:
        folder = Path(thrown_away)
        index, annotated = folder / "tracklets.csv.gz", folder / "annotated.csv.gz"
        realdata.write_mars_info(folder / "mars")
        verb("index", "--layout", "mars", "--root", folder / "mars", "--names-only", "--out", index)
        verb("annotate", "--index", index, "--attributes", realdata.MARS_ATTRIBUTES, "--out", annotated)
        manifest = plan_manifest(configuration(("config.yaml", "paper.yaml")) | {"throughput": typical})
        manifest["run"] = f"{folder}/{manifest['run']}"
        manifest["datasets"]["mars"]["index"] = str(annotated)
        page = forecast(manifest, folder / "plan")
    slowest, fastest = min(speed, key=speed.get), max(speed, key=speed.get)
    lines = [
        f"What `uv run snakemake --cores 1 plan --configfile config/paper.yaml --config throughput={typical}` says "
        "with MARS in place. The throughput, in 10⁹ multiply-adds a second, is the median of the training steps in "
        f"gpu.md ({measured['device']}, {measured['day']}), where models range from {speed[slowest]:,.0f} ({slowest}) "
        f"to {speed[fastest]:,.0f} ({fastest}). It leaves out waiting for frames, of which gpu.md says how much there "
        "is.",
        "",
        page.partition("## Jobs")[0].partition("\n")[2].strip(),
    ]
    write_page("hours.md", "What the paper costs on a GPU", "uv run python benchmarks/hours.py", lines)


if __name__ == "__main__":
    main()
