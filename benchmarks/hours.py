"""What the paper costs on a GPU: `uv run python benchmarks/hours.py FOLDER`, written to hours.md.

The target `plan` of the workflow, asked with config/paper.yaml for MARS's real tracklets (those of full_scale.py's
FOLDER) at the speed that gpu.py measured. In a copy of the repository that is thrown away.
"""

import json
import statistics
import sys
import tempfile
from pathlib import Path

import yaml
from gpu import PEOPLE, configuration, specs
from measure import HERE, write_page

from vreid.cost import step_gmac

sys.path.insert(0, str(HERE.parent / "tests" / "workflow"))

from conftest import Checkout, copied


def rates() -> dict[str, float]:
    """10⁹ multiply-adds a second of a training step, forwards and backwards, by model, as gpu.py measured them."""
    measured = json.loads((HERE / "gpu.json").read_text())["steps"]
    seconds = {step["model"]: step["seconds"] for step in measured if step["recipe"] != "native"}
    known = [spec for spec in specs(configuration()) if spec.model in seconds]
    return {spec.model: step_gmac(spec, PEOPLE) / seconds[spec.model] for spec in known}


def main() -> None:
    folder, measured = Path(sys.argv[1]).resolve(), json.loads((HERE / "gpu.json").read_text())
    speed = rates()
    typical = statistics.median(speed.values())
    with tempfile.TemporaryDirectory() as thrown_away:
        root = copied(Path(thrown_away) / "copy")
        dataset = {"root": str(folder / "dataset"), "attributes": str(folder / "dataset/mars_attributes.csv")}
        overlay = {"datasets": {"mars": dataset}, "throughput": round(typical)}
        (root / "placed.yaml").write_text(yaml.safe_dump(overlay))
        checkout = Checkout(root, "config/paper.yaml placed.yaml")
        checkout.snakemake("--cores", "1", "results/index/mars/annotated.csv.gz")
        checkout.snakemake("--cores", "1", "plan")
        page = (root / "results/plan.md").read_text()
    table = page.partition("## Jobs")[0].partition("\n")[2].strip()
    slowest, fastest = min(speed, key=speed.get), max(speed, key=speed.get)
    lines = [
        f"`uv run snakemake --cores 1 plan --configfile config/paper.yaml --config throughput={typical:.0f}`, with the "
        "tracklets of MARS in place. The throughput is the median of the training steps in gpu.md "
        f"({measured['device']}, {measured['day']}), where models range from {speed[slowest]:,.0f} ({slowest}) to "
        f"{speed[fastest]:,.0f} ({fastest}). It leaves out waiting for frames, of which gpu.md says how much there is.",
        "",
        table,
    ]
    write_page("hours.md", "What the paper costs on a GPU", "uv run python benchmarks/hours.py FOLDER", lines)


if __name__ == "__main__":
    main()
