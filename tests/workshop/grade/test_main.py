"""`afina grade` from its arguments to its exit code."""

import nbformat
import pytest
from grade_base import submission

import workshop.grade
import workshop.grade.__main__ as program
from afina.errors import CourseError
from workshop.grade import main
from workshop.grade.room import WEAK, Isolation


def test_a_machine_that_cannot_isolate_says_so_once_in_one_line(task, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(program, "isolation", lambda: Isolation(sentence=WEAK.format("sem permissão")))
    monkeypatch.setattr(program, "tasks", lambda wanted=None: [task])
    (tmp_path / "in").mkdir()
    nbformat.write(submission(task), str(tmp_path / "in" / "ana.ipynb"))
    assert main([str(tmp_path / "in"), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr()
    assert said.err.count("aviso: esta máquina não deixa isolar os kernels (sem permissão)") == 1
    assert "5 de 5  ana: tudo certo" in said.out


def test_a_file_that_is_no_notebook_makes_the_command_say_so(task, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(program, "isolation", Isolation)
    monkeypatch.setattr(program, "tasks", lambda wanted=None: [task])
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "ana.pdf").touch()
    assert main([str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--jobs", "1"]) == 1
    assert "  –       ana: ana.pdf: não é um notebook." in capsys.readouterr().out
    assert (tmp_path / "out" / "notas.csv").exists()


def test_without_tasks_there_is_nothing_to_grade(tmp_path, monkeypatch):
    monkeypatch.setattr(program, "tasks", lambda wanted=None: [])
    with pytest.raises(CourseError, match="não há tarefas aqui"):
        main([str(tmp_path), "--out", str(tmp_path)])


def test_the_package_gives_what_others_ask_of_it_and_nothing_else():
    for names in workshop.grade._HOMES.values():
        assert all(getattr(workshop.grade, name).__module__.startswith("workshop.grade.") for name in names)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = workshop.grade.nothing
