"""Tar shards: neighbouring files of one name are a row; only heads are read to plan, and nothing is unpacked."""

import io
import json
import tarfile
from pathlib import Path

import pytest

import penstock as ps
from penstock.errors import SourceError
from penstock.source import Source
from penstock.testing import check_source
from penstock.testing.sources import read_all


def write(path: Path, *members: tuple[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def sample(name: str, number: int) -> list[tuple[str, bytes]]:
    fields = {"size": number, "from": "web", "box": [1, 2], "good": number % 2 == 0}
    return [
        (f"{name}.jpg", b"\xff\xd8" + bytes([number])),
        (f"{name}.cls", str(number % 3).encode()),
        (f"{name}.json", json.dumps(fields).encode()),
        (f"{name}.txt", f"caption {number}".encode()),
    ]


def rows_of(source: Source) -> list[dict[str, object]]:
    return [row for batch in read_all(source) for row in batch.columns.to_pylist()]


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tgz"])
def test_files_of_one_name_are_a_row(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, *(one for number in range(20) for one in sample(f"train/{number:04d}", number)))
    source = ps.read(path)
    roles = {field.name: field.role.value for field in source.schema}
    assert (roles["path"], roles["picture"], roles["label"], roles["text"]) == ("key", "picture", "category", "text")
    assert (roles["size"], roles["good"]) == ("integer", "boolean")
    assert "box" not in roles
    row = {"path": "train/0004", "picture": b"\xff\xd8\4", "label": "1", "text": "caption 4"}
    assert rows_of(source)[4] == {**row, "size": 4.0, "from": "web", "good": True}
    check_source(lambda: ps.read(path), records=20)


def test_a_second_picture_of_a_sample_is_a_column_of_its_own(tmp_path: Path) -> None:
    members = [
        ("1.jpg", b"a"),
        ("1.seg.png", b"b"),
        ("1.npy", b"c"),
        ("2.jpg", b"d"),
        ("2.mp4", b"e"),
        ("README", b"f"),
    ]
    source = ps.read(write(tmp_path / "a.tar", *members))
    assert rows_of(source) == [
        {"path": "1", "picture": b"a", "seg": b"b", "clip": None},
        {"path": "2", "picture": b"d", "seg": None, "clip": b"e"},
    ]
    assert source.schema["seg"].role is ps.Role.picture
    assert source.schema["clip"].role is ps.Role.clip
    assert "those with .npy are passed over" in "\n".join(map(str, source.notes))


def test_names_in_an_archive_are_names_and_never_places(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    path = write(folder / "a.tar", ("../../evil.jpg", b"1"), ("/etc/passwd.jpg", b"2"), ("花.jpg", b"3"))
    with tarfile.open(path, "a") as archive:
        link = tarfile.TarInfo("link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    assert [(row["path"], row["picture"]) for row in rows_of(ps.read(path))] == [
        ("../../evil", b"1"), ("/etc/passwd", b"2"), ("花", b"3")
    ]  # fmt: skip
    assert sorted(tmp_path.rglob("*")) == [folder, path]


def test_bad_members_cost_their_row(tmp_path: Path) -> None:
    members = [("1.jpg", b""), ("2.jpg", b"x"), ("2.json", b"{"), ("3.jpg", b"x"), ("3.json", b"[1]"), ("4.jpg", b"x")]
    path = write(tmp_path / "a.tar", *members, ("4.txt", b"\xff"), ("5.jpg", b"x"))
    for columns in (None, ("path",)):
        batches = read_all(ps.read(path), columns)
        told = [row for batch in batches if batch.rejected is not None for row in batch.rejected.to_pylist()]
        assert [(row["row"], row["code"]) for row in told] == [
            (0, "empty_file"), (1, "bad_json"), (2, "bad_json"), (3, "bad_encoding")
        ]  # fmt: skip
        assert sum(map(len, batches)) == 1


def test_a_shard_is_read_by_itself(tmp_path: Path) -> None:
    write(tmp_path / "0.tar", *sample("a", 1))
    write(tmp_path / "1.tar", *sample("b", 2), *sample("c", 3))
    source = ps.read(tmp_path)
    part = source.only(["1.tar"])
    assert part.schema == source.schema
    assert [row["path"] for row in rows_of(part)] == ["b", "c"]


def test_a_damaged_or_empty_shard_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar", *sample("a", 1), ("b.jpg", b"x" * 50_000))
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(SourceError, match="not a tar archive, or a damaged one"):
        read_all(ps.read(path))
    (tmp_path / "b.tar").write_bytes(b"no archive at all" * 100)
    with pytest.raises(SourceError, match="not a tar archive"):
        ps.read(tmp_path / "b.tar")
    with pytest.raises(SourceError, match="no sample"):
        ps.read(write(tmp_path / "c.tar", ("README", b"x")))
