"""What is read is what was meant; what can't be read is refused with its place and a remedy."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import ChangedError, PenstockError, SourceError, UsageError
from penstock.sources.files import find_files, fingerprint, open_source


def make(root: Path, names: Sequence[str]) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("a,b\n1,2\n")


def keys(data: Any) -> list[str]:
    return [file.key for file in find_files(data)]


def refused(data: Any) -> PenstockError:
    with pytest.raises(PenstockError) as caught:
        open_source(data)
    return caught.value


def test_a_file_has_its_name_as_key(tmp_path: Path) -> None:
    make(tmp_path, ["sub/a.csv"])
    assert keys(tmp_path / "sub" / "a.csv") == ["a.csv"]
    assert keys(str(tmp_path / "sub" / "a.csv")) == ["a.csv"]


def test_a_folder_is_read_to_the_bottom_in_the_order_of_paths(tmp_path: Path) -> None:
    make(tmp_path, ["b.csv", "a/2.csv", "a/10.csv", "a/c/1.CSV", "a.csv", "z/x.csv.gz"])
    assert keys(tmp_path) == ["a/10.csv", "a/2.csv", "a/c/1.CSV", "a.csv", "b.csv", "z/x.csv.gz"]


def test_hidden_files_and_marks_of_other_programs_are_passed_over(tmp_path: Path) -> None:
    make(tmp_path, ["a.csv", ".hidden.csv", "_SUCCESS", "_temporary/0/part.csv", ".git/x.csv", "notes.md"])
    files = find_files(tmp_path)
    assert [file.key for file in files] == ["a.csv"]
    assert files.notes[0].text == "1 files with other extensions are passed over"


def test_a_glob_is_sorted_and_its_keys_begin_where_it_does(tmp_path: Path) -> None:
    make(tmp_path, ["y=1/b.csv", "y=1/a.csv", "y=2/a.csv", "other/a.csv"])
    assert keys(tmp_path / "y=*" / "*.csv") == ["y=1/a.csv", "y=1/b.csv", "y=2/a.csv"]
    assert keys(tmp_path / "y=*") == ["y=1/a.csv", "y=1/b.csv", "y=2/a.csv"]
    assert keys(tmp_path / "**" / "a.csv") == ["other/a.csv", "y=1/a.csv", "y=2/a.csv"]


def test_a_list_keeps_its_order(tmp_path: Path) -> None:
    make(tmp_path, ["a/1.csv", "b/2.csv"])
    assert keys([tmp_path / "b" / "2.csv", tmp_path / "a"]) == ["b/2.csv", "a/1.csv"]


def test_a_name_with_the_signs_of_a_glob_is_a_name_first(tmp_path: Path) -> None:
    make(tmp_path, ["a[1].csv", "a1.csv"])
    assert keys(tmp_path / "a[1].csv") == ["a[1].csv"]


def test_a_folder_named_like_a_file_is_a_folder(tmp_path: Path) -> None:
    make(tmp_path, ["out.csv/part-0.csv", "out.csv/_SUCCESS"])
    assert keys(tmp_path / "out.csv") == ["part-0.csv"]
    (tmp_path / "empty.csv").mkdir()
    assert refused(tmp_path / "empty.csv").message == "the folder holds no data file"


def test_links_are_followed_and_circles_are_not(tmp_path: Path) -> None:
    make(tmp_path, ["data/a.csv", "elsewhere/b.csv"])
    (tmp_path / "data" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "circle").symlink_to(tmp_path / "data")
    assert keys(tmp_path / "data") == ["a.csv", "linked/b.csv"]


def test_a_name_that_is_no_text_has_a_key_all_the_same(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.csv")
    make(tmp_path, [name])
    assert keys(tmp_path) == ["caf\\xe9.csv"]


def test_a_missing_path_names_the_nearest(tmp_path: Path) -> None:
    make(tmp_path, ["train/sales.csv"])
    error = refused(tmp_path / "train" / "sale.csv")
    assert error.message == "no such file or folder"
    assert error.remedy == f"did you mean {tmp_path / 'train' / 'sales.csv'}?"
    assert refused(tmp_path / "trian" / "sales.csv").remedy == f"did you mean {tmp_path / 'train'}?"


def test_what_can_not_be_read_is_refused(tmp_path: Path) -> None:
    make(tmp_path, ["ok.csv", "mixed/a.csv", "mixed/b.parquet", "odd.xyz", "noextension", "others/readme.md"])
    (tmp_path / "empty.csv").write_bytes(b"")
    (tmp_path / "link.csv").symlink_to(tmp_path / "nowhere.csv")
    os.mkfifo(tmp_path / "pipe.csv")
    said = {
        "empty.csv": "the file is empty",
        "link.csv": "a link that leads nowhere",
        "pipe.csv": "not an ordinary file",
        "mixed": "files of several formats in one source",
        "odd.xyz": "not a known kind of data",
        "noextension": "not a known kind of data",
        "others": "the folder holds no data file",
        "*.nothing": "no file matches",
    }
    for name, message in said.items():
        error = refused(tmp_path / name)
        assert isinstance(error, SourceError)
        assert error.message == message
        assert str(tmp_path) in error.where
    assert ".csv" in refused(tmp_path / "odd.xyz").expected
    assert refused([tmp_path / "ok.csv", tmp_path / "ok.csv"]).message == "the file is named twice"
    assert isinstance(refused([]), UsageError)
    assert isinstance(refused(""), UsageError)


def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    make(tmp_path, ["open.csv", "secret.csv", "folder/a.csv"])
    program = (
        "import os, sys\n"
        "from penstock.sources.files import find_files\n"
        "from penstock.errors import ResourceError\n"
        "find_files(sys.argv[1])\n"
        "if os.geteuid() == 0: os.setuid(65534)\n"
        "for path in sys.argv[2:]:\n"
        "    try: find_files(path)\n"
        "    except ResourceError as error: print(error.message)\n"
    )
    for parent in [tmp_path, *tmp_path.parents[:2]]:
        if os.geteuid() == 0:
            parent.chmod(0o755)
    (tmp_path / "secret.csv").chmod(0)
    (tmp_path / "folder").chmod(0)
    command = [sys.executable, "-c", program, *(str(tmp_path / name) for name in ("open.csv", "secret.csv", "folder"))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (tmp_path / "folder").chmod(0o755)
    assert done.stdout.splitlines() == ["no permission to read"] * 2


def test_a_fingerprint_is_of_the_size_the_head_and_the_tail(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    data = bytearray(b"x" * (3 * 2**20))
    path.write_bytes(data)
    first = fingerprint(path, "a.csv")
    assert (first.path, first.size) == ("a.csv", 3 * 2**20)
    assert fingerprint(path, "a.csv") == first
    for place, differs in ((0, True), (len(data) // 2, False), (len(data) - 1, True)):
        changed = data.copy()
        changed[place] = ord("y")
        path.write_bytes(changed)
        assert (fingerprint(path, "a.csv").digest != first.digest) is differs


def test_a_change_is_noticed_and_a_touch_is_not(tmp_path: Path) -> None:
    make(tmp_path, ["a.csv"])
    (file,) = find_files(tmp_path / "a.csv")
    file.check()
    os.utime(file.path, ns=(5, 5))
    file.check()
    file.path.write_text("a,b\n1,3\n")
    with pytest.raises(ChangedError, match="the file changed since it was opened"):
        file.check()
    file.path.unlink()
    with pytest.raises(ChangedError, match="can no longer be read"):
        file.check()


def test_the_format_of_an_archive_may_be_that_of_the_file_in_it(tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        archive.writestr("folder/inner.csv", "a,b\n1,2\n")
    assert open_source(tmp_path / "data.zip").schema.names == ("a", "b")
