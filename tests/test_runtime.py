"""The ground floor: what the runtime decides, what the guard refuses, what the doctor tells."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from afina import runtime
from afina.errors import CourseError, NetworkBlocked
from afina.runtime import Runtime, course_root, progress, read_split
from workshop.notebooks import lesson_environment


@pytest.fixture
def fresh(monkeypatch):
    """A Runtime that looks again, on a pretended machine."""
    runtime._look.cache_clear()
    for name in ("AFINA_PROFILE", "COLAB_RELEASE_TAG", "CI"):
        monkeypatch.delenv(name, raising=False)
    yield monkeypatch
    runtime._look.cache_clear()


def pretend_gpu(monkeypatch, capability):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Tesla T4")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)


def test_without_a_gpu_it_is_fp32_on_cpu(fresh):
    here = Runtime.here(show=False)
    assert (here.place, here.device, here.precision, here.profile) == ("laptop", "cpu", "fp32", "cpu")
    assert here.pick(cpu="small", gpu="large") == "small"


@pytest.mark.parametrize(
    ("capability", "precision"), [((7, 5), "fp16"), ((8, 0), "bf16"), ((9, 0), "bf16"), ((6, 1), "fp16")]
)
def test_bf16_only_from_capability_8(fresh, capability, precision):
    pretend_gpu(fresh, capability)
    here = Runtime.here(show=False)
    assert (here.device, here.precision, here.profile) == ("cuda", precision, "gpu")
    assert here.pick(cpu="small", gpu="large") == "large"


def test_the_profile_dial_overrides_a_gpu(fresh):
    pretend_gpu(fresh, (8, 0))
    fresh.setenv("AFINA_PROFILE", "cpu")
    here = Runtime.here(show=False)
    assert (here.device, here.precision, here.profile) == ("cpu", "fp32", "cpu")


@pytest.mark.parametrize(("value", "text"), [("gpu", "não há GPU"), ("tpu", '"tpu" não existe')])
def test_an_impossible_profile_is_one_clear_error(fresh, value, text):
    fresh.setattr(torch.cuda, "is_available", lambda: False)
    fresh.setenv("AFINA_PROFILE", value)
    with pytest.raises(CourseError, match=text):
        Runtime.here(show=False)


@pytest.mark.parametrize(("variable", "place"), [("COLAB_RELEASE_TAG", "colab"), ("CI", "ci")])
def test_it_knows_where_it_is(fresh, variable, place, capsys):
    fresh.setenv(variable, "1")
    assert Runtime.here().place == place
    block = capsys.readouterr().out
    assert all(word in block for word in ("Onde", "Dispositivo", "Perfil", "Semente", "Versões"))


def test_seeding_repeats_every_generator():
    import random

    import numpy as np

    here = Runtime.here(show=False)

    def draw():
        return random.random(), np.random.rand(), torch.rand(1).item()

    here.seed_everything()
    first = draw()
    assert draw() != first
    here.seed_everything()
    assert draw() == first


def test_a_lesson_is_seeded_and_a_function_that_only_looks_leaves_the_draws_alone():
    Runtime.here()
    first = torch.rand(3)
    Runtime.here(show=False)
    assert not torch.equal(torch.rand(3), first)
    Runtime.here()
    assert torch.equal(torch.rand(3), first)


# --- paths -----------------------------------------------------------------------------------------------------------


def test_the_nearest_course_folder_wins(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "clubes.json").write_text("[]", encoding="utf-8")
    (tmp_path / "notebooks" / "deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "notebooks" / "deep")
    assert course_root() == tmp_path


def test_paths_are_short_and_the_same_on_every_machine(monkeypatch):
    monkeypatch.chdir(course_root() / "notebooks")
    here = Runtime.here(show=False)
    assert here.data == Path("../data")
    assert (here.data / "clubes.json").is_file()
    assert here.build == Path("../build")


# --- the guard -------------------------------------------------------------------------------------------------------

OUTSIDE = "192.0.2.1"  # TEST-NET-1 of RFC 5737: nobody lives there


@pytest.mark.parametrize(
    "reach",
    [
        lambda: socket.create_connection((OUTSIDE, 80), timeout=1),
        lambda: socket.socket().connect_ex((OUTSIDE, 80)),
        lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", (OUTSIDE, 80)),
        lambda: socket.getaddrinfo("example.org", 443),
        lambda: socket.gethostbyname("example.org"),
        lambda: __import__("urllib.request").request.urlopen("http://example.org", timeout=1),
    ],
)
def test_the_guard_names_what_it_refuses(reach):
    with pytest.raises(OSError, match=r"192\.0\.2\.1:80|example\.org"):
        reach()


@pytest.mark.parametrize("address", ["127.0.0.1", "localhost"])
def test_the_guard_lets_loopback_through(address):
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection((address, server.getsockname()[1])) as client,
    ):
        server.accept()[0].close()
        assert client.recv(1) == b""


@pytest.mark.parametrize(
    ("host", "here"), [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("any", False)]
)
def test_who_can_reach_a_server(host, here):
    assert runtime.is_loopback(host) == here


@pytest.mark.parametrize("host", ["::1", "127.9.9.9", "::ffff:127.0.0.1", b"localhost", None, "", "0.0.0.0"])
def test_the_guard_lets_pass_what_stays_here(host):
    runtime._audit("socket.gethostbyname", (host,))


@pytest.mark.parametrize(
    "host", ["10.0.0.1", "8.8.8.8", "::ffff:8.8.8.8", "localhost.evil.org", "127.0.0.1.evil.org", "fe80::1%eth0"]
)
def test_what_does_not(host):
    with pytest.raises(NetworkBlocked):
        runtime._audit("socket.gethostbyname", (host,))


def test_the_guard_is_armed_in_a_kernel_before_its_first_cell():
    """What a notebook kernel inherits: the same environment, no import of afina."""
    code = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=1)"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | lesson_environment()
    )
    assert run.returncode != 0
    assert "192.0.2.1:80" in run.stderr


def test_blocked_network_is_both_a_course_error_and_an_os_error():
    error = NetworkBlocked("a", "b", "c")
    assert isinstance(error, CourseError)
    assert isinstance(error, OSError)
    assert str(error) == "c: a b"


# --- progress and doctor ---------------------------------------------------------------------------------------------


def test_progress_is_silent_under_test_and_visible_to_people(capfd, monkeypatch):
    assert list(progress(range(3))) == [0, 1, 2]
    assert capfd.readouterr() == ("", "")
    monkeypatch.delenv("AFINA_PROGRESS")
    list(progress(range(3), desc="lendo"))
    assert "lendo" in capfd.readouterr().err


def test_the_command_line_obeys_the_guard(tmp_path):
    environment = {**os.environ, "AFINA_OFFLINE": "1", "PYTHONPATH": ""}
    command = [sys.executable, "-m", "afina.cli", "download", "--folder", str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=environment, timeout=60)
    assert run.returncode == 2
    assert "a rede está desligada de propósito" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_split_is_read_whole_and_alone():
    rows = read_split("reviews", "validation", "")
    assert rows and {row["split"] for row in rows} == {"validation"} and all(row["text"] for row in rows)


def test_another_split_is_refused_with_the_file_and_the_remedy():
    with pytest.raises(CourseError, match=r'data/messages.jsonl.gz: não há divisão "teste". São train e test.'):
        read_split("messages", "teste", "São train e test.")
