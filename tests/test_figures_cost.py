"""Fig. 8: which points are drawn, from which numbers, and what is said of them."""

import json

import pytest

from made_up import PUBLISHED, write_scores
from vreid.errors import InputError
from vreid.figures import cost

SPEC = {
    "number": 8,
    "title": "mAP over multiply-adds",
    "train": "synth-mars",
    "test": "synth-mars",
    "rows": [
        {"model": "baseline", "label": "Baseline"},
        {"model": "fu", "label": "STA, T = 4", "published": "sta-t4"},
    ],
}


@pytest.fixture
def measured(tmp_path):
    """metrics.json of two models, and their costs."""
    metrics = write_scores(tmp_path, {"baseline": [0.6, 0.7], "fu": [0.5, 0.5]})
    costs = []
    for model, clip in {"baseline": 16.0, "fu": 16.25}.items():
        costs.append(tmp_path / f"{model}.json")
        counted = {
            "model": model,
            "scale": "ResNet-50 at 256×128",
            "parameters": 1,
            "clip_frames": 4,
            "clip_gmac": clip,
        }
        costs[-1].write_text(json.dumps(counted | {"tracklet_frames": 56, "tracklet_gmac": 14 * clip}))
    return metrics, costs


def test_ours_are_means_over_seeds_and_a_tracklet_costs_what_its_clips_cost(measured):
    frame = cost.points(SPEC, *measured, PUBLISHED).set_index(["panel", "model"])
    clip, tracklet = frame.loc[("clip", "baseline")], frame.loc[("tracklet", "baseline")]
    assert (clip.GMAC, tracklet.GMAC) == (16.0, 224.0)
    assert clip.mAP == tracklet.mAP == pytest.approx(65)
    assert clip["std"] == pytest.approx(10 / 2**0.5)
    assert frame.loc[("clip", "fu")].num_seeds == 2


def test_all_are_drawn_with_the_seeds_that_all_have(measured):
    metrics, costs = measured
    single = [path for path in metrics if "fu" not in str(path) or "seed1" not in str(path)]
    frame = cost.points(SPEC, single, costs, PUBLISHED).set_index(["panel", "model"])
    assert frame.loc["clip"].num_seeds.to_list() == [1, 1] and frame.loc["clip"].mAP.to_list() == [60, 50]
    assert "One seed: Baseline, STA, T = 4." in cost.said(SPEC, frame.reset_index()).caption


def test_published_points_are_as_printed_and_in_a_panel_of_their_own(measured):
    frame = cost.points(SPEC, *measured, PUBLISHED)
    printed = frame[frame.panel == "published"]
    assert printed[["model", "GMAC", "mAP"]].values.tolist() == [["fu", 16.0, 80.8]]
    assert not (frame[frame.panel != "published"].mAP == 80.8).any()


def test_the_figure_is_whole_the_same_every_time_and_says_what_is_rendered(measured, tmp_path):
    for name in "ab":
        cost.cost_figure(SPEC, *measured, PUBLISHED, tmp_path / name / "fig8")
    for suffix in ("svg", "png", "csv", "json"):
        first, second = ((tmp_path / name / f"fig8.{suffix}").read_bytes() for name in "ab")
        assert first == second and len(first) > 100
    said = json.loads((tmp_path / "a" / "fig8.json").read_text())
    assert "measured on synth-mars (rendered)" in said["caption"] and "56 frames" in said["caption"]
    assert said["caption"].endswith("A clip costs least by Baseline, a whole tracklet by Baseline.")
    assert said["explanation"].endswith("Printed counts are 0.98 to 0.98 times ours.")
    assert "Baseline: 16.0 GMAC, mAP 65.0." in said["alt"]
    baseline, sta = said["tables"][0]["rows"]
    assert baseline[-2:] == ["—", "—"] and sta[-2:] == ["16.0", "80.8"]
    assert sta[4] == {"text": "50.0 ± 0.0", "run": ["fu", "synth-mars", "synth-mars"], "sort": pytest.approx(50)}


@pytest.mark.parametrize(("lost", "complaint"), [(0, "no metrics.json given is of"), (1, "no cost given is of")])
def test_a_model_without_scores_or_costs_is_named(measured, tmp_path, lost, complaint):
    given = [list(paths) for paths in measured]
    given[lost] = [path for path in given[lost] if "fu" not in str(path.relative_to(tmp_path))]
    with pytest.raises(InputError, match=rf"figure 8: {complaint} \('fu', 'synth-mars', 'synth-mars'\)"):
        cost.cost_figure(SPEC, *given, PUBLISHED, tmp_path / "fig8")
    assert not list(tmp_path.glob("fig8*"))
