"""Whole or absent: every writer is killed at each of its steps, and what it leaves is the old thing or the new one, never a part."""

import errno
import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from afina import whole
from afina.errors import CourseError

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="the writer is killed in a fork of this process")
STEPS = ("replace", "rename", "unlink")  # of os; the swap and the removal of a tree are counted too


class Steps:
    """Count the moves that a writer makes, and kill this process before or after one of them."""

    def __init__(self, kill_at=None, after=False):
        self.count, self.kill_at, self.after = 0, kill_at, after

    def watch(self, module, name):
        act = getattr(module, name)

        def watched(*args, **kwargs):
            self.count += 1
            mine = self.count == self.kill_at
            if mine and not self.after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = act(*args, **kwargs)
            if mine:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        setattr(module, name, watched)

    def watch_all(self):
        for name in STEPS:
            self.watch(os, name)
        self.watch(whole, "swap")
        self.watch(shutil, "rmtree")


def in_a_fork(act):
    """Run `act` in a copy of this process; its exit code, or minus the signal that killed it."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            act()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def count_steps(write):
    """How many moves `write` makes: counted in a fork, which tells through a pipe."""
    out, into = os.pipe()

    def counted():
        steps = Steps()
        steps.watch_all()
        write()
        os.write(into, steps.count.to_bytes(2, "little"))

    assert in_a_fork(counted) == 0
    os.close(into)
    with os.fdopen(out, "rb") as pipe:
        return int.from_bytes(pipe.read(), "little")


def no_swap(monkeypatch):
    monkeypatch.setattr(whole, "swap", lambda one, other: False)


@pytest.fixture(params=["swap", "two steps"])
def system(request, monkeypatch):
    """The file system's own swap, and a system that has none (Windows, some network disks)."""
    if request.param == "two steps":
        no_swap(monkeypatch)
    return request.param


def write_folder(path, word):
    with whole.new_folder(path) as aside:
        for name in "ab":
            (aside / name).write_text(word)


def read_folder(path):
    return {one.name: one.read_text() for one in sorted(path.iterdir())}


def write_by_hand(path, word):
    made = path.with_name("work in progress")
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    for name in "ab":
        (made / name).write_text(word)
    whole.put(made, path)


WRITERS = {
    "new_folder": (write_folder, read_folder),
    "put": (write_by_hand, read_folder),
    "write": (lambda path, word: whole.write(path, word * 3), lambda path: path.read_text()),
}


@needs_fork
@pytest.mark.parametrize("writer", WRITERS)
def test_killed_at_any_step_it_is_the_old_or_the_new(tmp_path, system, writer):
    write, read = WRITERS[writer]
    path = tmp_path / "out"
    write(path, "old")
    old = read(path)
    write(tmp_path / "other", "new")
    new = read(tmp_path / "other")
    whole.discard(tmp_path / "other")
    shutil.rmtree(tmp_path / "work in progress", ignore_errors=True)
    total = count_steps(lambda: [write(tmp_path / "counted", word) for word in "xy"])
    assert total >= 2
    seen = set()
    for after in (False, True):
        for step in range(1, total + 1):
            write(path, "old")

            def killed(step=step, after=after):
                Steps(step, after).watch_all()
                write(path, "new")

            code = in_a_fork(killed)
            assert code in (0, -signal.SIGKILL)
            if system == "swap":
                assert read(path) in (old, new), "the name is never without a whole thing, also before `mend`"
            whole.mend(path)
            assert read(path) in (old, new)
            seen.add((code, read(path) == new))
    assert {code for code, _ in seen} == {0, -signal.SIGKILL}, "some steps were real, and some beyond the last"
    write(path, "new")
    assert read(path) == new
    left = {one.name for one in tmp_path.iterdir()} - {"out", "counted", "work in progress"}
    assert left == set(), "the next write clears what the killed ones left"


def test_an_error_between_the_two_steps_puts_the_old_one_back(tmp_path, monkeypatch):
    no_swap(monkeypatch)
    path = tmp_path / "out"
    write_folder(path, "old")
    real, calls = os.rename, []

    def second_fails(one, other):
        calls.append(other)
        if len(calls) == 2:
            raise OSError(errno.EIO, "the disk is gone")
        real(one, other)

    monkeypatch.setattr(os, "rename", second_fails)
    with pytest.raises(CourseError, match=r"gone.*Está inteiro em") as caught:
        write_folder(path, "new")
    assert read_folder(path) == {"a": "old", "b": "old"}
    kept = Path(str(caught.value).rpartition("Está inteiro em ")[2].removesuffix("."))
    assert read_folder(kept) == {"a": "new", "b": "new"}, "work that is done is not thrown away"
    assert {one.name for one in tmp_path.iterdir()} == {"out", kept.name}


def test_a_folder_that_appears_while_we_work_is_nobody_s_to_remove(tmp_path):
    with pytest.raises(CourseError, match="não vou apagar nada"), whole.new_folder(tmp_path / "out", ["config.json"]):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "thesis.txt").write_text("mine")
    assert (tmp_path / "out" / "thesis.txt").read_text() == "mine"


def test_devices_pipes_and_the_folder_we_stand_in_are_refused(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(CourseError, match="não vou trocá-lo"):
            whole.write(path, "x")
        assert not path.is_file()
    monkeypatch.chdir(tmp_path)
    for path in (".", "..", "/"):
        with pytest.raises(CourseError, match="não pode ser trocada"):
            write_folder(Path(path), "x")


def test_another_container_s_numbers_are_not_ours(tmp_path, monkeypatch):
    with whole.new_folder(tmp_path / "out") as aside:
        theirs = aside.with_name(aside.name.replace(f"-{os.getpid()}-", "-999999999-"))
        theirs.mkdir()
        monkeypatch.setattr(whole, "_room", lambda: "abcdef")
        whole.mend(tmp_path / "out")
        assert theirs.is_dir()
        monkeypatch.undo()
        whole.mend(tmp_path / "out")
        assert not theirs.exists()


@pytest.mark.parametrize("stop", [KeyboardInterrupt, ValueError, SystemExit])
def test_an_interrupted_block_leaves_the_old_thing_and_nothing_else(tmp_path, stop):
    whole.write(tmp_path / "file", "old")
    write_folder(tmp_path / "folder", "old")
    with pytest.raises(stop), whole.new_file(tmp_path / "file") as file:
        file.write("new")
        raise stop
    with pytest.raises(stop), whole.new_folder(tmp_path / "folder") as aside:
        (aside / "a").write_text("new")
        raise stop
    assert (tmp_path / "file").read_text() == "old" and read_folder(tmp_path / "folder")["a"] == "old"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["file", "folder"]


def test_names_of_people_are_never_taken(tmp_path):
    mine = ["out.old", "out.partial", "out.tmp", ".out", "out~", ".afina", ".afina-notes.out"]
    for name in mine:
        (tmp_path / name).mkdir()
        (tmp_path / name / "keep").write_text("mine")
    for word in ("one", "two"):
        write_folder(tmp_path / "out", word)
    for name in mine:
        assert (tmp_path / name / "keep").read_text() == "mine"


def test_a_folder_of_another_kind_and_a_file_are_not_replaced(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "me.jpg").write_text("mine")
    with (
        pytest.raises(CourseError, match="não vou apagar nada"),
        whole.new_folder(tmp_path / "photos", ["config.json"]),
    ):
        pass
    whole.write(tmp_path / "file", "mine")
    with pytest.raises(NotADirectoryError):
        write_folder(tmp_path / "file", "new")
    whole.write(tmp_path / "made", "new")
    with pytest.raises(NotADirectoryError):  # a folder in the way of a file
        whole.put(tmp_path / "made", tmp_path / "photos")
    (tmp_path / "made").unlink()
    assert (tmp_path / "photos" / "me.jpg").read_text() == (tmp_path / "file").read_text() == "mine"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["file", "photos"]


def test_an_interrupted_write_is_known_until_it_is_mended(tmp_path):
    write_folder(tmp_path / "out", "old")
    with whole.new_folder(tmp_path / "out"):
        assert not whole.interrupted(tmp_path / "out")  # its process lives
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    left = tmp_path / f".afina-{whole._room()}-{int(ended.stdout)}-0123abcd.out"
    left.mkdir()
    assert whole.interrupted(tmp_path / "out") and not whole.interrupted(tmp_path / "other")
    whole.mend(tmp_path / "out")
    assert not left.exists() and not whole.interrupted(tmp_path / "out")


def test_a_running_writer_keeps_its_folder_while_another_clears(tmp_path):
    with whole.new_folder(tmp_path / "out") as aside:
        (aside / "a").write_text("first")
        whole.mend(tmp_path / "out")  # as another process would, before its own write
        write_folder(tmp_path / "out", "second")
        assert (aside / "a").read_text() == "first"
    assert read_folder(tmp_path / "out") == {"a": "first"}


def test_permissions_and_links_stay_as_they_were(tmp_path):
    path = whole.write(tmp_path / "file", "old")
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask(), (
        "the system's usual permissions, not a temporary file's"
    )
    path.chmod(0o640)
    whole.write(path, "new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    write_folder(tmp_path / "folder", "old")
    (tmp_path / "folder").chmod(0o750)
    write_folder(tmp_path / "folder", "new")
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o750
    (tmp_path / "link").symlink_to("file")
    whole.write(tmp_path / "link", "through the link")
    assert (tmp_path / "link").is_symlink() and path.read_text() == "through the link"


def umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_discard_removes_a_link_and_not_what_it_points_to(tmp_path):
    write_folder(tmp_path / "folder", "mine")
    (tmp_path / "link").symlink_to("folder")
    whole.discard(tmp_path / "link")
    whole.discard(tmp_path / "nothing")
    assert read_folder(tmp_path / "folder")["a"] == "mine" and not (tmp_path / "link").is_symlink()


def test_windows_refusals_are_waited_for(monkeypatch):
    monkeypatch.setattr(whole.os, "name", "nt")
    monkeypatch.setattr(whole.time, "sleep", lambda _: None)
    refusals = [PermissionError(13, "another program reads it")] * 3

    def act():
        if refusals:
            raise refusals.pop()

    whole.patiently(act)
    assert refusals == []
    monkeypatch.setattr(whole.os, "name", "posix")
    refusals.append(PermissionError(13, "not yours"))
    with pytest.raises(PermissionError):
        whole.patiently(act)


def test_a_full_disk_keeps_the_old_file(tmp_path, monkeypatch):
    path = whole.write(tmp_path / "file", "old")

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(whole.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        whole.write(path, "new")
    assert path.read_text() == "old" and [one.name for one in tmp_path.iterdir()] == ["file"]


def test_two_processes_that_write_one_folder_leave_one_of_the_two(tmp_path):
    code = (
        "import sys; from afina import whole\n"
        "for n in range(40):\n"
        "    with whole.new_folder(sys.argv[1]) as aside:\n"
        "        [(aside / name).write_text(sys.argv[2]) for name in 'ab']\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "out"), word]) for word in ("one", "two")]
    codes = [process.wait(60) for process in running]
    assert len(set(read_folder(tmp_path / "out").values())) == 1
    assert codes == [0, 0]
    assert [one.name for one in Path(tmp_path).iterdir()] == ["out"]


# --- the writers of every room ---------------------------------------------------------------------------------------


def bytes_of(path):
    """{file: its bytes} of a folder, or the bytes of a file."""
    if path.is_file():
        return path.read_bytes()
    return {one.relative_to(path).as_posix(): one.read_bytes() for one in sorted(path.rglob("*")) if one.is_file()}


@pytest.fixture(scope="module")
def rooms(tmp_path_factory):
    """{writer of a room: write(path, word)}; "old" and "new" give different contents."""
    import torch
    from tune_base import write_base

    from afina.chat.checkpoint import save_chat_gpt
    from afina.data.prep import prep
    from afina.gpt.model import GPT, GPTConfig
    from afina.gpt.tokenizer import train_bpe
    from afina.jsonl import write_jsonl
    from afina.tune import export

    folder = tmp_path_factory.mktemp("rooms")
    model, tokenizer = export.reopen(write_base(folder / "base"))
    words = train_bpe(["ana e bia"] * 4, 300)
    gpts = {}
    for number, word in enumerate(("old", "new")):
        torch.manual_seed(number)
        gpts[word] = GPT(GPTConfig(len(words), 8, 8, 1, 2))
        rows = [f'{{"uid": "{n}", "title": "{word} {n}", "content": "a thing", "target_ind": []}}\n' for n in range(40)]
        (folder / f"{word}.json").write_text("".join(rows))
    return {
        "tune.export.save": lambda path, word: export.save(model, tokenizer, path, card=word),
        "chat.checkpoint.save_chat_gpt": lambda path, word: save_chat_gpt(gpts[word], words, path),
        "data.prep": lambda path, word: prep(folder / f"{word}.json", path, force=True, workers=1, progress=False),
        "jsonl.write_jsonl": lambda path, word: write_jsonl(path, [{"text": word}] * 3),
    }


ROOMS = ("tune.export.save", "chat.checkpoint.save_chat_gpt", "data.prep", "jsonl.write_jsonl")


@needs_fork
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("writer", ROOMS)
def test_every_rooms_writer_killed_at_any_step_leaves_the_old_or_the_new(tmp_path, system, rooms, writer):
    write, path = rooms[writer], tmp_path / "out"
    for word in ("new", "old"):
        write(path, word)
        if word == "new":
            new = steady(path)
    old = steady(path)
    assert old != new
    total = count_steps(lambda: write(path, "old"))
    for step in range(1, total + 1):

        def killed(step=step):
            Steps(step, after=step % 2 == 0).watch_all()
            write(path, "new")

        assert in_a_fork(killed) in (0, -signal.SIGKILL)
        if system == "two steps":
            whole.mend(path)
        assert steady(path) in (old, new)
        write(path, "old")
        assert steady(path) == old
    assert [one.name for one in tmp_path.iterdir()] == ["out"]


def steady(path):
    """What was written, without what differs from run to run: the manifest of prep says how long it took."""
    found = bytes_of(path)
    return {name: data for name, data in found.items() if name != "manifest.json"} if isinstance(found, dict) else found
