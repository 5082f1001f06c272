"""The downloader against a small server on loopback that can cut, ignore ranges, change its file and refuse."""

import contextlib
import gzip
import hashlib
import http.server
import io
import re
import shutil
import socket
import threading
import zipfile
from collections import namedtuple

import pytest

from afina import runtime
from afina.cli import main
from afina.data import download
from afina.data.download import Mirror
from afina.errors import CourseError

BODY = b"".join(b'{"uid": "%d", "title": "t", "content": "c"}\n' % i for i in range(40_000))  # about 1.7 MB


class Server:
    """What the server serves and how it misbehaves; `asked` is the Range header of each request."""

    def __init__(self):
        self.files = {"/trn.json": BODY}
        self.etag = '"one"'
        self.cuts = []  # bytes of body after which the connection drops, one an answer
        self.ranges = True
        self.status = {}  # path -> error code
        self.asked = []


@pytest.fixture
def server():
    state = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            state.asked.append(self.headers.get("Range"))
            if self.path in state.status or self.path not in state.files:
                return self.send_error(state.status.get(self.path, 404))
            body, start = state.files[self.path], 0
            span = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            if span and state.ranges and self.headers.get("If-Range") == state.etag:
                start = int(span[1])
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            else:
                self.send_response(200)
            self.send_header("ETag", state.etag)
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            end = start + state.cuts.pop(0) if state.cuts else len(body)
            with contextlib.suppress(ConnectionError):
                self.wfile.write(body[start:end])
            return None

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        state.url = f"http://127.0.0.1:{httpd.server_port}"
        yield state
        httpd.shutdown()


def fetch(server, folder, *mirrors, **more):
    options = {"timeout": 5, "tries": 2, "pause": 0} | more
    return download.fetch(mirrors or [Mirror(server.url + "/trn.json", "trn.json")], folder, **options)


def leftovers(folder):
    return sorted(path.name for path in folder.glob(".afina-*"))


def test_full_download_and_its_record(server, tmp_path):
    path = fetch(server, tmp_path / "real")
    assert path == tmp_path / "real" / "trn.json" and path.read_bytes() == BODY
    digest = hashlib.sha256(BODY).hexdigest()
    assert (path.parent / "trn.json.sha256").read_text(encoding="utf-8") == f"{digest}  trn.json\n"
    assert leftovers(path.parent) == []
    assert fetch(server, path.parent) == path
    assert len(server.asked) == 1  # the second call found it there


def test_a_cut_download_goes_on_where_it_stopped(server, tmp_path):
    server.cuts = [1_000_000]
    assert fetch(server, tmp_path).read_bytes() == BODY
    assert server.asked == [None, "bytes=1000000-"]


def test_a_cut_download_goes_on_in_the_next_call(server, tmp_path):
    server.cuts = [700_000]
    with pytest.raises(CourseError, match="a conexão caiu em 700000 de"):
        fetch(server, tmp_path, tries=1)
    assert fetch(server, tmp_path, tries=1).read_bytes() == BODY
    assert server.asked == [None, "bytes=700000-"]


def test_complete_but_not_yet_renamed(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download.whole, "put", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        fetch(server, tmp_path)
    monkeypatch.undo()
    assert fetch(server, tmp_path).read_bytes() == BODY
    assert server.asked == [None]  # nothing was asked again


@pytest.mark.parametrize("change", ["ranges ignored", "file changed", "no validator"])
def test_begins_again_where_it_cannot_go_on(server, tmp_path, change):
    if change == "no validator":
        server.etag = 'W/"weak"'  # a weak ETag cannot vouch for the bytes
    server.cuts = [1_000_000]
    with pytest.raises(CourseError):
        fetch(server, tmp_path, tries=1)
    expected = BODY
    if change == "ranges ignored":
        server.ranges = False
    if change == "file changed":
        expected = server.files["/trn.json"] = BODY[::-1].replace(b"\n", b"{", 1)
        server.etag = '"two"'
    assert fetch(server, tmp_path).read_bytes() == expected


def test_checksum_pinned_by_the_caller(server, tmp_path):
    url = server.url + "/trn.json"
    with pytest.raises(CourseError, match="sha256 não confere"):
        fetch(server, tmp_path, Mirror(url, "trn.json", sha256="0" * 64))
    assert not (tmp_path / "trn.json").exists() and leftovers(tmp_path) == [".afina-download.trn.json.state"]
    good = Mirror(url, "trn.json", size=len(BODY), sha256=hashlib.sha256(BODY).hexdigest())
    assert fetch(server, tmp_path, good).read_bytes() == BODY


def test_size_pinned_by_the_caller(server, tmp_path):
    with pytest.raises(CourseError, match=f"vieram {len(BODY)} bytes em vez de 12"):
        fetch(server, tmp_path, Mirror(server.url + "/trn.json", "trn.json", size=12))


def test_a_file_that_changed_later_is_noticed(server, tmp_path):
    path = fetch(server, tmp_path)
    path.write_bytes(BODY[:-5])
    with pytest.raises(CourseError, match="mudou desde que foi baixado"):
        fetch(server, tmp_path)
    (tmp_path / "trn.json.sha256").write_text("", encoding="utf-8")  # a record that says nothing
    with pytest.raises(CourseError, match="mudou desde que foi baixado"):
        fetch(server, tmp_path)


def test_first_mirror_refuses_second_works(server, tmp_path):
    gone = Mirror(server.url + "/gone.json", "trn.json")
    assert fetch(server, tmp_path, gone, Mirror(server.url + "/trn.json", "trn.json")).read_bytes() == BODY
    assert len(server.asked) == 2  # a 404 is not worth a second try


def test_a_busy_server_is_tried_again_then_left(server, tmp_path):
    server.status["/trn.json"] = 503
    with pytest.raises(CourseError, match="respondeu 503, 2 tentativas"):
        fetch(server, tmp_path)
    assert len(server.asked) == 2


def test_a_page_instead_of_the_file(server, tmp_path):
    server.files["/trn.json"] = b"<!DOCTYPE html><title>Quota exceeded</title>"
    with pytest.raises(CourseError, match="página de aviso"):
        fetch(server, tmp_path)
    assert "trn.json" not in {path.name for path in tmp_path.iterdir()}


def test_partial_of_one_mirror_is_not_continued_by_another(server, tmp_path):
    server.files["/other.json"] = BODY.upper()
    server.cuts = [500_000]
    first = Mirror(server.url + "/trn.json", "trn.json")
    path = fetch(server, tmp_path, first, Mirror(server.url + "/other.json", "trn.json"), tries=1)
    assert path.read_bytes() == BODY.upper() and server.asked == [None, None]


def zip_of(name, content):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(name, content)
    return packed.getvalue()


def test_zip_with_the_gzip_inside(server, tmp_path):
    inside = gzip.compress(BODY)
    server.files["/raw"] = zip_of("LF-Amazon-1.3M/trn.json.gz", inside)
    path = fetch(server, tmp_path, Mirror(server.url + "/raw", "LF-Amazon-1.3M.raw.zip"))
    assert path.name == "trn.json.gz" and path.read_bytes() == inside


def test_zip_put_there_by_hand(server, tmp_path):
    (tmp_path / "LF-Amazon-1.3M.raw.zip").write_bytes(zip_of("LF-Amazon-1.3M/trn.json", BODY))
    assert fetch(server, tmp_path).read_bytes() == BODY
    assert server.asked == []


@pytest.mark.parametrize("content", [b"PK but no zip", zip_of("readme.txt", b"hello")])
def test_zip_that_is_of_no_use(server, tmp_path, content):
    (tmp_path / "LF-Amazon-1.3M.raw.zip").write_bytes(content)
    with pytest.raises(CourseError, match=r"zip (está incompleto|não contém)"):
        fetch(server, tmp_path)


def test_full_disk_is_told_before_the_transfer(server, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 1_000))
    with pytest.raises(CourseError, match="GB livres no disco"):
        fetch(server, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_no_permission_or_no_folder(server, tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(CourseError, match="não consegui gravar"):
        fetch(server, tmp_path / "file" / "real")


def test_without_network_says_what_to_do_by_hand(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/trn.json"  # bound, not listening: refused
        with pytest.raises(CourseError) as caught:
            download.fetch([Mirror(url, "trn.json")], tmp_path, timeout=2, tries=1)
    text = str(caught.value)
    for needed in ("LF-Amazon-1.3M.raw.zip", "trn.json", download.DRIVE_PAGE, str(tmp_path), "amazon_sample.json.gz"):
        assert needed in text


def test_no_name_resolution_is_not_waited_for(tmp_path, monkeypatch):
    def no_dns(*args, **kwargs):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_dns)
    monkeypatch.setattr(download.time, "sleep", lambda seconds: pytest.fail("waited without a network"))
    with pytest.raises(CourseError, match="nenhum espelho"):
        download.fetch(folder=tmp_path)


def test_command(server, tmp_path, capsys):
    assert main(["download", "--url", server.url + "/trn.json", "--folder", str(tmp_path)]) == 0
    assert "afina prep" in capsys.readouterr().out
    for wrong in (["--sha256", "00"], ["--url", server.url + "/index.html"]):
        assert main(["download", *wrong]) == 2


def test_what_a_person_keeps_in_the_folder_survives(server, tmp_path):
    """Names that others use for half a file, and what whole.py may clear, are not ours to write or to remove."""
    mine = ["trn.json.partial", "state.trn.json.partial", "trn.json.old", "notas.txt"]
    for name in mine:
        (tmp_path / name).write_text("meu", encoding="utf-8")
    server.cuts = [700_000]
    with pytest.raises(CourseError):
        fetch(server, tmp_path, tries=1)
    fetch(server, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*mine, "trn.json", "trn.json.sha256"}
    assert {(tmp_path / name).read_text(encoding="utf-8") for name in mine} == {"meu"}
    (tmp_path / "trn.json").unlink()
    (tmp_path / "trn.json").mkdir()
    (tmp_path / "trn.json" / "notas.txt").write_text("meu", encoding="utf-8")
    with pytest.raises(CourseError, match="não consegui gravar"):
        fetch(server, tmp_path)
    assert (tmp_path / "trn.json" / "notas.txt").read_text(encoding="utf-8") == "meu"


def test_without_a_folder_it_goes_to_the_repository_or_else_here(tmp_path, monkeypatch):
    """An installed package carries data of its own, where nobody would look for a download."""
    carried = tmp_path / "site-packages" / "afina" / "_course"
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for name, root, expected in (
        ("wheel", carried, tmp_path / "here"),
        ("clone", tmp_path / "clone", tmp_path / "clone"),
    ):
        monkeypatch.setattr(runtime, "course_root", lambda root=root: root)
        if name == "clone":
            (root / "notebooks").mkdir(parents=True)
        (expected / "data" / "real").mkdir(parents=True)
        (expected / "data" / "real" / "trn.json").write_bytes(BODY)
        assert download.fetch(()) == expected / "data" / "real" / "trn.json"
    assert not carried.exists()
