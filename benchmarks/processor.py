"""A training step and the embedding at the paper's scale on processors: `uv run python benchmarks/processor.py`.

The full model's step over a forward and backward pass of the bare trunk (ResNet-50, last stride 1) on the same frames,
beside what their multiply-adds predict; embedding over the bare forward pass; the memory of a training with the
profile's loaders. Frames of 256×128 are rendered. Rounds take turns; a ratio is one within a round. Writes
processor.md beside this file; gpu.py does the same on a GPU.
"""

import statistics
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from gpu import WORLD, configuration, elapsed, embedding, said_of_embedding, trainer_of
from measure import aim, verb, write_page

from vreid.cost import cost
from vreid.hardware import to_network
from vreid.models.trunk import build_trunk, frame_maps
from vreid.spec import Spec, Trunk, resolve
from vreid.walkers.world import World
from vreid.walkers.write import render

ROUNDS, PEOPLE, CLIPS, TESTED = 3, 4, 4, 24  # of a batch; tracklets that are embedded
MODELS, LOADERS = ("baseline", "asta+aitl"), 7


def spec_of(model: str) -> Spec:
    spec = resolve(configuration(), model, 0)
    batch = replace(spec.training, people=PEOPLE, clips=CLIPS, precision="float32")
    return replace(spec, trunk=replace(spec.trunk, weights="none"), training=batch)


def training(index: Path, root: Path) -> list[str]:
    specs = {model: spec_of(model) for model in MODELS}
    trainers = {model: trainer_of(spec, index, root) for model, spec in specs.items()}
    batch = trainers[MODELS[0]].data.batches[0]
    trunk = build_trunk(Trunk(weights="none")).to(memory_format=torch.channels_last).train()

    def bare() -> None:
        trunk.zero_grad(set_to_none=True)
        frame_maps(trunk, to_network(batch.clips)).mean().backward()

    ways: dict[str, Callable] = {"bare": bare}
    ways |= {model: lambda own=own: own.take_step(batch, 1e-5) for model, own in trainers.items()}
    rounds = [{name: elapsed(way) for name, way in ways.items()} for _ in range(ROUNDS + 1)][1:]
    plain = cost(specs["baseline"], 625, 4).clip_gmac
    frames = batch.clips.shape[0] * batch.clips.shape[1]
    lines = [
        "## A training step",
        "",
        f"{batch.clips.shape[0]} clips of 4 frames, float32, the batch read already: forward pass, losses, backward "
        f"pass, optimiser, DVDP. The bare trunk takes {statistics.median(each['bare'] for each in rounds):.1f} s.",
        "",
        "| model | s a step | frames a second | over the bare trunk | by GMAC |",
        "|---|---:|---:|---:|---:|",
    ]
    for model in MODELS:
        taken = statistics.median(each[model] for each in rounds)
        ratio = statistics.median(each[model] / each["bare"] for each in rounds)
        gmac = cost(specs[model], 625, 4).clip_gmac
        lines.append(f"| {model} | {taken:.1f} | {frames / taken:.1f} | {ratio:.2f} | {gmac / plain:.2f} |")
    return [*lines, "", aim(f"{model} over the bare trunk", ratio, at_most=round(1.1 * gmac / plain, 2))]


def memory(index: Path, root: Path, run: Path) -> list[str]:
    spec = spec_of("asta+aitl")
    whole = replace(spec.training, epochs=1, people=8)
    replace(spec, training=whole).save(run / "spec.json")
    words = ["--spec", run / "spec.json", "--index", index, "--root", root, "--dataset", "rendered"]
    words += ["--headline", "queries-removed", "--out", run, "--workers", LOADERS]
    used = verb("train", *words)
    return [
        "",
        "## Memory of a training",
        "",
        f"asta+aitl, {whole.people * whole.clips} clips of 4 frames a batch, float32: {used.peak / 1024:.1f} GiB "
        "resident in the process that trains, its activations among them, which a GPU would hold, and "
        f"{used.own / 1024:.1f} GiB together with {LOADERS} processes that load frames, mapped files aside.",
    ]


def main() -> None:
    with tempfile.TemporaryDirectory() as thrown_away:
        folder = Path(thrown_away)
        root, listed, index = folder / "rendered", folder / "tracklets.csv.gz", folder / "annotated.csv.gz"
        people = {"train_people": 12, "test_people": 12, "tracklets_per_person": 0.3}
        render(World.from_mapping(configuration()["world"] | WORLD | people), root, 2)
        verb("index", "--layout", "mars", "--root", root, "--out", listed)
        verb("annotate", "--index", listed, "--attributes", root / "mars_attributes.csv", "--out", index)
        tested = embedding(spec_of("baseline"), index, root, TESTED, 0, ROUNDS)
        embedded = [part for said in said_of_embedding(tested) for part in ("", said)]
        embedded += ["", "So slow a network leaves hardly any share to reading; of a GPU this says nothing."]
        lines = [*training(index, root), *embedded, *memory(index, root, folder / "run")]
    write_page("processor.md", "The paper's scale on processors", "uv run python benchmarks/processor.py", lines)


if __name__ == "__main__":
    main()
