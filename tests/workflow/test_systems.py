"""Every comparison system goes through the workflow; adding another takes one file and one entry."""

import json
import math
from pathlib import Path

import pandas as pd
import pytest
import yaml
from conftest import variants

from vreid import recognition, tables, usage
from vreid.data.attributes import IRRELEVANT, QUALITY, RELEVANT_MARS
from vreid.spec import resolve

CONFIG, OVERLAY = (
    yaml.safe_load((Path(__file__).parents[2] / name).read_text())
    for name in ("config/config.yaml", "tests/workflow/systems.yaml")
)
TABLES = ("table3", "variants", "recognition")
ROWS = {name: (CONFIG["tables"][name] | OVERLAY["tables"][name])["rows"] for name in TABLES}
ROWS["variants"] = variants(CONFIG, OVERLAY)
MODELS = {row["model"] for rows in ROWS.values() for row in rows}
TRAINED = sorted(model for model in MODELS if "trained_as" not in CONFIG["models"][model])

TWELFTH = '''
"""The mean of the frames, and a classifier."""

from dataclasses import dataclass

from torch import nn

from vreid import losses
from vreid.models.heads import BNNeck
from vreid.models.method import Method, Outputs
from vreid.models.trunk import build_trunk, frame_maps


@dataclass(frozen=True)
class Options:
    smoothing: float = 0.0


class Network(nn.Module):
    def __init__(self, trunk, people):
        super().__init__()
        self.trunk, self.head = trunk, BNNeck(trunk.channels, people)

    def forward(self, clips):
        feature = frame_maps(self.trunk, clips).float().mean((1, 3, 4))
        return Outputs(feature, *self.head(feature))


def build(options, spec, population, trunk_weights=None):
    return Network(build_trunk(spec.trunk, trunk_weights), population.people)


def terms(outputs, labels, options):
    return {"softmax": losses.softmax_loss(outputs.logits, labels.pids, options.smoothing)}


METHOD = Method(options=Options, network=build, losses=terms)
'''


def run_of(systems, model: str) -> Path:
    completed = "-completed" if model == "hou" else ""
    return systems.root / f"results/runs/synth-mars{completed}/{model}/seed0"


def test_a_method_without_a_row_is_tried_in_one_of_its_own():
    more = {"new": {"method": "twelfth"}, "newer": {"method": "twelfth"}}
    rows = variants(CONFIG | {"models": CONFIG["models"] | more}, OVERLAY)
    assert rows == [*OVERLAY["tables"]["variants"]["rows"], {"model": "new", "label": "new"}]


def test_every_method_is_among_them():
    folder = Path(__file__).parents[2] / "src/vreid/models"
    files = [*folder.glob("*.py"), *folder.glob("*/__init__.py")]
    methods = {
        path.relative_to(folder).parts[0].removesuffix(".py") for path in files if "\nMETHOD = " in path.read_text()
    }
    assert {resolve(CONFIG, model, 0).method for model in MODELS} == methods


@pytest.mark.parametrize("table", TABLES)
def test_every_row_of_a_table_is_measured(systems, table):
    frame = tables.read(systems.root / f"results/tables/{table}.csv")
    assert set(frame.model) == {row["model"] for row in ROWS[table]}
    for metric in CONFIG["tables"][table]["metrics"]:
        assert frame[f"{metric}_mean"].between(0, 100).all(), metric
    if CONFIG["tables"][table].get("costs"):
        # Counted with ResNet-50 at 256×128, whatever the benchmark's trunk and frames: two frames take 8.1 GMAC.
        assert frame.parameters.min() > 20 and frame.GMAC.min() > 8
        assert (frame.seconds_mean[frame.model != "untrained"] > 0).all()


def test_what_every_run_took_is_that_of_its_own_jobs(systems):
    frame = usage.read(systems.root / "results/tables/cost.csv").set_index("model")
    assert set(frame.index) >= MODELS | {"trunk"}
    completion = frame.loc[usage.COMPLETION]
    assert completion.train == "synth-mars"
    assert completion.training_seconds_mean > 0 and completion.embedding_seconds_mean > 0
    frame = frame.drop(usage.COMPLETION)
    assert frame.parameters.min() > 20 and (frame.GMAC.drop("trunk") > 8).all()
    borrowed = sorted(MODELS - set(TRAINED))
    assert frame.training_seconds_mean[borrowed].isna().all() and (frame.training_seconds_mean[TRAINED] > 0).all()
    untested = frame.drop(list(MODELS))
    of_fig7 = {"attributes", "aitl", "asta"}  # and in no table of this experiment
    assert set(untested.index) == {"trunk"} | of_fig7
    assert untested.embedding_seconds_mean.isna().all() and (untested.test == "").all()
    assert (frame.embedding_seconds_mean[list(MODELS)] > 0).all()
    assert (frame.resumed == "").all()


def test_each_attribute_has_a_row_and_quality_is_not_recognised_by_all(systems):
    frame = recognition.read(systems.root / "results/tables/attributes.csv")
    of = {model: set(part.attribute) for model, part in frame.groupby("model")}
    assert of["zhao"] == of["asta+aitl"] == {*IRRELEVANT, *RELEVANT_MARS}
    assert of["chen-attributes"] == of["zhao"] - set(QUALITY)
    assert set(frame.attribute[frame.quality]) == set(QUALITY)
    means = tables.read(systems.root / "results/tables/recognition.csv").set_index("model")
    own = frame[(frame.model == "asta+aitl") & ~frame.quality]
    assert math.isclose(own.F1_mean.mean(), means.F1_mean["asta+aitl"], rel_tol=1e-6)


@pytest.mark.parametrize("model", TRAINED)
def test_every_system_leaves_a_history_with_its_terms_dvdp_and_accuracy(systems, model):
    history = pd.read_csv(run_of(systems, model) / "history.csv")
    assert len(history) == (0 if model == "untrained" else 2)
    assert set(history) > {"loss", "dvdp", "spread", "mAP", "R1"}
    terms = [
        name
        for name in history
        if name not in ("epoch", "step", "lr", "loss", "dvdp", "spread", "seconds", "mAP", "R1")
    ]
    assert terms or model == "untrained"
    for _, epoch in history.iterrows():
        assert math.isclose(sum(epoch[term] for term in terms), epoch["loss"], rel_tol=1e-4)


def test_vrstc_is_several_jobs_and_the_report_shows_what_they_found(systems):
    folder = systems.root / "results/completion/synth-mars-completed"
    found = json.loads((folder / "occlusion.json").read_text())
    assert {"precision", "recall", "base_rate"} <= found["regions"].keys()
    errors = json.loads((folder / "completion.json").read_text())["held_out"]
    assert all(error["l1"] > 0 and error["psnr"] > 0 for error in errors.values())
    page = (systems.root / "results/report/index.html").read_text()
    assert "synth-mars-completed, from synth-mars" in page and "found rightly" in page


def test_a_metric_that_is_learned_or_another_distance_needs_no_training_of_its_own(systems):
    for model in sorted(MODELS - set(TRAINED)):
        run = run_of(systems, model)
        assert not (run / "weights.pt").exists()
        metrics = json.loads((run / "synth-mars/metrics.json").read_text())
        assert metrics["provenance"]["trained_as"] == CONFIG["models"][model]["trained_as"]


def test_figure_6_shows_both_streams_and_what_of_their_attention_falls_on_the_person(systems):
    figure = systems.root / "results/figures/fig6"
    drawn = pd.read_csv(figure.with_suffix(".csv"))
    assert set(drawn.stream) == {"irrelevant", "relevant"} and drawn.attention.between(0, 1).all()
    (table,) = json.loads(figure.with_suffix(".json").read_text())["tables"]
    number, area, *attention = table["rows"][-1][1:]  # of all frames: target's share of the area, attention on it
    assert int(number.replace(",", "")) > 0 and 0 < area["sort"] < 1
    assert len(attention) == 2 and all(0 < share["sort"] < 1 for share in attention)


def test_a_second_call_has_nothing_to_do(systems):
    assert "Nothing to be done" in systems.snakemake("--cores", "all")


def test_an_edit_in_one_system_s_file_reruns_that_system_alone(systems, tmp_path):
    path = systems.root / "src/vreid/models/sta.py"
    before = path.read_text()
    try:
        path.write_text(before + "\nCHANGED = True\n")
        jobs = systems.plan()
    finally:
        path.write_text(before)
    assert {job.split()[2] for job in jobs if job.startswith(("train ", "embed ", "score "))} == {"fu"}
    quoting = {"table table3", "table variants"}  # the second shows costs, which are counted together
    assert {job for job in jobs if job.startswith("table")} == quoting


def test_a_twelfth_system_is_one_file_and_one_entry(checkout):
    (checkout.root / "src/vreid/models/twelfth.py").write_text(TWELFTH)
    overlay = {
        "models": {"new": {"method": "twelfth", "recipe": "unified", "smoothing": 0.1}},
        "tables": {"table1": {"rows": [{"model": m, "label": m} for m in ("baseline", "aitl", "new")]}},
    }
    (checkout.root / "new.yaml").write_text(yaml.safe_dump(overlay))
    checkout.overlay = f"{checkout.overlay} new.yaml"
    jobs = {f"{rule} synth-mars new {seed}" for rule in ("freeze", "train") for seed in (0, 1)}
    jobs |= {f"{rule} synth-mars new {seed} synth-mars" for rule in ("embed", "score") for seed in (0, 1)}
    assert checkout.plan() == jobs | {"costs", "cost_figure", "table table1", "usage", "report"}
    checkout.snakemake("--cores", "all", "results/tables/table1.csv")
    assert set(tables.read(checkout.root / "results/tables/table1.csv").model) == {"baseline", "aitl", "new"}
