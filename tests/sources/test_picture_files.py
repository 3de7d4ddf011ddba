"""Folders of pictures, clips and texts: every file is a row, a bad one costs its row, and planning reads little."""

import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

import penstock as ps
from penstock.batch import Batch
from penstock.errors import ChangedError, SchemaError, SourceError
from penstock.source import Source
from penstock.sources import picture_files, whole_files
from penstock.sources.files import Limits, open_source
from penstock.sources.picture_files import PictureFiles
from penstock.testing import check_source
from penstock.testing.sources import read_all

JPEG = b"\xff\xd8\xff" + b"\0" * 20


def put(folder: Path, *names: str, content: bytes = JPEG) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def rows_of(source: Source) -> list[dict[str, object]]:
    return [row for batch in read_all(source) for row in batch.columns.to_pylist()]


def rejects_of(batches: list[Batch]) -> list[tuple[object, ...]]:
    told = [batch.rejected.to_pylist() for batch in batches if batch.rejected is not None]
    return [(row["path"], row["column"], row["code"]) for rows in told for row in rows]


def said(source: Source) -> str:
    return "\n".join(map(str, source.notes))


def test_a_flat_folder_of_pictures_has_no_label(tmp_path: Path) -> None:
    source = ps.read(put(tmp_path, "b.jpg", "a.PNG", "c.tiff"))
    assert [(field.name, field.role, field.type) for field in source.schema] == [
        ("path", ps.Role.key, pa.string()), ("picture", ps.Role.picture, pa.binary())
    ]  # fmt: skip
    assert rows_of(source) == [{"path": name, "picture": JPEG} for name in ("a.PNG", "b.jpg", "c.tiff")]
    assert source.nbytes == 3 * len(JPEG)


def test_the_first_folder_below_the_root_is_the_label(tmp_path: Path) -> None:
    source = ps.read(put(tmp_path, "rose/1.jpg", "rose/red/2.jpg", "tulip/3.jpg", "4.jpg", "_hidden/5.jpg", ".6.jpg"))
    assert [(row["path"], row["label"]) for row in rows_of(source)] == [
        ("4.jpg", None), ("rose/1.jpg", "rose"), ("rose/red/2.jpg", "rose"), ("tulip/3.jpg", "tulip")
    ]  # fmt: skip
    assert source.schema["label"].role is ps.Role.category
    assert "the name of the first folder below the root (folders below it are not told)" in said(source)
    assert "1 files lie in the root itself" in said(source)
    assert source.with_roles({"label": ps.Role.target}).schema["label"].values is ps.Role.category


def test_one_folder_is_a_constant_and_a_number_where_asked(tmp_path: Path) -> None:
    put(tmp_path, "30/1.jpg", "30/2.jpg")
    assert ps.read(tmp_path).schema["label"].role is ps.Role.constant
    put(tmp_path, "41/3.jpg", "old/4.jpg")
    source = ps.read(tmp_path, roles={"label": "number"})
    assert [row["label"] for row in rows_of(source)] == [30.0, 30.0, 41.0]
    assert rejects_of(read_all(source)) == [("old/4.jpg", "label", "not_a_number")]


def test_folders_named_like_columns_are_columns(tmp_path: Path) -> None:
    source = ps.read(put(tmp_path, "day=2026-11-20/cat/1.jpg", "day=2026-11-21/dog/2.jpg"))
    assert source.schema["day"].role is ps.Role.time
    assert [row["label"] for row in rows_of(source)] == ["cat", "dog"]


def test_other_files_are_passed_over_and_the_kind_of_most_files_counts(tmp_path: Path) -> None:
    source = ps.read(put(tmp_path, "1.jpg", "2.jpg", "LICENSE.txt", "about.html", content=b"a,b\n1,2\n"))
    assert source.schema.names == ("path", "picture")
    assert "2 that are no pictures are passed over" in said(source)
    put(tmp_path, "1.csv", "2.csv", "3.csv", content=b"a,b\n1,2\n")
    (tmp_path / "LICENSE.txt").unlink()
    assert ps.read(tmp_path).schema.names == ("a", "b")


def test_one_picture_a_glob_and_a_list_are_read(tmp_path: Path) -> None:
    put(tmp_path, "cat/1.jpg", "cat/2.png", "dog/1.jpg")
    assert rows_of(ps.read(tmp_path / "cat" / "1.jpg")) == [{"path": "1.jpg", "picture": JPEG}]
    assert [row["label"] for row in rows_of(ps.read(str(tmp_path / "*" / "*.jpg")))] == ["cat", "dog"]
    listed = [tmp_path / "dog" / "1.jpg", tmp_path / "cat" / "2.png"]
    assert [row["path"] for row in rows_of(ps.read(listed))] == ["dog/1.jpg", "cat/2.png"]
    with pytest.raises(SourceError, match="named twice"):
        ps.read([listed[0], listed[0]])
    with pytest.raises(SourceError, match="several formats"):
        ps.read([listed[0], put(tmp_path, "a.csv", content=b"a\n1\n") / "a.csv"])


def test_a_bad_file_costs_its_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "a.jpg", "z.jpg")
    put(tmp_path, "empty.jpg", content=b"")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "gone")
    os.mkfifo(tmp_path / "pipe.jpg")
    put(tmp_path, "long.jpg", content=b"x" * 100)
    monkeypatch.setitem(whole_files.MOST_BYTES, "picture", 99)
    bad = [
        ("empty.jpg", "empty_file"),
        ("link.jpg", "unreadable"),
        ("long.jpg", "too_large"),
        ("pipe.jpg", "unreadable"),
    ]
    for columns in (None, ("path",)):
        batches = read_all(ps.read(tmp_path), columns)
        assert rejects_of(batches) == [(path, "picture", code) for path, code in bad]
        assert sum(map(len, batches)) == 2
    check_source(lambda: ps.read(tmp_path), records=6)


def test_no_file_is_opened_where_pictures_are_not_asked_for(tmp_path: Path) -> None:
    source = ps.read(put(tmp_path, "a/1.jpg", "b/2.jpg"))
    for path in tmp_path.rglob("*.jpg"):
        path.unlink()
    assert [len(batch) for batch in read_all(source, ("label",))] == [2]
    with pytest.raises(ChangedError, match="changed since it was opened"):
        read_all(source)


def test_a_file_that_changed_is_noticed_and_one_that_was_touched_is_not(tmp_path: Path) -> None:
    path = put(tmp_path, "a.jpg", content=b"x" * 20_000) / "a.jpg"
    source = ps.read(tmp_path)
    os.utime(path, (1, 1))
    assert len(rows_of(source)) == 1
    path.write_bytes(b"x" * 19_999 + b"y")
    with pytest.raises(ChangedError, match="another one of the same size"):
        rows_of(source)
    path.write_bytes(b"x" * 20_001)
    with pytest.raises(ChangedError, match="20001 bytes"):
        rows_of(source)


def test_blocks_and_chunks_are_cut_by_number_and_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_files, "CHUNK_FILES", 100)
    put(tmp_path, *(f"{number:03d}.jpg" for number in range(150)))
    source = ps.read(tmp_path)
    assert [chunk.rows for chunk in source.chunks()] == [100, 50]
    assert [len(batch) for batch in read_all(source)] == [64, 36, 50]
    files = whole_files.find_whole_files(tmp_path, ps.api.ReadOptions())
    assert files is not None
    small = PictureFiles(files, ps.api.ReadOptions(), Limits(block_bytes=50, chunk_bytes=1000))
    assert {len(batch) for batch in read_all(small)} == {1, 2}
    assert small.block_nbytes >= 46


def test_only_new_files_are_read_and_the_columns_stay(tmp_path: Path) -> None:
    put(tmp_path, "a/1.jpg", "b/2.jpg")
    before = {fingerprint.path for fingerprint in ps.read(tmp_path).fingerprints()}
    source = ps.read(put(tmp_path, "a/3.jpg", "b/0.jpg"))
    fresh = [one.path for one in source.fingerprints() if one.path not in before]
    part = source.only(fresh)
    assert part.schema == source.schema
    assert [row["path"] for row in rows_of(part)] == ["a/3.jpg", "b/0.jpg"]
    assert [one.path for one in part.fingerprints()] == ["a/3.jpg", "b/0.jpg"]
    with pytest.raises(SourceError, match="no such file"):
        source.only(["a/9.jpg"])


def test_new_pictures_become_a_further_generation_of_an_output(tmp_path: Path) -> None:
    folder, to = put(tmp_path / "photos", "a/1.jpg", "b/2.jpg"), tmp_path / "out"
    pipeline = ps.Pipeline([ps.DropMissing("label")], max_rejected=0.5)
    assert pipeline.prepare(folder, to=to).rows == 2
    put(folder, "b/3.jpg")
    put(folder, "b/4.jpg", content=b"")
    assert pipeline.prepare(folder, to=to, new_only=True).rows == 3
    assert {row["path"] for row in rows_of(ps.read(to))} == {"a/1.jpg", "b/2.jpg", "b/3.jpg"}
    assert ps.read(to).schema["picture"].role is ps.Role.picture


def test_roles_that_a_picture_can_not_have_are_refused(tmp_path: Path) -> None:
    put(tmp_path, "a/1.jpg", "b/2.jpg")
    with pytest.raises(SchemaError, match="can't be a number"):
        ps.read(tmp_path, roles={"picture": "number"})
    with pytest.raises(SchemaError, match="can't be a picture"):
        ps.read(tmp_path, roles={"label": "picture"})
    with pytest.raises(SchemaError, match="did you mean 'label'"):
        ps.read(tmp_path, roles={"lable": "key"})
    assert ps.read(tmp_path, roles={"picture": "ignored"}).schema.features == ("label",)


def test_compressed_pictures_are_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="unpack it into a folder"):
        ps.read(put(tmp_path, "a.jpg.gz") / "a.jpg.gz")


def test_odd_names_are_names(tmp_path: Path) -> None:
    names = ["*.jpg", "[a].jpg", "c:x.jpg", "花 1.JPEG", "new\nline.jpg"]
    source = ps.read(put(tmp_path, *names))
    assert [row["path"] for row in rows_of(source)] == sorted(names)
    path = os.fsencode(tmp_path) + b"/caf\xe9.jpg"
    Path(os.fsdecode(path)).write_bytes(JPEG)
    assert "caf\\xe9.jpg" in [row["path"] for row in rows_of(ps.read(tmp_path))]


# --- clips


def test_a_folder_of_clips_gives_where_each_is(tmp_path: Path) -> None:
    source = ps.read(put(tmp_path, "yes/1.mp4", "no/2.MOV"))
    assert (source.schema["clip"].role, source.schema["clip"].type) == (ps.Role.clip, pa.string())
    assert rows_of(source)[1] == {"path": "yes/1.mp4", "clip": str(tmp_path / "yes" / "1.mp4"), "label": "yes"}
    put(tmp_path, *(f"yes/{number}.mkv" for number in range(20)))
    assert max(len(batch) for batch in read_all(ps.read(tmp_path))) == 8


# --- texts


def test_each_file_of_text_is_a_row_where_asked(tmp_path: Path) -> None:
    put(tmp_path, "pos/1.txt", content="gut, schön\nzwei Zeilen".encode())
    put(tmp_path, "neg/2", content=b"bad")
    source = ps.read(tmp_path, each="file")
    assert rows_of(source) == [
        {"path": "neg/2", "text": "bad", "label": "neg"},
        {"path": "pos/1.txt", "text": "gut, schön\nzwei Zeilen", "label": "pos"},
    ]
    assert source.schema["text"].role is ps.Role.text
    check_source(lambda: ps.read(tmp_path, each="file"), records=2)


@pytest.mark.parametrize("codec", ["utf-8", "utf-16", "latin-1"])
def test_texts_are_decoded_as_csv_is(tmp_path: Path, codec: str) -> None:
    words = "Ich möchte größere Füße, müssen schöne Grüße senden. " * 20
    put(tmp_path, "a/1.txt", "b/2.txt", content=words.encode(codec))
    assert {row["text"] for row in rows_of(ps.read(tmp_path, each="file", encoding=codec))} == {words}
    assert {row["text"] for row in rows_of(ps.read(tmp_path, each="file"))} == {words}


def test_a_text_that_can_not_be_decoded_is_rejected_and_a_long_one_is_not(tmp_path: Path) -> None:
    put(tmp_path, "a/1.txt", content=b"plain " * 2_000_000)
    put(tmp_path, "a/2.txt", content=b"caf\xe9 \xff")
    for columns in (None, ("label",)):
        batches = read_all(ps.read(tmp_path, each="file", encoding="utf-8"), columns)
        assert rejects_of(batches) == [("a/2.txt", "text", "bad_encoding")]
    assert sum(len(str(row["text"])) for row in rows_of(ps.read(tmp_path, each="file", encoding="utf-8"))) == 12_000_000


def test_an_unknown_way_of_taking_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ps.PenstockError, match="'record' or 'file'"):
        ps.read(put(tmp_path, "a.txt"), each="document")  # type: ignore[arg-type]


def test_classes_of_text_files_are_pointed_at(tmp_path: Path) -> None:
    put(tmp_path, *(f"{label}/{number}.txt" for label in ("pos", "neg") for number in range(20)), content=b"a,b\n1,2\n")
    assert "--each file" in said(ps.read(tmp_path))


# --- as they are told


@pytest.mark.parametrize(("make", "kind"), [(lambda folder: put(folder, "a/1.jpg", "b/2.jpg"), "bytes")])
def test_pictures_are_profiled_by_their_size(tmp_path: Path, make: Callable[[Path], Path], kind: str) -> None:
    found = ps.profile(make(tmp_path)).document
    picture = next(column for column in found["columns"] if column["name"] == "picture")
    assert (picture["kind"], picture["missing"], picture["length"]["mean"]) == (kind, 0, len(JPEG))


def test_the_source_is_opened_again_from_its_origin(tmp_path: Path) -> None:
    source = ps.read(put(tmp_path, "a/1.txt", "b/2.txt", content=b"x"), each="file")
    assert source.origin is not None
    again = type(source.origin).from_json(source.origin.to_json())
    assert rows_of(open_source(list(again.items), again.options)) == rows_of(source)
