"""A file or a folder, whole or absent: the one place that renames and removes.

    write(path, text)                        # a small file at once
    with new_file(path, "wb") as file: …     # a file written piece by piece
    with new_path(path) as aside: …          # a file that a library writes under a name
    with new_folder(path) as aside: …        # a folder and all that goes into it

Each writes aside, in the same folder, and gives the result its name only when the `with` block ended without an error. What was
there before stays until then, also where the process is killed at any moment. A folder takes the place of an older one in a single
step where the system can swap two names (Linux, macOS); elsewhere in two, and `mend` finishes what a kill between them left.
The names aside, which no person would choose, hold a process number: the next write removes those whose process has ended.
"""

import contextlib
import ctypes
import errno
import functools
import hashlib
import os
import platform
import re
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

from afina.child import alive
from afina.errors import CourseError, require

_ASIDE = re.compile(r"\.afina-(?P<room>[0-9a-f]{6})-(?P<pid>\d+)-[0-9a-f]{8}(?P<old>-old)?\.")
_TRIES, _PAUSE = 40, 0.05  # Windows refuses to rename what another program reads: that lasts a moment


def write(path: str | Path, content: str | bytes) -> Path:
    """Write a whole file, text as UTF-8 with the line ends it has. OSError as `open` raises it; the old file then stays."""
    with new_file(path, "wb") as file:
        file.write(content if isinstance(content, bytes) else content.encode("utf-8"))
    return Path(path)


@contextlib.contextmanager
def new_file(path: str | Path, mode: str = "w", **options) -> Iterator[IO]:
    """An open file that becomes `path` at the end of the block; `mode` is "w" or "wb", `options` are `open`'s.

    Text is UTF-8 with `\\n` unless told otherwise. The new file is on the disk before it gets its name.
    """
    if "b" not in mode:
        options = {"encoding": "utf-8", "newline": "\n"} | options
    with new_path(path) as aside, open(aside, mode, **options) as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def new_path(path: str | Path) -> Iterator[Path]:
    """A name for a library that opens its file itself; what it wrote there becomes `path` at the end of the block."""
    path, aside = _prepare(path, stat.S_ISREG)
    try:
        if path.exists():  # a private file is private from its first byte on
            aside.touch()
            _as_before(path, aside)
        yield aside
        _as_before(path, aside)
        patiently(lambda: os.replace(aside, path))
    finally:
        discard(aside)


@contextlib.contextmanager
def new_folder(path: str | Path, marks: Sequence[str] = ()) -> Iterator[Path]:
    """An empty folder that becomes `path` at the end of the block, in the place of the older one with all that is in it.

    `marks`: names, one of which every folder of this kind holds. CourseError where `path` is somebody else's: a folder with
    things in it and none of the marks.
    """
    path, aside = _prepare(path, stat.S_ISDIR)
    _refuse_strangers(path, marks)
    aside.mkdir()
    try:
        yield aside
        try:
            put(aside, path, marks)
        except (OSError, CourseError) as error:  # the work is done: it is not thrown away
            kept = path.with_name(f"{path.name}.afina-{secrets.token_hex(4)}")
            os.rename(aside, kept)
            raise CourseError(f"não pude pôr o resultado no lugar: {error}", f"Está inteiro em {kept}.") from error
    finally:
        discard(aside)


def put(made: str | Path, path: str | Path, marks: Sequence[str] = ()) -> None:
    """Give the finished folder `made` the name `path`, on the same disk; an older folder of that name goes only afterwards.

    Killed at any moment, `path` holds the old or the new one, whole; where the system cannot swap names, after `mend(path)`.
    An error leaves both as they were. A finished file gets a free name in the same way; NotADirectoryError where `path` is a
    file, or a folder in the way of one; CourseError where it is somebody else's (see `new_folder`).
    """
    made, path = Path(made), _real(path)
    _refuse_strangers(path, marks)
    if not os.path.lexists(path):
        try:
            patiently(lambda: os.rename(made, path))
            return
        except OSError as error:  # somebody else was faster
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
    if not (path.is_dir() and made.is_dir()):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    _as_before(path, made)
    old = _aside(path, old=True)
    if swap(made, path):
        patiently(lambda: os.rename(made, old))
    else:
        aside = _aside(path)  # where `mend` looks
        patiently(lambda: os.rename(made, aside))
        try:
            patiently(lambda: os.rename(path, old))
            patiently(lambda: os.rename(aside, path))
        except BaseException:
            if not os.path.lexists(path) and os.path.lexists(old):
                os.rename(old, path)
            if os.path.lexists(aside):
                os.rename(aside, made)
            raise
    discard(old)


def mend(path: str | Path) -> Path:
    """Finish a replacement that was killed between its two steps, where systems need two; also clears what such runs left.

    Readers of a folder call it first. Returns `path`.
    """
    real = _real(path)
    found = list(_leftovers(real))
    olds = [(one, pid) for one, pid, is_old in found if is_old]
    if olds and not os.path.lexists(real):
        old, pid = olds[0]  # the new one was whole before the old one gave up its name
        new = next((one for one, its, is_old in found if its == pid and not is_old), old)
        patiently(lambda: os.rename(new, real))
    for one, _, _ in found:
        discard(one)
    return Path(path)


def interrupted(path: str | Path) -> bool:
    """Whether a write of `path` was killed and left something aside; `mend` or the next write clears it."""
    return next(_leftovers(_real(path)), None) is not None


def discard(path: str | Path) -> None:
    """Remove a file or a folder and all below it, a link without what it points to; nothing there is fine.

    OSError where the system will not let go of it.
    """
    path = Path(path)
    try:
        folder = stat.S_ISDIR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return
    try:
        patiently(lambda: shutil.rmtree(path) if folder else os.unlink(path))
    except FileNotFoundError:  # somebody else was faster
        if os.path.lexists(path):
            raise


def refuse_stream(path: Path) -> None:
    """CourseError for a pipe or a device: a second look at it would find other bytes."""
    stream = path.exists() and not path.is_file() and not path.is_dir()
    require(not stream, "isto é um canal, que só se lê uma vez: grave-o antes em um arquivo.", where=path)


def swap(one: Path, other: Path) -> bool:
    """Exchange two names in one step of the file system; False where the system or the disk has no such step."""
    if sys.platform == "linux":
        call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
        result = call and call(-100, os.fsencode(one), -100, os.fsencode(other), 2)  # AT_FDCWD, RENAME_EXCHANGE
    elif sys.platform == "darwin":
        call = getattr(ctypes.CDLL(None, use_errno=True), "renamex_np", None)
        result = call and call(os.fsencode(one), os.fsencode(other), 2)  # RENAME_SWAP
    else:
        return False
    if call is None:
        return False
    if result == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP):
        return False
    raise OSError(code, os.strerror(code), str(other))


def patiently(act: Callable[[], object]) -> None:
    """Try again for two seconds where Windows says that somebody is reading; elsewhere a refusal is final."""
    for _ in range(_TRIES if os.name == "nt" else 0):
        try:
            act()
            return
        except PermissionError:
            time.sleep(_PAUSE)
    act()


def _real(path: str | Path) -> Path:
    """Where the name leads: a link stays a link, and what it points to is written."""
    return Path(os.path.realpath(path))


def _prepare(path: str | Path, kind: Callable[[int], bool]) -> tuple[Path, Path]:
    """Where to write and under which name meanwhile. CourseError for a device, a pipe, a mount point or the folder we stand in."""
    path = _real(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    mend(path)
    if os.path.lexists(path) and not kind(mode := os.stat(path).st_mode):
        if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
            code = errno.ENOTDIR if stat.S_ISREG(mode) else errno.EISDIR
            raise OSError(code, os.strerror(code), str(path))
        raise CourseError("isto é um dispositivo ou um canal, e não vou trocá-lo.", "Escolha um nome de arquivo.", path)
    here = kind is stat.S_ISDIR and (os.path.ismount(path) or path in (Path.cwd(), *Path.cwd().parents))
    require(not here, "esta pasta não pode ser trocada por inteiro.", "Escolha uma pasta dentro dela.", path)
    return path, _aside(path)


def _refuse_strangers(path: Path, marks: Sequence[str]) -> None:
    if marks and path.is_dir() and any(path.iterdir()) and not any((path / name).exists() for name in marks):
        problem = f"esta pasta já existe e não tem {' nem '.join(marks)}: não é deste tipo, e não vou apagar nada."
        raise CourseError(problem, "Escolha outra pasta.", path)


def _as_before(path: Path, new: Path) -> None:
    """Permissions and, where we may give it away, owner of what was there."""
    with contextlib.suppress(FileNotFoundError):
        old = os.stat(path)
        os.chmod(new, stat.S_IMODE(old.st_mode))
        if hasattr(os, "chown"):
            with contextlib.suppress(PermissionError):
                os.chown(new, old.st_uid, old.st_gid)


@functools.cache
def _room() -> str:
    """This machine and its table of process numbers: another container's 17 is not ours."""
    with contextlib.suppress(OSError):
        return hashlib.sha256(f"{platform.node()} {os.readlink('/proc/self/ns/pid')}".encode()).hexdigest()[:6]
    return hashlib.sha256(platform.node().encode()).hexdigest()[:6]


def _aside(path: Path, old: bool = False) -> Path:
    return path.with_name(f".afina-{_room()}-{os.getpid()}-{secrets.token_hex(4)}{'-old' * old}.{path.name}")


def _leftovers(path: Path) -> Iterator[tuple[Path, int, bool]]:
    """(what an ended process of this machine left beside `path`, its number, whether it is an older version that stepped aside)."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(path.parent) as entries:
        for entry in entries:
            match = _ASIDE.match(entry.name)
            if (
                match
                and entry.name[match.end() :] == path.name
                and match["room"] == _room()
                and not alive(int(match["pid"]))
            ):
                yield Path(entry.path), int(match["pid"]), bool(match["old"])
