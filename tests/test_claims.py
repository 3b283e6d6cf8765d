"""The ledger: what is measured, in which interval, and that outcomes of each kind get their verdict."""

import gzip
import json

import numpy as np
import pandas as pd
import pytest

from made_up import write_history, write_metrics
from vreid import claims
from vreid.errors import InputError

HOME = ("synth-mars", "synth-mars")
SPEC = {"home": "synth-mars", "away": "synth-duke"}
QUERIES = 60


def write_run(root, model, seed, precisions, train="synth-mars", test="synth-mars", each=1):
    """A run whose queries have these average precisions, and whose first match has rank 1 above .5, else 2.

    Every person has `each` queries of the same precision.
    """
    precisions = np.repeat(precisions, each)
    path = write_metrics(root, model, seed, float(np.mean(precisions)), train=train, test=test)
    rows = pd.DataFrame(
        {
            "protocol": "queries-removed",
            "pid": np.arange(len(precisions)) // each,
            "camid": np.arange(len(precisions)) % each,
            "tracklet": 1,
            "average_precision": precisions,
            "first_match_rank": np.where(np.asarray(precisions) > 0.5, 1, 2),
        }
    )
    unmatched = rows.head(1).assign(average_precision=np.nan, first_match_rank=np.nan)
    table = pd.concat([rows, unmatched, rows.assign(protocol="mars-script", average_precision=0.0)])
    path.with_name("per_query.csv.gz").write_bytes(gzip.compress(table.to_csv(index=False).encode()))
    return path


def write_runs(root, means, seeds=3, **where):
    """Runs of models around their mean average precision, with the same easy and hard queries for all."""
    hard = np.random.default_rng(0).normal(0, 0.05, QUERIES)
    return [
        write_run(root, model, seed, mean + hard + 0.004 * np.random.default_rng(seed).normal(size=QUERIES), **where)
        for model, mean in means.items()
        for seed in range(seeds)
    ]


def judged(runs, histories=(), costs=(), premises=(), focuses=(), **claim):
    evidence = claims.gather(SPEC, runs, histories, costs, premises, focuses)
    return claims.judged({"where": "Table 1", "statement": "said", **claim}, evidence)


def gain(runs, **claim):
    return judged(runs, **{"kind": "gain", "model": "aitl", "over": ["baseline"], **claim})


# ---- verdicts ----


def fixed(low, high, corrected=None, seeds=3):
    """An effect whose 95 % interval is this, and the ends of a stricter one."""

    def interval(error):
        return (low, high) if error == claims.ERROR else corrected

    return claims.Effect("", (low + high) / 2, interval, seeds)


@pytest.mark.parametrize(
    ("effects", "expected"),
    [
        ([(1.0, 3.0)], "holds"),
        ([(1.0, 3.0, (0.5, 3.5)), (0.1, 9.0, (-1.0, 9.5))], "holds"),
        ([(1.0, 3.0, (0.5, 3.5)), (-0.1, 9.0, (-1.0, 9.5))], "cannot tell"),
        ([(1.0, 3.0, (0.5, 3.5)), (-4.0, -1.0, (-5.0, -0.1))], "does not hold"),
        ([(1.0, 3.0, (0.5, 3.5)), (-4.0, -1.0, (-5.0, 0.1))], "cannot tell"),  # one of two is below 0 by chance
        ([(0.0, 0.0)], "cannot tell"),  # a tie
        ([(-1.0, 1.0)], "cannot tell"),
    ],
)
def test_every_interval_must_lie_above_0_and_one_below_it_suffices_against(effects, expected):
    assert claims.verdict([fixed(*effect) for effect in effects]) == expected


def test_one_seed_tells_nothing():
    assert claims.verdict([fixed(1.0, 3.0, seeds=1)]) == "cannot tell"


def test_of_eight_effects_that_are_not_there_few_claims_are_said_to_fail():
    rng = np.random.default_rng(0)
    said = []
    for _ in range(100):
        effects = [claims.of_seeds("", rng.normal(size=3)) for _ in range(8)]
        said.append(claims.verdict(effects))
    assert said.count("does not hold") <= 10 and said.count("holds") == 0


def test_a_sum_that_is_0_but_for_its_rounding_is_no_gain():
    drawn = np.full(100, 0.1 + 0.2 - 0.3)
    assert drawn[0] > 0
    assert claims.verdict([claims.of_draws("nothing", 0.0, drawn, 3)]) == "cannot tell"


def test_the_interval_of_seeds_is_students():
    effect = claims.of_seeds("", np.array([1.0, 2.0, 3.0]))
    assert (effect.low, effect.high) == pytest.approx((2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5), abs=1e-3)


@pytest.mark.parametrize(("better", "expected"), [(0.70, "holds"), (0.50, "does not hold")])
def test_a_gain_is_judged_by_its_interval(tmp_path, better, expected):
    row = gain(write_runs(tmp_path, {"baseline": 0.60, "aitl": better}, seeds=2))
    assert row["verdict"] == expected
    assert row["low"] <= row["effect"] <= row["high"]
    assert (row["num_seeds"], row["num_queries"]) == (2, QUERIES)
    assert row["data"] == "synth-mars (rendered)"


def test_a_comparison_with_one_seed_is_named(tmp_path):
    runs = write_runs(tmp_path, {"aitl": 0.7, "baseline": 0.5})
    row = gain([*runs, *write_runs(tmp_path, {"itl": 0.6}, seeds=1)], over=["baseline", "itl"])
    assert (row["verdict"], row["num_seeds"]) == ("cannot tell", 1)
    assert "one seed alone: mAP of aitl − itl (synth-mars), points" in row["note"]


def test_nothing_can_be_told_from_queries_that_disagree(tmp_path):
    runs = write_runs(tmp_path, {"baseline": 0.60}, seeds=2)
    either = np.random.default_rng(9).uniform(0.2, 1.0, QUERIES)
    row = gain([*runs, *(write_run(tmp_path, "aitl", seed, either) for seed in (0, 1))])
    assert row["low"] < 0 < row["high"] and row["verdict"] == "cannot tell"


def test_a_gain_in_one_metric_does_not_make_up_for_another(tmp_path):
    even = np.full(QUERIES, 0.55)
    runs = [write_run(tmp_path, "baseline", seed, even) for seed in (0, 1)]
    # A higher mean precision, but half of the first matches are not at rank 1.
    uneven = np.where(np.arange(QUERIES) < QUERIES // 2, 0.5, 1.0)
    runs += [write_run(tmp_path, "aitl", seed, uneven) for seed in (0, 1)]
    assert gain(runs)["verdict"] == "holds"
    row = gain(runs, metrics=["mAP", "R1"])
    assert row["verdict"] == "does not hold" and row["measure"].startswith("R1")
    assert "; mAP of aitl − baseline" in row["note"]


def test_an_order_compares_neighbours(tmp_path):
    metrics = write_runs(tmp_path, {"baseline": 0.5, "itl": 0.6, "aitl": 0.7})
    assert judged(metrics, kind="order", models=["aitl", "itl", "baseline"])["verdict"] == "holds"
    assert judged(metrics, kind="order", models=["itl", "aitl", "baseline"])["verdict"] == "does not hold"


def test_the_effect_shown_of_a_claim_that_fails_is_one_that_refutes_it(tmp_path):
    wide = np.random.default_rng(2).uniform(-0.4, 0.4, QUERIES)
    runs = write_runs(tmp_path, {"aitl": 0.5, "baseline": 0.51}, seeds=2)
    runs += [write_run(tmp_path, "itl", seed, 0.5 + wide) for seed in (0, 1)]
    row = gain(runs, over=["itl", "baseline"])
    assert row["verdict"] == "does not hold" and row["high"] < 0
    assert row["measure"].startswith("mAP of aitl − baseline") and "mAP of aitl − itl" in row["note"]


@pytest.mark.parametrize(
    "claim", [{"kind": "gain", "model": "aitl", "over": ["baseline"]}, {"kind": "decline", "models": ["baseline"]}]
)
def test_runs_without_a_seed_in_common_tell_nothing(tmp_path, claim):
    runs = [write_run(tmp_path, model, seed, [0.5, 0.6]) for model, seed in (("baseline", 0), ("aitl", 1))]
    runs.append(write_run(tmp_path, "baseline", 1, [0.5, 0.6], test="synth-duke"))
    row = judged(runs, **claim)
    assert (row["verdict"], row["note"]) == ("cannot tell", "not measured: no seed that all of its runs have")


def test_dvdp_of_different_seeds_is_not_compared(tmp_path):
    given = [write_history(tmp_path, model, seed, COURSE, [0.5] * 8) for model, seed in (("baseline", 0), ("aitl", 1))]
    row = judged([], given, kind="dvdp_lower", model_pairs=[["baseline", "aitl"]])
    assert (row["verdict"], row["note"]) == ("cannot tell", "not measured: no seed that all of its runs have")


def test_what_was_not_run_is_said_and_not_dropped(tmp_path):
    row = gain(write_runs(tmp_path, {"baseline": 0.5}))
    assert row["verdict"] == "cannot tell"
    assert row["note"] == "not measured: no run of aitl trained on synth-mars, tested on synth-mars"


# ---- transfers ----


@pytest.mark.parametrize(("away", "expected"), [(0.31, "holds"), (0.50, "does not hold")])
def test_a_gain_that_shrinks_on_the_other_dataset(tmp_path, away, expected):
    metrics = write_runs(tmp_path, {"baseline": 0.5, "aitl": 0.6})
    metrics += write_runs(tmp_path, {"baseline": 0.3, "aitl": away}, train="synth-duke", test="synth-duke")
    row = judged(metrics, kind="smaller_gain", model="aitl", over=["baseline"])
    assert row["verdict"] == expected
    assert row["effect"] == pytest.approx(100 * (0.1 - (away - 0.3)), abs=0.01)


def test_a_lead_is_one_over_the_best_of_several_on_either_dataset(tmp_path):
    metrics = write_runs(tmp_path, {"ours": 0.7, "weak": 0.4, "strong": 0.6})
    metrics += write_runs(tmp_path, {"ours": 0.7, "weak": 0.65, "strong": 0.5}, train="synth-duke", test="synth-duke")
    row = judged(metrics, kind="smaller_gain", model="ours", over=["weak", "strong"])
    assert row["verdict"] == "holds" and "the best of weak, strong" in row["measure"]
    assert row["effect"] == pytest.approx(100 * ((0.7 - 0.6) - (0.7 - 0.65)), abs=0.01)


def test_a_model_may_have_data_of_its_own(tmp_path):
    metrics = write_runs(tmp_path, {"ours": 0.7})
    metrics += write_runs(tmp_path, {"painted": 0.6}, train="painted-mars", test="painted-mars")
    spec = SPEC | {"datasets": {"painted": {"home": "painted-mars", "away": "painted-duke"}}}
    claim = {"kind": "gain", "where": "", "statement": "", "model": "ours", "over": ["painted"]}
    row = claims.judged(claim, claims.gather(spec, metrics, [], []))
    assert row["verdict"] == "holds" and row["effect"] == pytest.approx(10, abs=0.1)
    assert row["measure"] == "mAP of ours − painted (synth-mars), points"
    missing = claims.judged(claim, claims.gather(SPEC, metrics, [], []))
    assert missing["note"] == "not measured: no run of painted trained on synth-mars, tested on synth-mars"


@pytest.mark.parametrize(("back", "expected"), [(0.2, "holds"), (0.55, "does not hold")])
def test_a_decline_is_relative_to_the_own_score(tmp_path, back, expected):
    places = {("synth-mars", "synth-mars"): 0.8, ("synth-mars", "synth-duke"): 0.4}
    places |= {("synth-duke", "synth-duke"): 0.6, ("synth-duke", "synth-mars"): back}
    metrics = [
        path
        for (train, test), mean in places.items()
        for path in write_runs(tmp_path, {"baseline": mean}, train=train, test=test)
    ]
    row = judged(metrics, kind="decline", models=["baseline"])
    assert row["verdict"] == expected
    assert row["effect"] == pytest.approx(100 * ((1 - back / 0.6) - 0.5), abs=1.5)


def test_the_queries_of_a_test_set_are_drawn_once_for_all_that_are_tested_on_it(tmp_path):
    rng = np.random.default_rng(7)
    precisions = {test: rng.uniform(0.3, 0.9, QUERIES) for test in ("synth-mars", "synth-duke")}
    metrics = [
        write_run(tmp_path, "baseline", seed, share * precisions[test], train=train, test=test)
        for (train, test), share in {
            ("synth-mars", "synth-mars"): 1.0,
            ("synth-duke", "synth-mars"): 0.5,
            ("synth-duke", "synth-duke"): 1.0,
            ("synth-mars", "synth-duke"): 0.8,
        }.items()
        for seed in (0, 1)
    ]
    scale = {test: values.mean() for test, values in precisions.items()}
    row = judged(metrics, kind="decline", models=["baseline"])
    lost = [1 - 0.5 * scale["synth-mars"] / scale["synth-duke"], 1 - 0.8 * scale["synth-duke"] / scale["synth-mars"]]
    assert row["effect"] == pytest.approx(100 * (lost[0] - lost[1]), abs=1e-3)
    naive = []
    for _ in range(2000):
        drawn = {test: rng.choice(values, QUERIES).mean() for test, values in precisions.items()}
        ratio = drawn["synth-mars"] / drawn["synth-duke"]
        naive.append(100 * ((1 - 0.5 * ratio) - (1 - 0.8 / ratio)))
    low, high = np.percentile(naive, [2.5, 97.5])
    assert (row["low"], row["high"]) == pytest.approx((low, high), rel=0.1, abs=1.0)


# ---- DVDP ----


def histories(root, model, curves, **more):
    return [write_history(root, model, seed, curve, [0.5] * len(curve), **more) for seed, curve in enumerate(curves)]


COURSE = [0.06, 0.03, 0.02, 0.03, 0.045, 0.05, 0.051, 0.050]


@pytest.mark.parametrize(("factor", "expected"), [(0.5, "holds"), (2.0, "does not hold")])
def test_dvdp_is_compared_where_training_ends(tmp_path, factor, expected):
    before = [np.array(COURSE) + shift for shift in (0, 0.001, 0.002)]
    after = [factor * curve for curve in before]
    given = histories(tmp_path, "baseline", before) + histories(tmp_path, "aitl", after)
    row = judged([], given, kind="dvdp_lower", model_pairs=[["baseline", "aitl"]])
    assert row["verdict"] == expected
    assert row["effect"] == pytest.approx((1 - factor) * (0.0505 + 0.001), abs=1e-6)


@pytest.mark.parametrize(("distance", "expected"), [(0.4, "holds"), (0.2, "cannot tell"), (0.1, "does not hold")])
def test_dvdp_that_shrinks_as_all_distances_do_is_no_lower_in_relation(tmp_path, distance, expected):
    before = [np.array(COURSE) + shift for shift in (0, 0.001, 0.002)]
    given = histories(tmp_path, "baseline", before)
    given += histories(tmp_path, "aitl", [0.5 * curve for curve in before], spread=distance)
    row = judged([], given, kind="dvdp_lower", model_pairs=[["baseline", "aitl"]], relative=True)
    assert row["verdict"] == expected


def test_what_has_no_dvdp_is_said(tmp_path):
    given = histories(tmp_path, "baseline", [[np.nan] * 8] * 2) + histories(tmp_path, "aitl", [COURSE, COURSE])
    row = judged([], given, kind="dvdp_lower", model_pairs=[["baseline", "aitl"]])
    assert row["note"] == "not measured: no DVDP of baseline: its batches have fewer than three clips of a person"


def test_a_course_is_the_same_in_many_epochs_as_in_few(tmp_path):
    def shape(epochs):  # it drops within a sixth, rises until two thirds, and stays
        return np.interp(np.linspace(0, 1, epochs), [0, 0.16, 0.66, 1], [0.06, 0.03, 0.05, 0.05])

    for epochs in (12, 500):
        noise = 0.001 * np.random.default_rng(2).normal(size=(3, epochs))
        given = histories(tmp_path / str(epochs), "baseline", shape(epochs) + noise)
        assert judged([], given, kind="dvdp_course", model="baseline")["verdict"] == "holds"


def test_a_flat_curve_with_noise_has_no_course(tmp_path):
    rng, said = np.random.default_rng(1), []
    for number in range(40):
        curves = 0.05 + 0.002 * rng.normal(size=(3, 12))
        given = histories(tmp_path / str(number), "baseline", curves)
        said.append(judged([], given, kind="dvdp_course", model="baseline")["verdict"])
    assert "holds" not in said


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        (COURSE, "holds"),
        (sorted(COURSE, reverse=True), "does not hold"),  # it never rises
        (sorted(COURSE), "does not hold"),  # it never drops
        ([0.06, 0.03, 0.02, 0.03, 0.04, 0.04, 0.03, 0.09], "does not hold"),  # it never settles
    ],
)
def test_dvdp_drops_then_rises_then_settles(tmp_path, curve, expected):
    curves = [np.array(curve) * scale for scale in (1.0, 1.05, 1.1)]
    row = judged([], histories(tmp_path, "baseline", curves), kind="dvdp_course", model="baseline")
    assert row["verdict"] == expected


# ---- the premise ----


def premises(folder, people: list[dict], model="baseline", test="synth-mars", gaps=None, spread=1.0):
    """A premise.json a seed, from each person's correlation, and from the same gaps in every seed."""
    paths = [folder / f"premise-{model}{seed}.json" for seed in range(len(people))]
    for seed, path in enumerate(paths):
        about = {"model": model, "seed": seed, "train": "synth-mars", "test": test}
        path.write_text(json.dumps(about | {"people": people[seed], "gaps": gaps or {}, "spread": spread}))
    return paths


@pytest.mark.parametrize("mean, expected", [(0.3, "holds"), (-0.3, "does not hold"), (0.0, "cannot tell")])
def test_the_premise_is_a_correlation_within_people_above_0(tmp_path, mean, expected):
    spread = np.random.default_rng(0).normal(0, 0.2, 60)
    spread -= spread.mean()
    people = [{str(pid): mean + value for pid, value in enumerate(spread + 0.01 * seed)} for seed in (-1, 0, 1)]
    row = judged([], premises=premises(tmp_path, people), kind="correlated", model="baseline")
    assert (row["verdict"], row["num_seeds"]) == (expected, 3)
    assert row["effect"] == pytest.approx(mean, abs=1e-6) and row["measure"].endswith("mean over 60 people")


@pytest.mark.parametrize(
    "factor, spread, relative, expected",
    [
        (0.5, 1.0, False, "holds"),
        (1.0, 1.0, False, "cannot tell"),
        (2.0, 1.0, False, "does not hold"),
        (0.5, 0.5, False, "holds"),
        (0.5, 0.5, True, "cannot tell"),  # all distances shrink alike
    ],
)
def test_dvdp_in_test_is_compared_person_by_person(tmp_path, factor, spread, relative, expected):
    gaps = {str(pid): 0.2 + 0.01 * pid for pid in range(30)}
    runs = premises(tmp_path, [{}, {}], "baseline", gaps=gaps)
    with_it = {pid: factor * gap for pid, gap in gaps.items() if pid != "29"}  # of whom one run says nothing
    runs += premises(tmp_path, [{}, {}], "aitl", gaps=with_it, spread=spread)
    asked = {"kind": "dvdp_lower_in_test", "model_pairs": [["baseline", "aitl"]], "relative": relative}
    row = judged([], premises=runs, **asked)
    assert row["verdict"] == expected and "mean over 29 people" in row["measure"]
    alone = judged([], premises=runs[:2], **asked)
    assert alone["verdict"] == "cannot tell" and "no premise of aitl" in alone["note"]


def test_only_people_of_whom_every_seed_says_something_count(tmp_path):
    people = [{"1": 0.5, "2": 0.4, "3": 0.9}, {"1": 0.5, "2": 0.6}]
    row = judged([], premises=premises(tmp_path, people), kind="correlated", model="baseline")
    assert row["effect"] == pytest.approx(0.5) and row["measure"].endswith("mean over 2 people")


def test_a_premise_of_another_model_or_dataset_is_none(tmp_path):
    elsewhere = premises(tmp_path, [{"1": 0.5}], test="synth-duke")
    row = judged([], premises=elsewhere, kind="correlated", model="baseline")
    assert row["verdict"] == "cannot tell" and "no premise of baseline" in row["note"]


# ---- attention and attributes ----


def focuses(folder, relevant: float, seeds=2, each=1):
    """A focus.json a seed; both streams attend to the person for sure, the relevant one off what hides them by this.

    Of every person, `each` tracklets say the same.
    """
    spread = np.random.default_rng(0).normal(0, 2, 40)
    spread -= spread.mean()
    paths = [folder / f"focus{seed}.json" for seed in range(seeds)]
    for seed, path in enumerate(paths):
        streams = {
            name: {
                side: {
                    f"{pid}C1C{n}": mean + value + 0.1 * seed for pid, value in enumerate(spread) for n in range(each)
                }
                for side, mean in (("on", 9.0), ("off", off))
            }
            for name, off in (("irrelevant", 9.0), ("relevant", relevant))
        }
        about = {"model": "asta", "seed": seed, "train": "synth-mars", "test": "synth-mars"}
        path.write_text(json.dumps(about | {"streams": streams}))
    return paths


@pytest.mark.parametrize("relevant, expected", [(5.0, "holds"), (0.0, "cannot tell"), (-5.0, "does not hold")])
def test_every_stream_must_attend_to_the_person_and_not_to_what_hides_them(tmp_path, relevant, expected):
    row = judged([], focuses=focuses(tmp_path, relevant), kind="attends", model="asta")
    assert row["verdict"] == expected and row["effect"] == pytest.approx(relevant + 0.05)
    assert row["measure"].startswith("relevant attention of asta off what hides them, beyond its mean map")
    assert row["note"].count("attention of asta") == 3 and "mean over 40 tracklets" in row["measure"]


def test_more_tracklets_of_the_same_people_make_attention_no_surer(tmp_path):
    rows = []
    for each in (1, 9):
        (tmp_path / str(each)).mkdir()
        given = focuses(tmp_path / str(each), 5.0, each=each)
        rows.append(judged([], focuses=given, kind="attends", model="asta"))
    assert "mean over 360 tracklets" in rows[1]["measure"] and rows[1]["num_queries"] == 0
    assert rows[1]["high"] - rows[1]["low"] == pytest.approx(rows[0]["high"] - rows[0]["low"], rel=0.05)


def test_attention_without_known_targets_tells_nothing(tmp_path):
    row = judged([], focuses=focuses(tmp_path, 5.0), kind="attends", model="asta+aitl")
    assert row["verdict"] == "cannot tell" and "no attention of asta+aitl" in row["note"]


def test_a_torn_focus_is_named(tmp_path):
    (tmp_path / "focus.json").write_text('{"model": "asta", "seed": 0}')
    with pytest.raises(InputError, match=r"focus\.json: the key 'train' is missing"):
        judged([], focuses=[tmp_path / "focus.json"], kind="attends", model="asta")


@pytest.mark.parametrize(("above", "expected"), [(0.03, "holds"), (0.0, "cannot tell"), (-0.03, "does not hold")])
def test_attributes_are_recognised_if_more_than_the_commonest_classes_are(tmp_path, above, expected):
    runs = write_runs(tmp_path, {"aitl": 0.5, "baseline": 0.5})
    for seed, path in enumerate(runs[:3]):
        own = {"accuracy": 0.7 + above + 0.001 * (seed - 1), "F1": 0.4, "majority": 0.7}
        sure = own | {"accuracy": 0.9}
        attributes = {"relevant": {"hat": sure}, "irrelevant": {"pose": own, "motion": own, "occlusion": sure}}
        path.write_text(json.dumps(json.loads(path.read_text()) | {"attributes": attributes}))
    row = judged(runs, kind="recognises", models=["aitl"], group="irrelevant")
    assert row["verdict"] == expected and row["effect"] == pytest.approx(100 * above)
    better = 2 if above > 0 else 0
    assert f"mean over pose, motion ({better} better by 1 in every seed), points" in row["measure"]
    both = judged(runs, kind="recognises", models=["aitl"])
    assert both["effect"] == pytest.approx((200 * above + 20) / 3)
    other = judged(runs, kind="recognises", models=["aitl", "baseline"])
    assert other["verdict"] == "cannot tell" and "baseline recognises no attribute" in other["note"]


def test_a_torn_premise_is_named(tmp_path):
    (tmp_path / "premise.json").write_text('{"model": "baseline"}')
    with pytest.raises(InputError, match=r"premise\.json: the key 'seed' is missing"):
        judged([], premises=[tmp_path / "premise.json"], kind="correlated", model="baseline")


# ---- cost ----


def write_costs(root, gmac):
    """The costs of models, from the multiply-adds of a clip and of a tracklet."""
    paths = []
    for model, (clip, tracklet) in gmac.items():
        paths.append(root / f"{model}.json")
        cost = {"model": model, "scale": "ResNet-50 at 256×128", "parameters": 1, "clip_frames": 4, "clip_gmac": clip}
        paths[-1].write_text(json.dumps(cost | {"tracklet_frames": 56, "tracklet_gmac": tracklet}))
    return paths


def test_the_lighter_model_takes_less_a_clip_and_a_tracklet(tmp_path):
    costs = write_costs(tmp_path, {"aitl": (20.0, 280.0), "cheap": (16.0, 16.0), "dear": (60.0, 300.0)})
    asked = {"kind": "lighter", "model": "aitl"}
    row = judged([], costs=costs, over=["dear"], part="tracklet", **asked)
    assert (row["verdict"], row["effect"], row["low"], row["high"]) == ("holds", 20, 20, 20)
    assert row["measure"] == "GMAC of a tracklet, dear − aitl, counted" and row["num_seeds"] == 0
    assert row["data"] == "ResNet-50 at 256×128"
    row = judged([], costs=costs, over=["cheap", "dear"], part="clip", **asked)
    assert (row["verdict"], row["effect"]) == ("does not hold", -4)
    assert (
        judged([], costs=costs, over=["aitl"], part="clip", **asked)["verdict"] == "does not hold"
    )  # a tie is no lead
    assert "no cost of gone" in judged([], costs=costs, over=["gone"], part="clip", **asked)["note"]


def test_the_frontier_asks_only_those_that_cost_no_more(tmp_path):
    metrics = write_runs(tmp_path, {"aitl": 0.6, "cheap": 0.5, "dear": 0.7})
    costs = write_costs(tmp_path, {"aitl": (20.0, 280.0), "cheap": (16.0, 16.0), "dear": (60.0, 300.0)})
    asked = {"kind": "frontier", "model": "aitl"}
    assert judged(metrics, costs=costs, over=["cheap", "dear"], **asked)["verdict"] == "holds"
    assert "costs as little" in judged(metrics, costs=costs, over=["dear"], **asked)["note"]
    assert "no cost of cheap" in judged(metrics, costs=costs[:1], over=["cheap"], **asked)["note"]


# ---- intervals ----


def test_the_bootstrap_agrees_with_a_loop_over_the_same_draws():
    rng = np.random.default_rng(3)
    values = rng.normal(size=(3, 7))
    seeds, queries = (claims.draw_weights(count, 20, rng) for count in values.shape)
    assert seeds.sum(axis=1) == pytest.approx(1) and queries.sum(axis=1) == pytest.approx(1)
    for got, seed, query in zip(claims.pigeonhole(values, seeds, queries), seeds, queries):
        drawn = [
            values[s, q]
            for s in np.repeat(np.arange(3), np.rint(3 * seed).astype(int))
            for q in np.repeat(np.arange(7), np.rint(7 * query).astype(int))
        ]
        assert got == pytest.approx(np.mean(drawn))


def test_an_interval_of_queries_alone_has_the_width_of_the_standard_error(tmp_path):
    values = np.random.default_rng(4).normal(size=(1, 400))
    weights = [claims.draw_weights(count, 4000, np.random.default_rng(5)) for count in values.shape]
    low, high = np.percentile(claims.pigeonhole(values, *weights), [2.5, 97.5])
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.05)


def test_people_are_drawn_with_all_their_queries():
    people = np.array([0, 1, 1, 2, 2, 2])
    drawn = claims.draw_queries(people, 500, np.random.default_rng(0))
    assert drawn.sum(1) == pytest.approx(1)
    assert all((drawn[:, people == person][:, 0] == drawn[:, people == person].T).all() for person in range(3))


def test_queries_that_all_say_the_same_of_their_person_count_as_one():
    """Forty people with ten queries each: the interval is that of forty values, and not of four hundred."""
    values = np.random.default_rng(6).normal(size=40)
    together = claims.of_values("", np.tile(np.repeat(values, 10), (2, 1)), np.repeat(np.arange(40), 10))
    assert together.high - together.low == pytest.approx(2 * 1.96 * values.std() / 40**0.5, rel=0.1)


@pytest.mark.parametrize("claim", ["gain", "smaller_gain", "decline"])
def test_more_queries_of_the_same_people_make_no_verdict_surer(tmp_path, claim):
    asked = {
        "gain": {"kind": "gain", "model": "aitl", "over": ["baseline"]},
        "smaller_gain": {"kind": "smaller_gain", "model": "aitl", "over": ["baseline"]},
        "decline": {"kind": "decline", "models": ["aitl"]},
    }[claim]
    widths = []
    for each in (1, 9):
        runs = []
        for train in ("synth-mars", "synth-duke"):
            for test in ("synth-mars", "synth-duke"):
                for number, model in enumerate(("aitl", "baseline")):
                    for seed in (0, 1):
                        rng = np.random.default_rng([seed, number, train == test, test == "synth-mars"])
                        of = {"train": train, "test": test, "each": each}
                        runs.append(write_run(tmp_path / str(each), model, seed, rng.uniform(0.2, 0.9, 40), **of))
        row = judged(runs, **asked)
        widths.append(row["high"] - row["low"])
    assert widths[1] == pytest.approx(widths[0], rel=0.1)


@pytest.mark.parametrize(("seeds", "of_seeds"), [(3, 0.0), (3, 0.5), (2, 0.0), (2, 0.5)])
def test_of_differences_that_are_not_there_no_more_than_one_in_twenty_is_found(seeds, of_seeds, monkeypatch):
    """With a little noise of seeds, more of queries, most of what a seed does to a query."""
    monkeypatch.setattr(claims, "DRAWS", 400)
    rng, count, people, found = np.random.default_rng(7), 200, np.repeat(np.arange(50), 3), 0
    for _ in range(count):
        noise = 12 * rng.normal(size=(seeds, 150)) + 8 * rng.normal(size=150)
        noise += of_seeds * rng.normal(size=(seeds, 1))
        effect = claims.of_values("", noise, people)
        found += effect.low > 0 or effect.high < 0
    assert found <= 0.05 * count


def test_a_verdict_of_queries_names_the_interval_of_its_seeds(tmp_path):
    row = gain(write_runs(tmp_path, {"baseline": 0.5, "aitl": 0.6}))
    assert row["verdict"] == "holds" and row["note"].startswith("by its seeds' means alone (Student): +10 [")


def test_queries_without_a_match_and_other_protocols_do_not_count(tmp_path):
    evidence = claims.gather(SPEC, [write_run(tmp_path, "aitl", 0, [0.2, 0.6, 1.0])], [], [])
    people, (scores,) = evidence.scores({("aitl", *HOME): [0]}, "mAP")
    assert scores.tolist() == [[20, 60, 100]] and people.tolist() == [0, 1, 2]
    assert evidence.scores({("aitl", *HOME): [0]}, "R1")[1][0].tolist() == [[0, 100, 100]]


# ---- files ----


def test_the_same_files_give_the_same_ledger(tmp_path):
    metrics = write_runs(tmp_path, {"baseline": 0.5, "aitl": 0.6})
    spec = SPEC | {"ledger": [{"kind": "gain", "where": "", "statement": "", "model": "aitl", "over": ["baseline"]}]}
    for name in "ab":
        claims.make(spec, metrics, [], [], [], [], tmp_path / f"{name}.csv")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert pd.read_csv(tmp_path / "a.csv").columns.to_list() == claims.COLUMNS


def test_a_run_without_its_queries_is_refused_by_its_file(tmp_path):
    metrics = write_runs(tmp_path, {"baseline": 0.5, "aitl": 0.6})
    victim = metrics[0].with_name("per_query.csv.gz")
    for content, complaint in ((b"torn", "not the queries of a run"), (None, "no such file")):
        victim.unlink() if content is None else victim.write_bytes(content)
        with pytest.raises(InputError, match=complaint) as caught:
            gain(metrics)
        assert str(victim) in str(caught.value)


def test_runs_of_other_queries_are_not_compared(tmp_path):
    metrics = write_runs(tmp_path, {"baseline": 0.5, "aitl": 0.6})
    path = metrics[-1].with_name("per_query.csv.gz")
    for other in (lambda table: table.assign(camid=2), lambda table: table.iloc[1:]):
        pd.read_csv(path).pipe(other).to_csv(path, index=False)
        with pytest.raises(InputError, match="has other queries than"):
            gain(metrics)


def test_an_effect_below_0_is_shown_even_where_it_is_not_enough(tmp_path, monkeypatch):
    effects = [fixed(-9.0, 2.0, corrected=(-12.0, 3.0)), fixed(-3.0, -1.0, corrected=(-4.0, 1.0))]
    monkeypatch.setitem(claims.KINDS, "gain", lambda claim, evidence: effects)
    row = gain(write_runs(tmp_path, {"aitl": 0.5}))
    assert (row["verdict"], row["low"], row["high"]) == ("cannot tell", -3.0, -1.0)
    assert "below 0, but one of 2 effects" in row["note"]


@pytest.mark.parametrize(("entry", "said"), [({"metrics": ["AP"]}, "'AP' is no metric"), ({}, "lacks the key 'over'")])
def test_a_claim_that_cannot_be_asked_is_named(tmp_path, entry, said):
    runs = write_runs(tmp_path, {"aitl": 0.6, "baseline": 0.5})
    with pytest.raises(InputError, match=f"claims.ledger: .*{said}"):
        judged(runs, **{"kind": "gain", "model": "aitl"} | ({"over": ["baseline"]} | entry if entry else {}))


def test_an_unknown_kind_is_refused(tmp_path):
    with pytest.raises(InputError, match="'magic' is none of the kinds gain, order"):
        judged([], kind="magic")
