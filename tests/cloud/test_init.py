"""`local_cloud` and `afina cloud`: the variables, the keys, and how the twins end."""

import os
import signal
import socket
import subprocess
import sys
import time
from urllib.parse import urlsplit

import psutil
import pytest
from cloud_base import tiny_base

from afina.cloud import local_cloud, run_until_interrupted, write_variables
from afina.errors import CourseError


def wait_for(what, seconds=120.0):
    """Until `what()` is true; an assertion where it never is."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)
    return found


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_the_twins_end_with_a_parent_that_is_killed():
    code = (
        "import time; from afina.cloud import local_cloud\n"
        f"cloud = local_cloud(base={str(tiny_base())!r}); print(cloud.process.pid, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert "nada sai desta máquina" in parent.stdout.readline()
    pid = int(parent.stdout.readline())
    assert not gone(pid)
    parent.kill()
    parent.wait()
    wait_for(lambda: gone(pid), 20)


def test_variables_are_set_and_put_back_and_a_folder_has_one_twin(tmp_path, monkeypatch, capsys):
    tiny_base()  # torch sets variables of its own
    monkeypatch.setenv("OPENAI_API_KEY", "mine")
    monkeypatch.setenv("AWS_PROFILE", "mine")
    before = dict(os.environ)
    with local_cloud(tmp_path, base=tiny_base()) as cloud:
        assert os.environ["OPENAI_BASE_URL"] == f"{cloud.url}/v1" and "AWS_PROFILE" not in os.environ
        assert urlsplit(cloud.url).hostname == "127.0.0.1"
        key = os.environ["OPENAI_API_KEY"]
        with pytest.raises(CourseError, match="outro gêmeo"):
            local_cloud(tmp_path, base=tiny_base())
        with local_cloud(base=tiny_base(), show=False):
            assert os.environ["OPENAI_API_KEY"] != key  # a key of its own
        assert os.environ["OPENAI_API_KEY"] == key
        assert key not in repr(cloud)
        pid = cloud.process.pid
    assert dict(os.environ) == before and gone(pid)
    assert key not in capsys.readouterr().out + "".join(p.read_text() for p in tmp_path.glob("*.log"))
    with pytest.raises(CourseError, match="não há modelo"):
        local_cloud(base=tmp_path / "nothing")


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals and modes")
def test_the_terminal_command_hides_the_keys_and_ends_on_ctrl_c(tmp_path):
    command = [sys.executable, "-m", "afina.cli", "cloud", "--folder", str(tmp_path), "--base", str(tiny_base())]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    lines = [running.stdout.readline() for _ in range(5)]
    file = tmp_path / "env.sh"
    assert "Ctrl+C" in lines[-1] and str(file) in lines[2]
    assert file.stat().st_mode & 0o777 == 0o600
    text = file.read_text(encoding="utf-8")
    key = text.split("OPENAI_API_KEY='")[1].split("'")[0]
    assert key.startswith("sk-local-") and not any(key in line for line in lines)
    ask = [sys.executable, "-c", "import openai; print(len(list(openai.OpenAI().models.list())))"]
    seen = subprocess.run(["/bin/sh", "-c", f'. {file} && exec "$@"', "sh", *ask], capture_output=True, text=True)
    assert seen.stdout.strip() == "4", seen.stderr
    running.send_signal(signal.SIGINT)
    assert running.wait(30) == 0 and not file.exists()
    running.stdout.close()
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for _ in range(5):
        running.stdout.readline()
    (server,) = psutil.Process(running.pid).children()
    server.kill()
    assert "terminaram sozinhos" in running.communicate(timeout=30)[1] and running.returncode == 2 and not file.exists()


def test_a_file_of_variables_that_is_not_ours_stays(tmp_path):
    assert write_variables(tmp_path, {"A": "1"}) == write_variables(tmp_path, {"A": "2"})  # one of ours is written anew
    (file,) = tmp_path.iterdir()
    assert "2" in file.read_text() and "1" not in file.read_text()
    file.write_text("export MINE=1\n")
    with pytest.raises(CourseError, match="não é do `afina cloud`"):
        run_until_interrupted(tmp_path, base=tiny_base())
    assert file.read_text() == "export MINE=1\n"


def test_a_twin_without_a_folder_leaves_nothing_behind(tmp_path, monkeypatch):
    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.setenv(name, str(tmp_path))
    with local_cloud(base=tiny_base(), show=False):
        assert len(list(tmp_path.glob("afina-cloud-*/state.sqlite"))) == 1
    assert not list(tmp_path.iterdir())


def test_twins_that_cannot_start_say_so_and_leave_the_variables_alone(tmp_path):
    before = dict(os.environ)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CourseError, match=f"não consegui abrir a porta {port}"):
            local_cloud(tmp_path, base=tiny_base(), port=port)
    for port in (99999, -4):  # neither hangs
        with pytest.raises(CourseError, match=f"não há porta {port}"):
            local_cloud(tmp_path, base=tiny_base(), port=port)
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(CourseError, match="não consigo escrever nesta pasta"):
            local_cloud(folder, base=tiny_base())
    assert dict(os.environ) == before
