"""Relational work in jobs: same bytes, spilled to disk, gone on with, accounted for, and done again for new rows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from related_rows import Heard, batches_of, laid, rows_of

import penstock as ps
from penstock import cli
from penstock.config import PipelineConfig, dump_config, parse_config
from penstock.engine import Resources
from penstock.errors import ConfigError, SchemaError, UsageError
from penstock.relational import related
from penstock.resources import held
from penstock.schema import Role


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Orders, some twice, and their customers, some unknown: whether an order is large follows from both."""
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    rows, people = 3_000, 400
    customer = random.integers(0, people + 20, rows)
    income = random.normal(size=people + 20)
    x = random.normal(size=rows)
    orders = pa.table(
        {
            "order": [f"o{i:05d}" for i in random.integers(0, 2_500, rows)],
            "customer": [f"c{i}" for i in customer],
            "x": x,
            "large": np.where(x + income[customer] > 0, "yes", "no"),
        }
    )
    pq.write_table(orders, folder / "orders.parquet", row_group_size=500)
    customers = pa.table({"customer": [f"c{i}" for i in range(people)], "income": income[:people]})
    pq.write_table(customers.take(random.permutation(people)), folder / "customers.parquet", row_group_size=100)
    (folder / "pipeline.yaml").write_text(
        """\
target: large
holdout: 20%
data:
  - deduplicate: order
  - join: {other: customers.parquet, on: customer, how: inner, expect: many_to_one}
  - rolling: {columns: x, function: mean, window: 3, by: customer}
steps:
  - drop: [order, customer]
  - standardize: numeric
model: linear
"""
    )
    return folder


CHAIN = (
    ps.Deduplicate(["order", "x"]),
    ps.Join("customers.parquet", on="customer"),
    ps.Rolling("x", "std", 5, by="customer"),
    ps.Sort(["customer", "x"]),
    ps.Group(
        "customer", {"n": ("count", "*"), "mean": ("mean", "x"), "sum": ("sum", "x_std_5"), "first": ("first", "order")}
    ),
)


@pytest.mark.parametrize("many", [1, 3, 4, 5])
def test_threads_and_memory_change_no_byte(data: Path, tmp_path: Path, many: int) -> None:
    chain = [relation.located(data) for relation in CHAIN[:many]]
    found = []
    for number, (cores, memory) in enumerate([(1, 2**31), (2, 2**31), (2, held() + 300 * 2**20)]):
        source, _ = laid(
            ps.read(data / "orders.parquet"), *chain, cores=cores, memory=memory, folder=tmp_path / str(number)
        )
        batches = batches_of(source)
        found.append([(batch.columns.to_pydict(), batch.keys.rows.tolist(), batch.counts) for batch in batches])
    assert found[0] == found[1] == found[2]


def test_finished_work_is_found_again_and_other_inputs_are_not_taken_for_the_same(data: Path, tmp_path: Path) -> None:
    chain = [relation.located(data) for relation in CHAIN]
    first, _ = laid(ps.read(data / "orders.parquet"), *chain, folder=tmp_path)
    expected = rows_of(first)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "relations").rglob("*") if path.is_file()}
    again, heard = laid(ps.read(data / "orders.parquet"), *chain, folder=tmp_path)
    assert "an earlier try is used" in heard.text
    assert rows_of(again).equals(expected)
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "relations").rglob("*") if path.is_file()}
    other, heard = laid(ps.read(data / "orders.parquet"), *chain[:-1], folder=tmp_path)
    assert "an earlier try is used" not in heard.text
    assert rows_of(other).height > expected.height
    (tmp_path / "relations" / "done.json").unlink()  # as a killed process leaves it
    redone, heard = laid(ps.read(data / "orders.parquet"), *chain, folder=tmp_path)
    assert "an earlier try is used" not in heard.text
    assert rows_of(redone).equals(expected)


def test_a_job_that_goes_on_does_not_do_the_relational_work_again(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The relational work is done, and then the job is stopped, before its parts are complete."""
    pipeline = ps.Pipeline.of(data / "pipeline.yaml")
    prepared = ps.Pipeline([ps.Standardize("x")], data=pipeline.data)
    source = ps.read(data / "orders.parquet")
    heard = Heard()

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("penstock.run.Run.record", stop)
        with pytest.raises(KeyboardInterrupt):
            prepared.prepare(source, to=tmp_path / "out")
    done = prepared.prepare(source, to=tmp_path / "out", listener=heard)
    assert "an earlier try is used" in heard.text
    assert not (tmp_path / "out.run" / "relations").exists()
    assert done.rows == rows_of(laid(source, *pipeline.data)[0]).height
    assert prepared.prepare(source, to=tmp_path / "out").already_done


def test_train_evaluate_and_predict_do_the_same_work_and_account_for_every_row(data: Path, tmp_path: Path) -> None:
    pipeline = ps.Pipeline.of(data / "pipeline.yaml")
    fitted = pipeline.fit(data / "orders.parquet", to=tmp_path / "model")
    rows = rows_of(laid(ps.read(data / "orders.parquet"), *pipeline.data)[0])
    steps = {step["step"]: step for step in fitted.summary["ledger"]["steps"]}
    assert steps["read"]["in"] == 3_000
    assert steps["deduplicate"]["dropped"] == 3_000 - pl.read_parquet(data / "orders.parquet")["order"].n_unique()
    assert steps["join"]["out"] == rows.height
    total = fitted.summary["ledger"]["total"]
    assert total["in"] + total["made"] == total["out"] + total["rejected"] + total["dropped"]
    assert fitted.summary["evaluation"]["metrics"]["roc_auc"] > 0.9
    assert "rolling" in (tmp_path / "model" / "pipeline.yaml").read_text()
    assert not (tmp_path / "model.run" / "relations").exists()

    opened = ps.load(tmp_path / "model")
    judged = opened.evaluate(data / "orders.parquet")
    assert judged.rows == rows.height
    table = opened.predict(data / "orders.parquet", keep=["order", "income"])
    assert table.column("order").to_pylist() == rows["order"].to_list()
    assert table.column("income").to_pylist() == rows["income"].to_list()
    assert table.equals(fitted.predict(ps.read(data / "orders.parquet"), keep=["order", "income"]))
    memory = ps.Pipeline.of(data / "pipeline.yaml").fit(data / "orders.parquet")
    assert memory.predict(data / "orders.parquet").equals(opened.predict(data / "orders.parquet"))


def test_the_target_may_come_from_the_other_side(data: Path, tmp_path: Path) -> None:
    labels = pl.read_parquet(data / "orders.parquet").select("order", y=pl.col("large") == "yes").unique("order")
    labels.write_parquet(tmp_path / "labels.parquet")
    source = ps.read(data / "orders.parquet").deduplicate("order").join(tmp_path / "labels.parquet", on="order")
    pipeline = ps.Pipeline([ps.Drop(["order", "customer"])], ps.Linear(), target="y")
    assert pipeline.fit(source).evaluate(source).metrics["accuracy"] > 0.9


def test_the_command_line_prepares_with_a_data_section(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # paths in the file are relative to the file
    arguments = ["prepare", str(data / "orders.parquet"), "--config", str(data / "pipeline.yaml"), "--json"]
    assert cli.run([*arguments, "--to", str(tmp_path / "out.parquet"), "--memory", "1GiB"]) == 0
    summary = json.loads(capsys.readouterr().out)
    frame = pl.read_parquet(tmp_path / "out.parquet")
    orders, customers = (pl.read_parquet(data / f"{name}.parquet") for name in ("orders", "customers"))
    expected = orders.unique("order", keep="first", maintain_order=True).join(
        customers, on="customer", how="inner", maintain_order="left"
    )
    assert summary["rows"] == frame.height == expected.height
    income = expected["income"]
    assert frame["income"].to_numpy() == pytest.approx(((income - income.mean()) / income.std(ddof=0)).to_numpy())
    total = summary["ledger"]["total"]
    assert total["in"] == 3_000
    assert total["in"] + total["made"] == total["out"] + total["rejected"] + total["dropped"]


def test_a_data_section_comes_back_as_it_was_written_and_is_found_from_the_files_folder(tmp_path: Path) -> None:
    text = """\
data:
  - filter: "x > 1 and c = 'a'"
  - deduplicate: {columns: [a, b], keep: last, by: t, descending: true}
  - join: {other: ../other/*.csv, on: k, how: full, read: {missing: ["?"], roles: {k: key}}}
  - join_rows: {other: [a.parquet, /b.parquet]}
  - sort: [a, t]
  - group: {by: k, columns: {total: [sum, x]}}
  - rolling: {columns: x, function: median, window: 24h, by: k, order: t}
  - map_columns: {rename: {a: b}, scale: {a: 2.54}}
"""
    config = parse_config(text, str(tmp_path / "sub" / "pipeline.yaml"))
    assert [relation.name for relation in config.data] == [
        "filter", "deduplicate", "join", "join_rows", "sort", "group", "rolling", "map_columns",
    ]  # fmt: skip
    join = config.data[2]
    assert isinstance(join, ps.Join)
    assert join.other == str(tmp_path / "sub" / "../other/*.csv")
    assert join.read.roles == {"k": Role.key}
    assert config.data[3] == ps.JoinRows([str(tmp_path / "sub" / "a.parquet"), "/b.parquet"])
    assert parse_config(dump_config(config), "/elsewhere/pipeline.yaml") == config


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("dedupe: id", "p.yaml:2: no relation of this name"),
        ("deduplicate: {column: id}", "did you mean 'columns'"),
        ("deduplicate: {columns: id, keep: any}", "p.yaml:2: relation 'deduplicate': keep: not one of its values"),
        ("join: {other: b.csv}", "p.yaml:2: relation 'join'.* which columns are the keys"),
        ("join: {on: k}", "'other' is missing"),
        ("join: {other: 3, on: k}", "not data that can be read"),
        ("filter: 'a >'", "p.yaml:2: relation 'filter'"),
        ("rolling: {columns: x, function: mean, window: 1y, order: t}", "not a duration"),
        ("sort: {by: a, descending: 1}", "p.yaml:2: relation 'sort'"),
        ("3", "p.yaml:2: not a relation"),
    ],
)
def test_what_is_wrong_in_a_data_section_is_told_with_its_line(line: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(f"data:\n  - {line}\n", "p.yaml")
    with pytest.raises(ConfigError, match="data is a list"):
        parse_config("data: deduplicate", "p.yaml")


def test_an_open_source_can_be_joined_but_not_stored(data: Path, tmp_path: Path) -> None:
    other = ps.read(data / "customers.parquet")
    relation = ps.Join(other, on="customer")
    assert ps.read(data / "orders.parquet").related(relation).schema.names[-1] == "income"
    with pytest.raises(UsageError, match="an open source can't be written"):
        dump_config(PipelineConfig(data=(relation,)))
    with pytest.raises(UsageError, match="not a relation"):
        ps.Pipeline(data=[ps.Deduplicate])  # type: ignore[list-item]


def test_a_related_source_read_at_once_lays_itself_down_until_it_is_closed(data: Path) -> None:
    source = ps.read(data / "orders.parquet").deduplicate("order")
    assert sum(map(len, batches_of(source))) == rows_of(laid(source)[0]).height
    source.close()


def test_the_verbs_of_a_source_are_the_relations(data: Path) -> None:
    source = ps.read(data / "orders.parquet")
    verbs = (
        source.deduplicate("order")
        .filter("x > 0")
        .sort("x")
        .rolling("x", "mean", 2)
        .group("customer", {"n": ("count", "*")})
    )
    same = related(
        source,
        [
            ps.Deduplicate("order"),
            ps.Filter("x > 0"),
            ps.Sort("x"),
            ps.Rolling("x", "mean", 2),
            ps.Group("customer", {"n": ("count", "*")}),
        ],
    )
    assert verbs.reading == same.reading
    assert rows_of(verbs.laid_down(data / "one", Resources(2, 2**30), Heard())).equals(
        rows_of(same.laid_down(data / "two", Resources(1, 2**30), Heard()))
    )


def test_columns_that_only_relations_read_are_read_as_in_training(tmp_path: Path) -> None:
    lines = [f"{i % 30},0{i % 7},{i % 2},{'yes' if i % 2 else 'no'}" for i in range(300)]
    (tmp_path / "rows.csv").write_text("id,zip,x,y\n" + "\n".join(lines) + "\n")
    (tmp_path / "few.csv").write_text("id,zip,x\n1,05,1\n2,06,0\n")
    (tmp_path / "pipeline.yaml").write_text(
        """\
target: y
read: {roles: {zip: category, id: integer}}
data:
  - group: {by: [id, y], columns: {x: [mean, x], place: [first, zip]}}
steps: [{drop: id}]
model: linear
"""
    )
    ps.Pipeline.of(tmp_path / "pipeline.yaml").fit(tmp_path / "rows.csv", to=tmp_path / "model")
    opened = ps.load(tmp_path / "model")
    assert opened.evaluate(tmp_path / "rows.csv").rows == 30
    assert opened.schema["place"].type == pa.string()
    with pytest.raises(SchemaError, match="no such column"):
        opened.predict(tmp_path / "few.csv")  # it lacks a column that the relational work needs


def test_a_derived_target_needs_no_columns_to_be_predicted(tmp_path: Path) -> None:
    rows = {"x": [float(i % 7) for i in range(40)], "days": [float(i % 7 * 10) for i in range(40)]}
    early = "if(days < 30, 'yes', 'no')"
    data = [
        {"filter": "x < 6"},
        {"derive": {"columns": {"early": early, "double": "2 * x"}}},
        {"filter": "double < 12"},
    ]
    config = {"target": "early", "data": data, "steps": [{"drop": "days"}], "model": "linear"}
    fitted = ps.Pipeline.of(parse_config(json.dumps(config), "pipeline.yaml")).fit(pa.table(rows))
    new = pa.table({"x": rows["x"]})
    assert fitted.predict(new, keep=["double"]).equals(fitted.predict(pa.table(rows), keep=["double"]))
    with pytest.raises(SchemaError, match="no column 'days'"):
        fitted.predict(new, keep=["early"])  # asked for, so it is needed
    with pytest.raises(SchemaError, match="x"):
        fitted.predict(pa.table({"days": rows["days"]}))  # the model needs what it lacks


def test_a_relation_and_a_step_of_one_name_have_their_own_lines_in_the_ledger(tmp_path: Path) -> None:
    rows = pa.table({"x": [1.0, 2.0, 3.0]})
    data = [{"derive": {"columns": {"y": "x + 1"}}}, {"filter": "y > 2"}, {"derive": {"columns": {"z": "y + 1"}}}]
    config = {"data": data, "steps": [{"derive": {"columns": {"w": "z + 1"}}}]}
    done = ps.Pipeline.of(parse_config(json.dumps(config), "pipeline.yaml")).prepare(rows, to=tmp_path / "out.csv")
    lines = {count.step: (count.rows_in, count.out) for count in done.counts}
    expected = {"data: derive": (3, 3), "filter": (3, 2), "data: derive 2": (2, 2), "derive": (2, 2)}
    assert {name: line for name, line in lines.items() if name in expected} == expected


def test_test_rows_go_through_the_same_work(data: Path, tmp_path: Path) -> None:
    pipeline = ps.Pipeline.of(data / "pipeline.yaml")
    fitted = pipeline.fit(data / "orders.parquet", test=data / "orders.parquet", to=tmp_path / "model")
    rows = rows_of(laid(ps.read(data / "orders.parquet"), *pipeline.data)[0]).height
    assert fitted.summary["evaluation"]["rows"] == rows


def test_files_of_days_become_weeks_with_their_past_and_their_future(tmp_path: Path) -> None:
    """Day by day, with a cancellation, a fee, a doubled line; the week of 8 January 2024 has no row."""
    head = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
    orders = {
        "2024-01-02": "1,10a,X,5,2024-01-02 09:00:00,2.0,7,France\n1,10a,X,5,2024-01-02 09:00:00,2.0,7,France\n",
        "2024-01-07": "2,10A,X,3,2024-01-07 09:00:00,2.0,,United Kingdom\nC3,10A,X,-1,2024-01-07 10:00:00,2.0,7,\n",
        "2024-01-16": "4,10A,X,9,2024-01-16 09:00:00,3.0,8,France\n4,POST,X,1,2024-01-16 09:00:00,9.0,8,France\n",
        "2024-01-22": "5,10A,X,4,2024-01-22 09:00:00,3.0,8,France\n5,10A,X,90,2024-01-22 09:00:00,0.0,8,France\n",
    }
    (tmp_path / "days").mkdir()
    for day, lines in orders.items():
        (tmp_path / "days" / f"{day}.csv").write_text(head + lines)
    example = Path(__file__).parents[2] / "examples" / "applications" / "sales-table.yaml"
    ps.Pipeline.of(example).prepare(tmp_path / "days", to=tmp_path / "weekly.parquet")
    rows = pl.read_parquet(tmp_path / "weekly.parquet")
    assert rows["product"].to_list() == ["10A"] * 3
    assert [week.day for week in rows["week"]] == [1, 15, 22]
    assert rows["quantity"].to_list() == [7, 9, 4]
    assert rows["returned"].to_list() == [1, 0, 0]
    assert rows["quantity_4_weeks"].to_list() == [7, 16, 20]
    assert rows["quantity_a_week_ago"].to_list() == [0, 0, 9]
    assert rows["price_before"].to_list() == [None, 2.0, 2.5]
    assert rows["quantity_next_week"].to_list() == [0, 4, 0]
