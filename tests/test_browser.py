"""The report in a real browser: what it loads, shows, sorts, copies and prints, and that no name in it is run.

It needs Chromium and its driver (Debian: `apt-get install chromium chromium-driver`) and is skipped where they are not;
with VREID_BROWSER=required in the environment, a missing browser is a failure.
"""

import copy
import json
import os
import re
import shutil
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from made_up import FIGURE, TABLE, write_inputs, write_ledger
from vreid import report

SCRIPT = "<script>document.title='hacked'</script>"
PICTURE = '"><img src=x onerror="document.title=\'hacked\'">'
ENDS = f"</pre></template></details></style>{SCRIPT}"
OURS = "#table-1 > h2 + .scroll table"
DESKTOP, PHONE = 1280, 390
QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
CONTRASTS = """
const parsed = colour => colour.match(/[\\d.]+/g).map(Number);
const linear = c => (c /= 255) <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4;
const luminance = ([r, g, b]) => .2126 * linear(r) + .7152 * linear(g) + .0722 * linear(b);
function paper(element) {
  for (; element; element = element.parentElement) {
    const colour = parsed(getComputedStyle(element).backgroundColor);
    if (colour.length < 4 || colour[3] === 1) return colour;
  }
  return [255, 255, 255];
}
const found = [], texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (texts.nextNode()) {
  const element = texts.currentNode.parentElement;
  if (!texts.currentNode.data.trim() || !element.checkVisibility()) continue;
  const [a, b] = [parsed(getComputedStyle(element).color), paper(element)].map(luminance);
  found.push([(Math.max(a, b) + .05) / (Math.min(a, b) + .05), texts.currentNode.data.trim()]);
}
return found;
"""


def installed() -> tuple[str, str]:
    """The browser and its driver."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if browser and driver:
        return browser, driver
    absent = "no Chromium with its chromedriver here; Debian: apt-get install chromium chromium-driver"
    if os.environ.get("VREID_BROWSER") == "required":
        pytest.fail(absent)
    pytest.skip(absent)


def test_where_a_browser_is_required_a_missing_one_fails(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.delenv("VREID_BROWSER", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no Chromium"):
        installed()
    monkeypatch.setenv("VREID_BROWSER", "required")
    with pytest.raises(pytest.fail.Exception, match="no Chromium"):
        installed()


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A report whose names and values hold HTML, at each place where one can come from outside."""
    root = tmp_path_factory.mktemp("results")
    table, figure = copy.deepcopy(TABLE), copy.deepcopy(FIGURE)
    table["title"] = f"Ablation {SCRIPT}"
    table["rows"][0]["note"] = ENDS
    table["rows"][1]["label"] = f"AITL {PICTURE}"
    table["rows"] += [{"model": "asta", "label": "ASTA"}, {"model": "own", "label": "Own"}]
    figure["title"] = f"Curves {PICTURE}"
    figure["pairs"][0]["label"] = f"Pair {SCRIPT}"
    scores = {"baseline": [0.5, 0.6], "aitl": [0.09, 0.1], "asta": [0.1, 0.102], "own": [0.7, 0.7]}
    manifest = write_inputs(root, table, figure, scores)
    for path in map(Path, manifest["metrics"]):
        record = json.loads(path.read_text())
        record["provenance"] |= {"host_cpu": f"abacus {PICTURE}", "commit": PICTURE, "spec_digest": SCRIPT}
        path.write_text(json.dumps(record))
    (pretrained,) = map(Path, manifest["trainings"])
    pretrained.write_text(json.dumps(json.loads(pretrained.read_text()) | {"seconds": 5.0}))
    manifest["title"] = f"Report {PICTURE}"
    manifest["datasets"][0]["name"] = f"data {PICTURE}"
    manifest["claims"] = str(write_ledger(root / "claims.csv", statement=f"Claim {PICTURE}", note=f"Note {SCRIPT}"))
    supplement = copy.deepcopy(table) | {"number": "S1"}
    for kind in ("csv", "md", "tex"):
        shutil.copy(root / f"tables/table1.{kind}", root / f"tables/s1.{kind}")
    manifest["tables"].append({"spec": supplement, "stem": str(root / "tables/s1")})
    report.build(manifest, root / "report/index.html")
    return root / "report/index.html"


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    browser, path = installed()
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    for argument in (*QUIET, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=Service(path))
    yield driver
    driver.quit()


@pytest.fixture
def page(driver, built):
    """The report, freshly opened on a desktop in light colours."""
    driver.get("about:blank")
    for log in ("browser", "performance"):
        driver.get_log(log)
    seen(driver, DESKTOP)
    driver.get(built.as_uri())
    return driver


def seen(driver, width: int, colours: str = "light", medium: str = "screen") -> None:
    """Look at the page in a window of this width, in these colours, on the screen or in print."""
    metrics = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": colours}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": medium, "features": features})


def texts(driver, path: str) -> list[str]:
    """What each of the elements shows."""
    shown = "return [...document.querySelectorAll(arguments[0])].map(element => element.innerText.trim())"
    return driver.execute_script(shown, path)


class Column:
    """A column of a table, found by the words in its head; of equal ones the first, which is ours."""

    def __init__(self, driver, table: str, head: str, origin: str = "th"):
        self.driver, self.table = driver, table
        of_origin = (
            f"return [...document.querySelectorAll(arguments[0])]"
            f".map(head => head.matches({origin!r}) && head.innerText.trim())"
        )
        self.number = 1 + driver.execute_script(of_origin, f"{table} thead tr:last-child th").index(head)
        self.head = driver.find_element(By.CSS_SELECTOR, f"{table} thead tr:last-child th:nth-child({self.number})")
        self.button = self.head.find_element(By.TAG_NAME, "button")

    def cells(self) -> list[str]:
        return texts(self.driver, f"{self.table} tbody tr > :nth-child({self.number})")

    def order(self) -> str | None:
        return self.head.get_attribute("aria-sort")

    def arrow(self) -> str:
        return self.driver.execute_script("return getComputedStyle(arguments[0], '::after').content", self.button)


def test_nothing_is_asked_of_any_other_place_and_nothing_goes_wrong(page, built):
    for part in page.find_elements(By.CSS_SELECTOR, "th button, summary"):
        page.execute_script("arguments[0].click()", part)
    events = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    assert [url for url in asked if not url.startswith("data:")] == [built.as_uri()]
    assert page.get_log("browser") == []


def test_names_and_values_that_hold_html_are_shown_not_run(page):
    assert page.title == f"Report {PICTURE}"
    shown = page.find_element(By.TAG_NAME, "body").text
    for text in (
        f"Ablation {SCRIPT}",
        f"AITL {PICTURE}",
        ENDS,
        f"Curves {PICTURE}",
        f"Pair {SCRIPT}",
        f"abacus {PICTURE}",
        f"{PICTURE[:10]}+dirty",
        f"data {PICTURE}",
        f"Claim {PICTURE}",
        f"Note {SCRIPT}",
    ):
        assert text in shown
    assert len(page.find_elements(By.TAG_NAME, "script")) == 1
    assert not page.find_elements(By.CSS_SELECTOR, "[onerror]")


def test_every_picture_has_a_text_alternative(page):
    tree = page.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    names = [node["name"]["value"] for node in tree if node.get("role", {}).get("value") == "image"]
    assert len(names) == len(page.find_elements(By.CSS_SELECTOR, "img, svg")) >= 4
    assert all(name.strip() for name in names)


def test_numbers_sort_by_their_value_and_the_third_click_undoes(page):
    column = Column(page, OURS, "mAP")
    written = column.cells()
    assert written == ["55.0 ± 7.1", "9.5 ± 0.7", "10.1 ± 0.1", "70.0 ± 0.0"]
    upwards = ["9.5 ± 0.7", "10.1 ± 0.1", "55.0 ± 7.1", "70.0 ± 0.0"]
    for order, cells in (("ascending", upwards), ("descending", upwards[::-1]), (None, written)):
        column.button.click()
        assert (column.order(), column.cells()) == (order, cells)


def test_negative_numbers_sort_by_their_value_too(page):
    column = Column(page, "#table-1 h3 ~ .scroll table", "ΔmAP")
    for least_first in (True, False):
        column.button.click()
        values = [float(text.split()[0].replace("−", "-")) for text in column.cells()]
        assert values == sorted([-45.5, -44.9, 15.0], reverse=not least_first)


def test_empty_cells_come_last_both_ways(page):
    column = Column(page, OURS, "mAP", ".published")
    assert column.cells()[-1] == "—"
    for reverse in (False, True):
        column.button.click()
        *numbers, last = column.cells()
        assert last == "—" and len(set(numbers)) == 3
        assert numbers == sorted(numbers, key=float, reverse=reverse)


def test_a_column_of_times_sorts_by_seconds(page):
    column = Column(page, "#cost table", "training")
    column.button.click()
    assert column.cells() == ["5.0 s", *["2 min 00 s"] * 4]


def test_rows_stay_under_the_heading_of_their_group(page):
    groups = """return [...document.querySelectorAll('#runs tbody')]
      .map(body => [...body.rows].map(row => row.cells[0].innerText.trim()))"""
    written = page.execute_script(groups)
    button = Column(page, "#runs table", "Seed").button
    button.click()
    button.click()
    now = page.execute_script(groups)
    assert [rows[0] for rows in now] == [rows[0] for rows in written]
    assert [rows[1:] for rows in now] == [sorted(rows[1:], reverse=True) for rows in written]
    assert now != written


def test_one_column_at_a_time_shows_an_arrow_and_the_keyboard_sorts(page):
    first, second = (Column(page, OURS, head) for head in ("R1", "mAP"))
    unsorted = first.arrow()
    arrows = {unsorted}
    for key in (Keys.ENTER, Keys.SPACE):
        first.button.send_keys(key)
        arrows.add(first.arrow())
    assert first.order() == "descending" and len(arrows) == 3
    second.button.send_keys(Keys.ENTER)
    assert (first.order(), second.order()) == (None, "ascending")
    assert first.arrow() == unsorted != second.arrow()


def test_every_column_with_numbers_in_two_rows_can_be_sorted(page):
    left = page.execute_script("""
      const written = cell => /\\d/.test(cell?.innerText);
      return [...document.querySelectorAll("main table")].flatMap(table => {
        const rows = [...table.querySelectorAll("tbody tr:has(td)")];
        return [...table.querySelectorAll("thead tr:last-child th")]
          .filter((head, i) => rows.filter(row => written(row.cells[i])).length > 1 && !head.querySelector("button"))
          .map(head => head.innerText);
      })""")
    assert left == []
    assert len(page.find_elements(By.CSS_SELECTOR, "th button")) > 40


def test_the_latex_of_a_table_is_one_click_away(page, built):
    page.execute_cdp_cmd("Browser.grantPermissions", {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]})
    latex = (built.parents[1] / "tables/table1.tex").read_text()
    copy_button(page).click()
    wait_for_status(page, "Copied.")
    assert page.execute_async_script("navigator.clipboard.readText().then(arguments[0], arguments[0])") == latex


def test_where_the_clipboard_is_closed_the_latex_is_selected(page, built):
    latex = (built.parents[1] / "tables/table1.tex").read_text()
    page.execute_script("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    copy_button(page).click()
    wait_for_status(page, "Selected")
    assert page.execute_script("return getSelection().toString()").strip() == latex.strip()
    assert page.find_element(By.ID, "table-1-tex").is_displayed()


def copy_button(page):
    return page.find_element(By.CSS_SELECTOR, "#table-1 button[data-copy$=-tex]")


def wait_for_status(page, text: str) -> None:
    said = page.find_element(By.CSS_SELECTOR, "#table-1 [role=status]")
    WebDriverWait(page, 5).until(lambda _: said.text.startswith(text))


@pytest.mark.parametrize("opened", [False, True], ids=["folded", "unfolded"])
@pytest.mark.parametrize("width", [DESKTOP, PHONE])
def test_the_page_never_scrolls_sideways(page, width, opened):
    seen(page, width)
    page.execute_script("document.querySelectorAll('details').forEach(part => part.open = arguments[0])", opened)
    assert page.execute_script("return innerWidth") == width
    assert page.execute_script("return document.documentElement.scrollWidth") <= width


def test_dark_and_light_differ_and_every_text_can_be_read_in_both(page):
    looks = {}
    for colours in ("light", "dark"):
        seen(page, DESKTOP, colours)
        body = page.find_element(By.TAG_NAME, "body")
        looks[colours] = [body.value_of_css_property(name) for name in ("color", "background-color")]
        contrasts = page.execute_script(CONTRASTS)
        assert len(contrasts) > 200
        assert [(round(ratio, 2), text) for ratio, text in contrasts if ratio < 4.5] == []
    assert all(light != dark for light, dark in zip(looks["light"], looks["dark"]))


def test_in_print_no_button_is_seen_and_no_head_lost(page):
    heads = texts(page, "th button")
    seen(page, DESKTOP, medium="print")
    assert not any(button.is_displayed() for button in page.find_elements(By.CSS_SELECTOR, "button[data-copy]"))
    assert not any(part.is_displayed() for part in page.find_elements(By.CSS_SELECTOR, "nav, .top"))
    buttons = page.find_elements(By.CSS_SELECTOR, "th button")
    assert texts(page, "th button") == heads and len(heads) > 30
    chrome = """return arguments[0]
      .map(button => [getComputedStyle(button), getComputedStyle(button, '::after').content])
      .map(([style, arrow]) => [style.borderTopWidth, style.backgroundColor, style.appearance, arrow].join(" "))"""
    assert set(page.execute_script(chrome, buttons)) == {"0px rgba(0, 0, 0, 0) none none"}


def test_without_scripts_the_page_reads_the_same_and_offers_no_button(page):
    everything = texts(page, "main th, main td")
    page.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        page.refresh()
        assert texts(page, "main th, main td") == everything
        assert not any(button.is_displayed() for button in page.find_elements(By.TAG_NAME, "button"))
        assert not any(word.is_displayed() for word in page.find_elements(By.CLASS_NAME, "scripted"))
    finally:
        page.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_the_contents_lead_to_every_section_in_its_order(page):
    links = page.find_elements(By.CSS_SELECTOR, "#contents a")
    named = [re.sub(".*#", "", link.get_attribute("href")) for link in links]
    sections = [section.get_attribute("id") for section in page.find_elements(By.CSS_SELECTOR, "main > section")]
    assert named == sections
    assert sections == ["table-1", "fig7", "claims", "table-S1", "protocols", "data", "cost", "runs"]
    assert texts(page, "#contents a") == texts(page, "main > section > h2")
