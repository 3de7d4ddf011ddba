"""Objects of stores and web servers are read as files are; what fails is tried again, and what changes is refused."""

from __future__ import annotations

import http.client
import io
import shutil
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import fsspec
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer

import penstock as ps
from penstock.errors import ChangedError, MissingExtra, PenstockError, ResourceError, SourceError, UsageError
from penstock.source import ReadOptions, Source
from penstock.sources.remote import open_remote
from penstock.sources.remote_filesystems import told
from penstock.sources.retry import Retries
from penstock.testing import check_source
from penstock.testing.sources import read_all

QUICK = Retries(attempts=4, first=0.01, longest=0.05)


def opened(*addresses: str, **options: Any) -> Source:
    return open_remote(addresses, ReadOptions(**options), retries=QUICK)


def frame_of(source: Source) -> pd.DataFrame:
    batches = [batch for chunk in source.chunks() for batch in source.read(chunk)]
    return pd.concat([batch.columns.to_pandas() for batch in batches], ignore_index=True)


def keys_of(source: Source) -> list[str]:
    return [one.path for one in source.fingerprints()]


def refused(*addresses: str, kind: type[PenstockError] = SourceError) -> PenstockError:
    with pytest.raises(kind) as caught:
        opened(*addresses)
    return caught.value


# ---------------------------------------------------------------------- a web server that fails as it is told to


@dataclass
class Web:
    """A server of bytes under paths, and what it does wrong: so many answers of a state, bodies cut short, ..."""

    content: dict[str, bytes] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    states: list[int] = field(default_factory=list)
    cut_after: list[int] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)
    meanwhile: Callable[[], None] | None = None
    forward: str = ""
    port: int = 0

    def at(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    web: Web

    def do_GET(self) -> None:
        web = self.web
        web.asked.append((self.command, self.headers.get("Range") or ""))
        if web.states:
            return self.fail(web.states.pop(0))
        if web.forward:
            return self.pass_on()
        path = self.path.partition("?")[0]
        if path not in web.content:
            return self.fail(404)
        whole, tag = web.content[path], web.tags.get(path, "")
        wanted = self.headers.get("Range", "")
        start = int(wanted[6:-1]) if wanted and self.headers.get("If-Range") == tag else 0
        body = whole[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(whole) - 1}/{len(whole)}")
        if tag:
            self.send_header("ETag", tag)
        self.end_headers()
        if web.cut_after:
            self.wfile.write(body[: web.cut_after.pop(0)])
            self.close_connection = True
            if web.meanwhile:
                web.meanwhile()
        else:
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def fail(self, state: int) -> None:
        self.send_response(state)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def pass_on(self) -> None:
        """To another server, as a proxy does."""
        connection = http.client.HTTPConnection(self.web.forward)
        length = int(self.headers.get("Content-Length") or 0)
        connection.request(self.command, self.path, self.rfile.read(length), dict(self.headers))
        answer = connection.getresponse()
        body = answer.read()
        cut = self.web.cut_after.pop(0) if self.web.cut_after and len(body) > 1000 else len(body)
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "date", "server"):
                self.send_header(name, value)
        if "Content-Length" not in answer.headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:cut])
        if cut < len(body):
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web() -> Iterator[Web]:
    web = Web()
    handler = type("Own", (Handler,), {"web": web})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        web.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield web
        server.shutdown()


CSV = "n,word\n" + "".join(f"{i},{'ab'[i % 2]}\n" for i in range(200_000))


def test_a_file_of_a_web_server_is_read_as_a_local_one(web: Web, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text(CSV)
    web.content["/deep/data.csv"] = CSV.encode()
    source = opened(web.at("/deep/data.csv?token=secret"))
    expected, found = pd.read_csv(tmp_path / "data.csv"), frame_of(source)
    assert found["n"].tolist() == expected["n"].tolist()
    assert found["word"].tolist() == expected["word"].tolist()
    assert keys_of(source) == ["data.csv"]
    assert "secret" not in repr((source.notes, source.fingerprints(), source.reading))
    web.content["/download"] = CSV.encode()
    assert opened(web.at("/download?id=3"), delimiter=",").schema.names == ("n", "word")
    parquet = io.BytesIO()
    pq.write_table(pa.table({"x": [1.0, 2.0]}), parquet)
    web.content["/object"] = parquet.getvalue()
    assert frame_of(opened(web.at("/object")))["x"].tolist() == [1.0, 2.0]


def test_a_server_that_fails_twice_is_asked_again_and_that_is_said(web: Web) -> None:
    web.content["/a.csv"] = CSV.encode()
    web.states = [503, 429]
    source = opened(web.at("/a.csv"))
    assert len(frame_of(source)) == 200_000
    said = next(note for note in source.notes if note.topic == "tried again")
    assert said.text == "2 times"
    assert "503" in said.reason and "429" in said.reason


def test_a_server_that_always_fails_is_given_up(web: Web) -> None:
    web.states = [500] * 50
    error = refused(web.at("/a.csv"))
    assert error.message == "can't be fetched"
    assert error.got == "500 Internal Server Error"
    assert len(web.asked) == QUICK.attempts


def test_a_body_cut_short_goes_on_where_it_broke_off(web: Web) -> None:
    web.content["/a.csv"] = CSV.encode()
    web.tags["/a.csv"] = '"one"'
    web.cut_after = [1_200_000, 5]
    source = opened(web.at("/a.csv"))
    assert frame_of(source)["n"].tolist() == list(range(200_000))
    ranges = [asked for _, asked in web.asked]
    assert ranges[0] == ""
    assert all(asked.startswith("bytes=") for asked in ranges[1:])


def test_without_a_version_a_broken_body_is_fetched_from_the_start(web: Web) -> None:
    web.content["/a.csv"] = CSV.encode()
    web.cut_after = [1_200_000]
    assert frame_of(opened(web.at("/a.csv")))["n"].tolist() == list(range(200_000))
    assert [asked for _, asked in web.asked] == ["", ""]


def test_an_object_that_changes_while_it_is_fetched_is_refused(web: Web) -> None:
    web.content["/a.csv"] = CSV.encode()
    web.tags["/a.csv"] = '"one"'
    web.cut_after = [1_200_000]

    def change() -> None:
        web.content["/a.csv"] = CSV.replace("a", "c").encode()
        web.tags["/a.csv"] = '"two"'

    web.meanwhile = change
    error = refused(web.at("/a.csv"), kind=ChangedError)
    assert '"one"' in error.expected and '"two"' in error.got


def test_a_store_that_is_not_there_is_said_with_what_to_look_at() -> None:
    with pytest.raises(SourceError, match="can't be read") as caught, told("s3://bucket/x.csv", steady=True):
        raise OSError("AWS Error NETWORK_CONNECTION during HeadBucket operation: could not resolve hostname")
    assert "AWS_ENDPOINT_URL" in caught.value.remedy


def test_what_a_web_server_does_not_give_is_refused_at_once(web: Web) -> None:
    assert refused(web.at("/none.csv")).got == "404 Not Found"
    assert len(web.asked) == 1
    web.states = [403]
    assert refused(web.at("/none.csv"), kind=ResourceError).message == "access is refused"
    assert "lists no files" in refused(web.at("/*.csv"), kind=UsageError).message
    assert refused("http:///x.csv", kind=UsageError).message == "an address without a host"
    web.content["/empty.csv"] = b""
    assert refused(web.at("/empty.csv")).message == "the file is empty"
    web.content["/odd"] = b"\x00\x01\x02"
    assert refused(web.at("/odd")).message == "not a known kind of data"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        assert "refused" in refused(f"http://127.0.0.1:{free.getsockname()[1]}/a.csv").got.lower()


def test_the_laws_of_sources_hold(web: Web) -> None:
    web.content |= {f"/{name}.csv": CSV[:3000].rpartition("\n")[0].encode() + b"\n" for name in "ab"}
    records = 2 * CSV[:3000].rpartition("\n")[0].count("\n")
    check_source(lambda: opened(web.at("/a.csv"), web.at("/b.csv")), records=records)


def test_what_does_not_fit_on_the_disk_is_refused_before_it_comes(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    web.content["/a.csv"] = CSV.encode()
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    error = refused(web.at("/a.csv"), kind=ResourceError)
    assert error.message == "the copies do not fit on the disk"
    assert "TMPDIR" in error.remedy


# ---------------------------------------------------------------------- S3, as Moto's server speaks it


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    yield f"127.0.0.1:{port}"
    server.stop()


@pytest.fixture
def store(moto: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{moto}")
    client = boto3.client("s3", region_name="us-east-1")
    client.create_bucket(Bucket="bucket")
    for key in client.list_objects_v2(Bucket="bucket").get("Contents", []):
        client.delete_object(Bucket="bucket", Key=key["Key"])
    return client


def put_parts(store: Any) -> pd.DataFrame:
    frames = []
    for number in range(3):
        frame = pd.DataFrame({"x": [float(10 * number + i) for i in range(10)], "word": list("ababababab")})
        frames.append(frame)
        store.put_object(Bucket="bucket", Key=f"data/y={number}/part.parquet", Body=frame.to_parquet())
    return pd.concat(frames, ignore_index=True)


def test_objects_are_read_by_name_by_folder_and_by_glob(store: Any) -> None:
    expected = put_parts(store)
    store.put_object(Bucket="bucket", Key="data/_SUCCESS", Body=b"")
    store.put_object(Bucket="bucket", Key="data/readme.md", Body=b"# data")
    parts = [f"y={number}/part.parquet" for number in range(3)]
    for address in (
        "s3://bucket/data",
        "s3://bucket/data/",
        "s3://bucket/data/y=*/*.parquet",
        "s3://bucket/data/**/part.parquet",
    ):
        source = opened(address)
        assert keys_of(source) == parts
        frame = frame_of(source)
        assert frame["x"].tolist() == expected["x"].tolist()
        assert frame["word"].tolist() == expected["word"].tolist()
        assert frame["y"].tolist() == [0.0] * 10 + [1.0] * 10 + [2.0] * 10
    assert any("1 with other extensions" in note.text for note in opened("s3://bucket/data").notes)
    one = opened("s3://bucket/data/y=1/part.parquet")
    assert keys_of(one) == ["part.parquet"]
    both = opened("s3://bucket/data/y=0/part.parquet", "s3://bucket/data/y=2/part.parquet")
    assert keys_of(both) == ["s3://bucket/data/y=0/part.parquet", "s3://bucket/data/y=2/part.parquet"]


def test_keys_that_are_no_names_of_files_are_read_all_the_same(
    store: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    odd = ["a.csv", "a.csv/b.csv", "dots/../../../up.csv", "[1].csv", "ü " + "x" * 300 + ".csv"]
    for number, key in enumerate(odd):
        store.put_object(Bucket="bucket", Key=f"odd/{key}", Body=f"n,m\n{number},2\n{number},3\n".encode())
    source = opened(*(f"s3://bucket/odd/{key}" for key in odd if ".." not in key))
    assert sorted(set(frame_of(source)["n"])) == [0.0, 1.0, 3.0, 4.0]
    assert [path.name for path in tmp_path.iterdir()] == ["temporary"]


def test_the_laws_of_sources_hold_for_objects(store: Any) -> None:
    put_parts(store)
    check_source(lambda: opened("s3://bucket/data"), records=30)


def test_what_is_not_there_is_said_with_the_nearest(store: Any) -> None:
    store.put_object(Bucket="bucket", Key="data/train.csv", Body=b"a,b\n1,2\n")
    assert refused("s3://bucket/data/trian.csv").remedy == "did you mean s3://bucket/data/train.csv?"
    assert refused("s3://bucket/data/*.parquet").message == "no object matches"
    assert refused("s3://no-such-bucket/x.csv").message == "no such object"
    assert refused("s3://", kind=UsageError).message == "an address without a name"
    with pytest.raises(SourceError, match="named twice"):
        opened("s3://bucket/data/train.csv", "s3://bucket/data/train.csv")


def test_an_empty_credential_is_refused_with_the_names_of_the_environment(
    web: Web, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", web.at(""))
    web.states = [403] * 20
    error = refused("s3://bucket/data.csv", kind=ResourceError)
    assert error.message == "access is refused"
    assert "AWS_ACCESS_KEY_ID" in error.remedy


def test_a_store_that_fails_is_asked_again(web: Web, moto: str, store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put_object(Bucket="bucket", Key="big.csv", Body=CSV.encode())
    web.forward = moto
    monkeypatch.setenv("AWS_ENDPOINT_URL", web.at(""))
    web.states = [503, 503]
    web.cut_after = [1_000_000]
    source = opened("s3://bucket/big.csv")
    assert frame_of(source)["n"].tolist() == list(range(200_000))
    said = next(note for note in source.notes if note.topic == "tried again")
    assert said.text == "3 times"
    web.states = [503] * 100
    assert refused("s3://bucket/big.csv").message == "can't be fetched"


def test_an_object_that_is_replaced_while_it_is_fetched_is_refused(
    store: Any, web: Web, moto: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put_object(Bucket="bucket", Key="big.csv", Body=CSV.encode())
    web.forward = moto
    monkeypatch.setenv("AWS_ENDPOINT_URL", web.at(""))
    whole = Handler.pass_on

    def replacing(self: Handler) -> None:
        whole(self)
        if self.command == "GET" and "list-type" not in self.path:
            store.put_object(Bucket="bucket", Key="big.csv", Body=CSV.replace("a", "c").encode())

    monkeypatch.setattr(Handler, "pass_on", replacing)
    assert refused("s3://bucket/big.csv", kind=ChangedError).message == "the object changed while it was fetched"


def test_what_changes_later_is_not_seen_and_another_run_sees_it(store: Any) -> None:
    store.put_object(Bucket="bucket", Key="a.csv", Body=b"a,b\n1,2\n3,4\n")
    source = opened("s3://bucket/a.csv")
    store.put_object(Bucket="bucket", Key="a.csv", Body=b"a,b\n1,2\n3,5\n")
    assert frame_of(source)["b"].tolist() == [2.0, 4.0]
    other = opened("s3://bucket/a.csv")
    assert other.fingerprints()[0].digest != source.fingerprints()[0].digest


# ---------------------------------------------------------------------- other schemes


def test_what_fsspec_holds_in_memory_is_read() -> None:
    with fsspec.open("memory://folder/a.csv", "wb") as file:
        file.write(b"a,b\n1,x\n2,y\n")
    assert frame_of(ps.read("memory://folder/a.csv"))["a"].tolist() == [1.0, 2.0]
    assert frame_of(ps.read("memory://folder/*.csv"))["b"].tolist() == ["x", "y"]
    assert refused("memory://folder/b.csv").remedy.startswith("did you mean")


def test_pictures_in_a_store_are_rows_and_what_lies_beside_them_is_passed_over() -> None:
    for name in ("cat/1.jpg", "cat/2.jpg", "dog/1.png", "readme.txt"):
        with fsspec.open(f"memory://photos/{name}", "wb") as file:
            file.write(b"" if name == "cat/2.jpg" else name.encode())
    source = ps.read("memory://photos")
    rows = [row for batch in read_all(source) for row in batch.columns.to_pylist()]
    assert rows == [
        {"path": "cat/1.jpg", "picture": b"cat/1.jpg", "label": "cat"},
        {"path": "dog/1.png", "picture": b"dog/1.png", "label": "dog"},
    ]
    assert [one.path for one in source.fingerprints()] == ["cat/1.jpg", "cat/2.jpg", "dog/1.png"]


def test_an_extra_that_is_missing_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    assert refused("memory://folder/a.csv", kind=MissingExtra).remedy == "pip install 'penstock[cloud]'"


def test_addresses_that_lack_a_part_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT", raising=False)
    assert refused("az://container/a.csv", kind=UsageError).message == "no storage account is named"
    with pytest.raises(UsageError, match="no scheme of this name"):
        ps.read("s4://bucket/a.csv")
    with pytest.raises(SourceError, match="a file of another machine"):
        ps.read("file://elsewhere/a.csv")


def test_a_file_address_is_a_path(tmp_path: Path) -> None:
    (tmp_path / "a b.csv").write_text("a,b\n1,2\n3,4\n")
    assert frame_of(ps.read(f"file://{tmp_path}/a%20b.csv"))["a"].tolist() == [1.0, 3.0]


def test_folders_of_remote_names_become_columns() -> None:
    import fsspec

    for day in ("2026-11-19", "2026-11-20"):
        with fsspec.open(f"memory://nights/dt={day}/a.csv", "wb") as file:
            file.write(b"a,b\n1,x\n2,y\n")
    frame = frame_of(ps.read("memory://nights"))
    assert [str(day)[:10] for day in frame["dt"].tolist()] == ["2026-11-19"] * 2 + ["2026-11-20"] * 2
