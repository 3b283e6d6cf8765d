"""MARS's structure at its full size, from archives to rank-k: `uv run python benchmarks/full_scale.py FOLDER`.

As many frames as MARS has, under names that are rebuilt from its split files (tests/realdata.py says how), its real
split and annotations; the frames are some rendered ones, repeated by person, so that no score of it says anything of
MARS. Archives are made and served on this machine; then every step is the verb that the workflow calls. Writes
full_scale.md beside this file, anew after each step. FOLDER, of which 40 GB are used, is left as it is (reading.py
reads there); archives that are there already are not made again.
"""

import contextlib
import gzip
import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import yaml
from measure import HERE, Used, aim, verb, write_page

from vreid.progress import Progress
from vreid.spec import resolve
from vreid.walkers.world import World
from vreid.walkers.write import render

sys.path.insert(0, str(HERE.parent / "tests"))

import realdata

PAPER = yaml.safe_load((HERE.parent / "config/paper.yaml").read_text())
CONFIG = yaml.safe_load((HERE.parent / "config/config.yaml").read_text())
PEOPLE = {"train_people": 40, "test_people": 40, "tracklets_per_person": 0.3, "height": 256, "width": 128}
WORLD = CONFIG["world"] | {"layout": "mars", "seed": 5} | PEOPLE
TINY = {
    "trunk": {"name": "small", "width": 8, "weights": "none"},
    "clips": {"frames": 4, "height": 64, "width": 32, "validation_clips": 1},
    "training": {"epochs": 1, "people": 8, "clips": 4, "validate_every": 1, "precision": "float32", "threads": 2},
}


def make_archives(folder: Path) -> None:
    """bbox_train.zip and bbox_test.zip, info.zip, and the annotations, under MARS's names."""
    render(World.from_mapping(WORLD), folder / "rendered", 2)
    drawn = defaultdict(list)
    for path in sorted((folder / "rendered").glob("bbox_*/*/*.jpg")):
        drawn[path.parent.name].append(path.read_bytes())
    people = list(drawn.values())
    shutil.rmtree(folder / "mars", ignore_errors=True)
    realdata.write_mars_info(folder / "mars")
    served = folder / "served.unfinished"
    shutil.rmtree(served, ignore_errors=True)
    served.mkdir()
    for side in ("train", "test"):
        names = (folder / f"mars/info/{side}_name.txt").read_text().split()
        bar = Progress(f"make bbox_{side}.zip", len(names))
        with zipfile.ZipFile(served / f"bbox_{side}.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for number, name in enumerate(names):
                own = people[sum(map(ord, name[:4])) % len(people)]
                archive.writestr(f"bbox_{side}/{name[:4]}/{name}", own[number % len(own)])
                bar.step()
    with zipfile.ZipFile(served / "info.zip", "w") as archive:
        for path in sorted((folder / "mars/info").iterdir()):
            archive.write(path, f"MARS-evaluation-master/info/{path.name}")
    (served / "mars_attributes.csv").write_bytes(gzip.decompress(realdata.MARS_ATTRIBUTES.read_bytes()))
    served.rename(folder / "served")


@contextlib.contextmanager
def server(folder: Path) -> Iterator[str]:
    """The address of a web server of this machine that serves a folder."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    serve = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(folder)]
    process, address = subprocess.Popen(serve, stderr=subprocess.DEVNULL), f"http://127.0.0.1:{port}"
    try:
        for _ in range(100):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(address).close()
                break
            time.sleep(0.1)
        yield address
    finally:
        process.kill()
        process.wait()


def steps(folder: Path, address: str) -> Iterator[tuple[str, list[object]]]:
    """Each step's name and the verb that takes it."""
    root, attributes = folder / "dataset", folder / "dataset/mars_attributes.csv"
    names = ("bbox_train.zip", "bbox_test.zip", "info.zip", "mars_attributes.csv")
    sources = json.dumps([f"{address}/{name}" for name in names])
    place = ["--layout", "mars", "--root", root]
    index, annotated = folder / "tracklets.csv.gz", folder / "annotated.csv.gz"
    origin = folder / "origin.json"
    origin.write_text(json.dumps(PAPER["datasets"]["mars"]["origin"]))
    wanted = ["--attributes", attributes, "--sources", sources, "--origin", origin]
    for side in ("train", "test"):
        alone = folder / "alone" / f"bbox_{side}.zip"
        yield f"download of bbox_{side}.zip alone", ["obtain", "--source", f"{address}/{alone.name}", "--out", alone]
        alone.unlink()
    yield "fetch: download, unpack, put in place", ["fetch", *place, *wanted, "--out", folder / "fetched.json"]
    expect = ["--expect", json.dumps(PAPER["datasets"]["mars"]["expect"])]
    yield "index, every frame looked for", ["index", *place, *expect, "--out", index]
    yield "index, names trusted", ["index", *place, *expect, "--names-only", "--out", index]
    yield "annotate", ["annotate", "--index", index, "--attributes", attributes, "--out", annotated]
    for split in ("train", "test"):
        out = folder / f"packs/{split}.pack"
        yield f"pack {split}", ["pack", "--index", index, "--root", root, "--split", split, "--out", out]
    run = folder / "run"
    spec = asdict(resolve(CONFIG | {"budget": TINY}, "asta+aitl", 0))
    yield "freeze", ["freeze", "--spec", json.dumps(spec), "--out", run / "spec.json"]
    data = ["--spec", run / "spec.json", "--index", annotated, "--root", folder / "packs", "--dataset", "repeated"]
    headline = ["--headline", "queries-removed"]
    yield "train one epoch, and validate", ["train", *data, *headline, "--out", run, "--workers", 2]
    features = run / "features.npz"
    yield "embed", ["embed", *data, "--weights", run / "weights.pt", "--rendered", "--out", features, "--workers", 2]
    scores = ["--out", run / "metrics.json", "--per-query", run / "per_query.csv.gz"]
    yield "score, three protocols", ["score", "--features", features, *headline, *scores]


def size(path: Path) -> str:
    return f"{path.stat().st_size / 1e9:.2f} GB" if path.exists() else ""


def page(folder: Path, taken: dict[str, Used]) -> list[str]:
    lines = [
        "MARS's split and annotations, and as many frames as it has, under names that are rebuilt from its split "
        "files; the frames are rendered ones of 256×128, repeated by person. "
        f"bbox_train.zip has {size(folder / 'served/bbox_train.zip')}, bbox_test.zip "
        f"{size(folder / 'served/bbox_test.zip')}, on a server of this machine. The model is "
        "`asta+aitl` on the small trunk of width 8 at 64×32, of one epoch; its scores say nothing.",
        "",
        "| step | wall s | CPU s | MiB without mapped files, of all processes | resident MiB of the largest |",
        "|---|---:|---:|---:|---:|",
        *(
            f"| {name} | {used.wall:.1f} | {used.cpu:.1f} | {used.own:.0f} | {used.peak:.0f} |"
            for name, used in taken.items()
        ),
        "",
        "Memory at its highest. What is resident holds the pages of packs that are mapped, too, which the system takes "
        "back when it needs them.",
    ]
    if (folder / "run/train.json").exists():
        record = json.loads((folder / "run/train.json").read_text())
        steps, share = record["seconds_in_steps"], record["seconds_waited"] / record["seconds_in_steps"]
        waited = f"{share:.1%} went by until a batch was there"
        lines += [
            "",
            f"Of the {steps:.1f} s of all {record['steps']} steps, {waited}; the network is a small one, and shares",
        ]
        lines[-1] += " the cores with the two processes that read."
        lines += ["", aim("the share of waiting, of this small network", share, at_most=0.02)]
    if (folder / "run/features.npz").exists():
        with np.load(folder / "run/features.npz") as stored:
            splits = stored["splits"].astype(str)
        counts = {split: int((splits == split).sum()) for split in ("query", "gallery", "junk")}
        lines += ["", "Embedded: " + ", ".join(f"{count:,} of the {split}" for split, count in counts.items()) + "."]
    if (folder / "run/metrics.json").exists():
        protocols = json.loads((folder / "run/metrics.json").read_text())["protocols"]
        counts = [f"{scores['num_valid_queries']:,} under {name}" for name, scores in protocols.items()]
        lines += [f"Queries with a match: {', '.join(counts)}."]
    return lines


def main() -> None:
    folder = Path(sys.argv[1]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "served").exists():
        make_archives(folder)
    for made in ("dataset", "packs", "run"):
        shutil.rmtree(folder / made, ignore_errors=True)
    taken: dict[str, Used] = {}
    with server(folder / "served") as address:
        for name, words in steps(folder, address):
            print(name, flush=True)
            taken[name] = verb(*words)
            call = "uv run python benchmarks/full_scale.py FOLDER"
            write_page("full_scale.md", "MARS's structure at its full size", call, page(folder, taken))


if __name__ == "__main__":
    main()
