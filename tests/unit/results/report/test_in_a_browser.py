"""Reports in a browser: what moves, what is filtered, and who can use it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from anomalib_flows.results.decisions import percent
from anomalib_flows.results.metrics.counts import exact_interval
from anomalib_flows.results.report import write_comparison, write_report
from drawn_results import IMAGES, Scored, write_predictions, write_run

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
MANY = [Scored(f"/data/good/{i}.png", "good", i / 100 - 2) for i in range(130)]
COUNTS = ("true-normal", "false-alarms", "missed", "found")
CONTRASTS = """(selector) => {
  const luma = (text) => {
    const linear = (level) => level <= 0.04045 ? level / 12.92 : ((level + 0.055) / 1.055) ** 2.4;
    const [r, g, b] = text.match(/[\\d.]+/g).map((level) => linear(level / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  return [...document.querySelectorAll(selector)].filter((e) => e.offsetParent).map((element) => {
    let ground = element;
    while (getComputedStyle(ground).backgroundColor === "rgba(0, 0, 0, 0)") ground = ground.parentElement;
    const tones = [luma(getComputedStyle(element).color), luma(getComputedStyle(ground).backgroundColor)];
    return (Math.max(...tones) + 0.05) / (Math.min(...tones) + 0.05);
  });
}"""

SWIPE = """(distance) => {
  const panes = document.getElementById("panes");
  for (const [name, x] of [["touchstart", 100], ["touchend", 100 + distance]]) {
    const touch = new Touch({ identifier: 1, target: panes, clientX: x, clientY: 100 });
    const touches = name === "touchend" ? [] : [touch];
    panes.dispatchEvent(new TouchEvent(name, { touches, changedTouches: [touch] }));
  }
}"""


@pytest.fixture
def report(tmp_path: Path) -> Path:
    return write_report(write_run(tmp_path / "run"))


def counts(page: Any) -> list[int]:
    return [int(page.inner_text(f"#{name}")) for name in COUNTS]


def names(page: Any) -> list[str]:
    """Names of the tiles, in their order."""
    return page.locator(".tile .tile-name").all_inner_texts()


def move(page: Any, threshold: float) -> None:
    page.evaluate(
        "(value) => { const slider = document.getElementById('cut-slider'); slider.value = value; "
        "slider.dispatchEvent(new Event('input')); }",
        threshold,
    )


def expected(threshold: float) -> list[int]:
    good = [one.position > threshold for one in IMAGES if one.defect == "good"]
    defective = [one.position > threshold for one in IMAGES if one.defect != "good"]
    return [good.count(False), good.count(True), defective.count(False), defective.count(True)]


def test_the_slider_changes_counts_rates_and_images(report: Path, open_page: Any) -> None:
    page = open_page(report)
    assert counts(page) == expected(0.5) == [5, 1, 3, 3]
    assert page.locator(".tile.wrong").count() == 4
    for threshold in (0, 0.2, 0.4, 0.9, 3.4):
        move(page, threshold)
        assert counts(page) == expected(threshold)
        normal, alarms, missed, _ = expected(threshold)
        low, high = map(percent, exact_interval(alarms, normal + alarms))
        rate = f"{percent(alarms / (normal + alarms))} % (95 % interval {low} % to {high} %)"
        assert page.inner_text("#false-alarm-rate") == rate
        assert page.locator(".tile.wrong").count() == alarms + missed
        settable = 0 < threshold < 1  # 'calibrate' takes no other
        assert page.is_visible("#calibrate") == settable
        assert not settable or page.inner_text("#calibrate").endswith(f"--threshold {threshold:.3f}")
    page.click("#cut-reset")
    assert counts(page) == [5, 1, 3, 3]


def test_intervals_are_exact(report: Path, open_page: Any) -> None:
    page = open_page(report)
    for count, total in ((0, 1), (1, 1), (0, 368), (2, 24), (141, 392), (583, 583), (17, 5000)):
        assert page.evaluate(f"interval({count}, {total})") == pytest.approx(exact_interval(count, total), abs=1e-6)


def test_the_slider_and_the_viewer_work_by_keyboard(report: Path, open_page: Any) -> None:
    page = open_page(report)
    page.focus("#cut-slider")
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    assert float(page.inner_text("#cut-value")) > 0.6
    assert counts(page) != [5, 1, 3, 3]
    page.focus("#show-truth")
    page.keyboard.press("Tab")
    first = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert first.startswith(names(page)[0])
    page.keyboard.press("Enter")
    assert page.inner_text("#viewer-title") == names(page)[0]
    assert page.get_attribute("#viewer-link", "href") == f"file:///data/stripes/test/{names(page)[0]}"
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#viewer-title") == names(page)[1]
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")  # the first one has no neighbour
    assert page.inner_text("#viewer-title") == names(page)[0]
    page.keyboard.press("s")
    assert page.locator(".pane").count() == 3
    width = page.locator(".frame .stack").first.bounding_box()["width"]
    page.keyboard.press("+")
    assert page.locator(".frame .stack").first.bounding_box()["width"] == pytest.approx(1.5 * width, rel=0.01)
    page.keyboard.press("Escape")
    assert not page.is_visible("#viewer")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == first


@pytest.mark.parametrize(
    ("control", "choice", "kept"),
    [
        ("decision", "wrong", lambda one: one.outcome != "correct"),
        ("decision", "missed", lambda one: one.outcome == "missed"),
        ("decision", "false alarm", lambda one: one.outcome == "false alarm"),
        ("defect", "crack", lambda one: one.defect == "crack"),
        ("defect", "good", lambda one: one.defect == "good"),
        ("label", "1", lambda one: one.label == "anomalous"),
        ("label", "0", lambda one: one.label == "normal"),
    ],
)
def test_filters_choose_images(report: Path, open_page: Any, control: str, choice: str, kept: Any) -> None:
    page = open_page(report)
    page.select_option(f"#{control}", choice)
    wanted = {one.path.removeprefix("/data/stripes/test/") for one in IMAGES if kept(one)}
    assert wanted
    assert set(names(page)) == wanted
    assert f"{len(wanted)} of {len(wanted)} images" in page.inner_text("#shown")


def test_images_are_ordered_and_searched(report: Path, open_page: Any) -> None:
    page = open_page(report)
    assert names(page)[0] == "crack/0.png"  # missed, farthest from the threshold
    page.select_option("#order", "high")
    assert names(page)[0] == "blob/3.png"
    page.select_option("#order", "name")
    assert names(page) == sorted(names(page))
    page.fill("#name", "BLOB/2")
    assert names(page) == ["blob/2.png"]


def test_pictures_show_and_fade(report: Path, open_page: Any) -> None:
    page = open_page(report)
    broken = "[...document.images].filter((image) => !(image.complete && image.naturalWidth)).length"
    page.wait_for_function(f"{broken} === 0")
    assert page.locator(".tile img.photo").count() == len(IMAGES)
    assert page.locator(".tile img.truth").count() == sum(one.defect != "good" for one in IMAGES)
    page.locator("#opacity").fill("0.25")
    assert page.eval_on_selector(".tile img.heatmap", "(image) => getComputedStyle(image).opacity") == "0.25"
    page.uncheck("#show-truth")
    assert not page.locator(".tile img.truth").first.is_visible()
    for tile in page.locator(".tile .picture").all()[:2]:  # one is wide and one is upright
        box, inner = tile.bounding_box(), tile.locator(".stack").bounding_box()
        assert max(inner["width"] / box["width"], inner["height"] / box["height"]) == pytest.approx(1, abs=0.02)
        assert {round(inner["width"] / inner["height"], 1)} <= {0.5, 2.0}


def test_many_images_are_shown_in_steps(tmp_path: Path, open_page: Any) -> None:
    page = open_page(write_report(write_run(tmp_path, MANY, pictured=100)))
    page.select_option("#order", "low")
    assert len(names(page)) == 60
    page.click("#more")
    page.click("#more")
    assert len(names(page)) == 130
    assert not page.is_visible("#more")
    assert page.get_by_text("no picture kept").count() == 30


def test_names_of_files_are_only_shown(tmp_path: Path, open_page: Any) -> None:
    images = [
        Scored(f"./{name}/1.png", name, 3) for name in ("<img src=x onerror=alert(1)>", "=cmd()", "<script>alert(2)")
    ]
    images += [Scored("./good.png", "good", 0)]
    run = write_run(tmp_path / "run", images)
    page = open_page(write_report(run))
    assert sorted(names(page)) == sorted(one.path.removeprefix("./") for one in images)
    page.click(".tile >> nth=0")
    assert page.inner_text("#viewer-title") in names(page)
    other = write_run(tmp_path / "other", [one._replace(raw=0) for one in images])
    page = open_page(write_comparison([run, other], tmp_path / "comparison.html"))
    assert page.get_by_text("=cmd()/1.png").is_visible()


def test_predictions_have_a_slider_too(tmp_path: Path, open_page: Any) -> None:
    page = open_page(write_report(write_predictions(tmp_path)))
    assert page.inner_text("#called") == "4 of 12 images called anomalous (33 %)"
    assert names(page)[0] == "blob/3.png"
    move(page, 0)
    assert page.inner_text("#called") == "11 of 12 images called anomalous (92 %)"
    page.click(".tile >> nth=0")
    page.check("#side")
    assert page.locator(".pane").count() == 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_light_and_dark(report: Path, open_page: Any, scheme: str) -> None:
    page = open_page(report, color_scheme=scheme)
    ratios = page.evaluate(CONTRASTS, "h1, h2, p, li, td, th, dd, dt, label, button:enabled, code, .badge, .verdict")
    assert len(ratios) > 100
    assert min(ratios) >= 4.5
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground))) > 380) == (scheme == "light")


@pytest.mark.parametrize("kind", ["run", "predictions", "comparison"])
def test_a_phone_scrolls_down_only_and_takes_touches(tmp_path: Path, open_page: Any, kind: str) -> None:
    run = write_run(tmp_path / "run")
    if kind == "comparison":
        other = write_run(tmp_path / "other", [one._replace(raw=-one.raw) for one in IMAGES])
        file = write_comparison([run, other], tmp_path / "comparison.html")
    else:
        file = write_report(run if kind == "run" else write_predictions(tmp_path / "predicted"))
    page = open_page(file, **PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    if kind != "comparison":
        page.tap(".tile >> nth=0")
        box = page.locator("#viewer").bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
        page.tap("#next")
        assert page.inner_text("#viewer-title") == names(page)[1]
        page.evaluate(SWIPE, 120)
        assert page.inner_text("#viewer-title") == names(page)[0]
        page.tap("#side")
        page.tap("#close")
        assert not page.is_visible("#viewer")


def test_controls_have_names(report: Path, open_page: Any) -> None:
    page = open_page(report)
    page.click(".tile >> nth=0")
    unnamed = """[...document.querySelectorAll("input, select, button, svg[role=img]")].filter((one) =>
      !(one.getAttribute("aria-label") || one.labels?.length || one.textContent.trim())).length"""
    assert page.evaluate(unnamed) == 0
    assert page.evaluate("document.documentElement.lang") == "en"
    assert page.locator("main h2").count() >= 5
