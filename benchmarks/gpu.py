"""Training at the paper's scale on a GPU: `PYTHONPATH=src python3 benchmarks/gpu.py [FOLDER]`.

Needs torch, torchvision, numpy, pandas, pyyaml and tabulate, and a GPU. In FOLDER (by default one that is thrown away)
a dataset of frames of 256×128 is rendered in MARS's layout. Then every model of config.yaml and native.yaml is trained
for some steps with the settings of paper.yaml, ImageNet weights aside; one is trained whole by the verbs that the
workflow calls. Writes gpu.json and gpu.md beside this file, or in $OUT where that is set; `--page` in place of FOLDER
writes the page anew from gpu.json.
"""

import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml
from measure import aim
from tabulate import tabulate

from vreid import embed, provenance
from vreid.cost import cost
from vreid.data import clips
from vreid.data.frames import FrameReader
from vreid.data.tracklets import read_tracklets
from vreid.errors import InputError
from vreid.hardware import autocast, device, device_name, to_network
from vreid.models import method as methods
from vreid.models.trunk import build_trunk, frame_maps
from vreid.spec import Spec, Trunk, resolve
from vreid.train import Trainer, TrainingData, optimiser_of

HERE = Path(__file__).resolve().parent
OUT = Path(os.environ.get("OUT", HERE))
CONFIG = HERE.parent / "config"
OVERLAYS = ("config.yaml", "paper.yaml", "native.yaml", "native-paper.yaml")
WORLD = {
    "layout": "mars",
    "seed": 4,
    "train_people": 150,
    "test_people": 60,
    "tracklets_per_person": 0.6,
    "height": 256,
    "width": 128,
}  # and the rest as config.yaml has it
WARM_UP, STEPS, TURNS = 6, 12, 30
CURVE = {"model": "asta+aitl", "epochs": 30, "validate_every": 5}
NOT_TRAINED = ("untrained", "trunk")
ALIKE = ("chen-self", "chen-mean", "zhao-uniform", "fu-t6", "hou-uncompleted")  # cost what a neighbour does
PEOPLE = 625  # of MARS, which classifiers tell apart


# ---- what is measured -----------------------------------------------------------------------------------------------


def configuration(overlays: tuple[str, ...] = OVERLAYS) -> dict[str, Any]:
    """The configuration of the paper's scale, laid over one another as Snakemake does."""
    config: dict[str, Any] = {}
    for name in overlays:
        lay_over(config, yaml.safe_load((CONFIG / name).read_text()))
    return config


def lay_over(config: dict[str, Any], overlay: Mapping[str, Any]) -> None:
    for key, value in overlay.items():
        if isinstance(value, Mapping) and isinstance(config.get(key), dict):
            lay_over(config[key], value)
        else:
            config[key] = value


def specs(config: Mapping[str, Any]) -> list[Spec]:
    """One spec of every model that is trained, its trunk without ImageNet weights; of those alike, one."""
    found = [resolve(config, model, 0) for model in config["models"] if model not in NOT_TRAINED + ALIKE]
    trained = [spec for spec in found if not spec.trained_as and spec.recipe != "paper"]
    return [replace(spec, trunk=replace(spec.trunk, weights="none")) for spec in trained]


def verb(*arguments: object) -> float:
    """Run a verb of vreid as the workflow does; returns its seconds."""
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "vreid", *map(str, arguments)], stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise RuntimeError(f"{arguments[0]}: {' '.join(done.stderr.splitlines()[-3:])}")
    return time.perf_counter() - began


def seconds(work: Callable[[], object], times: int = STEPS, warm_up: int = WARM_UP) -> float:
    """Of one call, by the device's clock."""
    for _ in range(warm_up):
        work()
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    begin.record()
    for _ in range(times):
        work()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) / 1e3 / times


def ceiling() -> float:
    """bfloat16 TFLOP/s of a product of two random matrices of 8192²."""
    a, b = (torch.randn(8192, 8192, device=device(), dtype=torch.bfloat16) for _ in range(2))
    return 2 * 8192**3 / seconds(lambda: a @ b, 20) / 1e12


def bare_trunk(frames: int, asked: str, channels_last: bool = True, compiled: bool = False) -> float:
    """Seconds of a forward and backward pass of ResNet-50, last stride 1, over so many frames of 256×128."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    trunk = build_trunk(Trunk(weights="none")).train().to(device(), memory_format=layout)
    called = torch.compile(trunk) if compiled else trunk
    clip = torch.randn(frames, 3, 256, 128, device=device()).contiguous(memory_format=layout)

    def work() -> None:
        trunk.zero_grad(set_to_none=True)
        with autocast(asked):
            maps = called(clip)
        maps.float().mean().backward()

    return seconds(work)


def trainer_of(spec: Spec, index: Path, root: Path) -> Trainer:
    torch.manual_seed(0)
    method = methods.load(spec.method)
    options = method.settings(spec)
    reader = FrameReader(root, spec.clips.height, spec.clips.width)
    data = TrainingData(read_tracklets(index), index, reader, spec, method)
    data.population = data.population._replace(people=PEOPLE)
    network = method.network(options, spec, data.population, None).train()
    network.to(device(), memory_format=torch.channels_last)
    return Trainer(spec, method, options, data, network, optimiser_of(network, spec.training), lambda network: {})


def on_device(batch: clips.Batch) -> clips.Batch:
    return batch._replace(clips=batch.clips.to(device()), tracklets=batch.tracklets.to(device()))


def step_cost(spec: Spec, index: Path, root: Path) -> dict[str, Any]:
    """A training step of a model, its batch on the device already."""
    trainer = trainer_of(spec, index, root)
    batch = on_device(trainer.data.batches[0])
    last: dict[str, Any] = {}
    torch.cuda.reset_peak_memory_stats()

    def work() -> None:
        last.update(trainer.take_step(batch, spec.training.lr / 10))

    found = {"model": spec.model, "method": spec.method, "recipe": spec.recipe}
    found |= {"clips": batch.clips.shape[0], "frames": batch.clips.shape[1], "seconds": seconds(work)}
    loss = float(last["loss"])
    if loss != loss:
        raise InputError(f"models.{spec.model}: the loss is {loss}")
    counted = cost(spec, PEOPLE, spec.clips.frames)
    found |= {
        "loss": loss,
        "gib": torch.cuda.max_memory_allocated() / 2**30,
        "parameters": counted.parameters,
        "gmac": counted.clip_gmac,
        "synchronisations": synchronisations(work),
    }
    return found


def synchronisations(work: Callable[[], object]) -> list[str]:
    """Where one step waits for the device."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            work()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return [
        f"{Path(w.filename).name}:{w.lineno}"
        for w in caught
        if "called a synchronizing CUDA operation" in str(w.message)
    ]


def loading(spec: Spec, index: Path, root: Path, workers: int, steps: int = 120) -> dict[str, float]:
    """Seconds of a step that reads its batch, of one that has it, and of reading one alone.

    Each process reads two batches ahead: those are used up before time is taken.
    """
    trainer = trainer_of(spec, index, root)
    batch = on_device(trainer.data.batches[0])
    had = seconds(lambda: trainer.take_step(batch, 1e-5), steps)

    def timed(take: Callable[[clips.Batch], object]) -> float:
        ahead = 2 * workers + WARM_UP
        batches = clips.load(trainer.data.batches, workers, range(ahead + steps))
        return seconds(lambda: take(next(batches)), steps, ahead)

    return {
        "workers": workers,
        "had": had,
        "read": timed(lambda batch: trainer.take_step(batch, 1e-5)),
        "loaded": timed(lambda batch: None),
        "frames": batch.clips.shape[0] * batch.clips.shape[1],
    }


def elapsed(work: Callable[[], object]) -> float:
    """Seconds of one call, to the end of what it asks of the device."""
    began = time.perf_counter()
    work()
    if device().type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def by_turns(config: Mapping[str, Any], index: Path, root: Path) -> dict[str, list[float]]:
    """Seconds of the bare trunk's pass and of whole steps with the same batch, which take turns, compiled and not."""
    found = {spec.model: spec for spec in specs(config)}
    trainers = {model: trainer_of(found[model], index, root) for model in ("baseline", CURVE["model"])}
    trainers |= {f"{CURVE['model']}, compiled": trainer_of(found[CURVE["model"]], index, root)}
    trainers[f"{CURVE['model']}, compiled"].network.compile()
    batch = on_device(trainers["baseline"].data.batches[0])
    trunk = build_trunk(Trunk(weights="none")).train().to(device(), memory_format=torch.channels_last)

    def bare(trunk: torch.nn.Module) -> None:
        trunk.zero_grad(set_to_none=True)
        with autocast("auto"):
            maps = frame_maps(trunk, to_network(batch.clips))
        maps.float().mean().backward()

    ways = {"the bare trunk": lambda: bare(trunk)}
    ways |= {name: lambda own=own: own.take_step(batch, 1e-5) for name, own in trainers.items()}
    rounds = [{name: elapsed(way) for name, way in ways.items()} for _ in range(TURNS + WARM_UP)][WARM_UP:]
    return {name: [each[name] for each in rounds] for name in ways}


def embedding(spec: Spec, index: Path, root: Path, tested: int, workers: int, rounds: int) -> dict[str, Any]:
    """Embedding some test tracklets, with all their frames read, and the network's forward pass over their batches."""
    own = trainer_of(spec, index, root)
    rows = embed.test_tracklets(read_tracklets(index), index).head(tested)
    network, method = own.network.eval(), own.method
    choose = clips.chosen(clips.TEST_CLIPS, spec.clips.test, method.test_clips, "clips.test")

    def reader() -> FrameReader:  # a new one, which keeps no frames yet
        return FrameReader(root, spec.clips.height, spec.clips.width)

    held = list(clips.EmbeddingBatches(rows["frames"], reader(), spec.clips, choose, spec.clips.test_clips))

    def bare() -> None:
        with torch.inference_mode(), autocast(spec.training.precision):
            for batch in held:
                network(to_network(batch.clips))

    def ours() -> None:
        embed.features(network, method, rows, reader(), spec, spec.clips.test_clips, workers)

    taken = [(elapsed(bare), elapsed(ours)) for _ in range(rounds + 1)][1:]
    return {
        "tracklets": len(rows),
        "frames": int(rows["num_frames"].sum()),
        "in_clips": sum(batch.clips.shape[0] * batch.clips.shape[1] for batch in held),
        "workers": workers,
        "bare": [plain for plain, _ in taken],
        "whole": [whole for _, whole in taken],
    }


def said_of_embedding(own: Mapping[str, Any], found: Mapping[str, Any] = {}) -> list[str]:
    ratio = statistics.median(plain / whole for plain, whole in zip(own["bare"], own["whole"], strict=True))
    pace = own["in_clips"] / statistics.median(own["whole"])
    reading = f"by {own['workers']} processes" if own["workers"] else "in the same process"
    return [
        "## Embedding",
        f"{own['tracklets']} tracklets, {own['frames']:,} frames in all, {own['in_clips']:,} with the last clips "
        f"filled up; read and decoded {reading}: {pace:,.1f} frames a second, {ratio:.2f} of the network's own forward "
        "pass over the same batches in memory.",
        aim("embedding's frames a second over those of the bare forward pass", ratio, at_least=0.95),
    ]


def curve(config: Mapping[str, Any], folder: Path, index: Path, root: Path, workers: int) -> dict[str, Any]:
    """A whole training by the verbs of the workflow: its history, and what its features score."""
    found = resolve(config, CURVE["model"], 0)
    training = replace(found.training, epochs=CURVE["epochs"], validate_every=CURVE["validate_every"])
    spec = replace(found, trunk=replace(found.trunk, weights="pre-trained"), training=training)
    before = resolve(config, "trunk", 0)
    before = replace(before, training=replace(before.training, precision="auto", epochs=80, validate_every=80))
    spec.save(folder / "spec.json")
    before.save(folder / "trunk.json")
    data = ("--index", index, "--root", root, "--dataset", "rendered", "--workers", workers)
    own = ("--spec", folder / "spec.json")
    headline = ("--headline", "queries-removed")
    took = {"trunk": verb("train", "--spec", folder / "trunk.json", *data, *headline, "--out", folder / "trunk")}
    pre_trained = ("--trunk-weights", folder / "trunk/weights.pt")
    took["train"] = verb("train", *own, *data, *headline, *pre_trained, "--out", folder / "run")
    weights = ("--weights", folder / "run/weights.pt")
    features = folder / "run/features.npz"
    took["embed"] = verb("embed", *own, *data, *weights, "--rendered", "--out", features)
    took["score"] = verb(
        "score", "--features", features, *headline, "--out", folder / "m.json", "--per-query", folder / "q.csv.gz"
    )
    took["attend"] = verb("attend", *own, *data, *weights, "--rendered", "--out", folder / "maps.npz")
    table = read_tracklets(index)
    tested = table[table["split"].isin(("query", "gallery", "junk"))]
    return {
        "history": pd.read_csv(folder / "run/history.csv").to_dict("records"),
        "metrics": json.loads((folder / "m.json").read_text()),
        "record": json.loads((folder / "run/train.json").read_text()),
        "test_frames": int(tested["num_frames"].sum()),
        "seconds": took,
    }


# ---- the run and its page -------------------------------------------------------------------------------------------


def measure(folder: Path) -> dict[str, Any]:
    if device().type != "cuda":
        raise SystemExit("no GPU here, and nothing was measured")
    config, workers = configuration(), max(1, (os.cpu_count() or 2) - 1)
    root, index = folder / "rendered", folder / "annotated.csv.gz"
    found: dict[str, Any] = {"device": device_name(), "cpus": os.cpu_count(), "cpu": provenance.cpu_name()}
    found |= {"torch": torch.__version__, "day": str(datetime.date.today()), "commit": provenance.commit()}
    found["render_seconds"] = verb(
        "render", "--world", json.dumps(config["world"] | WORLD), "--out", root, "--workers", workers
    )
    verb("index", "--layout", "mars", "--root", root, "--out", folder / "tracklets.csv.gz")
    attributes = root / "mars_attributes.csv"
    verb("annotate", "--index", folder / "tracklets.csv.gz", "--attributes", attributes, "--out", index)
    found["ceiling"] = ceiling()
    keep(found)
    found["trunk"] = {
        "float32": bare_trunk(128, "float32"),
        "bfloat16": bare_trunk(128, "bfloat16"),
        "bfloat16, not channels last": bare_trunk(128, "bfloat16", channels_last=False),
        "bfloat16, 256 frames": bare_trunk(256, "bfloat16"),
        "bfloat16, 512 frames": bare_trunk(512, "bfloat16"),
    }
    proposed = next(spec for spec in specs(config) if spec.model == CURVE["model"])
    found |= {"steps": [], "failed": {}}
    wanted = {
        "loading": lambda: loading(proposed, index, root, workers),
        "turns": lambda: by_turns(config, index, root),
        "embedding": lambda: embedding(proposed, index, root, 10_000, workers, 3),
        "curve": lambda: curve(config, folder, index, root, workers),
    }
    for name, work in wanted.items():
        try:
            found[name] = work()
        except Exception as error:  # the page says which; the others are measured all the same
            found["failed"][name] = f"{type(error).__name__}: {error}"
        torch.cuda.empty_cache()
        keep(found)
    for spec in specs(config):
        try:
            found["steps"].append(step_cost(spec, index, root))
        except Exception as error:
            found["failed"][spec.model] = f"{type(error).__name__}: {error}"
        torch.cuda.empty_cache()
        keep(found)
        print(spec.model, found["failed"].get(spec.model) or found["steps"][-1], flush=True)
    try:
        found["trunk"]["bfloat16, compiled"] = bare_trunk(128, "bfloat16", compiled=True)
    except Exception as error:
        found["failed"]["torch.compile"] = f"{type(error).__name__}: {error}"
    keep(found)
    return found


def keep(found: Mapping[str, Any]) -> None:
    (OUT / "gpu.json").write_text(json.dumps(found, indent=1) + "\n")


def page(found: Mapping[str, Any]) -> str:
    """gpu.md, from what was measured."""
    commit, changed = found["commit"]
    bare, peak = found["trunk"]["bfloat16"], found["ceiling"]
    steps = pd.DataFrame(found["steps"])
    frames = steps["clips"] * steps["frames"]
    bare_gmac = next(step["gmac"] / step["frames"] for step in found["steps"] if step["model"] == "baseline")
    flops = 6e9 * steps["gmac"] * steps["clips"]  # a multiply-add is two; the backward pass takes two forward passes
    rows = pd.DataFrame(
        {
            "model": steps["model"],
            "recipe": steps["recipe"],
            "clips × frames": steps["clips"].astype(str) + " × " + steps["frames"].astype(str),
            "ms a step": (1e3 * steps["seconds"]).round(1),
            "frames/s": (frames / steps["seconds"]).round(-1).astype(int),
            "over the bare trunk": (steps["seconds"] / frames / (bare / 128)).round(2),
            "by GMAC": (steps["gmac"] / steps["frames"] / bare_gmac).round(2),
            "of the product of matrices": (flops / steps["seconds"] / 1e12 / peak).map("{:.0%}".format),
            "GiB": steps["gib"].round(1),
            "parameters, M": (steps["parameters"] / 1e6).round(2),
            "waits a step": steps["synchronisations"].map(len),
        }
    )
    whole = rows[rows["model"] == CURVE["model"]].iloc[0]
    whole_gmac = next(step["gmac"] / step["frames"] for step in found["steps"] if step["model"] == CURVE["model"])
    most = round(1.1 * whole_gmac / bare_gmac, 2)
    waits = steps["synchronisations"].map(set).explode().dropna().value_counts()
    trunks = pd.DataFrame(
        [
            {"pass": name, "ms": round(1e3 * value, 1), "frames/s": round(frames_of(name) / value)}
            for name, value in found["trunk"].items()
        ]
    )
    parts = [
        "# Training at the paper's scale on a GPU",
        f"`PYTHONPATH=src python3 benchmarks/gpu.py`, {found['day']}, commit {commit[:12]}"
        f"{' with changes' if changed else ''}, {found['device']}, {found['cpus']} cores of {found['cpu']}, torch "
        f"{found['torch']}. Frames of 256×128 are rendered in MARS's layout ({found['render_seconds']:.0f} s); "
        "ResNet-50 starts from random weights.",
        f"A product of two 8192² bfloat16 matrices ran at {peak:.0f} TFLOP/s.",
        "## The bare trunk, forward and backward, 128 frames where nothing else is said",
        tabulate(trunks, "keys", "pipe", showindex=False),
        "Nothing here is compiled: that was measured of the bare trunk alone, and takes a compilation in every job; by "
        "turns with a whole step it is measured by the next run of this.",
        "## A training step of every model, its batch on the device already",
        f"The settings are those of config/paper.yaml and config/native-paper.yaml, for {PEOPLE} people. The step "
        "is the trainer's own: forward pass, losses, backward pass, optimiser, DVDP. Waits are operations in a step "
        "for which the processor waits for the GPU.",
        tabulate(rows, "keys", "pipe", showindex=False),
        f"Twice as many frames take the bare trunk {found['trunk']['bfloat16, 256 frames'] / bare:.2f} times as long: "
        "with 128 it is the processor, asking for one operation after the other, that limits, and not the GPU. So "
        "steps of 128 frames compare how many operations models have, and not what GMAC predicts.",
        aim(f"{CURVE['model']} over the bare trunk", whole["over the bare trunk"], at_most=most),
        aim("waits a step, of all models together", sum(map(len, steps["synchronisations"])), at_most=0),
        "Where a step waits, by the lines of that commit: "
        + (", ".join(f"{place} ({count} models)" for place, count in sorted(waits.items())) or "nowhere")
        + ".",
    ]
    if found["failed"]:
        parts += ["Not measured: " + "; ".join(f"`{name}`: {error}" for name, error in found["failed"].items())]
    for name, said in SAID.items():
        parts += said(found[name], found) if found.get(name) else []
    return "\n\n".join(parts) + "\n"


def said_of_loading(load: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    waiting = 1 - load["had"] / load["read"]
    lines = [
        "## Reading frames",
        f"{CURVE['model']}, {load['workers']} loading processes: {1e3 * load['had']:.1f} ms a step with its batch at "
        f"hand, {1e3 * load['read']:.1f} ms with batches read, decoded and augmented ({waiting:.1%} of the time is "
        f"waiting, the copy to the GPU among it); reading alone takes {1e3 * load['loaded']:.1f} ms a batch, "
        f"{load['frames'] / load['loaded'] / load['workers']:.0f} frames a second and process.",
        aim("the share of waiting", waiting, at_most=0.02),
    ]
    again = next((step["seconds"] for step in found["steps"] if step["model"] == CURVE["model"]), None)
    if again:
        lines.append(
            f"The same step took {load['had'] / again:.2f} times what it took for the table above: so far apart are "
            "two measurements of one run."
        )
    return lines


def said_of_turns(turns: Mapping[str, list[float]], found: Mapping[str, Any]) -> list[str]:
    bare = turns["the bare trunk"]
    rows = [
        {
            "what": name,
            "ms": round(1e3 * statistics.median(own), 1),
            "over the bare trunk": round(statistics.median(a / b for a, b in zip(own, bare, strict=True)), 2),
        }
        for name, own in turns.items()
    ]
    return [
        "## Steps that take turns",
        f"The same batch, medians of {len(bare)} rounds and of the ratios within a round.",
        tabulate(rows, "keys", "pipe"),
    ]


def frames_of(name: str) -> int:
    """How many frames a pass of the bare trunk has, by its name."""
    return next((int(word) for word in name.split() if word.isdigit()), 128)


def said_of_training(run: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    history, scores = pd.DataFrame(run["history"]), run["metrics"]["protocols"]["queries-removed"]
    shown = [name for name in ("epoch", "step", "loss", "dvdp", "spread", "seconds", "mAP", "R1") if name in history]
    took = ", ".join(f"{name} {value:.0f}" for name, value in run["seconds"].items())
    record = run["record"]
    share = record["seconds_waited"] / record["seconds_in_steps"]
    return [
        f"## A whole training of {CURVE['model']} by the workflow's verbs",
        "From what the trunk learned of the same people by the softmax loss alone; scores say that it learns, and "
        "nothing of MARS.",
        tabulate(history[history["mAP"].notna()][shown].round(3), "keys", "pipe", showindex=False),
        f"Seconds, from the start of Python to its end: {took}; {run['test_frames']} test frames were embedded. Of the "
        f"{record['seconds_in_steps']:.0f} s of all steps, {share:.1%} went by until a batch was there.",
        f"Scores under queries-removed: mAP {scores['mAP']:.3f}, R1 {scores['R1']:.3f}.",
    ]


SAID = {
    "turns": said_of_turns,
    "loading": said_of_loading,
    "embedding": said_of_embedding,
    "curve": said_of_training,
}


def main() -> None:
    if sys.argv[1:] == ["--page"]:
        found = json.loads((OUT / "gpu.json").read_text())
    else:
        with tempfile.TemporaryDirectory() as thrown_away:
            found = measure(Path(sys.argv[1] if len(sys.argv) > 1 else thrown_away))
    (OUT / "gpu.md").write_text(page(found))


if __name__ == "__main__":
    main()
