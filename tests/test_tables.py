"""Tables 1–4: what stands in a cell, what is bold, and what is refused."""

import copy
import dataclasses
import json

import pandas as pd
import pytest

from made_up import PUBLISHED, TABLE, write_cost, write_metrics, write_scores
from vreid import tables, typeset
from vreid.errors import InputError
from vreid.published import COLUMNS, read_published
from vreid.results import read_results


def made(metrics, spec=TABLE):
    return tables.tabulate(spec, read_results(metrics), read_published(PUBLISHED))


def changed(**settings):
    return {**copy.deepcopy(TABLE), **settings}


def test_a_cell_is_the_mean_and_sample_deviation_over_seeds_in_percent(tmp_path):
    frame = made(write_scores(tmp_path, {"baseline": [0.5, 0.6, 0.7], "aitl": [0.5, 0.5, 0.5]}))
    assert frame.mAP_mean.to_list() == pytest.approx([60, 50])
    assert frame.mAP_std.to_list() == pytest.approx([10, 0])
    assert frame.R1_mean.to_list() == pytest.approx([70, 60])
    assert frame.num_seeds.to_list() == [3, 3]


def test_one_seed_has_no_spread_and_shows_none(tmp_path):
    frame = made(write_scores(tmp_path, {"baseline": [0.5], "aitl": [0.9]}))
    assert frame.mAP_std.isna().all()
    text = typeset.markdown(typeset.shown(TABLE, frame))
    row = next(line for line in text.splitlines() if line.startswith("| Baseline + AITL"))
    assert "±" not in row and "**" not in row


@pytest.mark.parametrize(
    ("baseline", "aitl", "bold"),
    [
        ([0.59, 0.60, 0.61], [0.63, 0.64, 0.65], True),  # leads by 4 points, the two deviations sum to 2
        ([0.59, 0.60, 0.61], [0.605, 0.615, 0.625], False),  # leads by 1.5
        ([0.60, 0.60, 0.60], [0.60, 0.60, 0.60], False),  # a tie
    ],
)
def test_bold_needs_a_lead_greater_than_both_deviations_together(tmp_path, baseline, aitl, bold):
    frame = made(write_scores(tmp_path, {"baseline": baseline, "aitl": aitl}))
    assert typeset.leader(frame, "mAP") == ("aitl" if bold else None)
    assert ("**" in typeset.markdown(typeset.shown({**TABLE, "title": ""}, frame)).split("\n", 1)[1]) == bold
    assert (r"\textbf{" in typeset.latex(typeset.shown(TABLE, frame))) == bold


def test_published_values_stand_in_columns_of_their_own(tmp_path):
    frame = made(write_scores(tmp_path, {"baseline": [0.5, 0.6], "aitl": [0.5, 0.6]}))
    assert frame.mAP_published.to_list() == ["79.4", "83.5"]
    ours, published = typeset.groups(TABLE, frame)
    assert (ours.title, published.title) == ("synth-mars, rendered", "published (MARS)")
    assert [cell.text for cell in ours.rows[1]] == ["2", "65.0", "55.0"]
    assert [cell.text for cell in published.rows[1]] == ["87.4", "83.5"]
    assert all(cell.run is None and not cell.best for row in published.rows for cell in row)


def test_a_blank_published_value_stays_blank(tmp_path):
    spec = changed(metrics=["R5"])
    frame = made(write_scores(tmp_path, {"baseline": [0.5], "aitl": [0.5]}), spec)
    assert frame.R5_published.to_list() == ["", "96.2"]
    assert typeset.groups(spec, frame)[1].rows[0][0].text == "—"


def test_a_column_without_published_dataset_has_nothing_beside_it(tmp_path):
    spec = changed(columns=[{"train": "synth-mars", "test": "synth-mars"}])
    frame = made(write_scores(tmp_path, {"baseline": [0.5], "aitl": [0.5]}), spec)
    assert [group.ours for group in typeset.groups(spec, frame)] == [True]


def test_transfers_fill_columns_of_their_own(tmp_path):
    columns = [*TABLE["columns"], {"train": "synth-mars", "test": "synth-duke", "published_test": ""}]
    spec = changed(columns=columns)
    metrics = write_scores(tmp_path, {"baseline": [0.5], "aitl": [0.6]})
    metrics += write_scores(
        tmp_path, {"baseline": [0.2], "aitl": [0.3]}, test="synth-duke", headline="queries-in-gallery"
    )
    groups = typeset.groups(spec, made(metrics, spec))
    titles = ["synth-mars, rendered", "published (MARS)", "synth-mars → synth-duke, rendered"]
    assert [group.title for group in groups] == titles
    assert [row[-1].text for row in groups[2].rows] == ["20.0", "30.0"]


def transfer_table(tmp_path, own=(0.5, 0.8)):
    spec = changed(decline="mAP", columns=[*TABLE["columns"], {"train": "synth-mars", "test": "synth-duke"}])
    metrics = write_scores(tmp_path, {"baseline": own, "aitl": [0.6, 0.6]})
    metrics += write_scores(tmp_path, {"baseline": [0.2, 0.2], "aitl": [0.3, 0.45]}, test="synth-duke")
    return spec, metrics


def test_the_decline_is_the_share_that_the_same_run_loses_on_other_data(tmp_path):
    spec, metrics = transfer_table(tmp_path)
    frame = made(metrics, spec)
    assert frame.decline_mean[:2].isna().all()
    # Run by run: 1 - .2/.5 and 1 - .2/.8; 1 - .3/.6 and 1 - .45/.6.
    assert frame.decline_mean[2:].to_list() == pytest.approx([67.5, 37.5])
    assert frame.decline_std[2:].to_list() == pytest.approx([15 / 2**0.5, 25 / 2**0.5], abs=1e-5)
    own, _, transfer = typeset.groups(spec, frame)
    assert (own.heads[-1], transfer.heads[-1]) == ("mAP", "decline of mAP")
    assert [row[-1].text for row in transfer.rows] == ["67.5", "37.5"]


def test_a_decline_needs_the_run_on_its_own_data(tmp_path):
    spec, metrics = transfer_table(tmp_path)
    spec["columns"] = spec["columns"][1:]
    with pytest.raises(InputError, match=r"none of the metrics\.json files is of this run tested on synth-mars"):
        made([path for path in metrics if "synth-duke" in str(path)], spec)


def test_one_run_under_several_protocols_fills_a_column_each(tmp_path):
    pair = {"train": "synth-mars", "test": "synth-mars"}
    spec = changed(columns=[pair | {"protocol": name} for name in ("queries-removed", "mars-script")])
    frame = made(write_scores(tmp_path, {"baseline": [0.5, 0.6], "aitl": [0.6, 0.7]}), spec)
    assert frame.mAP_mean.to_list() == pytest.approx([55, 65, 60, 70])
    titles = [group.title for group in typeset.groups(spec, frame)]
    assert titles == ["synth-mars, rendered, queries-removed", "synth-mars, rendered, mars-script"]
    assert "protocol mars-script" in typeset.notes(spec, frame)[1]


def test_gains_are_those_of_each_columns_protocol(tmp_path):
    pair = {"train": "synth-mars", "test": "synth-mars"}
    spec = changed(columns=[pair | {"protocol": name} for name in ("queries-removed", "mars-script")])
    runs = write_scores(tmp_path, {"baseline": [0.5], "aitl": [0.6]})
    content = json.loads(runs[1].read_text())
    content["protocols"]["mars-script"]["mAP"] = 0.58  # the baseline has .55 there
    runs[1].write_text(json.dumps(content))
    gains = tables.gains(spec, made(runs, spec), read_results(runs))
    assert [gain["mean"] for gain in gains] == pytest.approx([10, 3])


def test_a_protocol_that_was_not_scored_is_named(tmp_path):
    spec = changed(columns=[TABLE["columns"][0] | {"protocol": "nope"}])
    with pytest.raises(InputError, match="no R1 under 'nope'; score the run again"):
        made(write_scores(tmp_path, {"baseline": [0.5], "aitl": [0.6]}), spec)


def test_the_headline_protocol_is_quoted_and_named(tmp_path):
    metrics = write_scores(tmp_path, {"baseline": [0.5], "aitl": [0.6]}, headline="mars-script")
    frame = made(metrics)
    assert frame.mAP_mean.to_list() == pytest.approx([50, 60])
    assert "mars-script" in typeset.notes(TABLE, frame)[0]


def test_a_missing_run_is_named(tmp_path):
    metrics = write_scores(tmp_path, {"baseline": [0.5, 0.5, 0.5], "aitl": [0.5, 0.5]})
    with pytest.raises(InputError, match="'aitl', seed 2, trained on synth-mars, tested on synth-mars"):
        made(metrics)
    with pytest.raises(InputError, match="'aitl', seed 0"):
        made(metrics[:3])


def test_the_seeds_that_a_table_asks_for_must_be_there_and_no_others(tmp_path):
    metrics = write_scores(tmp_path, {"baseline": [0.5, 0.5], "aitl": [0.5, 0.5]})
    with pytest.raises(InputError, match="seed 2"):
        made(metrics, changed(seeds=[0, 1, 2]))
    with pytest.raises(InputError, match=r"seed1/.*metrics\.json.* not 1"):
        made(metrics, changed(seeds=[0]))


@pytest.mark.parametrize(
    ("stranger", "complaint"),
    [
        ({"model": "sta"}, "no row for the model 'sta'"),
        ({"test": "synth-duke"}, "no column for training on synth-mars, testing on synth-duke"),
        ({"recipe": "released"}, "recipe 'released', but 'paper'"),
        ({"headline": "mars-script"}, "headline 'mars-script', but 'queries-removed'"),
    ],
)
def test_a_run_that_does_not_belong_is_refused_by_its_file(tmp_path, stranger, complaint):
    metrics = write_scores(tmp_path, {"baseline": [0.5], "aitl": [0.5]})
    path = write_metrics(tmp_path, **{"model": "aitl", "seed": 1, "mAP": 0.5} | stranger)
    with pytest.raises(InputError, match=complaint) as caught:
        made([*metrics, path])
    assert str(path) in str(caught.value)


def test_two_files_of_one_run_are_refused_whatever_they_are_called(tmp_path):
    first, second = (write_metrics(tmp_path / name, "baseline", 0, 0.5) for name in "ab")
    with pytest.raises(InputError) as caught:
        read_results([first, second])
    assert str(first) in str(caught.value) and str(second) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "not valid JSON"),
        ("[]", "not the metrics of a run"),
        ('{"headline": "x", "protocols": {}, "provenance": {"model": "m"}}', "'seed' is missing"),
        (None, "no such file"),
    ],
)
def test_a_torn_or_missing_file_is_named(tmp_path, content, complaint):
    path = tmp_path / "metrics.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=complaint) as caught:
        read_results([path])
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), 55.0, None])
def test_a_score_that_is_no_fraction_is_refused(tmp_path, value):
    path = write_metrics(tmp_path, "baseline", 0, 0.5)
    content = json.loads(path.read_text())
    content["protocols"]["queries-removed"]["mAP"] = value
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"mAP is .*, not a fraction"):
        read_results([path])


def test_every_file_of_a_table_is_written_and_the_csv_reads_back(tmp_path):
    metrics = write_scores(tmp_path, {"baseline": [0.5, 0.6], "aitl": [0.5, 0.7]})
    tables.make(TABLE, metrics, PUBLISHED, tmp_path / "table1")
    frame = tables.read(tmp_path / "table1.csv")
    pd.testing.assert_frame_equal(frame, made(metrics), check_dtype=False)
    row = next(line for line in (tmp_path / "table1.md").read_text().splitlines() if line.startswith("| Baseline  "))
    assert [cell.strip() for cell in row.strip("|").split("|")] == [
        "Baseline",
        "2",
        "65.0 ± 7.1",
        "55.0 ± 7.1",
        "84.9",
        "79.4",
    ]
    tex = (tmp_path / "table1.tex").read_text()
    assert r"\multicolumn{3}{c}{synth-mars, rendered} & \multicolumn{2}{c}{published (MARS)}" in tex
    assert r"Baseline & 2 & 65.0 $\pm$ 7.1 & 55.0 $\pm$ 7.1 & 84.9 & 79.4 \\" in tex


def test_a_wide_table_is_made_to_fit_the_page_and_notes_stand_below_it(tmp_path):
    frame = made(write_scores(tmp_path, {row["model"]: [0.5, 0.6] for row in TABLE["rows"]}))
    narrow = typeset.latex(typeset.shown(TABLE, frame))
    group = typeset.Group(
        "more", True, ("a", "b", "c", "d", "e", "f"), ((typeset.Cell("1"),) * 6,) * len(TABLE["rows"])
    )
    shown = typeset.shown(TABLE, frame)
    wide = typeset.latex(dataclasses.replace(shown, groups=[*shown.groups, group]))
    assert "resizebox" not in narrow and "{booktabs}" in narrow
    assert r"\resizebox{\textwidth}{!}{%" in wide and "{booktabs,graphicx}" in wide
    for tex in (narrow, wide):
        assert tex.count("{") == tex.count("}")
        assert (
            tex.index(r"\caption{Ablation study.}")
            < tex.index(r"\end{tabular}")
            < tex.index("mean ± ".replace("±", r"$\pm$"))
        )


def test_names_cannot_break_markdown_or_latex(tmp_path):
    rows = [{"model": "baseline", "label": "a|b & c_d <i>"}, {"model": "aitl"}]
    spec = changed(rows=rows)
    frame = made(write_scores(tmp_path, {"baseline": [0.5], "aitl": [0.5]}), spec)
    assert r"a\|b &amp; c_d &lt;i>" in typeset.markdown(typeset.shown(spec, frame))
    assert r"a|b \& c\_d <i>" in typeset.latex(typeset.shown(spec, frame))


def test_gains_pair_runs_of_the_same_seed(tmp_path):
    metrics = write_scores(tmp_path, {"baseline": [0.50, 0.60], "aitl": [0.52, 0.61]})
    (gain,) = tables.gains(TABLE, made(metrics), read_results(metrics))
    assert gain["differences"] == pytest.approx([2, 1])
    assert (gain["mean"], gain["std"]) == pytest.approx((1.5, 0.5**0.5))
    assert gain["published"] == pytest.approx(83.5 - 79.4)


def test_gains_are_over_the_seeds_that_the_table_takes_and_not_of_its_floor(tmp_path):
    metrics = write_scores(
        tmp_path, {"baseline": [0.50, 0.60, 0.9], "aitl": [0.52, 0.61, 0.1], "untrained": [0.1, 0.1]}
    )
    rows = [*TABLE["rows"], {"model": "untrained", "label": "Untrained"}]
    spec = changed(rows=rows, seeds=[0, 1], floor="untrained")
    frame = made([path for path in metrics if "seed2" not in str(path)], spec)
    (gain,) = tables.gains(spec, frame, read_results(metrics))
    assert gain["who"][0] == "aitl" and gain["differences"] == pytest.approx([2, 1])


def printed_in(table):
    """What config/published.csv has of a table on MARS: (row, metric) → value as printed."""
    published = read_published(PUBLISHED).reset_index()
    own = published[(published.table == table) & (published.test == "mars") & (published.train == "mars")]
    return dict(zip(zip(own.row, own.metric), own.value))


def test_the_published_values_of_the_supplement_are_those_of_their_sources():
    published = read_published(PUBLISHED)
    variants = {row: value for (row, metric), value in printed_in("S5").items() if metric == "mAP"}
    assert variants == {
        "zheng-euclidean": "40.4",
        "zheng": "45.6",
        "zheng-xqda": "47.6",
        "liu": "82.8",
        "liu-ste": "81.2",
        "zhao": "78.2",
        "fu": "80.8",
        "fu-t6": "81.0",
        "fu-t8": "81.2",
        "chen": "69.4",
        "gao-pooling": "75.8",
        "gao-attention": "76.7",
        "gao-rnn": "73.9",
        "gao-3d": "70.5",
    }
    assert printed_in("S3a") == {("chen-attributes", "accuracy"): "87.01", ("chen-attributes", "F1"): "72.04"}
    for (table, row, *_), source in published.source.items():
        if table == "S3a" or row.startswith("zheng-"):
            assert source.endswith("(recollected, not checked)")
    assert {published.protocol["S5", f"gao-{name}", "mars", "mars", "R1"] for name in ("pooling", "3d")} == {
        "queries-removed"
    }


def test_what_the_supplement_takes_from_table_3_and_fig_8_is_the_same_number_there():
    published = read_published(PUBLISHED)
    supplement, table3 = printed_in("S5"), printed_in("3")
    points = {"liu-ste": "ste-nvan-t8", "fu-t6": "sta-t6", "fu-t8": "sta-t8"}
    quoted = {"arXiv:2006.07597 Table 3": 0, "arXiv:2006.07597 Fig. 8": 0}
    for (row, metric), value in supplement.items():
        source = published.source["S5", row, "mars", "mars", metric]
        if source.endswith("Table 3"):
            assert value == table3[row, metric]
        elif source.endswith("Fig. 8"):
            assert value == printed_in("fig8")[points[row], metric]
        quoted[source] = quoted.get(source, 0) + 1
    assert quoted["arXiv:2006.07597 Table 3"] == 10 and quoted["arXiv:2006.07597 Fig. 8"] == 3


def test_a_source_that_not_every_row_has_is_named_with_its_rows(tmp_path):
    rows = [{"model": "zheng-xqda", "label": "XQDA"}, {"model": "fu-t6", "label": "STA"}, {"model": "li", "label": "L"}]
    spec = changed(published="S5", rows=rows, metrics=["R1", "mAP"])
    frame = made(write_scores(tmp_path, {"zheng-xqda": [0.5], "fu-t6": [0.6], "li": [0.7]}), spec)
    assert typeset.published_sources(frame) == [
        "Zheng et al. 2016 (XQDA)",
        "arXiv:2006.07597 Fig. 8 (STA)",
    ]
    assert frame.R1_published.to_list() == ["65.3", "", ""]


def test_a_value_that_is_recollected_is_marked_and_the_mark_explained(tmp_path):
    rows = [{"model": "liu-ste", "label": "STE-NVAN"}]
    frame = made(
        write_scores(tmp_path / "one", {"liu-ste": [0.5]}), changed(published="S5", rows=rows, metrics=["R1", "mAP"])
    )
    _, published = typeset.groups(TABLE | {"metrics": ["R1", "mAP"]}, frame)
    assert [cell.text for cell in published.rows[0]] == ["88.9†", "81.2"]
    assert "† recollected, and not checked against the source." in typeset.notes(TABLE | {"rows": rows}, frame)
    models = {row["model"]: [0.5] for row in TABLE["rows"]}
    checked = made(write_scores(tmp_path / "other", models))
    assert not any("†" in note for note in typeset.notes(TABLE, checked))


def test_the_published_values_are_those_of_the_paper():
    published = read_published(PUBLISHED)
    assert published.value["1", "asta+aitl", "mars", "mars", "mAP"] == "84.4"
    assert published.value["3", "li", "mars", "mars", "mAP"] == "78.59"
    assert published.value["4", "asta+aitl", "duke", "mars", "R1"] == "44.0"
    assert (published.source != "").all()


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("1,baseline,mars,mars,mAP,79.4,,x", "line 3 repeats 1, baseline, mars, mars, mAP"),
        ("1,aitl,mars,mars,mAP,8O,,x", "line 3: '8O' is not a number"),
    ],
)
def test_a_spoilt_file_of_published_values_is_refused(tmp_path, line, complaint):
    path = tmp_path / "published.csv"
    path.write_text(f"{','.join(COLUMNS)}\n1,baseline,mars,mars,mAP,79.4,,x\n{line}\n")
    with pytest.raises(InputError, match=complaint):
        read_published(path)


# ---- columns that not all rows have, completed data, costs, protocols ----


TWO = [
    {"train": "synth-mars", "test": "synth-mars", "published_train": "mars", "published_test": "mars"},
    {"train": "synth-duke", "test": "synth-duke", "models": ["aitl"], "datasets": {"aitl": "synth-duke-completed"}},
]


@pytest.fixture
def with_two_columns(tmp_path):
    metrics = write_scores(tmp_path, {"baseline": [0.5, 0.6], "aitl": [0.7, 0.8]})
    completed = "synth-duke-completed"
    return metrics + write_scores(tmp_path, {"aitl": [0.2, 0.4]}, train=completed, test=completed)


def test_a_row_that_a_column_leaves_out_is_blank_there(with_two_columns):
    spec = changed(columns=TWO)
    groups = typeset.groups(spec, made(with_two_columns, spec))
    assert [group.title for group in groups] == ["synth-mars, rendered", "published (MARS)", "synth-duke, rendered"]
    baseline, aitl = groups[2].rows
    assert {cell.text for cell in baseline} == {"—"} and all(cell.run is None for cell in baseline)
    assert aitl[-1].text == "30.0" and aitl[-1].run == ("aitl", "synth-duke-completed", "synth-duke-completed")


def test_a_row_measured_on_other_data_than_its_column_s_is_said_to_be(with_two_columns):
    spec = changed(columns=TWO)
    said = " ".join(typeset.notes(spec, made(with_two_columns, spec)))
    assert "Baseline + AITL is trained and tested on synth-duke-completed." in said


def test_gains_are_found_within_a_column_and_need_the_reference_there(with_two_columns):
    spec = changed(columns=TWO)
    (gain,) = tables.gains(spec, made(with_two_columns, spec), read_results(with_two_columns))
    assert gain["who"] == ("aitl", "synth-mars", "synth-mars") and gain["mean"] == pytest.approx(20)


def test_a_run_on_the_column_s_own_data_does_not_stand_in_for_the_completed(with_two_columns, tmp_path):
    spec = changed(columns=TWO)
    stray = write_metrics(tmp_path, "aitl", 0, 0.9, train="synth-duke", test="synth-duke")
    with pytest.raises(InputError, match="no column for training on synth-duke"):
        made([*with_two_columns, stray], spec)


def test_costs_stand_at_the_end_of_a_row_and_seconds_beside_the_scores(tmp_path):
    spec = changed(costs=True)
    metrics = write_scores(tmp_path, {"baseline": [0.5, 0.6], "aitl": [0.7, 0.8]})
    costs = [write_cost(tmp_path, "baseline"), write_cost(tmp_path, "aitl", clip_gmac=20.537)]
    tables.make(spec, metrics, PUBLISHED, tmp_path / "table", costs)
    frame = tables.read(tmp_path / "table.csv")
    assert frame[["parameters", "GMAC", "seconds_mean"]].to_numpy().tolist() == [[24.79, 16.21, 60], [24.79, 20.54, 60]]
    groups = typeset.groups(spec, frame)
    assert groups[0].heads == ("seeds", "R1", "mAP", "feature length", "training, s")
    assert [cell.text for cell in groups[0].rows[1][-2:]] == ["128", "60"]
    assert groups[-1].title == "cost with ResNet-50 at 256×128"
    assert [cell.text for cell in groups[-1].rows[1]] == ["24.79", "4", "20.54"]


def test_a_missing_or_torn_cost_is_named(tmp_path):
    metrics = write_scores(tmp_path, {"baseline": [0.5], "aitl": [0.7]})
    with pytest.raises(InputError, match="no cost of the model 'aitl'"):
        tables.make(changed(costs=True), metrics, PUBLISHED, tmp_path / "t", [write_cost(tmp_path, "baseline")])
    torn = tmp_path / "torn.json"
    torn.write_text('{"model": "aitl"}')
    with pytest.raises(InputError, match=r"torn\.json: the key 'scale' is missing"):
        tables.make(changed(costs=True), metrics, PUBLISHED, tmp_path / "t", [torn])
    assert not list(tmp_path.glob("t.*"))


def test_published_values_of_several_protocols_say_which(tmp_path):
    rows = [{"model": "liu", "label": "NVAN"}, {"model": "asta+aitl", "label": "Ours"}]
    spec = changed(published="3", rows=rows)
    frame = made(write_scores(tmp_path, {"liu": [0.5], "asta+aitl": [0.6]}), spec)
    published = typeset.groups(spec, frame)[1]
    assert published.heads == ("R1", "mAP", "protocol")
    assert [row[-1].text for row in published.rows] == ["mars-script", "queries-removed"]


def test_a_note_of_a_row_stands_under_the_table(tmp_path):
    spec = changed(rows=[{"model": "baseline", "label": "Baseline", "note": "without flow."}])
    assert "Baseline: without flow." in typeset.notes(spec, made(write_scores(tmp_path, {"baseline": [0.5]}), spec))


def test_recognised_attributes_may_be_quoted_like_scores(tmp_path):
    metrics = write_scores(tmp_path, {"baseline": [0.5], "aitl": [0.7]})
    for path in metrics:
        content = json.loads(path.read_text()) | {"recognition": {"accuracy": 0.87, "F1": 0.72}}
        path.write_text(json.dumps(content))
    frame = made(metrics, changed(metrics=["accuracy", "F1"]))
    assert frame.F1_mean.to_list() == [72, 72] and frame.F1_published.to_list() == ["", ""]


def test_by_how_much_all_rows_are_better_than_the_floor_is_said(tmp_path):
    spec = changed(floor="baseline")
    said = typeset.notes(spec, made(write_scores(tmp_path, {"baseline": [0.1, 0.2], "aitl": [0.5, 0.6]}), spec))
    assert "On synth-mars every row lies 40.0 points of mAP or more above 'Baseline'." in said


def test_rows_that_are_no_better_than_the_floor_are_named(tmp_path):
    spec = changed(floor="baseline")
    said = typeset.notes(spec, made(write_scores(tmp_path, {"baseline": [0.5], "aitl": [0.5]}), spec))
    assert "On synth-mars no better than 'Baseline': Baseline + AITL." in said


def test_a_table_of_one_seed_is_read_as_it_was_made(tmp_path):
    metrics = write_scores(tmp_path, {"baseline": [0.5], "aitl": [0.7]})
    tables.make(TABLE, metrics, PUBLISHED, tmp_path / "table")
    frame = tables.read(tmp_path / "table.csv")
    assert frame.mAP_mean.to_list() == [50, 70] and frame.mAP_std.isna().all()
