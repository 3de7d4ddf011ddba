"""A page is one file that asks nothing of any network, says all that it was given, and escapes what comes from data."""

from __future__ import annotations

import copy
import html.parser
import re

import pytest
from report_documents import BIDI, LONG, NASTY, curves, model, number_column, profile

from penstock.report.page import page

SECTIONS = (
    "data",
    "cleaning",
    "training",
    "evaluation",
    "explanation",
    "pictures",
    "mistakes",
    "rejected",
    "work",
    "reproduce",
)
VOID = {"meta", "br", "link", "img", "rect", "path", "use"}


class Reader(html.parser.HTMLParser):
    """What is in a page, and that every tag that is opened is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.tags: list[str] = []
        self.images: list[dict[str, str | None]] = []

    def handle_starttag(self, tag, attrs):
        if tag == "img":
            self.images.append(dict(attrs))
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def read(found: str) -> Reader:
    reader = Reader()
    reader.feed(found)
    reader.close()
    assert reader.open == []
    return reader


@pytest.fixture(scope="module")
def whole():
    return page(model())


def test_every_section_is_there_and_well_formed(whole):
    reader = read(whole)
    found = [value for tag, name, value in reader.attributes if tag == "section" and name == "id"]
    assert tuple(found) == SECTIONS
    links = [value for tag, name, value in reader.attributes if tag == "a" and name == "href"]
    assert links == [f"#{name}" for name in SECTIONS]


@pytest.mark.parametrize(
    ("gone", "section"),
    [
        ("profile", "data"),
        ("cleaning", "cleaning"),
        ("evaluation", "evaluation"),
        ("pictures", "pictures"),
        ("mistakes", "mistakes"),
        ("rejected", "rejected"),
    ],
)
def test_a_section_without_facts_is_left_out(gone, section):
    document = model()
    del document[gone]
    assert f'<section id="{section}">' not in page(document)
    assert f"#{section}" not in page(document)


@pytest.mark.parametrize("only", sorted(model()))
def test_any_one_fact_alone_makes_a_page(only):
    read(page({only: model()[only]}))


def test_nothing_is_asked_of_a_network_and_nothing_is_run(whole):
    reader = read(whole)
    assert "script" not in reader.tags
    assert not {"link", "iframe", "object", "embed", "form", "base"} & set(reader.tags)
    for tag, name, value in reader.attributes:
        if (tag, name) == ("img", "src"):
            assert re.fullmatch(r"data:image/png;base64,[A-Za-z0-9+/=]+", value)
            continue
        assert name not in ("src", "srcset", "action", "background", "poster") and not name.startswith("on")
        if "href" in name:
            assert value.startswith("#")
    assert "http" not in whole
    assert "@import" not in whole
    for inside in re.findall(r"url\(([^)]*)\)", whole):
        assert inside.startswith("#")


def test_what_comes_from_data_is_text_and_never_markup(whole):
    reader = read(whole)
    assert NASTY in "".join(reader.texts)
    assert "alert" not in "".join(
        value or "" for _, _, value in reader.attributes if value and value.startswith("java")
    )
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", whole)
    assert "\ufeff" not in whole
    whole.encode("utf-8")


def test_pictures_are_read_out_and_have_their_size(whole):
    images = read(whole).images
    said = [one["alt"] for one in images]
    assert said[0] == f"{NASTY}, predicted no (photo)"
    assert said[1:4] == [f"yes, predicted yes (film): frame {place} of 3" for place in (1, 2, 3)]
    assert said[4:] == ["yes before", "yes in epoch 1", "yes in epoch 2"]
    assert {(one["width"], one["height"]) for one in images} == {("96", "64")}  # of 3 x 2 pixels, by whole numbers


@pytest.mark.parametrize(
    "data",
    [
        "https://example.org/x.png",
        "data:image/svg+xml;base64,PHN2Zz4=",
        'data:image/png;base64,AA==" onerror="x',
        None,
        5,
    ],
)
def test_what_is_no_picture_is_not_shown(data):
    document = model()
    (column,) = document["pictures"]["mistakes"][0]["columns"]
    document["pictures"] = {"mistakes": document["pictures"]["mistakes"]}
    column["images"][0]["data"] = data
    found = page(document)
    assert "<img" not in found and '<section id="pictures">' not in found


def test_mistakes_that_are_pictures_alone_are_shown_once():
    document = model()
    for one in document["mistakes"]:
        one["values"] = {}
    assert '<section id="mistakes">' not in page(document)
    del document["pictures"]
    assert '<section id="mistakes">' in page(document)


def test_a_text_that_was_cut_before_says_how_long_it_was():
    document = model()
    document["mistakes"] = [{**document["mistakes"][0], "values": {"text": "a" * 200 + "... (10,485,760 characters)"}}]
    found = page(document)
    assert f"<bdi>{'a' * 200}…</bdi> <i>10,485,760 characters</i>" in found


def test_text_of_another_direction_is_kept_apart(whole):
    assert f"<bdi>{BIDI}</bdi>" in whole


def test_long_values_are_cut_and_their_length_said(whole):
    assert f"{len(LONG):,} characters" in whole
    assert LONG[:1_000] not in whole


def test_half_a_surrogate_is_no_error():
    document = model()
    document["mistakes"][0]["values"] = {"x": "\ud800"}
    page(document).encode("utf-8")


def test_the_same_document_gives_the_same_bytes(whole):
    assert page(copy.deepcopy(model())) == whole


def test_charts_have_the_colours_of_the_page_and_no_box_of_their_own(whole):
    for drawn in re.findall(r"<svg.*?</svg>", whole, flags=re.S):
        assert not re.findall(r": ?#[0-9a-fA-F]{3,6}", drawn)
        for colour in re.findall(r"(?:fill|stroke): ([^;\"]+)", drawn):
            assert colour == "none" or re.fullmatch(r"var\(--\w+\)", colour)
    assert whole.count("<svg") > 8


def test_ids_on_a_page_differ_unless_the_same_is_drawn(whole):
    names: dict[str, str] = {}
    for name, rest in re.findall(r'<clipPath id="([^"]+)">(.*?)</clipPath>', whole):
        assert names.setdefault(name, rest) == rest


def test_a_formula_in_a_name_is_not_typeset():
    document = {"profile": profile([{**number_column("cost $x^2$ & more"), "association": None}])}
    found = page(document)
    assert "cost $x^2$ &amp; more" in found


def test_figures_are_told(whole):
    text = " ".join("".join(read(whole).texts).split())
    for told in ("0.9300", "0.9260 to 0.9340", "12 rows are like", "1 min 15 s", "undefined", "0.410", "june.csv"):
        assert told in text, told
    assert "nothing to do" not in text


def test_several_classes_are_shown_one_by_one_and_bounded():
    document = model()
    labels = [f"class {i}" for i in range(1_000)]
    document["evaluation"] |= {
        "curves": {label: curves() for label in labels},
        "classes": labels,
        "confusion_matrix": [[(i * j) % 3 for j in range(1_000)] for i in range(1_000)],
    }
    found = page(document)
    assert len(found.encode()) < 3_000_000
    assert "of 1,000 classes" in found
    assert "there are 1,000 classes" in found.lower()


def test_five_hundred_columns_fit_in_three_megabytes():
    columns = [number_column(f"column {i}") for i in range(500)]
    warnings = [
        {"code": "missing", "severity": "low", "columns": [f"column {i}"], "reason": "many", "remedy": "impute"}
        for i in range(300)
    ]
    document = model()
    document["profile"] = {**profile(columns), "warnings": warnings}
    document["profile"]["drift"]["columns"] = [{"name": f"column {i}", "index": 0.1} for i in range(500)]
    document["model"]["importance"] = {f"column {i}": 1 / 500 for i in range(500)}
    found = page(document)
    assert len(found.encode()) < 3_000_000
    assert "80 of 500 columns are drawn" in found
    assert "column 499" in found
    read(found)


def test_an_empty_profile_makes_a_page():
    empty = {**profile(), "rows": 0, "columns": [], "warnings": [], "notes": []}
    empty["correlations"] = {"columns": [], "matrix": [], "pairs": []}
    del empty["target"], empty["drift"]
    read(page({"profile": empty}))
