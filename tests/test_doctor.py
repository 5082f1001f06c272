"""The doctor tells no names, and nothing that is broken stops it."""

import re
import subprocess
import sys

from afina import doctor
from afina.ptbr import parse


def test_the_doctor_tells_no_names_and_no_secrets(monkeypatch, tmp_path):
    home = tmp_path / "home" / "mariana.souza"
    (home / "curso" / "data").mkdir(parents=True)
    (home / "curso" / "data" / "clubes.json").write_text("[]", encoding="utf-8")
    monkeypatch.chdir(home / "curso")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-proj-segredo")
    monkeypatch.setattr(doctor.getpass, "getuser", lambda: "mariana.souza")
    monkeypatch.setattr(doctor.platform, "node", lambda: "note-da-mari")
    report = doctor.text()
    for secret in ("mariana", "segredo", "note-da-mari"):
        assert secret not in report
    for fact in ("torch 2.13", "Perfil", "Python", "~"):
        assert fact in report


def test_a_machine_that_knows_nothing_still_gets_a_report(monkeypatch):
    def unknown(*_, **__):
        raise KeyError("uid not found")

    monkeypatch.setattr(doctor.getpass, "getuser", unknown)
    monkeypatch.setattr(doctor.Path, "home", unknown)
    for name in ("free_memory", "course_root", "build_folder", "commit"):
        monkeypatch.setattr(doctor, name, unknown)
    monkeypatch.setattr(doctor, "here", unknown)
    report = doctor.text()
    assert report.count("não deu para saber") == 6
    assert "Python" in report and "Pacotes" in report


def test_memory_is_a_plausible_number():
    free, whole = (parse(number) for number in re.findall(r"\d+,\d", doctor.free_memory())[-2:])
    assert 0 < free <= whole < 100_000


def test_it_needs_the_standard_library_only():
    code = "import sys; sys.path = [p for p in sys.path if 'site-packages' not in p]; from afina.doctor import text; print(text())"
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0 and "torch ausente" in done.stdout, done.stderr
