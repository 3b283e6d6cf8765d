"""The report: self-contained, honest about where numbers come from, safe with any name."""

import copy
import html.parser
import re
from pathlib import Path

import pandas as pd
import pytest

from made_up import FIGURE, PUBLISHED, TABLE, write_inputs, write_ledger
from vreid import report, tables
from vreid.errors import InputError
from vreid.figures.curves import dvdp_curves


class Page(html.parser.HTMLParser):
    """Every tag of a page with its attributes, its text, and what its scripts say."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = self.script = ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        if self.cdata_elem == "script":
            self.script += data
        else:
            self.text += data

    def handle_endtag(self, tag):
        self.text += " " if tag in ("td", "th") else ""

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    root = tmp_path_factory.mktemp("results")
    report.build(write_inputs(root), root / "report" / "index.html")
    return root / "report" / "index.html"


@pytest.fixture(scope="module")
def page(built):
    return Page(built.read_text())


def test_nothing_is_loaded_from_anywhere_else(built, page):
    assert page.all("script") == [{}]  # the page's own, with its text inside
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base"), tag
        assert (attributes.get("src") or "data:").startswith("data:")
        assert not re.match(r"(\w+:)?//", attributes.get("href") or "")
    text = built.read_text()
    assert not re.search(r"url\(|@import|https?://", text)


def test_every_picture_says_in_words_what_it_shows(page):
    pictures = page.all("img")
    assert len(pictures) == 2 and all(len(picture["alt"]) > 40 for picture in pictures)
    assert all(drawing["aria-label"] for drawing in page.all("svg"))


def test_links_lead_to_files_that_are_there_or_places_on_the_page(built, page):
    places = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    links = [link["href"] for link in page.all("a")]
    assert {link[1:] for link in links if link.startswith("#")} <= places
    files = [link for link in links if not link.startswith("#")]
    assert {Path(file).suffix for file in files} == {".csv", ".md", ".tex", ".svg", ".png"}
    assert all((built.parent / file).is_file() for file in files)


def test_each_of_our_numbers_leads_to_its_runs_and_no_published_one_does(built):
    row = re.search(r"<tr><th scope=\"row\">Baseline \+ AITL</th>.*?</tr>", built.read_text(), re.S)[0]
    cells = re.findall(r"<td class=\"(.*?)\">(.*?)</td>", row, re.S)
    linked = [bool(re.search(r"href=\"#runs-\d", text)) for _, text in cells]
    assert linked == [True, True, True, False, False]  # seeds, R1, mAP; published R1, mAP
    assert ["published" in kind for kind, _ in cells] == [not link for link in linked]


def test_the_banner_says_that_rendered_data_is_not_mars(page):
    assert "Measured on synth-mars: rendered pictures." in page.text
    assert "neither MARS nor DukeMTMC-VideoReID" in page.text
    assert "published (MARS)" in page.text


def test_filmed_data_gets_no_claim_that_it_was_rendered(tmp_path):
    manifest = write_inputs(tmp_path)
    histories = sorted(tmp_path.rglob("history.csv"))
    for path in [*map(Path, manifest["metrics"]), *(history.with_name("train.json") for history in histories)]:
        path.write_text(path.read_text().replace('"rendered": true', '"rendered": false'))
    dvdp_curves(FIGURE, histories, manifest["figures"][0])
    tables.make(TABLE, manifest["metrics"], PUBLISHED, manifest["tables"][0]["stem"])
    manifest["datasets"][0]["rendered"] = False
    report.build(manifest, tmp_path / "index.html")
    page = Page((tmp_path / "index.html").read_text())
    assert "Measured on synth-mars." in page.text and "rendered" not in page.text


def test_every_run_is_listed_with_its_provenance(page):
    for fact in (
        "5bec00000001",
        "0123456789+dirty",
        "c0de00000000",
        "an abacus, 2 cores",
        "2026-01-02 03:04",
    ):
        assert fact in page.text
    assert "Machine A: CPU, float32, 1 thread, an abacus, 2 cores, torch 2.13.0." in page.text


def test_all_protocols_are_shown_and_the_headline_marked(page):
    words = " ".join(page.text.split())
    assert "synth-mars used in the tables: 28 of 30 queries" in words
    assert words.count("28 of 30 queries have a match, among 90 tracklets.") == 3
    assert "60.0 ± 7.1" in words  # mAP 0.55 + 0.05 under the other protocols


def test_counts_leave_distractors_and_junk_out_of_people(page):
    words = " ".join(page.text.split())
    # tracklets, people, cameras, distractors or junk, frames, frames a tracklet
    assert re.search(r"gallery 5 2 3 1 \d+ [\d.]+ junk 1 0 1 1 \d+", words)


def test_a_training_that_was_never_tested_counts_in_the_cost(page):
    # 4 trainings of 60 s with 3.5 s of testing each, and the trunk's 60 s
    assert "5 min 14 s of training, embedding and scoring" in " ".join(page.text.split())


def test_a_difference_is_computed_not_asserted(page):
    assert re.search(r"\+0\.0 ± 0\.0\s+0 of 2", page.text)


def test_names_that_hold_html_are_shown_not_run(tmp_path):
    table = copy.deepcopy(TABLE)
    table["title"] = "<img src=x onerror=alert(1)>"
    table["rows"][1]["label"] = "<script>alert(2)</script>"
    report.build(write_inputs(tmp_path, table), tmp_path / "index.html")
    page = Page((tmp_path / "index.html").read_text())
    assert page.all("script") == [{}] and "alert" not in page.script
    assert not any("onerror" in picture for picture in page.all("img"))
    assert "<script>alert(2)</script>" in page.text and "<img src=x onerror=alert(1)>" in page.text


def test_a_claim_that_fails_is_shown_as_plainly_as_one_that_holds(tmp_path):
    manifest = write_inputs(tmp_path) | {"claims": str(write_ledger(tmp_path / "claims.csv"))}
    report.build(manifest, tmp_path / "index.html")
    page = Page((tmp_path / "index.html").read_text())
    words = " ".join(page.text.split())
    assert "Of 3 claims of the paper 1 hold, 1 do not hold, 1 cannot be told." in words and "we ask" not in words
    ledger = pd.read_csv(tmp_path / "claims.csv")
    ledger.loc[1, "where"] = "Table 1, asked by us"
    ledger.to_csv(tmp_path / "claims.csv", index=False)
    report.build(manifest, tmp_path / "index.html")
    told = " ".join(Page((tmp_path / "index.html").read_text()).text.split())
    assert "Of 2 claims of the paper" in told and "Of 1 claims that we ask beside them" in told
    assert "<b>AITL</b> helps Table 1 does not hold −0.5 −0.9 to −0.1 3 304" in words and not page.all("b")
    assert "ASTA helps Table 1 holds +1.8 +1.1 to +2.6 3 304" in words
    assert "wide Table 1 cannot tell — — 3 304 not measured: no run of wide" in words


def test_a_ledger_without_verdicts_is_refused(tmp_path):
    manifest = write_inputs(tmp_path) | {"claims": str(tmp_path / "claims.csv")}
    (tmp_path / "claims.csv").write_text("where,statement\nTable 1,said\n")
    with pytest.raises(InputError, match=r"claims\.csv: no column 'verdict'; write the ledger again"):
        report.build(manifest, tmp_path / "index.html")


def test_the_same_files_give_the_same_report(tmp_path):
    manifest = write_inputs(tmp_path)
    for name in "ab":
        report.build(manifest, tmp_path / f"{name}.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_a_file_that_is_missing_is_named_and_nothing_written(tmp_path):
    manifest = write_inputs(tmp_path)
    for victim in ("tables/table1.csv", "figures/fig7.svg", "figures/fig7.json", "figures/contact.png"):
        content = (tmp_path / victim).read_bytes()
        (tmp_path / victim).unlink()
        with pytest.raises(InputError, match=f"{victim}: no such file"):
            report.build(manifest, tmp_path / "index.html")
        (tmp_path / victim).write_bytes(content)
    assert not (tmp_path / "index.html").exists()


def test_a_number_without_its_runs_is_refused(tmp_path):
    manifest = write_inputs(tmp_path)
    manifest["metrics"] = manifest["metrics"][:2]
    with pytest.raises(InputError, match="'aitl', 'synth-mars', 'synth-mars'"):
        report.build(manifest, tmp_path / "index.html")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.31, "0.3 s"), (58.4, "58 s"), (59.6, "1 min 00 s"), (873, "14 min 33 s"), (11_100, "3 h 05 min")],
)
def test_durations_read_like_durations(seconds, words):
    assert report.duration(seconds) == words


def test_a_training_that_was_not_tested_stands_among_the_runs(built):
    text = built.read_text()
    runs = text[text.index('<section id="runs"') :]
    assert "Trained, not tested" in runs and "trunk, synth-people, 0" in runs


def test_where_the_curves_end_leads_to_runs(built):
    text = built.read_text()
    ends = text[text.index("Where the curves end</h3>") : text.index('<section id="protocols"')]
    targets = re.findall(r'<a href="#([^"]+)">', ends)
    assert targets and all(f'id="{target}"' in text for target in targets)
