"""Tables that name or hold pictures and clips: read relative to the table, and never from elsewhere unless asked."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import penstock as ps
from penstock.errors import UsageError
from penstock.source import ReadOptions, Source
from penstock.sources.files import find_files
from penstock.sources.parquet import ParquetSource
from penstock.testing import check_source
from penstock.testing.sources import read_all

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 30


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(80):
        path = tmp_path / "data" / "img" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PNG + bytes([number]))
    return tmp_path / "data"


def table(folder: Path, lines: list[str], name: str = "t.csv", header: str = "photo,n") -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def rejects_of(source: Source, columns: tuple[str, ...] | None = None) -> list[tuple[int, str]]:
    told = [batch.rejected.to_pylist() for batch in read_all(source, columns) if batch.rejected is not None]
    return sorted((row["row"], row["code"]) for rows in told for row in rows)


def values_of(source: Source, name: str) -> list[object]:
    return [value for batch in read_all(source, (name,)) for value in batch.column(name).to_pylist()]


def test_a_column_of_paths_is_read_as_pictures(folder: Path) -> None:
    path = table(folder, [f"img/{number}.png,{number}" for number in range(80)])
    source = ps.read(path)
    assert (source.schema["photo"].role, source.schema["photo"].type) == (ps.Role.picture, pa.binary())
    assert values_of(source, "photo") == [PNG + bytes([number]) for number in range(80)]
    assert max(map(len, read_all(source))) == 64
    assert "in the folder of the table" in "\n".join(map(str, source.notes))
    check_source(lambda: ps.read(path), records=80)


@pytest.mark.parametrize("suffix", ["parquet", "jsonl", "arrow"])
def test_paths_are_found_in_every_kind_of_table(folder: Path, suffix: str) -> None:
    names, path = [f"img/{number}.png" for number in range(5)], folder / f"t.{suffix}"
    made = pa.table({"photo": names, "n": range(5)})
    if suffix == "parquet":
        pq.write_table(made, path)
    elif suffix == "arrow":
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, made.schema) as writer:
            writer.write_table(made)
    else:
        path.write_text("".join(f'{{"photo": "{name}", "n": {n}}}\n' for n, name in enumerate(names)))
    assert values_of(ps.read(path), "photo") == [PNG + bytes([number]) for number in range(5)]
    check_source(lambda: ps.read(path), records=5)


def test_a_file_that_is_missing_empty_or_outside_costs_its_row(folder: Path) -> None:
    (folder / "img" / "empty.png").write_bytes(b"")
    (folder.parent / "secret.png").write_bytes(PNG)
    names = ["img/1.png", "img/99.png", "img/empty.png", "../secret.png", str(folder.parent / "secret.png"), "", "img"]
    path = table(folder, [f"{name},1" for name in names])
    expected = [(1, "no_file"), (2, "empty_file"), (3, "outside"), (4, "outside"), (6, "unreadable")]
    for columns in (None, ("n",)):
        assert rejects_of(ps.read(path, roles={"photo": "picture"}), columns) == expected
    assert values_of(ps.read(path, roles={"photo": "picture"}), "photo") == [PNG + bytes([1]), None]


def test_a_named_folder_is_where_paths_begin_and_may_be_left(folder: Path) -> None:
    (folder.parent / "other.png").write_bytes(PNG)
    path = table(folder, ["1.png,1", "../../other.png,2", f"{folder / 'img' / '2.png'},3"], "sub/t.csv")
    source = ps.read(path, root=folder / "img")
    assert values_of(source, "photo") == [PNG + bytes([1]), PNG, PNG + bytes([2])]
    with pytest.raises(UsageError, match="no such folder"):
        ps.read(path, root=folder / "nowhere", roles={"photo": "picture"})


def test_names_of_which_none_is_there_stay_text_and_it_is_said(folder: Path) -> None:
    path = table(folder, [f"logs/{number}.png,{number}" for number in range(60)])
    source = ps.read(path)
    assert source.schema["photo"].role is ps.Role.key
    assert "none of the first is in" in "\n".join(map(str, source.notes))
    outside = table(folder, [f"{folder / 'img'}/{number}.png,1" for number in range(3)], "out.csv")
    assert "the first lead out of" in "\n".join(map(str, ps.read(outside).notes))
    addresses = table(folder, [f"https://example.com/{number}.png,1" for number in range(5)], "u.csv")
    assert ps.read(addresses).schema["photo"].role is not ps.Role.picture


def test_new_data_are_read_as_those_of_the_training_were(folder: Path) -> None:
    known = ps.read(table(folder, [f"img/{number}.png,{number}" for number in range(5)])).schema
    later = ps.read(table(folder, ["gone/1.png,1", "img/2.png,2"], "later.csv")).like(known)
    assert later.schema["photo"].role is ps.Role.picture
    assert rejects_of(later) == [(0, "no_file")]
    elsewhere = ps.read(table(folder, ["gone/1.png,1"], "gone.csv")).like(known)
    assert rejects_of(elsewhere) == [(0, "no_file")]


def test_a_column_of_clips_gives_absolute_paths(folder: Path) -> None:
    (folder / "a.mp4").write_bytes(b"x")
    source = ps.read(table(folder, ["a.mp4,yes", "b.mp4,no"], header="clip,word"))
    assert source.schema["clip"].role is ps.Role.clip
    assert values_of(source, "clip") == [str(folder / "a.mp4")]
    assert rejects_of(source) == [(1, "no_file")]


def test_rejects_of_the_table_and_of_its_files_are_counted_together(folder: Path) -> None:
    lines = [f"img/{number}.png,{number}" for number in range(70)] + ["img/1.png,bad", "gone.png,3"]
    source = ps.read(table(folder, lines), roles={"n": "number", "photo": "picture"})
    assert rejects_of(source) == [(70, "not_a_number"), (71, "no_file")]
    counts = [batch.counts[0] for batch in read_all(source)]
    assert all(count.balanced for count in counts)
    assert sum(count.rows_in for count in counts) == 72


def test_another_role_makes_it_a_column_again(folder: Path) -> None:
    path = table(folder, [f"img/{number}.png,{number}" for number in range(5)])
    source = ps.read(path, roles={"photo": "category"})
    assert values_of(source, "photo")[0] == "img/0.png"
    assert values_of(ps.read(path).with_roles({"photo": ps.Role.key}), "photo")[0] == "img/0.png"


def test_decoded_pictures_beside_their_paths_are_those_of_the_table(folder: Path) -> None:
    pixels = pa.FixedShapeTensorArray.from_numpy_ndarray(np.arange(12, dtype=np.uint8).reshape(3, 2, 2, 1))
    path = folder.parent / "part-00000.parquet"
    pq.write_table(pa.table({"path": ["rose/1.png", "rose/2.png", "tulip/3.png"], "picture": pixels}), path)
    source = ps.read(path)
    assert [(field.name, field.role) for field in source.schema] == [
        ("path", ps.Role.key),
        ("picture", ps.Role.picture),
    ]
    assert "none of the first is in" in "\n".join(map(str, source.notes))
    assert list(source.chunks()) == list(ParquetSource(find_files(path), ReadOptions()).chunks()), "not cut anew"
    again = source.like(source.schema)
    assert again.schema.to_arrow() == source.schema.to_arrow()
    assert values_of(again, "picture") == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


def test_decoded_pictures_beside_files_that_are_there_are_both_read(folder: Path) -> None:
    pixels = pa.FixedShapeTensorArray.from_numpy_ndarray(np.arange(8, dtype=np.uint8).reshape(2, 2, 2, 1))
    pq.write_table(pa.table({"photo": ["img/1.png", "img/2.png"], "mask": pixels}), folder / "t.parquet")
    source = ps.read(folder / "t.parquet")
    again = source.like(source.schema)
    assert values_of(again, "photo") == [PNG + bytes([1]), PNG + bytes([2])]
    assert values_of(again, "mask") == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_pictures_stored_in_a_table_are_read(folder: Path) -> None:
    pictures = [PNG, PNG + b"1", None]
    columns = {
        "plain": pa.array(pictures, pa.large_binary()),
        "image": pa.array([{"bytes": one, "path": "a.png"} for one in pictures[:2]] + [None]),
        "shape": pa.array([b"\1\2\3"] * 3),
        "n": [1, 2, 3],
    }
    path = folder / "p.parquet"
    pq.write_table(pa.table(columns), path)
    source = ps.read(path)
    assert source.schema.names == ("plain", "image", "n")
    assert values_of(source, "image") == values_of(source, "plain") == pictures
    assert "'shape': binary is not read" in "\n".join(map(str, source.notes))
    assert ps.read(path, roles={"shape": "picture"}).schema["shape"].role is ps.Role.picture
    check_source(lambda: ps.read(path), records=3)


def test_a_path_without_its_bytes_costs_the_row(folder: Path) -> None:
    path = folder / "p.parquet"
    pq.write_table(pa.table({"image": [{"bytes": PNG, "path": "a.png"}, {"bytes": None, "path": "img/1.png"}]}), path)
    assert rejects_of(ps.read(path)) == [(1, "no_bytes")]
