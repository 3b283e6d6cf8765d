"""Recognition by attribute: which rows there are, what stands in a cell, and what is refused."""

import json

import pandas as pd
import pytest

from made_up import TABLE, write_scores
from vreid import recognition, typeset
from vreid.data.attributes import QUALITY
from vreid.errors import InputError
from vreid.results import read_results

SPEC = TABLE | {"number": "S3b", "metrics": ["accuracy", "F1"], "per_attribute": True}
SPEC.pop("reference")


def scored(accuracy, F1, tracklets=90, majority=0.6):
    return {"accuracy": accuracy, "F1": F1, "majority": majority, "tracklets": tracklets}


def with_attributes(path, attributes):
    path.write_text(json.dumps(json.loads(path.read_text()) | {"attributes": attributes}))
    return path


@pytest.fixture
def metrics(tmp_path):
    """Two seeds of two models; the first recognises no quality."""
    paths = write_scores(tmp_path, {"baseline": [0.5, 0.6], "aitl": [0.5, 0.6]})
    for path, accuracy in zip(paths, (0.7, 0.8, 0.6, 0.6)):
        found = {"irrelevant": {"motion": scored(accuracy, 0.5)}, "relevant": {"hat": scored(0.9, 0.4, majority=0.95)}}
        if "/aitl/" in str(path):
            found["irrelevant"]["occlusion"] = scored(0.8, 0.3)
        with_attributes(path, found)
    return paths


def made(paths, spec=SPEC):
    return recognition.tabulate(spec, read_results(paths))


def test_each_attribute_that_a_model_recognises_has_a_mean_over_its_seeds_in_percent(metrics):
    frame = made(metrics).set_index(["model", "attribute"])
    assert frame.accuracy_mean["baseline", "motion"] == pytest.approx(75)
    assert frame.accuracy_std["baseline", "motion"] == pytest.approx(50**0.5)
    assert frame.F1_mean["aitl", "hat"] == 40 and frame.majority["aitl", "hat"] == 95
    assert ("baseline", "occlusion") not in frame.index and frame.num_seeds.eq(2).all()


def test_models_stand_side_by_side_and_what_one_does_not_recognise_is_blank(metrics):
    shown = recognition.shown(SPEC, made(metrics))
    assert shown.head == "Attribute"
    assert [group.title for group in shown.groups] == ["synth-mars, rendered", "Baseline", "Baseline + AITL"]
    annotated, baseline, aitl = shown.groups
    row = shown.labels.index("occlusion †")
    assert [cell.text for cell in annotated.rows[row]] == ["ID-irrelevant", "90", "60.0"]
    assert [cell.text for cell in baseline.rows[row]] == ["—", "—"] and not any(c.run for c in baseline.rows[row])
    assert [cell.text for cell in aitl.rows[row]] == ["80.0", "30.0"]
    assert aitl.rows[row][0].run == ("aitl", "synth-mars", "synth-mars")


def test_attributes_of_quality_are_shown_and_marked_and_no_others(metrics):
    frame = made(metrics)
    shown = recognition.shown(SPEC, frame)
    marked = {label.removesuffix(" †") for label in shown.labels if label.endswith(" †")}
    assert marked == {"occlusion"} == set(frame.attribute) & set(QUALITY)
    assert any(note.startswith("† How well a tracklet was cut out") for note in shown.notes)
    assert not any(note.startswith("†") for note in recognition.shown(SPEC, made(metrics[:2], baseline_alone())).notes)


def baseline_alone():
    return SPEC | {"rows": SPEC["rows"][:1]}


def test_one_seed_has_no_spread_and_the_note_says_so(metrics):
    spec = SPEC | {"seeds": [0]}
    frame = made([metrics[0], metrics[2]], spec)
    assert frame.F1_std.isna().all()
    kind = "pictures drawn from attributes, which favours who learns these"
    said = f"synth-mars ({kind}): one seed, so no spread, in percent; recipe paper, seeds 0."
    assert said in recognition.shown(spec, frame).notes


@pytest.mark.parametrize("seeds", [[0], [0, 1]])
def test_the_files_are_written_and_the_csv_reads_back(metrics, tmp_path, seeds):
    spec, paths = SPEC | {"seeds": seeds}, [path for path in metrics if int(path.parts[-3][-1]) in seeds]
    recognition.make(spec, paths, tmp_path / "attributes")
    frame = recognition.read(tmp_path / "attributes.csv")
    pd.testing.assert_frame_equal(frame, made(paths, spec), check_dtype=False)
    assert recognition.shown(spec, frame) == recognition.shown(spec, made(paths, spec))
    page, tex = ((tmp_path / f"attributes.{kind}").read_text() for kind in ("md", "tex"))
    assert page.startswith("**Table S3b. Ablation study**\n\n| Attribute ")
    assert r"\toprule" in tex and r"occlusion $\dagger$ & ID-irrelevant & 90 & 60.0 & --- & ---" in tex


def test_transfers_stand_beside_each_other_with_what_is_annotated_there(metrics, tmp_path):
    pair = {"train": "synth-mars", "test": "synth-duke"}
    spec = SPEC | {"columns": [*SPEC["columns"], pair], "rows": SPEC["rows"][:1]}
    away = write_scores(tmp_path, {"baseline": [0.3, 0.3]}, test="synth-duke")
    for path in away:
        with_attributes(path, {"irrelevant": {"motion": scored(0.4, 0.2, tracklets=70, majority=0.8)}})
    shown = recognition.shown(spec, made([*metrics[:2], *away], spec))
    assert [group.title for group in shown.groups] == [
        "synth-mars, rendered",
        "Baseline, synth-mars",
        "synth-mars → synth-duke, rendered",
        "Baseline, synth-mars → synth-duke",
    ]
    assert [cell.text for cell in shown.groups[2].rows[shown.labels.index("motion")]] == ["ID-irrelevant", "70", "80.0"]


@pytest.mark.parametrize(
    ("attributes", "complaint"),
    [
        ({}, "'baseline' recognises no attribute; take its row out"),
        ({"relevant": {"hat": {"accuracy": 0.5}}}, "no tracklets of the attribute 'hat'; score the run again"),
        ({"relevant": {"hat": 0.5}}, "no tracklets of the attribute 'hat'; score the run again"),
        ({"relevant": {"hat": scored(51.0, 0.5)}}, r"accuracy of 'hat' is 51\.0, not a fraction; score the run again"),
        ({"relevant": {"hat": scored(0.5, None)}}, "F1 of 'hat' is None, not a fraction"),
    ],
)
def test_a_run_without_sound_scores_of_attributes_is_named(metrics, attributes, complaint):
    with_attributes(metrics[0], attributes)
    with pytest.raises(InputError, match=complaint) as caught:
        made(metrics[:1], baseline_alone())
    assert str(metrics[0]) in str(caught.value)


def test_seeds_that_recognise_other_attributes_are_refused(metrics):
    with_attributes(metrics[1], {"irrelevant": {"motion": scored(0.5, 0.5)}})
    with pytest.raises(InputError, match=r"seed1/.*not the attributes of .*seed0/"):
        made(metrics)


def test_models_scored_against_other_annotations_are_refused(metrics):
    for path in metrics[2:]:
        with_attributes(path, {"relevant": {"hat": scored(0.5, 0.5, majority=0.5)}})
    with pytest.raises(InputError, match="on synth-mars, 'hat' is not annotated alike for baseline, aitl"):
        made(metrics)


def test_a_score_that_no_attribute_has_is_refused(metrics):
    with pytest.raises(InputError, match="table S3b: 'mAP' is not of an attribute; show accuracy or F1"):
        made(metrics, SPEC | {"metrics": ["accuracy", "mAP"]})


def test_a_missing_run_is_named_as_in_any_table(metrics):
    with pytest.raises(InputError, match="'aitl', seed 1"):
        made(metrics[:3])


def test_the_marks_survive_in_markdown(metrics):
    assert "| occlusion †" in typeset.markdown(recognition.shown(SPEC, made(metrics)))
