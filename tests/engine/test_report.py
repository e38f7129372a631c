"""The reports in a browser, from the disk: what a person sees, clicks and types."""

import json
import re
import shutil
from importlib.resources import files

import numpy as np
import pytest
from stylogram import Error, pictures
from stylogram.report.directory import MARK, ReportDirectory, slug
from stylogram.report.page import write_page
from stylogram.tasks.compare import compare
from stylogram.tasks.deconvnet import deconvnet

from engine import nets

COUNTS, WIDTHS = (1, 1), (6, 8)
EVIL = "<img src=x onerror=document.title='owned'>.png"


@pytest.fixture(scope="module")
def browser():
    """Chromium without a window and without a network."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed (pip install selenium)")
    programs = [next(filter(None, map(shutil.which, names)), None) for names in (
        ("chromium", "chromium-browser", "google-chrome"), ("chromedriver", "chromium.chromedriver"))]  # fmt: skip
    if None in programs:
        pytest.skip("there is no chromium with its chromedriver here (apt-get install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    arguments = ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1200,1400")
    for argument in (*arguments, "--host-resolver-rules=MAP * ~NOTFOUND", "--disable-gpu"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(programs[1]))
    driver.set_page_load_timeout(120)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """A deconvnet report of two layers and a comparison of two checkpoints."""
    where = tmp_path_factory.mktemp("report")
    (where / "pics").mkdir()
    for number in range(12):
        pictures.write(where / "pics" / f"p{number:02d}.png", nets.blocks(40, 40, number, 2 + number % 4))
    (where / "pics" / EVIL).write_bytes((where / "pics" / "p03.png").read_bytes())
    (where / "pics" / "broken.png").write_bytes(b"no picture")
    tensors = nets.weights(COUNTS, WIDTHS)
    tensors["conv2_1.bias"][2] = -1e3
    shown = {"size": 32, "batch": 4}
    net = nets.narrow(tensors, COUNTS)
    deconvnet(where / "pics", output=where / "units", layer="conv1_1,conv2_1", network=net, **shown)
    other = nets.narrow(nets.weights(COUNTS, WIDTHS, seed=1), COUNTS)
    compare([net, other], output=where / "compare", pictures=where / "pics", **shown)
    return where


def visited(browser, page):
    browser.get(page.resolve().as_uri())
    assert not [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


def elements(browser, selector):
    return browser.find_elements("css selector", selector)


def type_in(browser, text):
    field = browser.find_element("id", "find")
    field.clear()
    field.send_keys(text or " ")


def choose(browser, name, value):
    browser.find_element("css selector", f"#{name} option[value='{value}']").click()


def loaded(browser, selector):
    """How many pictures that match have been loaded, after a while, and are not empty."""
    script = f"""const done = arguments[0], all = [...document.querySelectorAll({selector!r})];
        all.forEach(one => one.scrollIntoView());
        Promise.all(all.map(one => {{ one.loading = "eager"; return one.decode().catch(() => 0); }}))
          .then(() => done(all.filter(one => one.naturalWidth > 0).length));"""
    browser.set_script_timeout(120)
    return browser.execute_async_script(script)


def test_the_units_page(browser, reports):
    visited(browser, reports / "units" / "index.html")
    assert browser.title == "narrow: conv1_1, conv2_1"
    assert len(elements(browser, ".card")) == 6
    lazy = elements(browser, ".card img")
    assert len(lazy) == 12
    assert {one.get_attribute("loading") for one in lazy} == {"lazy"}
    assert loaded(browser, ".card img") == 12

    type_in(browser, "1, 3-4")
    assert [one.get_attribute("data-unit") for one in elements(browser, ".card")] == ["1", "3", "4"]
    assert browser.find_element("id", "count").text == "3 of 6 units"
    type_in(browser, "99")
    assert browser.find_element("id", "count").text == "0 of 6 units"
    type_in(browser, "P07.png")
    described = json.loads((reports / "units" / "maxima.json").read_text())
    holding = [
        str(unit["unit"])
        for unit in described["layers"][0]["units"]
        if any(entry["picture"] == "p07.png" for entry in unit["top"])
    ]
    assert [one.get_attribute("data-unit") for one in elements(browser, ".card")] == holding
    type_in(browser, "")
    assert len(elements(browser, ".card")) == 6

    choose(browser, "layer", 1)
    assert len(elements(browser, ".card")) == 8
    assert elements(browser, "[data-unit='2'] .empty")[0].text == "never above 0 on these pictures"
    choose(browser, "order", "rarely")
    assert elements(browser, ".card")[0].get_attribute("data-unit") == "2"
    choose(browser, "show", "patches")
    assert len(elements(browser, ".card img")) == 7
    assert all("-patches.jpg" in one.get_attribute("src") for one in elements(browser, ".card img"))


def test_a_unit_s_window(browser, reports):
    visited(browser, reports / "units" / "index.html")
    elements(browser, "[data-unit='3']")[0].click()
    window = browser.find_element("id", "unit")
    assert window.is_displayed()
    assert "conv1_1, unit 3" in window.text
    assert loaded(browser, "#unit img") == 2
    described = json.loads((reports / "units" / "maxima.json").read_text())["layers"][0]["units"][3]
    rows = elements(browser, "#unit tbody tr")
    assert len(rows) == len(described["top"]) == 9
    assert described["top"][0]["picture"] in rows[0].text
    shown = [float(row.find_elements("css selector", "td")[2].text) for row in rows]
    assert shown == [pytest.approx(entry["activation"], rel=1e-3) for entry in described["top"]]
    elements(browser, "#unit [aria-label='the next unit']")[0].click()
    assert "conv1_1, unit 4" in window.text
    assert browser.current_url.endswith("#conv1_1/4")
    browser.find_element("id", "close").click()
    assert not window.is_displayed()
    browser.get("about:blank")
    browser.get((reports / "units" / "index.html").resolve().as_uri() + "#conv2_1/5")
    assert "conv2_1, unit 5" in browser.find_element("id", "unit").text


def test_numbers_keep_their_zeros(browser, reports):
    visited(browser, reports / "units" / "index.html")
    values = [0, 1790, 1763.4, 20000, 0.5, 0.10004, 100, 12345.6]
    shown = browser.execute_script("return arguments[0].map(number)", values)
    assert shown == ["0", "1790", "1763", "20000", "0.5", "0.1", "100", "12350"]


def test_names_of_pictures_are_text(browser, reports):
    visited(browser, reports / "units" / "index.html")
    assert browser.title != "owned"
    elements(browser, "#skipped summary")[0].click()
    assert "broken.png" in browser.find_element("id", "skipped").text
    type_in(browser, "onerror")
    cards = elements(browser, ".card")
    assert cards
    cards[0].click()
    assert EVIL in browser.find_element("id", "unit").text
    assert browser.title != "owned"


def test_the_comparison_page(browser, reports):
    visited(browser, reports / "compare" / "index.html")
    headings = [one.text for one in elements(browser, "h2")]
    assert headings == ["First-layer filters", "Dead and nearly dead filters", "Activations", "Evolution"]
    assert loaded(browser, ".filters img") == 2
    assert loaded(browser, "#strips img") == 6
    dead = {row.text.split()[0]: row.text for row in elements(browser, "#dead ~ .scroll tbody tr")[:2]}
    assert dead["conv2_1"].startswith("conv2_1 1 + 0 of 8 ")
    paths = elements(browser, ".charts svg path")
    assert len(paths) == 2 * 2 + 2  # a line for each network and layer, then one for each layer
    assert all("NaN" not in one.get_attribute("d") for one in paths)
    choose(browser, "layer", 1)
    type_in(browser, "2, 7")
    shown = elements(browser, "#strips figure")
    assert [one.get_attribute("data-unit") for one in shown] == ["2", "7"]
    assert loaded(browser, "#strips img") == 2


def test_nothing_is_asked_of_a_network(reports):
    for kind in ("units", "compare"):
        page = (reports / kind / "index.html").read_text()
        assert set(re.findall(r"https?://[^\"' ]+", page)) <= {"http://www.w3.org/2000/svg"}
        assert "default-src 'none'" in page
        assert "@@" not in page
        assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=", page)


def test_data_cannot_leave_its_script(tmp_path):
    nasty = "</script><script>alert(1)</script>@@STYLE@@"
    write_page(tmp_path / "index.html", "units", "<b>", {"name": nasty})
    page = (tmp_path / "index.html").read_text()
    assert page.count("</script>") == 2
    assert "<title>&lt;b&gt;</title>" in page
    data = re.search(r'id="data">(.*?)</script>', page, re.DOTALL)
    assert json.loads(data[1]) == {"name": nasty}


def test_slugs_are_different_on_every_file_system():
    taken = set()
    made = [slug(name, taken) for name in ("conv1_1:linear", "conv1_1/linear", "CONV1_1_linear", "...", "é")]
    assert made == ["conv1_1_linear", "conv1_1_linear_2", "CONV1_1_linear_3", "layer", "layer_2"]


def test_a_mark_of_another_program(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / MARK).write_text("{}")
    with pytest.raises(Error, match="is damaged, or of another program"):
        ReportDirectory(tmp_path / "out", "stylogram test", {})
    (tmp_path / "out" / MARK).write_text('{"made_by": "another", "settings": {}, "done": true}')
    with pytest.raises(Error, match="is a report by another"):
        ReportDirectory(tmp_path / "out", "stylogram test", {})


def test_a_damaged_state(tmp_path):
    directory = ReportDirectory(tmp_path / "out", "stylogram test", {"size": 3})
    directory.claim()
    directory.save({"a": np.arange(3)})
    assert directory.state()["a"].tolist() == [0, 1, 2]
    (tmp_path / "out" / "state.npz").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(Error, match=r"state\.npz is damaged .* remove .*out to begin anew"):
        ReportDirectory(tmp_path / "out", "stylogram test", {"size": 3}).state()


def test_what_pages_and_the_default_network_are_made_of_is_in_the_package():
    """As an installed package finds it, without a path into the sources; nothing empty."""
    here = files("stylogram")
    parts = ["page.html", "style.css", "common.js", "units.js", "compare.js"]
    for path in [*(f"report/{name}" for name in parts), "networks/seednet.onnx", "py.typed"]:
        assert here.joinpath(path).is_file(), path
        assert path == "py.typed" or here.joinpath(path).read_bytes(), path
