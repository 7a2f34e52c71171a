"""What a user does in a browser, and what he then sees."""

import os
import re
import shutil
from urllib.parse import quote

import pytest
from page.serving import served
from playwright.sync_api import expect, sync_playwright
from report.synthetic_run import RunWriter, fid
from training.tiny import SIZES, TINY

from triptych.cli import main
from triptych.record.events import Previewed

BROWSER = os.environ.get("TRIPTYCH_BROWSER") or shutil.which("chromium") or shutil.which("google-chrome")
HOSTILE = "<img src=x onerror=alert(1)>"
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
]
"""A browser that asks nobody but the page, also where there is no network, and runs as root."""

pytestmark = [
    pytest.mark.skipif(not BROWSER, reason="no browser on this machine"),
    pytest.mark.timeout(180),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Where a folder is served with a run that draws, one with evaluations, and one with a hostile name."""
    place = tmp_path_factory.mktemp("site")
    runs = place / "runs"
    often = ("--training.preview-every", "1", "--training.preview-from", "1", "--runs", str(runs), "--quiet")
    assert main(["train", "digits-unet", "--name", "tiny", *SIZES["unet"], *TINY, *often]) == 0
    log = RunWriter(runs / "log", epochs=100)
    log.train(range(50, 101, 50))
    for scale, distance in ((1.0, 9.25), (1.5, 7.5), (3.0, 10.75)):
        log.evaluate(100, (fid(distance),), guidance=scale)
    RunWriter(runs / HOSTILE, epochs=100)
    hostile = RunWriter(runs / "hostile", epochs=100)
    (runs / "hostile" / "p.png").write_bytes((runs / "tiny" / "previews" / "epoch-00001.png").read_bytes())
    hostile.append(Previewed(50, "p.png", "![x](//evil.example/x.png)", 1.0, 1, 1.0), 50)
    (runs / "<b>bad<img src=y>").mkdir()
    (runs / "<b>bad<img src=y>" / "record.jsonl").write_text("nonsense\n")
    with served(runs, place / "scratch", TRIPTYCH_CACHE=str(place / "cache")) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def context(browser):
    """What remembers the page's scripts, so that not every test waits for them to be loaded."""
    context = browser.new_context(viewport={"width": 1360, "height": 900})
    yield context
    context.close()


@pytest.fixture
def page(context, site):
    """The page in English, fresh; whatever it asks of others fails the test."""
    page = context.new_page()
    strangers, alerts = [], []
    page.on(
        "request",
        lambda request: (
            None if request.url.startswith((site, "data:", "blob:")) else strangers.append(request.url)
        ),
    )
    page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
    page.goto(f"{site}/en/")
    expect(page.locator("#runs")).to_contain_text("tiny", timeout=20_000)
    yield page
    page.close()
    assert (strangers, alerts) == ([], [])


def tab(page, name):
    page.get_by_role("tab", name=name, exact=True).click()


def picture(page, place):
    """Return the source of a picture once it is there."""
    image = page.locator(f"{place} img")
    expect(image).to_be_visible(timeout=20_000)
    return image.get_attribute("src")


def choose(page, place, *options):
    for option in options:
        page.locator(f"{place} input").first.click()
        page.get_by_role("option", name=option, exact=True).click()
    page.keyboard.press("Escape")


def fill(page, place, number):
    field = page.locator(f"{place} input[type=number]")
    field.fill(str(number))
    field.press("Tab")


def test_a_click_on_a_row_opens_the_run_and_a_reload_keeps_it(page):
    page.locator("#runs").get_by_text("log", exact=True).click()
    for _ in range(2):
        expect(page.locator("#run input")).to_have_value("log")
        expect(page.locator("#state textarea, #state input").first).to_have_value("broken off")
        picture(page, "#curves")
        page.reload()
        tab(page, "Run")


def test_an_address_opens_what_it_names(page, site):
    page.locator("#runs").get_by_text("log", exact=True).click()
    expect(page).to_have_url(f"{site}/en/?tab=run&run=log")
    page.locator("#language").click()
    expect(page).to_have_url(f"{site}/zh/?tab=run&run=log", timeout=20_000)
    expect(page.locator("#run input")).to_have_value("log", timeout=20_000)
    page.goto(f"{site}/en/?tab=playground&run=tiny")
    expect(page.locator("#draw-run input")).to_have_value("tiny", timeout=20_000)
    tab(page, "Runs")
    expect(page).to_have_url(f"{site}/en/")
    page.goto(f"{site}/en/?tab=run&run={quote(HOSTILE)}")
    expect(page.locator("#run input")).to_have_value(HOSTILE, timeout=20_000)
    tab(page, "Runs")
    tab(page, "Run")
    expect(page).to_have_url(re.compile(r"\?tab=run&run=%3Cimg"))
    page.goto(f"{site}/en/?tab=run&run=none")
    expect(page.locator("#run input")).to_have_value(re.compile("."), timeout=20_000)
    assert page.locator("img[src=x]").count() == 0


def test_the_slider_goes_through_the_previews(page):
    page.locator("#runs").get_by_text("tiny", exact=True).click()
    expect(page.locator("#preview-label")).to_have_text("Epoch 6, DDIM 2 steps")
    last = picture(page, "#preview")
    slider = page.locator("#preview-number input[type=range]")
    slider.focus()
    slider.press("Home")
    expect(page.locator("#preview-label")).to_have_text("Epoch 1, DDIM 2 steps")
    assert picture(page, "#preview") != last
    slider.press("ArrowRight")
    expect(page.locator("#preview-label")).to_have_text("Epoch 2, DDIM 2 steps")


def test_evaluations_are_sorted_by_a_column(page):
    page.locator("#runs").get_by_text("log", exact=True).click()
    table = page.locator("#evaluations")
    expect(table).to_contain_text("10.75")

    def column():
        return re.findall(r"\b(9\.25|7\.5|10\.75)\b", table.inner_text())

    assert column() == ["9.25", "7.5", "10.75"]
    header = table.locator("th", has_text="FID")
    header.hover()
    header.get_by_label("Open cell menu").click()
    page.get_by_text("Sort ascending").click()
    assert column() == ["7.5", "9.25", "10.75"]


def test_images_of_one_class_are_drawn_with_the_command_beside_them(page):
    tab(page, "Playground")
    expect(page.locator("#draw-checkpoint input")).to_have_value("last")
    expect(page.locator("#draw-scale input[type=number]")).to_have_value("1.25")  # the recipe's
    choose(page, "#draw-classes", "3")
    fill(page, "#draw-scale", 2)
    fill(page, "#draw-count", 4)
    fill(page, "#draw-steps", 3)
    page.locator("#draw").click()
    expect(page.locator("#draw-state textarea, #draw-state input").first).to_have_value(
        re.compile(r"4 images in [\d.]+s, 6 network calls an image"), timeout=30_000
    )
    assert picture(page, "#images") and picture(page, "#film").endswith(".gif")
    command = page.locator("#command").inner_text()
    assert re.search(
        r"triptych sample \S+runs/tiny --checkpoint last --sampler ddim:3 --guidance 2 --classes 3", command
    )


def test_long_work_shows_how_far_it_is_and_can_be_cancelled(page):
    tab(page, "Playground")
    state = page.locator("#draw-state textarea, #draw-state input").first
    expect(page.locator("#draw-checkpoint input")).to_have_value("last")
    fill(page, "#draw-steps", 1000)
    fill(page, "#draw-count", 64)
    page.locator("#draw").click()
    expect(state).to_have_value(re.compile(r"Step \d+ of 1000"), timeout=30_000)
    page.locator("#cancel").click()
    expect(state).to_have_value("Cancelled", timeout=10_000)
    page.wait_for_timeout(500)
    assert state.input_value() == "Cancelled"  # and no step comes after it
    fill(page, "#draw-steps", 2)
    fill(page, "#draw-count", 2)
    page.locator("#draw").click()
    expect(state).to_have_value(re.compile("2 images in"), timeout=30_000)


def test_a_second_user_waits_his_turn(page, context, site):
    other = context.new_page()
    other.goto(f"{site}/en/")
    for one, steps in ((page, 400), (other, 2)):
        tab(one, "Playground")
        expect(one.locator("#draw-checkpoint input")).to_have_value("last", timeout=20_000)
        fill(one, "#draw-steps", steps)
        fill(one, "#draw-count", 16)
    page.locator("#draw").click()
    expect(page.locator("#draw-state textarea, #draw-state input").first).to_have_value(
        re.compile("Step"), timeout=30_000
    )
    other.locator("#draw").click()
    expect(other.locator("#draw-state textarea, #draw-state input").first).to_have_value(
        "Waiting for its turn"
    )
    for one in (page, other):
        expect(one.locator("#draw-state textarea, #draw-state input").first).to_have_value(
            re.compile("16 images in"), timeout=90_000
        )
    other.close()


def test_whoever_leaves_in_the_middle_keeps_nobody_waiting(page, context, site):
    other = context.new_page()
    other.goto(f"{site}/en/")
    tab(other, "Playground")
    expect(other.locator("#draw-checkpoint input")).to_have_value("last", timeout=20_000)
    fill(other, "#draw-steps", 1000)
    fill(other, "#draw-count", 64)
    other.locator("#draw").click()
    expect(other.locator("#draw-state textarea").first).to_have_value(re.compile("Step"), timeout=30_000)
    other.close()
    tab(page, "Playground")
    expect(page.locator("#draw-checkpoint input")).to_have_value("last", timeout=20_000)
    fill(page, "#draw-steps", 2)
    page.locator("#draw").click()
    expect(page.locator("#draw-state textarea").first).to_have_value(
        re.compile("16 images in"), timeout=40_000
    )


def test_checkpoints_are_drawn_side_by_side(page):
    tab(page, "Side by side")
    expect(page.locator("#compare-checkpoints")).to_contain_text("last")
    choose(page, "#compare-checkpoints", "epoch-00002")
    for place, number in (("#compare-steps", 2), ("#compare-count", 10)):
        fill(page, place, number)
    page.locator("#compare-draw").click()
    expect(page.locator("#compare-state textarea, #compare-state input").first).to_have_value(
        re.compile(r"20 images in [\d.]+s, 2 network calls an image"), timeout=30_000
    )
    picture(page, "#compared")


def test_a_mistake_is_one_line(page):
    tab(page, "Playground")
    expect(page.locator("#draw-checkpoint input")).to_have_value("last")
    fill(page, "#draw-seed", -5)
    page.locator("#draw").click()
    expect(page.locator("#draw-state textarea").first).to_have_value(
        "seed -5: out of range; choose 0 to 4,294,967,295", timeout=20_000
    )


def test_what_a_record_says_is_never_run_nor_fetched(page):
    page.locator("#runs").get_by_text("hostile").last.click()
    expect(page.locator("#preview-label")).to_contain_text("![x](//evil.example/x.png)")
    tab(page, "Runs")
    page.locator("#runs").get_by_text("<b>bad<img src=y>").last.click()
    state = page.locator("#state textarea, #state input").first
    expect(state).to_have_value(re.compile("unreadable: "), timeout=20_000)
    assert page.locator("img[src=y], img[src='//evil.example/x.png']").count() == 0


def test_names_are_shown_and_never_run(page):
    page.locator("#runs").get_by_text(HOSTILE).last.click()
    expect(page.locator("#run input")).to_have_value(HOSTILE)
    page.get_by_role("button", name="Training").click()
    expect(page.locator("#facts")).to_contain_text(HOSTILE)
    assert page.locator("img[src=x]").count() == 0


@pytest.mark.parametrize("code", ["en", "zh"])
def test_a_telephone_needs_no_sideways_scrolling(browser, site, code):
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.goto(f"{site}/{code}/")
    expect(page.locator("#runs")).to_contain_text("tiny", timeout=20_000)
    names = {
        "en": ("Runs", "Run", "Side by side", "Playground"),
        "zh": ("全部实验", "单个实验", "并排比较", "试验场"),
    }
    for name in names[code]:
        button = page.get_by_role("tab", name=name, exact=True).locator("visible=true")
        if button.count() == 0:  # of four tabs some are behind a menu
            page.locator(".overflow-menu button").first.click()
            button = page.locator(".overflow-dropdown").get_by_text(name, exact=True)
        button.first.click()
        page.wait_for_timeout(400)
        widths = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        assert widths[0] <= widths[1], name
    context.close()


def test_the_other_language_is_one_click_away(page):
    page.locator("#language").click()
    expect(page.get_by_role("tab", name="试验场", exact=True)).to_be_visible(timeout=20_000)
    page.locator("#language").click()
    expect(page.get_by_role("tab", name="Playground", exact=True)).to_be_visible(timeout=20_000)
