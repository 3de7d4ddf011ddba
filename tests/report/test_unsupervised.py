"""The section on what a model without a target found: what it draws, and that names of data are never markup."""

from __future__ import annotations

from penstock.report.unsupervised_sections import scatter_of, unsupervised_section, unsupervised_sentence

HOSTILE = '<script>alert("x")</script>'


def document(**changes: object) -> dict[str, object]:
    found = {
        "task": "clustering",
        "sample_rows": 3,
        "groups": [{"name": "0", "rows": 2, "silhouette": 0.5}, {"name": "1", "rows": 1, "silhouette": None}],
        "scatter": {"x": "first axis", "y": "second axis", "points": [[0.0, 1.0, 0], [1.0, 1.0, 0], [5.0, 2.0, 1]]},
        "unlike": [{"path": HOSTILE, "row": 3, "loss": 4.5, "values": {HOSTILE: HOSTILE, "b": None}}],
        **changes,
    }
    return {
        "rows": 30,
        "target": {"column": "", "task": "clustering"},
        "model_name": "k-means",
        "model": {"clusters": 2, "told_by": [[[HOSTILE, 1.5]], [["b", -2.0]]]},
        "evaluation": {"rows": 3, "metrics": {"silhouette": 0.5}, "without_target": found},
    }


def test_what_was_found_is_told_and_names_are_escaped() -> None:
    found = unsupervised_section(document())
    assert "<script>" not in found
    assert found.count("<circle") == 3
    assert "silhouette 0.5000" in found
    assert "+1.50" in found and "-2.00" in found
    assert "missing" in found  # a value that is not there
    assert "2 clusters of rows: <b>silhouette 0.5000</b> on 3 rows" in unsupervised_sentence(document())


def test_a_model_that_predicts_a_target_has_no_such_section() -> None:
    predicts = {"target": {"column": "y", "task": "binary"}, "evaluation": {"rows": 3, "metrics": {"f1": 1.0}}}
    assert unsupervised_section(predicts) == ""
    assert unsupervised_sentence(predicts) == ""


def test_rows_that_lie_on_one_another_are_drawn_in_the_middle() -> None:
    drawn = scatter_of([[2.0, 7.0, 0], [2.0, 7.0, 0]], [])
    assert drawn.count('cx="170.0" cy="125.0"') == 2


def test_one_row_alone_is_no_picture() -> None:
    assert "<circle" not in unsupervised_section(document(scatter={"points": [[0.0, 0.0, 0]]}))
