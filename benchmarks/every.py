"""Every page that needs no GPU, one after another: `uv run python benchmarks/every.py FOLDER` (hours).

FOLDER holds what is large, some 45 GB, and is left as it is: MARS's structure at its full size, and a fresh clone that
is run. Nothing else should run beside.
"""

import subprocess
import sys
from pathlib import Path

from measure import HERE

PAGES = {
    "indexing": [],
    "ranking": [],
    "losses": [],
    "growth": [],
    "processor": [],
    "overhead": [],
    "full_scale": ["mars"],
    "reading": ["mars"],
    "hours": [],
    "workflow": ["clone"],
    "systems": ["clone/vreid"],
    "aims": [],
}


def main() -> None:
    folder = Path(sys.argv[1]).resolve()
    if (folder / "clone").exists():
        sys.exit(f"{folder / 'clone'}: a clone of an earlier call; remove it, or give another folder")
    for name, below in PAGES.items():
        subprocess.run([sys.executable, HERE / f"{name}.py", *(folder / part for part in below)], check=True)


if __name__ == "__main__":
    main()
