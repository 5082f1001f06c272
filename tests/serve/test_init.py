"""`serving` and `afina serve`: the child process, what it says when it cannot start, and how it ends."""

import os
import signal
import socket
import subprocess
import sys
import time

import openai
import psutil
import pytest
from cloud_base import tiny_base

import afina.serve
from afina.chat import checkpoint
from afina.errors import CourseError
from afina.runtime import course_root
from afina.serve import serving

MODELS = course_root() / "models"


def test_errors_of_the_start_come_back_as_they_are(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CourseError, match="não consegui abrir a porta"):
            serving(MODELS / "llama-base", port=port, feedback=tmp_path / "f.sqlite")
    with pytest.raises(CourseError, match="batch é 0"):
        serving(MODELS / "llama-base", batch=0)
    for threads in (0, -5):
        with pytest.raises(CourseError, match=f"threads é {threads}"):
            serving(MODELS / "llama-base", threads=threads)


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_the_terminal_command_serves_with_your_key_until_ctrl_c(tmp_path):
    command = [sys.executable, "-m", "afina.cli", "serve", str(tiny_base()), "--port", "0"]
    command += ["--feedback", str(tmp_path / "f.sqlite")]
    environment = os.environ | {"AFINA_API_KEY": "minha-chave"}
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    lines = [running.stdout.readline() for _ in range(4)]
    assert lines[1].startswith("Página: http://127.0.0.1:") and "#key=minha-chave" in lines[1] and "Ctrl+C" in lines[3]
    url = lines[1].split()[1].split("/#")[0]
    ours = openai.OpenAI(base_url=f"{url}/v1", api_key="minha-chave", max_retries=0)
    assert ours.models.list().data[0].id == tiny_base().name
    (child,) = psutil.Process(running.pid).children()
    running.send_signal(signal.SIGINT)
    assert running.wait(30) == 0 and "Encerrado" in running.stdout.read()
    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_the_terminal_command_says_that_its_server_was_killed(tmp_path):
    command = [sys.executable, "-m", "afina.cli", "serve", str(tiny_base()), "--port", "0"]
    command += ["--feedback", str(tmp_path / "f.sqlite")]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for _ in range(4):
        running.stdout.readline()
    (child,) = psutil.Process(running.pid).children()
    child.kill()
    assert "o servidor terminou sozinho (código -9" in running.communicate(timeout=30)[1] and running.returncode == 2


def until(what, seconds=20.0):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def test_a_server_ends_with_a_parent_that_is_killed(tmp_path):
    code = (
        "import time; from afina.serve import serving\n"
        f"server = serving({str(tiny_base())!r}, feedback={str(tmp_path / 'f.sqlite')!r}, show=False)\n"
        "print(server.process.pid, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
    parent.stdout.close()


def test_old_names_lead_to_the_new_place():
    assert afina.serve.load_checkpoint is checkpoint.load_checkpoint
    assert afina.serve.save_chat_gpt is checkpoint.save_chat_gpt
    with pytest.raises(AttributeError):
        afina.serve.nothing  # noqa: B018
