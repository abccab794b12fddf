"""`boneage serve http` as it is started, with networks: in a browser, under load, and told to end."""

import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import cv2
import pytest

for package in ("starlette", "httpx2", "prometheus_client", "python_multipart", "uvicorn", "pydicom"):
    pytest.importorskip(package)

import httpx2  # noqa: E402

from benchmarks import serve_load  # noqa: E402
from boneage_jax import NOT_A_MEDICAL_DEVICE  # noqa: E402
from boneage_jax.data import images  # noqa: E402
from boneage_jax.phantoms import plates  # noqa: E402
from tests.conftest import LESS_OPTIMISED  # noqa: E402
from tests.serving.web_servers import ASSESSMENTS, form  # noqa: E402

pytestmark = pytest.mark.engine

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

AGES = (60, 96, 120, 150)
"""Bone ages of the pictures, in months."""


def picture(months):
    """A rendered hand of a girl as a small PNG."""
    plate = plates.plate(months, "F").image
    return images.encode(cv2.resize(plate, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC), "png")


PICTURES = [picture(months) for months in AGES]


class Served:
    """A server in a process of its own.

    Attributes:
      process: of it.
      address: that it printed, without the last slash.
    """

    def __init__(self, process, address):
        self.process, self.address = process, address

    def ask(self, path, **how):
        return httpx2.request(how.pop("method", "GET"), self.address + path, timeout=300, **how)

    def read(self, *files, **fields):
        """The records of radiographs."""
        sent = [("file", (f"{n}.png", data)) for n, data in enumerate(files)]
        answer = self.ask(ASSESSMENTS, method="POST", files=sent, data={"sex": "F", **fields})
        assert answer.status_code == 200, answer.text
        return answer.json()["radiographs"]


@contextlib.contextmanager
def started(*options):
    command = [str(pathlib.Path(sys.executable).parent / "boneage"), "serve", "http", "--port", "0", *options]
    command += ["--bundle", "phantom_only", "--views", "1"]
    environment = {**os.environ, "XLA_FLAGS": LESS_OPTIMISED}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    # What it says must be taken, or it waits.
    said = []
    taking = threading.Thread(target=lambda: said.extend(process.stderr))
    taking.start()
    try:
        line = process.stdout.readline()
        found = re.match(r"(http://127\.0\.0\.1:\d+)/ ", line)
        assert found, line
        ours = Served(process, found[1])
        ours.said = said
        until = time.monotonic() + 600
        while ours.ask("/health").status_code != 200:
            assert process.poll() is None, "".join(said)
            assert time.monotonic() < until, "never ready"
            time.sleep(0.5)
        yield ours
    finally:
        process.kill()
        process.wait()
        taking.join()
        process.stdout.close()
        process.stderr.close()


@pytest.fixture(scope="module")
def served():
    with started("--batch-size", "4") as ours:
        yield ours


def test_ages_are_those_of_the_hands_and_do_not_depend_on_the_batch(served):
    together = served.read(*PICTURES)
    for months, one, data in zip(AGES, together, PICTURES, strict=True):
        assert one["status"] == "read"
        assert abs(one["bone_age"]["months"] - months) < 24
        (alone,) = served.read(data)
        assert abs(alone["bone_age"]["months"] - one["bone_age"]["months"]) <= 0.01 + 1e-9


def test_no_request_of_many_clients_is_lost(served):
    expected = [one["bone_age"]["months"] for one in served.read(*PICTURES)]
    answers = serve_load.load(served.address, PICTURES, clients=8, requests=200)
    assert len(answers) == 200
    assert {answer.status for answer in answers} == {200}
    for answer in answers:
        assert abs(answer.months - expected[answer.picture]) <= 0.01 + 1e-9


def test_it_ends_with_status_0_once_what_was_accepted_is_answered():
    with started("--batch-size", "1") as ours:
        answers = []
        body = form(("a.png", PICTURES[0]), sex="F")

        def ask():
            headers = {"Content-Type": "multipart/form-data; boundary=XX", "Connection": "close"}
            request = urllib.request.Request(ours.address + ASSESSMENTS, body, headers)
            with urllib.request.urlopen(request, timeout=300) as answer:
                answers.append(answer.status)

        clients = [threading.Thread(target=ask) for _ in range(4)]
        for client in clients:
            client.start()
        while "boneage_requests_taken 4.0" not in ours.ask("/metrics", headers={"Connection": "close"}).text:
            assert not answers, "answered before they were all taken; send more"
        ours.process.send_signal(signal.SIGTERM)
        for client in clients:
            client.join(300)
        assert answers == [200] * 4
        assert ours.process.wait(60) == 0
        assert "4 radiographs read" in ours.process.stdout.read()
    assert not any("Traceback" in line or "a.png" in line for line in ours.said)


# ---- in a browser ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium is here")
    with playwright.sync_playwright() as engine:
        made = engine.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield made
        made.close()


@contextlib.contextmanager
def opened(browser, served, *, width=1200, **how):
    """Gives the page; in the end nothing came from elsewhere, and the console has no error but those of statuses."""
    context = browser.new_context(viewport={"width": width, "height": 900}, **how)
    page = context.new_page()
    page.set_default_timeout(120_000)
    asked, errors = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto(served.address)
    try:
        yield page
    finally:
        context.close()
    assert all(url.startswith((served.address, "data:")) for url in asked)
    assert [error for error in errors if "the server responded with a status of 4" not in error] == []


def drop(page, *files):
    """Drops files on the page as a person does; Chromium's own events, without a mouse."""
    transfer = page.evaluate_handle(
        """(files) => {
          const transfer = new DataTransfer();
          for (const [name, bytes] of files) transfer.items.add(new File([new Uint8Array(bytes)], name));
          return transfer;
        }""",
        [[name, list(data)] for name, data in files],
    )
    for event in ("dragenter", "dragover", "drop"):
        page.dispatch_event("#drop", event, {"dataTransfer": transfer})


def fits(page):
    return page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


@pytest.mark.parametrize("width", [1200, 400])
def test_from_drop_to_age_and_overlays(browser, served, width, tmp_path):
    (expected,) = served.read(PICTURES[2], chronological_age="110")
    with opened(browser, served, width=width) as page:
        assert page.get_by_text(NOT_A_MEDICAL_DEVICE).first.is_visible()
        assert fits(page)
        drop(page, ("hand.png", PICTURES[2]))
        assert page.locator("#chosen li").all_inner_texts() == ["hand.png\nRemove"]
        page.get_by_text("Female", exact=True).click()
        years, months = page.locator("[name=chronological_years]"), page.locator("[name=chronological_age]")
        years.fill("9")
        months.fill("2")
        page.get_by_role("button", name="Read bone age").click()
        line = page.locator("details.result summary")
        line.wait_for()
        shown = line.inner_text()
        assert expected["bone_age"]["text"] in shown
        assert f"{expected['bone_age']['months']:.1f} months" in shown
        assert f"SD score {expected['sd_score']['value']:+.1f}".replace("-", "−") in shown
        assert (years.input_value(), months.input_value()) == ("", "")
        for name, layer in (("outline of the hand", ".stacked > .layer0"), ("key points", ".stacked > .layer1")):
            assert page.locator(layer).is_visible()
            page.get_by_label(name).uncheck()
            assert not page.locator(layer).is_visible()
            page.get_by_label(name).check()
            assert page.locator(layer).is_visible()
        assert fits(page)
        page.screenshot(path=tmp_path / "result.png", full_page=True)
        line.click()
        assert not page.locator(".stacked").is_visible()


def test_several_files_one_of_which_is_no_image_and_one_that_is_tried_again(browser, served):
    with opened(browser, served) as page:
        drop(page, ("one.png", PICTURES[0]), ("two.png", PICTURES[1]), ("notes.txt", b"hello"), ("gone.png", b"x"))
        page.get_by_label("Remove gone.png").click()
        page.get_by_role("button", name="Read bone age").click()
        failed = page.locator(".failed-text")
        failed.nth(2).wait_for()
        assert ["sex" in text for text in failed.all_inner_texts()] == [True, True, False]
        assert "Expected: PNG, JPEG, DICOM" in failed.nth(2).inner_text()
        page.get_by_text("Female", exact=True).click()
        page.get_by_role("button", name="Try again").first.click()
        result = page.locator("details.result")
        result.wait_for()
        assert "one.png" in result.inner_text()
        assert failed.count() == 2


def test_by_keyboard_alone(browser, served, tmp_path):
    (tmp_path / "hand.png").write_bytes(PICTURES[1])

    def focused(page):
        return page.evaluate("(document.activeElement.labels?.[0] ?? document.activeElement).textContent.trim()")

    with opened(browser, served) as page:
        page.keyboard.press("Tab")
        assert focused(page) == "Radiographs of one hand each"
        with page.expect_file_chooser() as chooser:
            page.keyboard.press("Space")
        chooser.value.set_files(tmp_path / "hand.png")
        page.locator("#chosen li").wait_for()
        found = []
        for _ in range(6):
            page.keyboard.press("Tab")
            found.append(focused(page))
            if found[-1] == "From the DICOM header":
                page.keyboard.press("ArrowLeft")
                page.keyboard.press("ArrowLeft")
                assert focused(page) == "Female"
            elif found[-1] == "years":
                page.keyboard.type("8")
            elif found[-1] == "Read bone age":
                page.keyboard.press("Enter")
                break
        assert found == ["Remove", "From the DICOM header", "years", "months", "Read bone age"]
        page.locator("details.result").wait_for()
        page.keyboard.press("Tab")
        assert focused(page).startswith("hand.png")
        assert page.locator("details.result").evaluate("one => one.open")
        page.keyboard.press("Enter")
        assert not page.locator("details.result").evaluate("one => one.open")


def test_without_script_one_file_is_read_by_the_form_itself(browser, served, tmp_path):
    (tmp_path / "hand.png").write_bytes(PICTURES[3])
    (expected,) = served.read(PICTURES[3])
    with opened(browser, served, java_script_enabled=False) as page:
        page.locator("#file").set_input_files(tmp_path / "hand.png")
        page.get_by_text("Female", exact=True).click()
        page.get_by_role("button", name="Read bone age").click()
        page.locator("details.result").wait_for()
        assert expected["bone_age"]["text"] in page.locator("summary").inner_text()
        assert page.locator(".stacked > .layer0").is_visible()
        page.get_by_role("link", name="Read other radiographs").click()
        assert page.locator("#file").is_visible()
