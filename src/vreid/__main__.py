"""The verbs of vreid: each reads files, writes files, and is one rule of the workflow.

Modules are imported by the verb that needs them, so that no table waits for torch.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vreid.errors import InputError


def render(a: argparse.Namespace) -> None:
    """Render an embedded dataset in MARS's or DukeMTMC-VideoReID's layout."""
    from vreid.walkers.world import World
    from vreid.walkers.write import render as write

    write(World.from_mapping(a.world), a.out, a.workers)


def fetch(a: argparse.Namespace) -> None:
    """Put the parts of a filmed dataset in place, from addresses, archives, folders or files."""
    from vreid.fetch.place import fetch as run

    run(a.layout, a.root, a.attributes, a.sources, a.origin, a.out)


def obtain(a: argparse.Namespace) -> None:
    """Get one file from an address or a path; a download goes on where it broke off."""
    from vreid.fetch.download import obtain as run
    from vreid.fetch.parts import Source

    source = Source.from_entry(a.source)
    try:
        run(source.where, a.out, source.sha256)
    except InputError as fault:
        raise InputError(f"{fault} ({a.key} names it)" if a.key else str(fault)) from None


def index(a: argparse.Namespace) -> None:
    """List the tracklets of a dataset: one row a tracklet."""
    from vreid.data.layouts import index as write

    write(a.layout, a.root, a.names_only, a.expect, a.out)


def pack(a: argparse.Namespace) -> None:
    """Write the frames of a split into one file, which trainings and tests read in place of many."""
    from vreid.data.pack import pack as write

    write(a.index, a.root, a.split, a.out)


def annotate(a: argparse.Namespace) -> None:
    """Join the attribute annotations to an index."""
    from vreid.data.attributes import annotate_file

    annotate_file(a.index, a.attributes, a.out)


def freeze(a: argparse.Namespace) -> None:
    """Write the resolved spec of a run to the file that its training reads."""
    from vreid.spec import Spec

    spec = Spec.from_mapping(a.spec)
    if not a.checked:
        from vreid.outline import check

        check(spec)
    spec.save(a.out)


def train(a: argparse.Namespace) -> None:
    """Train one run; a killed one goes on from its last checkpoint."""
    from vreid.train import train as run

    run(
        spec_path=a.spec,
        index_path=a.index,
        root=a.root,
        dataset=a.dataset,
        headline=a.headline,
        out=a.out,
        trunk_weights=a.trunk_weights,
        manifest=a.manifest,
        stored_size=a.frame_size,
        workers=a.workers,
    )


def embed(a: argparse.Namespace) -> None:
    """Turn the test tracklets of a dataset into features."""
    from vreid.embed import embed as run

    run(
        spec_path=a.spec,
        weights_path=a.weights,
        index_path=a.index,
        root=a.root,
        dataset=a.dataset,
        out=a.out,
        stored_size=a.frame_size,
        rendered=a.rendered,
        workers=a.workers,
        train_index=a.train_index,
        train_root=a.train_root,
        train_stored_size=a.train_frame_size,
    )


def score_regions(a: argparse.Namespace) -> None:
    """Score the regions of every frame; which are occluded?"""
    from vreid.completion.score import score_regions as run

    run(
        spec_path=a.spec,
        weights_path=a.weights,
        index_path=a.index,
        root=a.root,
        dataset=a.dataset,
        options=a.options,
        out=a.out,
        stored_size=a.frame_size,
        workers=a.workers,
    )


def train_completion(a: argparse.Namespace) -> None:
    """Train the network that completes occluded regions; a killed training goes on from its last checkpoint."""
    from vreid.completion.train import train_completion as run

    run(
        regions_path=a.regions,
        spec_path=a.spec,
        weights_path=a.weights,
        index_path=a.index,
        root=a.root,
        dataset=a.dataset,
        options=a.options,
        out=a.out,
        manifest=a.manifest,
        stored_size=a.frame_size,
        workers=a.workers,
    )


def complete(a: argparse.Namespace) -> None:
    """Write a dataset anew, its occluded regions completed."""
    from vreid.completion.complete import complete as run

    run(
        regions_path=a.regions,
        weights_path=a.weights,
        index_path=a.index,
        root=a.root,
        dataset=a.dataset,
        out=a.out,
        rendered=a.rendered,
        stored_size=a.frame_size,
        workers=a.workers,
    )


def truth(a: argparse.Namespace) -> None:
    """What is truly hidden in a rendered dataset, region by region."""
    from vreid.walkers.truth import write_truth
    from vreid.walkers.world import World

    write_truth(World.from_mapping(a.world), a.regions, a.out, a.workers)


def occlusion(a: argparse.Namespace) -> None:
    """Precision and recall of the regions that were found occluded."""
    from vreid.occlusion import compare

    compare(a.regions, a.truth, a.index, a.hidden_above, a.out)


def before_after(a: argparse.Namespace) -> None:
    """A picture of some completed frames, before and after."""
    from vreid.before_after import before_after as draw

    draw(a.index, a.regions, a.root, a.completed, a.out)


def attend(a: argparse.Namespace) -> None:
    """Where a network looks: attention maps of a clip of every annotated test tracklet."""
    from vreid.attend import attend as run

    run(
        spec_path=a.spec,
        weights_path=a.weights,
        index_path=a.index,
        root=a.root,
        dataset=a.dataset,
        out=a.out,
        stored_size=a.frame_size,
        rendered=a.rendered,
        workers=a.workers,
    )


def cells(a: argparse.Namespace) -> None:
    """What the target truly takes of each cell of maps of a rendered dataset's frames."""
    from vreid.walkers.truth import write_cells
    from vreid.walkers.world import World

    write_cells(World.from_mapping(a.world), a.maps, a.out, a.workers)


def attention(a: argparse.Namespace) -> None:
    """Fig. 6: attention over the frames of low-quality tracklets: SVG, PNG, CSV."""
    from vreid.figures.attention import attention as draw

    draw(a.spec, a.maps, a.cells, a.index, a.root, a.out)


def premise(a: argparse.Namespace) -> None:
    """Whether attribute distance and feature distance go together within a person."""
    from vreid.premise import premise as run

    run(a.features, a.index, a.out)


def focus(a: argparse.Namespace) -> None:
    """How much more of the attention falls on the person than on as large a part of anything else."""
    from vreid.focus import focus as run

    run(a.maps, a.cells, a.out)


def score(a: argparse.Namespace) -> None:
    """Rank-k and mAP of features, under all three protocols."""
    from vreid.score import score as run

    run(a.features, a.headline, a.out, a.per_query)


def cost(a: argparse.Namespace) -> None:
    """Count the parameters and multiply-adds of models, a JSON each."""
    from vreid.cost import write_costs
    from vreid.spec import Spec

    write_costs([Spec.from_mapping(spec) for spec in a.specs], a.people, a.tracklet_frames, a.out)


def plan(a: argparse.Namespace) -> None:
    """What is still to run, and the hours that it will take: Markdown, CSV."""
    from vreid.plan.page import forecast

    print(forecast(a.manifest, a.out))


def table(a: argparse.Namespace) -> None:
    """Means over seeds beside the published values, or by attribute: CSV, Markdown, LaTeX."""
    from vreid import recognition, tables

    if a.spec.get("per_attribute"):
        recognition.make(a.spec, a.metrics, a.out)
    else:
        tables.make(a.spec, a.metrics, a.published, a.out, a.costs)


def usage(a: argparse.Namespace) -> None:
    """Table of what every run took: CSV, Markdown, LaTeX."""
    from vreid.usage import make

    make(a.spec, a.runs, a.costs, a.out)


def curves(a: argparse.Namespace) -> None:
    """Fig. 7: DVDP and mAP over the epochs, with and without AITL: SVG, PNG, CSV."""
    from vreid.figures.curves import dvdp_curves

    dvdp_curves(a.spec, a.histories, a.out)


def cost_figure(a: argparse.Namespace) -> None:
    """Fig. 8: mAP over multiply-adds: SVG, PNG, CSV."""
    from vreid.figures.cost import cost_figure as draw

    draw(a.spec, a.metrics, a.costs, a.published, a.out)


def retrieval_figure(a: argparse.Namespace) -> None:
    """The retrieval gallery: the first tracklets that two models find, and DVDP in frames: SVG, PNG, CSV."""
    from vreid.figures.retrieval import retrieval as draw

    draw(a.spec, a.features, a.headline, a.index, a.root, a.out)


def claims(a: argparse.Namespace) -> None:
    """The ledger of the paper's claims: effects with their intervals, and verdicts (CSV)."""
    from vreid.claims import make

    make(a.spec, a.metrics, a.histories, a.costs, a.premises, a.focuses, a.out)


def contact_sheet(a: argparse.Namespace) -> None:
    """A picture of some tracklets of a dataset."""
    from vreid.contact import contact_sheet as draw

    draw(a.index, a.root, a.out)


def report(a: argparse.Namespace) -> None:
    """One self-contained page of everything."""
    from vreid.report import build

    build(a.manifest, a.out)


def orphans(a: argparse.Namespace) -> None:
    """List what a killed Snakemake left in SLURM's queue of this folder's jobs; with --cancel, cancel them."""
    from vreid.orphans import orphans as run

    sys.exit(run(a.cancel))


def pixels(text: str) -> tuple[int, int]:
    """HEIGHTxWIDTH, such as 256x128."""
    try:
        height, width = (int(part) for part in text.split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not HEIGHTxWIDTH, such as 256x128") from None
    return height, width


def data(text: str) -> Any:
    """JSON, or the path of a JSON file."""
    try:
        return json.loads(text if text.lstrip().startswith(("{", "[")) else Path(text).read_text())
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"neither JSON nor a JSON file ({error}): {text[:60]!r}") from None


def source(text: str) -> Any:
    """An address or a path as it is; JSON, or the path of a JSON file, as what it says."""
    return data(text) if text.startswith("{") or text.endswith(".json") else text


Option = tuple[str, dict[str, Any]]
OUT: Option = ("--out", {"type": Path, "required": True, "help": "what is written"})
STEM: Option = ("--out", {"type": Path, "required": True, "help": "what is written, without suffix"})
INDEX: Option = ("--index", {"type": Path, "required": True, "help": "tracklets, annotated (csv.gz)"})
ROOT: Option = ("--root", {"type": Path, "required": True, "help": "the dataset's folder"})
READ_ROOT: Option = ("--root", {"type": Path, "required": True, "help": "the dataset's folder, or that of its packs"})
SPEC: Option = ("--spec", {"type": Path, "required": True, "help": "the frozen spec of the run (JSON)"})
MANIFEST: Option = ("--manifest", {"type": Path, "help": "of a dataset that is made: its frames' digest (JSON)"})
PROTOCOLS = ["queries-removed", "queries-in-gallery", "mars-script"]
HEADLINE: Option = ("--headline", {"choices": PROTOCOLS, "required": True, "help": "what the tables quote"})
WEIGHTS: Option = ("--weights", {"type": Path, "required": True, "help": "weights.pt of the run"})
RENDERED: Option = ("--rendered", {"action": "store_true", "help": "the dataset is rendered, not filmed"})
OPTIONS: Option = ("--options", {"type": data, "default": {}, "help": "settings: JSON, or a file of it"})
REGIONS: Option = ("--regions", {"type": Path, "required": True, "help": "scores of regions (csv.gz)"})
WORLD: Option = ("--world", {"type": data, "required": True, "help": "the world's settings: JSON, or a file of it"})
FEATURES: Option = ("--features", {"type": Path, "required": True, "help": "features.npz"})
MAPS: Option = ("--maps", {"type": Path, "required": True, "help": "attention maps of frames (npz)"})
FRAMES: list[Option] = [
    INDEX,
    READ_ROOT,
    ("--dataset", {"required": True, "help": "the dataset's name"}),
    ("--frame-size", {"type": pixels, "metavar": "HxW", "help": "refuse frames of another size"}),
    ("--workers", {"type": int, "default": 0, "help": "processes that load frames"}),
    OUT,
]
RUN: list[Option] = [SPEC, *FRAMES]

VERBS: dict[Callable[[argparse.Namespace], None], list[Option]] = {
    render: [WORLD, ("--workers", {"type": int, "default": 1}), OUT],
    fetch: [
        ("--layout", {"choices": ["mars", "duke"], "required": True}),
        ("--root", {"type": Path, "required": True, "help": "the folder that shall hold the dataset"}),
        ("--attributes", {"type": Path, "required": True, "help": "where the annotations shall be (CSV)"}),
        ("--sources", {"type": data, "required": True, "help": "addresses or paths (a JSON list, or a file of it)"}),
        ("--origin", {"type": data, "default": {}, "help": "where parts came from, their SHA-256, terms (JSON)"}),
        OUT,
    ],
    obtain: [
        ("--source", {"type": source, "required": True, "help": "address or path; JSON with `from` and `sha256`"}),
        ("--key", {"help": "the key of the configuration that names it, for messages"}),
        OUT,
    ],
    index: [
        ("--layout", {"choices": ["mars", "duke"], "required": True}),
        ROOT,
        ("--names-only", {"action": "store_true", "help": "trust the name lists; look for no image"}),
        ("--expect", {"type": data, "help": "counts that must hold, by split (JSON)"}),
        OUT,
    ],
    pack: [INDEX, ROOT, ("--split", {"choices": ["train", "test"], "required": True}), OUT],
    annotate: [INDEX, ("--attributes", {"type": Path, "required": True, "help": "annotations (CSV)"}), OUT],
    freeze: [
        ("--spec", {"type": data, "required": True, "help": "the resolved spec: JSON, or a file of it"}),
        (
            "--checked",
            {"action": "store_true", "help": "its method accepts it: do not load torch to ask"},
        ),
        OUT,
    ],
    train: [
        *RUN,
        HEADLINE,
        ("--trunk-weights", {"type": Path, "help": "weights that the trunk starts from"}),
        MANIFEST,
    ],
    embed: [
        *RUN,
        WEIGHTS,
        ("--train-index", {"type": Path, "help": "tracklets of the training dataset, for a metric learned on them"}),
        ("--train-root", {"type": Path, "help": "the training dataset's folder, or that of its packs"}),
        ("--train-frame-size", {"type": pixels, "metavar": "HxW", "help": "--frame-size of the training dataset"}),
        RENDERED,
    ],
    score_regions: [*RUN, WEIGHTS, OPTIONS],
    train_completion: [*RUN, WEIGHTS, REGIONS, OPTIONS, MANIFEST],
    complete: [
        *FRAMES,
        ("--weights", {"type": Path, "required": True, "help": "weights.pt of the completion network"}),
        REGIONS,
        RENDERED,
    ],
    truth: [
        WORLD,
        ("--regions", {"type": int, "required": True, "help": "regions a frame"}),
        ("--workers", {"type": int, "default": 1}),
        OUT,
    ],
    occlusion: [
        INDEX,
        REGIONS,
        ("--truth", {"type": Path, "help": "what is truly hidden (csv.gz), of a rendered dataset"}),
        ("--hidden-above", {"type": float, "default": 0.3, "help": "share of the target that must be hidden"}),
        OUT,
    ],
    before_after: [
        INDEX,
        REGIONS,
        ROOT,
        ("--completed", {"type": Path, "required": True, "help": "the completed dataset's folder"}),
        OUT,
    ],
    attend: [*RUN, WEIGHTS, RENDERED],
    cells: [WORLD, MAPS, ("--workers", {"type": int, "default": 1}), OUT],
    attention: [
        ("--spec", {"type": data, "required": True, "help": "number, title, model, tracklets_per_kind (JSON)"}),
        MAPS,
        ("--cells", {"type": Path, "help": "what the target takes of their cells (npz), of a rendered dataset"}),
        INDEX,
        ROOT,
        STEM,
    ],
    premise: [FEATURES, INDEX, OUT],
    focus: [
        ("--maps", {"type": Path, "required": True, "help": "attention maps of a run (npz)"}),
        ("--cells", {"type": Path, "required": True, "help": "what the target takes of their cells (npz)"}),
        OUT,
    ],
    score: [
        FEATURES,
        HEADLINE,
        ("--per-query", {"type": Path, "required": True, "help": "average precision a query (csv.gz), written too"}),
        OUT,
    ],
    cost: [
        ("--specs", {"type": data, "required": True, "help": "resolved specs: a JSON list, or a file of it"}),
        ("--people", {"type": int, "required": True, "help": "people that the classifier tells apart"}),
        ("--tracklet-frames", {"type": int, "required": True, "help": "frames of the tracklet that is counted"}),
        ("--out", {"type": Path, "required": True, "help": "folder that a <model>.json is written to for each"}),
    ],
    plan: [("--manifest", {"type": data, "required": True, "help": "what needs which runs (JSON)"}), STEM],
    table: [
        ("--spec", {"type": data, "required": True, "help": "title, metrics, rows and columns (JSON)"}),
        ("--metrics", {"type": Path, "nargs": "+", "required": True, "help": "metrics.json of every run"}),
        ("--published", {"type": Path, "required": True, "help": "published values (CSV)"}),
        ("--costs", {"type": Path, "nargs": "*", "default": [], "help": "cost of each model (JSON)"}),
        STEM,
    ],
    usage: [
        ("--spec", {"type": data, "required": True, "help": "number, title and labels of models (JSON)"}),
        ("--runs", {"type": data, "required": True, "help": "record and benchmarks of every run (JSON)"}),
        ("--costs", {"type": Path, "nargs": "+", "required": True, "help": "cost of each model (JSON)"}),
        STEM,
    ],
    curves: [
        ("--spec", {"type": data, "required": True, "help": "title and pairs of models (JSON)"}),
        ("--histories", {"type": Path, "nargs": "+", "required": True, "help": "history.csv of every run"}),
        STEM,
    ],
    cost_figure: [
        ("--spec", {"type": data, "required": True, "help": "title, datasets and models (JSON)"}),
        ("--metrics", {"type": Path, "nargs": "+", "required": True, "help": "metrics.json of every run"}),
        ("--costs", {"type": Path, "nargs": "+", "required": True, "help": "cost of each model (JSON)"}),
        ("--published", {"type": Path, "required": True, "help": "published values (CSV)"}),
        STEM,
    ],
    retrieval_figure: [
        ("--spec", {"type": data, "required": True, "help": "title, runs, queries_per_side, people (JSON)"}),
        ("--features", {"type": Path, "nargs": 2, "required": True, "help": "features.npz of the two models"}),
        HEADLINE,
        INDEX,
        ROOT,
        STEM,
    ],
    claims: [
        ("--spec", {"type": data, "required": True, "help": "datasets and claims (JSON)"}),
        ("--metrics", {"type": Path, "nargs": "+", "required": True, "help": "metrics.json of every run"}),
        ("--histories", {"type": Path, "nargs": "*", "default": [], "help": "history.csv of the runs of Fig. 7"}),
        ("--costs", {"type": Path, "nargs": "*", "default": [], "help": "cost of each model (JSON)"}),
        ("--premises", {"type": Path, "nargs": "*", "default": [], "help": "Section 3's premise, of each run (JSON)"}),
        (
            "--focuses",
            {"type": Path, "nargs": "*", "default": [], "help": "attention on the person, of each run (JSON)"},
        ),
        OUT,
    ],
    contact_sheet: [INDEX, ROOT, OUT],
    report: [("--manifest", {"type": data, "required": True, "help": "what the report shows (JSON)"}), OUT],
    orphans: [("--cancel", {"action": "store_true", "help": "cancel them, and wait until they are gone"})],
}


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m vreid", description="Video person re-identification, step by step.")
    verbs = top.add_subparsers(required=True, metavar="VERB")
    for verb, options in VERBS.items():
        sub = verbs.add_parser(verb.__name__.replace("_", "-"), help=verb.__doc__, description=verb.__doc__)
        sub.set_defaults(verb=verb)
        for flag, settings in options:
            sub.add_argument(flag, **settings)
    return top


def main(arguments: list[str] | None = None) -> int:
    a = parser().parse_args(arguments)
    try:
        a.verb(a)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # a disk that is full, a folder that may not be written
        print(f"error: {error.filename or 'output'}: {error.strerror or error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
