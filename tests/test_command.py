"""From a signature to a command line: what a verb declares is what typer reads, and each kind of error has its sentence."""

from typing import Annotated

import pytest

from afina import command
from afina.command import argument, option
from afina.errors import CourseError

CALLS = []


def sample(
    names: Annotated[list[str], argument("os nomes", "NOME")],
    size: Annotated[float, option("o tamanho", metavar="S")],
    most: Annotated[int, option("quantos", "--max", metavar="N")] = 3,
    loud: Annotated[bool, option("em voz alta")] = False,
) -> int:
    """conta os nomes

    Exemplo: afina sample ana --size 1
    """
    CALLS.append((names, size, most, loud))
    return 1


def test_values_arrive_with_their_types_and_the_exit_code_comes_back():
    assert command.run_verb(sample, "afina sample", ["ana", "bia", "--size", "1.5", "--max", "2", "--loud"]) == 1
    assert CALLS.pop() == (["ana", "bia"], 1.5, 2, True)


def test_the_help_shows_what_the_signature_says(capsys):
    assert command.run_verb(sample, "afina sample", ["--help"]) == 0
    shown = capsys.readouterr().out
    for word in (
        "uso: afina sample [opções] NOME...",
        "os nomes",
        "--size S",
        "--max N",
        "[padrão: 3]",
        "Exemplo: afina sample ana",
    ):
        assert word in shown
    assert CALLS == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, BrokenPipeError, SystemExit, ZeroDivisionError])
def test_what_a_verb_raises_comes_through_as_it_is(error):
    def broken() -> int:
        """quebra"""
        raise error

    with pytest.raises(error):
        command.run_verb(broken, "afina broken", [])


def test_need_asks_for_what_a_child_process_would_miss():
    command.need("serve", "json")
    with pytest.raises(CourseError, match=r"afina serve: falta o pacote no_such_thing"):
        command.need("serve", "json", "no_such_thing")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ModuleNotFoundError("No module named 'torch'", name="torch"), "afina[train]"),
        (ModuleNotFoundError("No module named 'starlette.x'", name="starlette.x"), "afina[serve]"),
        (ModuleNotFoundError("No module named 'moto'", name="moto"), "afina[cloud]"),
        (ModuleNotFoundError("No module named 'daft'", name="daft"), "afina[cluster]"),
        (ModuleNotFoundError("No module named 'unsloth'", name="unsloth"), "afina[gpu]"),
        (ModuleNotFoundError("No module named 'nbformat'", name="nbformat"), "make setup"),
        (ModuleNotFoundError("No module named 'afina.data.x'", name="afina.data.x"), "não previmos"),
        (OSError(28, "No space left on device", "/x/y"), "/x/y: o disco está cheio"),
        (PermissionError(13, "Permission denied", "/x"), "/x: sem permissão"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"), "UTF-8"),
        (CourseError("falta a vírgula.", "Ponha-a.", "x"), "x: falta a vírgula. Ponha-a."),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_each_kind_of_error_has_its_sentence(error, said):
    try:
        raise error
    except Exception as caught:
        assert said in command.told(caught)
