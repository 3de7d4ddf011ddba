"""A page in headless Chromium, as narrow as a phone and as wide as a desk, in the light and in the dark."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from report_documents import model, number_column, profile

from penstock.report.page import page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DARK = "--blink-settings=preferredColorScheme=0"
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed: apt-get install chromium")

PROBE = """
const frame = document.getElementById("frame"), inner = frame.contentWindow, page = frame.contentDocument;
const rgb = text => {
  const parts = text.match(/[\\d.]+/g).map(Number);
  const scale = text.startsWith("color(") ? 255 : 1;
  return [...parts.slice(0, 3).map(part => part * scale), parts.length > 3 ? parts[3] : 1];
};
const light = ([r, g, b]) => {
  const [x, y, z] = [r, g, b].map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * x + 0.7152 * y + 0.0722 * z;
};
const behind = element => {
  for (; element; element = element.parentElement) {
    const found = rgb(inner.getComputedStyle(element).backgroundColor);
    if (found[3] > 0.99) return found;
  }
  return [255, 255, 255, 1];
};
const faint = [], small = [];
const walker = page.createTreeWalker(page.body, NodeFilter.SHOW_TEXT);
let texts = 0;
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement, said = walker.currentNode.textContent.trim();
  if (!said || !element.checkVisibility({contentVisibilityAuto: true})) continue;
  texts += 1;
  const style = inner.getComputedStyle(element), drawn = element.closest("svg");
  const [a, b] = [light(rgb(drawn ? style.fill : style.color)), light(behind(element))].sort((x, y) => y - x);
  const contrast = (a + 0.05) / (b + 0.05);
  if (contrast < 4.5) faint.push([said.slice(0, 40), contrast]);
  const scale = drawn ? drawn.getBoundingClientRect().width / drawn.viewBox.baseVal.width : 1;
  if (parseFloat(style.fontSize) * scale < 9.5) small.push([said.slice(0, 40), parseFloat(style.fontSize) * scale]);
}
const width = page.documentElement.clientWidth;
const wide = [...page.body.querySelectorAll("*")].filter(
  one => !one.closest(".scroll") && one.checkVisibility() && one.getBoundingClientRect().right > width + 1);
const boxes = [...page.querySelectorAll(".scroll")].filter(one => one.scrollWidth > one.clientWidth + 1);
const fixed = boxes.filter(one => inner.getComputedStyle(one).overflowX !== "auto");
document.body.textContent = "FOUND" + JSON.stringify({
  width, texts, faint, small,
  scroll: page.scrollingElement.scrollWidth,
  wide: wide.slice(0, 5).map(one => one.tagName + "." + one.className + " " + one.textContent.slice(0, 40)),
  scrolling: boxes.length, fixed: fixed.length,
  asked: inner.performance.getEntriesByType("resource").map(one => one.name),
  dark: inner.matchMedia("(prefers-color-scheme: dark)").matches,
  background: inner.getComputedStyle(page.body).backgroundColor,
}) + "END";
"""


def chromium(tmp_path: Path, *arguments: str) -> str:
    """What Chromium prints; with a profile of its own, so that several at a time do not meet."""
    assert CHROMIUM is not None
    done = subprocess.run(
        [
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            f"--user-data-dir={tmp_path / 'chromium'}",
            *arguments,
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    return done.stdout


def probed(found: str, tmp_path: Path, width: int, *arguments: str) -> dict:
    """What the browser makes of a page of this width [px]: in a frame, as a window is never narrower than 500."""
    outer = tmp_path / "outer.html"
    frame = f'<iframe id="frame" style="width:{width}px;height:900px;border:0" srcdoc="{html.escape(found)}"></iframe>'
    outer.write_text(
        f"<!doctype html><meta charset=utf-8><body>{frame}<script>onload=()=>{{{PROBE}}}</script>", "utf-8"
    )
    told = chromium(tmp_path, "--window-size=1400,1000", *arguments, "--dump-dom", outer.as_uri())
    match = re.search(r"FOUND(.*?)END", html.unescape(told), flags=re.S)
    assert match is not None, told[:2_000]
    return json.loads(match[1])


@pytest.fixture(scope="module")
def whole():
    return page(model())


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_reads_well(whole, tmp_path, width, dark):
    found = probed(whole, tmp_path, width, *([DARK] if dark else []))
    assert (found["width"], found["dark"]) == (width, dark)
    assert found["scroll"] <= width
    assert found["wide"] == []
    assert found["fixed"] == 0
    assert found["texts"] > 300
    assert found["faint"] == []
    assert found["small"] == []
    assert found["asked"] == []
    brightness = sum(map(float, re.findall(r"\d+", found["background"])[:3])) / 3
    assert brightness < 40 if dark else brightness > 240


def test_a_wide_profile_does_not_scroll_sideways_on_a_phone(tmp_path):
    columns = [number_column("c" * 70 + str(i)) for i in range(25)]
    found = probed(page({"title": "t" * 200, "profile": profile(columns)}), tmp_path, 390)
    assert (found["scroll"], found["wide"]) == (390, [])


def test_a_chart_follows_the_dark(whole, tmp_path):
    """Pixels, not styles: a white box would be seen."""
    from matplotlib.image import imread

    file, picture = tmp_path / "page.html", tmp_path / "page.png"
    file.write_text(whole, "utf-8")
    chromium(tmp_path, DARK, "--window-size=1280,4000", f"--screenshot={picture}", file.as_uri())
    pixels = imread(picture)[..., :3]
    assert (pixels.min(axis=2) > 0.98).mean() < 0.01
    assert (pixels.max(axis=2) < 0.2).mean() > 0.6
