"""From a function's signature to a command line, by typer; and from whatever goes wrong to one sentence in Portuguese.

A verb's parameters say their help in `Annotated[type, argument("…", "NOME")]` or `Annotated[type, option("…")]`.
"""

import contextlib
import errno
import functools
import importlib
import importlib.util
import inspect
import io
import re
import sys
import tomllib
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, get_args, get_type_hints

from afina.errors import CourseError
from afina.runtime import course_root

Verb = Callable[..., int | None]  # the exit code; None is 0
_WORDS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


class argument:
    """The help of a positional argument, and how the usage line calls it."""

    def __init__(self, text: str, metavar: str, *names: str):
        self.text, self.metavar, self.names = text, metavar, names


class option(argument):
    """The help of an option, its name where the parameter's own would not do, and how its value is called."""

    def __init__(self, text: str, *names: str, metavar: str = ""):
        super().__init__(text, metavar, *names)


def _in_portuguese(text: str, kind: str) -> str:
    for pattern, ours in _WORDS["typer"][kind]:
        text = re.sub(pattern, ours, text, flags=re.MULTILINE)
    return text


def _typed(verb: Verb) -> Verb:
    """What typer calls: the verb's signature with typer's own marks, made from ours. It gives back the call, for us to make."""
    import typer

    hints = get_type_hints(verb, include_extras=True)
    parameters = []
    for name, parameter in inspect.signature(verb).parameters.items():
        kind, said = get_args(hints[name])
        shown = {"help": said.text} | ({"metavar": said.metavar} if said.metavar else {})
        names = said.names or (f"--{name.replace('_', '-')}",)
        mark = typer.Option(*names, **shown) if isinstance(said, option) else typer.Argument(**shown)
        parameters.append(parameter.replace(annotation=Annotated[kind, mark]))

    @functools.wraps(verb)
    def command(**values):
        return functools.partial(verb, **values)

    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    command.__doc__ = "\b\n" + inspect.cleandoc(verb.__doc__ or "").replace("\n\n", "\n\n\b\n")
    return command


def verb_list(verbs: Mapping[str, Verb | dict[str, Verb]], prog: str) -> str:
    said = {name: _WORDS["groups"].get(name) or (verb.__doc__ or "").strip() for name, verb in verbs.items()}
    lines = [f"  {name:<10} {text.splitlines()[0]}" for name, text in said.items()]
    head = f"uso: {prog} COMANDO [opções]   ({prog} COMANDO --help explica cada um, com um exemplo)"
    return "\n".join([head, "", *lines])


def run_verb(verb: Verb, prog: str, argv: list[str]) -> int:
    """Read the command line by the verb's signature and run it; help and complaints in Portuguese."""
    import typer

    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(_typed(verb))
    command = typer.main.get_command(app)
    if {"-h", "--help"} & set(argv):
        with contextlib.redirect_stdout(io.StringIO()) as shown:
            command.main(["--help"], prog_name=prog, standalone_mode=False)
        print(_in_portuguese(shown.getvalue(), "help").rstrip())
        return 0
    if any("\0" in word for word in argv):  # no shell can type it, and every part of the system refuses it otherwise
        raise CourseError("há um caractere nulo em um dos argumentos.", "Confira os nomes.", prog)
    try:
        call = command.main(argv, prog_name=prog, standalone_mode=False)
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        raise CourseError(_in_portuguese(error.format_message(), "wrong"), f"Veja `{prog} --help`.") from error
    if isinstance(call, int):  # typer's way of telling an interruption
        raise KeyboardInterrupt
    return call() or 0  # out of typer's hands, which has its own way with Ctrl+C and closed pipes


def workshop(module: str):
    """A module of the workshop, which lives in the repository only. CourseError where there is none."""
    if importlib.util.find_spec("workshop") is None and (course_root() / "workshop").is_dir():
        sys.path.insert(0, str(course_root()))
    try:
        return importlib.import_module(f"workshop.{module}")
    except ModuleNotFoundError as error:
        if error.name != "workshop":
            raise
        problem = "este comando vive no repositório do curso, não no pacote instalado."
        remedy = "Clone o repositório e rode-o de dentro dele, depois de `make setup`."
        raise CourseError(problem, remedy, f"afina {module}") from None


def need(verb: str, *modules: str) -> None:
    """CourseError naming the extra where a verb that works in a child process would find a package missing there."""
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise missing(module, f"afina {verb}")


def missing(module: str, where: str = "") -> CourseError:
    """The one sentence for a package that is not installed: which extra brings it."""
    top = module.partition(".")[0]
    extra = next((name for name, modules in _WORDS["extras"].items() if top in modules), "")
    name = f'"afina[{extra}]"' if extra else top
    remedy = f"Instale com: pip install {name} (no repositório, `make setup` instala tudo)."
    if extra == "repository":
        remedy = "Este comando pede o ambiente do curso: rode `make setup` no repositório."
    return CourseError(f"falta o pacote {top}.", remedy, where)


def told(error: Exception) -> str:
    """One sentence for whatever stopped a verb."""
    if isinstance(error, CourseError):
        return str(error)
    if isinstance(error, ImportError) and not (error.name or "").startswith("afina"):
        return str(missing(error.name)) if error.name else f"um pacote não carrega: {error}. Rode `afina doctor`."
    if isinstance(error, OSError):
        reason = _WORDS["system"].get(errno.errorcode.get(error.errno or 0, ""))
        place = (
            re.sub(r"\.afina-[^/\\.]*\.", "", f"{error.filename}: ") if error.filename else ""
        )  # without our names aside
        return place + (reason or f"o sistema recusou ({error.strerror or error}).")
    if isinstance(error, UnicodeError):
        return f"um arquivo não está em UTF-8 ({error.__class__.__name__}: {error}). Regrave-o em UTF-8."
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(frame.filename).name}:{frame.lineno}"
    said = str(error).strip().splitlines()
    return (
        f"algo que não previmos ({error.__class__.__name__} em {place}{': ' + said[0][:200] if said else ''}). "
        "Rode de novo com AFINA_DEBUG=1 e cole o que sair em uma issue, com `afina doctor`."
    )
