"""The page in a browser: what a person drops, drags, presses and sees."""

import base64
import contextlib
import shutil
import subprocess
import tarfile
import time

import numpy as np
import pytest
from service.serving import LONG, Server, asked, ended, noise, png, rgb, running, shape, until

EVIL = "<img src=x onerror=document.title='owned'>.png"
AXE = "axe-core@4.14.1"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A browser and a server of its own."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed (pip install selenium)")
    programs = [next(filter(None, map(shutil.which, names)), None) for names in (
        ("chromium", "chromium-browser", "google-chrome"), ("chromedriver", "chromium.chromedriver"))]  # fmt: skip
    if None in programs:
        pytest.skip("there is no chromium with its chromedriver here (apt-get install chromium chromium-driver)")
    folder = tmp_path_factory.mktemp("page")
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu",
                     "--window-size=1280,900", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    options.add_experimental_option("prefs", {"download.default_directory": str(folder)})
    server = Server(folder)
    driver = webdriver.Chrome(options, webdriver.ChromeService(programs[1]))
    driver.set_page_load_timeout(60)
    driver.set_script_timeout(60)
    made = Page(driver, server, folder)
    yield made
    driver.quit()
    server.close()


class Page:
    """What a person does."""

    def __init__(self, driver, server, folder):
        self.driver, self.server, self.folder = driver, server, folder

    def visit(self, server=None):
        self.driver.get("about:blank")
        self.driver.get(f"{(server or self.server).url}/")
        until(lambda: self.all("#task option") or self.by("key-dialog").is_displayed())
        return self

    def by(self, name):
        return self.driver.find_element("id", name)

    def all(self, selector):
        return self.driver.find_elements("css selector", selector)

    def choose(self, name, data, field):
        path = self.folder / name
        path.write_bytes(data)
        self.by(f"file-{field}").send_keys(str(path))

    def slide(self, name, value):
        script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))"
        self.driver.execute_script(script, self.by(name), str(value))

    def network(self, name):
        self.driver.execute_script("arguments[0].value = arguments[1]", self.by("network"), name)

    def start(self, size=64, iterations=5, content=None):
        self.choose("photo.png", content or png(60, 80, 3), "content")
        self.choose("painting.png", png(60, 80, 4), "style")
        self.network("narrow")
        self.slide("slider-size", size)
        self.slide("slider-iterations", iterations)
        self.by("go").click()

    def open_options(self):
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", self.by("more"))
        self.by("more").click()

    def done(self):
        """Until there is something to download, or something is wrong."""

        def seen():
            return self.by("download").is_displayed() or self.by("problem").text or self.said().startswith("Failed")

        until(seen)
        assert self.by("download").is_displayed(), (self.by("problem").text, self.said(), self.errors())

    def said(self):
        return self.by("said").text

    def shown(self, name="after"):
        """(height, width) of an image that has been loaded, or None."""
        script = (
            "const i = arguments[0]; return i.complete && i.naturalWidth ? [i.naturalHeight, i.naturalWidth] : null"
        )
        return None if not self.by(name).is_displayed() else self.driver.execute_script(script, self.by(name))

    def errors(self):
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]


def test_from_two_pictures_to_a_download(page):
    page.visit()
    assert page.driver.title == "Stylogram"
    assert "Drop a photo and a painting" in page.by("empty").text
    page.start(content=noise(60, 80))
    page.done()
    assert page.said().startswith("Done, 64 × 48 pixels")
    until(lambda: page.shown() == [48, 64])
    assert len(page.all("#losses .line")) == 1
    assert "Loss by iteration: from " in page.by("losses").get_attribute("aria-label")
    assert page.by("losses").get_attribute("aria-label").endswith("in 6 rows")
    job = page.server.client.get("/v1/jobs").json()["jobs"][0]
    name = f"stylogram-{job['id'][:8]}.png"
    assert page.by("download").get_attribute("download") == name
    page.by("download").click()
    path = page.folder / name
    until(path.exists)
    assert path.read_bytes() == page.server.client.get(job["picture"]).content
    assert page.errors() == []


def test_the_picture_changes_while_it_forms_and_cancelling_keeps_it(page):
    page.visit()
    page.start(size=160, iterations=500)
    script = """const canvas = document.createElement('canvas'); canvas.width = canvas.height = 32;
        const brush = canvas.getContext('2d'); brush.drawImage(document.getElementById('after'), 0, 0, 32, 32);
        return [...brush.getImageData(0, 0, 32, 32).data]"""
    until(lambda: page.shown() and "Iteration" in page.said())
    first = np.array(page.driver.execute_script(script))
    at = page.by("progress").get_attribute("value")
    until(lambda: np.abs(np.array(page.driver.execute_script(script)) - first).mean() > 0.5)
    assert float(page.by("progress").get_attribute("value")) > float(at)
    page.by("cancel").click()
    until(lambda: page.said().startswith("Cancelled, 160 × 120 pixels"), 5)
    until(lambda: page.by("download").is_displayed())
    assert page.shown() == [120, 160]
    assert not page.by("cancel").is_displayed()


def test_before_and_after(page):
    from selenium.webdriver import ActionChains

    page.visit()
    page.start()
    page.done()
    until(lambda: page.by("compare").is_displayed())
    wide = page.by("before").value_of_css_property("clip-path")
    assert wide == "inset(0px 100% 0px 0px)"
    page.by("wipe").send_keys("\ue012" * 3 + "\ue014" * 30)  # to the left, and 30 steps to the right
    assert page.by("wipe").get_attribute("value") == "30"
    assert page.by("before").value_of_css_property("clip-path") == "inset(0px 70% 0px 0px)"
    boxes = [page.by(name).rect for name in ("before", "after")]
    assert boxes[0] == boxes[1]
    view = page.by("after")
    ActionChains(page.driver).move_to_element(view).click().perform()
    assert 48 <= float(page.by("wipe").get_attribute("value")) <= 52
    assert page.by("seam").is_displayed()


def test_examples_and_another_task(page):
    page.visit()
    page.by("take-examples").click()
    until(lambda: len(page.all(".drop.filled img")) == 2)
    page.driver.execute_script(
        "const t = document.getElementById('task'); t.value = 'texture'; t.dispatchEvent(new Event('change'))"
    )
    page.by("take-examples").click()
    until(lambda: len(page.all(".drop.filled img")) == 1)
    assert not page.all("#slider-style_scale")
    page.network("narrow")
    page.slide("slider-size", 64)
    page.slide("slider-iterations", 5)
    page.open_options()
    page.by("option-margin").send_keys("2")
    page.by("go").click()
    until(lambda: page.said().startswith("Done"))
    job = page.server.client.get("/v1/jobs").json()["jobs"][0]
    assert (job["task"], job["options"]["margin"]) == ("texture", "2")


def test_pictures_are_dropped_anywhere(page):
    page.visit()
    script = """const data = new DataTransfer();
        for (const [name, text] of arguments[0])
          data.items.add(new File([Uint8Array.from(atob(text), c => c.charCodeAt(0))], name, { type: 'image/png' }));
        document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true }))"""
    files = [(name, base64.b64encode(png(60, 80, seed)).decode()) for seed, name in enumerate(("one.png", "two.png"))]
    page.driver.execute_script(script, files)
    until(lambda: len(page.all(".drop.filled img")) == 2)
    assert [one.text for one in page.all(".drop .name")] == ["one.png", "two.png"]


def test_a_dream_has_a_curve_too(page):
    """What is maximised has losses below 0, of which there is no logarithm."""
    page.visit()
    page.driver.execute_script(
        "arguments[0].value = 'dream'; arguments[0].dispatchEvent(new Event('change'))", page.by("task")
    )
    page.choose("photo.png", png(60, 80, 3), "image")
    page.network("narrow")
    page.slide("slider-size", 128)
    page.slide("slider-iterations", 5)
    page.open_options()
    page.by("option-octaves").send_keys("2")
    page.by("go").click()
    page.done()
    assert len(page.all("#losses .line")) == 2
    assert page.by("losses").get_attribute("aria-label").startswith("Loss by iteration: from -")
    assert page.driver.find_element("css selector", "#curve figcaption").text == "loss by iteration"


def test_what_is_wrong_is_said(page):
    page.visit()
    page.by("go").click()
    assert page.by("problem").text == "Photo: choose a picture, or take the examples."
    assert page.driver.switch_to.active_element.get_attribute("id") == "file-content"
    page.choose("no.png", b"PK\3\4 no picture", "content")
    page.choose("painting.png", png(60, 80, 4), "style")
    page.by("go").click()
    until(lambda: "content is not a picture" in page.by("problem").text)
    page.driver.get_log("browser")  # the answer's 415


def test_names_are_text(page):
    page.visit()
    page.choose(EVIL, png(60, 80), "content")
    until(lambda: page.all(".drop .name"))
    assert page.all(".drop .name")[0].text == EVIL
    time.sleep(0.2)
    assert page.driver.title == "Stylogram"


def test_history_and_removing(page):
    jobs = [ended(page.server.client, asked(page.server.client, size=size)) for size in ("40", "48")]
    page.visit()
    until(lambda: len(page.all("#jobs button img")) >= 2)
    button = page.all(f"#jobs button[data-id='{jobs[0]['id']}']")[0]
    button.click()
    until(lambda: page.shown() == [30, 40])
    assert button.get_attribute("aria-current") == "true"
    assert page.driver.current_url.endswith(jobs[0]["id"])
    page.driver.refresh()
    page.done()
    page.by("remove").click()
    until(lambda: not page.all(f"#jobs button[data-id='{jobs[0]['id']}']"))
    assert page.server.client.get(f"/v1/jobs/{jobs[0]['id']}").status_code == 404
    assert page.by("empty").is_displayed()


def test_a_job_that_runs_is_found_again(page):
    job = asked(page.server.client, **LONG)
    running(page.server.client, job)
    page.driver.get("about:blank")
    page.driver.get(f"{page.server.url}/#{job['id']}")
    until(lambda: page.said().startswith("Iteration"))
    until(lambda: "rows" in page.by("losses").get_attribute("aria-label"))
    page.by("cancel").click()
    until(lambda: page.said().startswith("Cancelled"))


def test_a_key(page, tmp_path):
    server = Server(tmp_path, api_key="sesame")
    try:
        page.visit(server)
        until(lambda: page.by("key-dialog").is_displayed())
        page.by("key").send_keys("wrong\n")
        until(lambda: page.by("key-dialog").is_displayed() and page.by("key").get_attribute("value") == "")
        page.by("key").send_keys("sesame\n")
        until(lambda: page.all("#task option"))
        page.start()
        page.done()
        until(lambda: page.shown() == [48, 64])
    finally:
        server.close()


@pytest.fixture(scope="module")
def axe(tmp_path_factory):
    """axe-core's script, from npm."""
    folder = tmp_path_factory.mktemp("axe")
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("axe-core is fetched by npm, which is not here")
    made = subprocess.run([npm, "pack", AXE, "--silent"], cwd=folder, capture_output=True, text=True, timeout=120)
    if made.returncode:
        pytest.skip(f"npm cannot fetch {AXE} here")
    with tarfile.open(folder / made.stdout.split()[-1]) as archive:
        return archive.extractfile("package/axe.min.js").read().decode()


def violations(page, axe):
    page.driver.execute_script(axe)
    script = """const done = arguments[0]; const tags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice'];
        axe.run(document, { runOnly: { type: 'tag', values: tags } }).then(found => done(found.violations.map(
            one => one.id + ': ' + one.nodes.map(node => node.target.join(' ')).join(', '))))"""
    return page.driver.execute_async_script(script)


@contextlib.contextmanager
def screen(page, width, height, dark):
    """As on a screen of that size, with the system's wish for light or dark."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    wish = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": wish})
    try:
        yield
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing_and_nothing_sticks_out(page, axe, width, dark):
    with screen(page, width, 844, dark):
        page.visit()
        assert violations(page, axe) == []
        page.start()
        page.done()
        page.open_options()
        assert violations(page, axe) == []
        wide = page.driver.execute_script("return document.documentElement.scrollWidth")
        assert wide <= width
        colour = page.driver.find_element("css selector", "body").value_of_css_property("background-color")
        shade = sum(map(float, colour.partition("(")[2].rstrip(")").split(",")[:3])) / 3
        assert (shade < 80) == dark
        data = base64.b64decode(page.driver.get_screenshot_as_base64())
        assert shape(data)[1] == width
        assert rgb(data).std() > 0.05


def test_the_keyboard_reaches_everything(page):
    """Tab by Tab from the top: every control once, in the order of the page, with a ring around it."""
    from selenium.webdriver import ActionChains

    page.visit()
    reached = []
    for _ in range(40):
        ActionChains(page.driver).send_keys("\ue004").perform()
        element = page.driver.switch_to.active_element
        if element.tag_name == "body":
            break
        reached.append(element.get_attribute("id") or element.get_attribute("class"))
        if not reached[-1].startswith("file-"):
            ring = element.value_of_css_property("outline-style")
            assert ring == "solid", reached[-1]
        if reached[-1] == "go":
            break
    assert reached[0] == "skip"
    wanted = [
        "task",
        "file-content",
        "file-style",
        "take-examples",
        "network",
        "slider-size",
        "slider-iterations",
        "go",
    ]
    assert [name for name in reached if name in wanted] == wanted
    page.by("take-examples").send_keys("\n")
    until(lambda: len(page.all(".drop.filled img")) == 2)
