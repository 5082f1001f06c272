"""Fetch the real AmazonTitles-1.3MM training file: several mirrors, resumed downloads, checks, one clear error.

No checksum of the real file could be verified when this was written, so none is pinned: the first download records its
sha256 beside the file, and every later call compares. Whoever knows a checksum pins it (in download.toml, or by `--sha256`).
"""

import json
import re
import shutil
import socket
import time
import tomllib
import urllib.error
import urllib.request
import zipfile
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

from afina import whole
from afina.data.reading import digest_of
from afina.errors import CourseError, NetworkBlocked, require
from afina.ptbr import decimal
from afina.runtime import build_folder, progress


class Mirror(NamedTuple):
    """One place that serves the file, as download.toml tells."""

    url: str
    name: str
    size: int = 0
    sha256: str = ""


_TABLE = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
MIRRORS = tuple(Mirror(**entry) for entry in _TABLE["mirror"])
DRIVE_PAGE, HF_PAGE = _TABLE["drive_page"], _TABLE["hf_page"]

READY = ("trn.json.gz", "trn.json")
_BLOCK = 1 << 20
_SPARE = 64 << 20  # bytes to leave free on the disk
_MAGIC = {".zip": b"PK", ".gz": b"\x1f\x8b"}


class _MirrorFailed(Exception):
    """This mirror cannot give the file: go on to the next. The text is for the student."""


def fetch(
    mirrors: Sequence[Mirror] = MIRRORS, folder: str | Path | None = None, *, timeout=30.0, tries: int = 4, pause=2.0
) -> Path:
    """The path of `trn.json` or `trn.json.gz` in `folder` (data/real, in the repository or here), downloaded when it is not there.

    A cut download goes on where it stopped, in this call or the next, when the server still has the same file. `timeout`
    is in seconds of silence, `tries` per mirror, `pause` seconds after a failure (doubled each time). Raises CourseError:
    no mirror works, no space, a wrong checksum.
    """
    folder = Path(folder) if folder else build_folder().parent / "data" / "real"
    for name in READY:
        if (folder / name).is_file():
            return _compare(folder / name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        by_hand = next(iter(folder.glob("*.zip")), None)
        if by_hand:
            return _finish(by_hand, "colocado à mão")
        failures = []
        for mirror in mirrors:
            try:
                return _finish(_download(mirror, folder, timeout, tries, pause), mirror.url)
            except _MirrorFailed as failure:
                failures.append(f"  - {mirror.url}: {failure}")
    except OSError as error:
        remedy = "Confira o espaço em disco e a permissão da pasta; o que já foi baixado será aproveitado."
        raise CourseError(f"não consegui gravar ({error.strerror or error}).", remedy, folder) from error
    raise CourseError(
        "nenhum espelho entregou o AmazonTitles-1.3MM.\n" + "\n".join(failures) + "\n",
        f"Se você está sem internet, siga com data/amazon_sample.json.gz, que basta para as aulas. Para ter o arquivo real, "
        f"baixe pelo navegador LF-Amazon-1.3M.raw.zip ({DRIVE_PAGE}) ou trn.json ({HF_PAGE}), coloque-o em {folder} com "
        "esse mesmo nome e rode `afina download` de novo.",
        where="afina download",
    )


def _download(mirror: Mirror, folder: Path, timeout: float, tries: int, pause: float) -> Path:
    """The complete file of one mirror, under its own name. Raises _MirrorFailed, or CourseError for a full disk."""
    partial = folder / f".afina-download.{mirror.name}"  # it stays for the next call, unlike the names of whole.py
    state, problem = partial.with_name(partial.name + ".state"), ""
    for attempt in range(tries):
        if attempt:
            time.sleep(pause * 2 ** (attempt - 1))
        try:
            _transfer(mirror, partial, state, timeout)
            break
        except urllib.error.HTTPError as error:
            problem = f"o servidor respondeu {error.code}"
            if error.code == 416:  # nothing at that offset: what we hold is not this file
                whole.discard(partial)
            elif error.code not in (408, 429) and error.code < 500:
                raise _MirrorFailed(f"{problem} ({error.reason})") from error
        except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
            reason = getattr(error, "reason", None) or error
            problem = f"sem conexão ({str(reason) or type(reason).__name__})"
            if isinstance(reason, (socket.gaierror, NetworkBlocked)):  # no network at all: waiting does not help
                raise _MirrorFailed(problem) from error
    else:
        raise _MirrorFailed(f"{problem}, {tries} tentativas")
    if problem := _wrong_content(mirror, partial):
        whole.discard(partial)
        raise _MirrorFailed(problem)
    whole.put(partial, folder / mirror.name)
    whole.discard(state)
    return folder / mirror.name


def _transfer(mirror: Mirror, partial: Path, state: Path, timeout: float) -> None:
    """Bring `partial` to its full length, from where it stands if the server's file is still the one it was begun with."""
    start, headers = 0, {"User-Agent": "afina", "Accept-Encoding": "identity"}
    if partial.exists() and state.exists():
        begun = json.loads(state.read_text(encoding="utf-8"))
        if begun["url"] == mirror.url and begun["validator"]:
            start = partial.stat().st_size
            if start == begun["total"]:
                return
            headers |= {"Range": f"bytes={start}-", "If-Range": begun["validator"]}  # a changed file comes whole
    with urllib.request.urlopen(urllib.request.Request(mirror.url, headers=headers), timeout=timeout) as response:
        span = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
        if response.status == 206 and span and int(span[1]) == start:
            total = int(span[2])
        else:  # the server ignored the range, or sends another file now: begin again
            start, total = 0, int(response.headers.get("Content-Length") or mirror.size)
        etag = response.headers.get("ETag", "")
        validator = response.headers.get("Last-Modified", "") if not etag or etag.startswith("W/") else etag
        _check_space(partial.parent, total - start)
        whole.write(state, json.dumps({"url": mirror.url, "validator": validator, "total": total}))
        bar = progress(desc=mirror.name, total=total or None, initial=start, unit="B")
        with open(partial, "r+b" if start else "wb") as file, bar:
            file.seek(start)
            file.truncate()
            while block := response.read(_BLOCK):
                file.write(block)
                bar.update(len(block))
            got = file.tell()
    if total and got != total:
        raise ConnectionError(f"a conexão caiu em {got} de {total} bytes")


def _check_space(folder: Path, needed: int) -> None:
    free, wanted = shutil.disk_usage(folder).free, needed + _SPARE
    lacking = f"faltam {decimal((wanted - free) / 1e9)} GB livres no disco (preciso de {decimal(wanted / 1e9)} GB)."
    remedy = "Libere espaço ou escolha outra pasta com --folder; o que já foi baixado será aproveitado."
    require(free >= wanted, lacking, remedy, folder)


def _wrong_content(mirror: Mirror, partial: Path) -> str:
    """What is wrong with a complete download, or ""."""
    with open(partial, "rb") as file:
        start = file.read(64).lstrip()
    size = partial.stat().st_size
    if not start.startswith(_MAGIC.get(Path(mirror.name).suffix, b"{")):  # a quota page, a login page
        return "veio outra coisa no lugar do arquivo (talvez uma página de aviso)"
    if mirror.size and size != mirror.size:
        return f"vieram {size} bytes em vez de {mirror.size}"
    if mirror.sha256 and digest_of(partial) != mirror.sha256.lower():
        return "o sha256 não confere com o esperado; apaguei o que baixei"
    return ""


def _finish(path: Path, source: str) -> Path:
    """Take the training file out of a zip if it is in one, write its sha256 beside it, and return its path."""
    if path.suffix == ".zip":
        path = _unzip(path)
    whole.discard(f"{path}.sha256")  # of an older one
    print(f"{path} pronto ({decimal(path.stat().st_size / 1e9)} GB), origem: {source}.")
    return _compare(path)


def _unzip(archive: Path) -> Path:
    try:
        with zipfile.ZipFile(archive) as packed:
            found = [entry for entry in packed.infolist() if Path(entry.filename).name in READY]
            require(found, "o zip não contém trn.json.", "Baixe LF-Amazon-1.3M.raw.zip de novo.", archive)
            _check_space(archive.parent, found[0].file_size)
            target = archive.parent / Path(found[0].filename).name
            with packed.open(found[0]) as source, whole.new_file(target, "wb") as file:
                shutil.copyfileobj(source, file, _BLOCK)  # reading to the end also checks the zip's CRC
    except zipfile.BadZipFile as error:
        raise CourseError("o zip está incompleto ou corrompido.", "Apague-o e baixe de novo.", where=archive) from error
    return target


def _compare(path: Path) -> Path:
    """Check a file against the sha256 recorded beside it when it came; record it where it has just come, or came by hand."""
    record, digest = path.with_name(path.name + ".sha256"), digest_of(path)
    if not record.exists():
        whole.write(record, f"{digest}  {path.name}\n")
    same = record.read_text(encoding="utf-8").split()[:1] == [digest]
    problem = "o arquivo mudou desde que foi baixado (o sha256 não confere com o registrado)."
    require(same, problem, f"Apague {path.name} e {record.name} e rode `afina download` de novo.", path)
    return path
