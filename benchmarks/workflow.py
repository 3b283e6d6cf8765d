"""Wall time of the two commands from a fresh clone: `uv run python benchmarks/workflow.py [FOLDER]`.

Clones HEAD into FOLDER (by default one that is thrown away), runs both commands of the README there as a user would,
the first one twice, and writes workflow.md beside this file, anew after each of them. uv's cache of packages is
whatever it is on this machine.
"""

import datetime
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from vreid.provenance import commit, cpu_name

HERE = Path(__file__).resolve().parent
COMMANDS = (
    ("everything", "uv run snakemake --cores all"),
    ("once more, nothing to be done", "uv run snakemake --cores all"),
    ("the tests", "uv run pytest"),
)
CONCLUSION = r"Nothing to be done|\(100%\) done|\d+ (passed|failed)"


def main() -> None:
    environment = {key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}
    lines = [
        "# The two commands",
        "",
        f"`uv run python benchmarks/workflow.py`, {datetime.date.today()}, commit {commit()[0][:12]}, {cpu_name()}, "
        "in a fresh clone.",
        "",
        "| what | command | wall time | exit | what it says |",
        "|---|---|---:|---:|---|",
    ]
    with tempfile.TemporaryDirectory() as thrown_away:
        folder = Path(sys.argv[1] if len(sys.argv) > 1 else thrown_away)
        subprocess.run(["git", "clone", "--quiet", HERE.parent, folder / "vreid"], check=True)
        for what, command in COMMANDS:
            began = time.perf_counter()
            done = subprocess.run(
                command.split(), cwd=folder / "vreid", env=environment, capture_output=True, text=True
            )
            minutes, seconds = divmod(round(time.perf_counter() - began), 60)
            said = [line for line in (done.stdout + done.stderr).splitlines() if re.search(CONCLUSION, line)]
            last = said[-1].strip(" =") if said else "—"
            lines.append(f"| {what} | `{command}` | {minutes} min {seconds:02d} s | {done.returncode} | {last} |")
            print(lines[-1], flush=True)
            (HERE / "workflow.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
