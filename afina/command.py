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
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, get_args, get_type_hints

from afina.errors import CourseError
from afina.runtime import course_root

Verb = Callable[..., int]
GROUPS = {
    "jobs": "o que os jobs criaram e quanto custa (list); apaga na ordem certa (clean)",
    "feedback": "as opiniões da página: mostra (list), e exporta para treino (export)",
}

# The names that a package goes by when it is missing, and the extra that brings it.
EXTRAS = {
    "train": (
        *("torch", "transformers", "tokenizers", "safetensors", "peft", "trl", "datasets", "accelerate"),
        *("bitsandbytes", "gguf", "sacrebleu", "yaml"),
    ),
    "cloud": ("openai", "boto3", "botocore", "moto", "flask", "flask_cors", "werkzeug"),
    "serve": ("starlette", "uvicorn"),
    "cluster": ("ray", "daft"),
    "gpu": ("unsloth", "unsloth_zoo", "triton"),
}  # fmt: skip
# What only the repository's own environment has: `afina course` and `afina grade` ask for it.
REPOSITORY = ("workshop", "nbformat", "nbclient", "nbconvert", "jupytext", "rich", "jinja2", "psutil")


class argument:
    """The help of a positional argument, and how the usage line calls it."""

    def __init__(self, text: str, metavar: str, *names: str):
        self.text, self.metavar, self.names = text, metavar, names


class option(argument):
    """The help of an option, its name where the parameter's own would not do, and how its value is called."""

    def __init__(self, text: str, *names: str, metavar: str = ""):
        super().__init__(text, metavar, *names)


# typer's own words, in help and in errors: (pattern, ours)
_HELP = (
    (r"^Usage: ", "uso: "), (r"\[OPTIONS\]", "[opções]"), (r"^Arguments:", "Argumentos:"), (r"^Options:", "Opções:"),
    (r"\[default:", "[padrão:"), (r"\[required\]", "[obrigatório]"), (r"Show this message and exit\.?", "mostra esta ajuda"),
    (r"\{([^{}|]+)\}", r"\1"), (r" <[^<>\n]*>", ""), (r"; required\]", "; obrigatório]"),
)  # fmt: skip
_WRONG = (
    (r"Missing argument '?\[?([^'\]]+?)(?:\.\.\.)?'?\..*", r"falta \1."),
    (r"Missing option '([^']+)'\..*", r"falta a opção \1."),
    (r"No such option:? '?([^'\s]+)'?\.?", r"não conheço a opção \1."),
    (r"\(Possible options: ([^)]*)\)", r"Parecidas: \1."), (r"Did you mean:? ([^?]*)\?", r"Seria \1?"),
    (r"Got unexpected extra arguments? ?\(s?\)? ?\(([^)]*)\)", r"há argumentos a mais: \1."),
    (r"Got unexpected extra arguments? \(([^)]*)\)", r"há argumentos a mais: \1."),
    (r"Option '([^']+)' requires an argument\.?", r"a opção \1 pede um valor."),
    (r"Option '([^']+)' does not take a value\.?", r"a opção \1 não leva valor."),
    (r"Invalid value for '([^']+)':", r"\1:"),
    (r"Input should be a valid integer.*|'?[^']*'? is not a valid integer.*", "esperava um número inteiro."),
    (r"Input should be a valid number.*|'?[^']*'? is not a valid float.*", "esperava um número, com ponto: 0.8."),
    (r"(?:Value error, )?[Ii]nput should be (.+)|Value error, use (.+)", r"use \1\2."),
    (r"(?:Value error, )?'[^']*' is not one of (.+)", r"use \1"),
    (r"(?<=') or (?=')", " ou "),
)  # fmt: skip


def _in_portuguese(text: str, words: tuple[tuple[str, str], ...]) -> str:
    for pattern, ours in words:
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


def _first_line(verb: Verb | dict[str, Verb], name: str) -> str:
    return GROUPS[name] if isinstance(verb, dict) else (verb.__doc__ or "").strip().splitlines()[0]


def verb_list(verbs: Mapping[str, Verb | dict[str, Verb]], prog: str) -> str:
    lines = [f"  {name:<10} {_first_line(verb, name)}" for name, verb in verbs.items()]
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
        print(_in_portuguese(shown.getvalue(), _HELP).rstrip())
        return 0
    if any("\0" in word for word in argv):  # no shell can type it, and every part of the system refuses it otherwise
        raise CourseError("há um caractere nulo em um dos argumentos.", "Confira os nomes.", prog)
    try:
        call = command.main(argv, prog_name=prog, standalone_mode=False)
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        raise CourseError(_in_portuguese(error.format_message(), _WRONG), f"Veja `{prog} --help`.") from error
    return call()  # out of typer's hands, which has its own way with Ctrl+C and closed pipes


def workshop(module: str):
    """A module of the workshop, which lives in the repository only. CourseError where there is none."""
    if importlib.util.find_spec("workshop") is None and (course_root() / "workshop").is_dir():
        sys.path.insert(0, str(course_root()))
    try:
        return importlib.import_module(f"workshop.{module}")
    except ModuleNotFoundError as error:
        if error.name != "workshop":
            raise
        raise CourseError(
            "este comando vive no repositório do curso, não no pacote instalado.",
            "Clone o repositório e rode-o de dentro dele, depois de `make setup`.",
            where=f"afina {module}",
        ) from None


def need(verb: str, *modules: str) -> None:
    """CourseError naming the extra where a verb that works in a child process would find a package missing there."""
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise missing(module, f"afina {verb}")


def missing(module: str, where: str = "") -> CourseError:
    """The one sentence for a package that is not installed: which extra brings it."""
    top = module.partition(".")[0]
    extra = next((name for name, modules in EXTRAS.items() if top in modules), "")
    if top in REPOSITORY:
        return CourseError(
            f"falta o pacote {top}.", "Este comando pede o ambiente do curso: rode `make setup` no repositório.", where
        )
    remedy = f'Instale com: pip install "afina[{extra}]"' if extra else f"Instale com: pip install {top}"
    return CourseError(f"falta o pacote {top}.", f"{remedy} (no repositório, `make setup` instala tudo).", where)


def _refused(error: OSError) -> str:
    """What the system said, with the file it said it of."""
    reasons = {
        errno.ENOENT: "não existe.", errno.EACCES: "sem permissão.", errno.EPERM: "sem permissão.",
        errno.EISDIR: "é uma pasta, e esperava um arquivo.", errno.ENOTDIR: "esperava uma pasta, e há um arquivo no caminho.",
        errno.ENOSPC: "o disco está cheio.", errno.ENAMETOOLONG: "o nome é longo demais.", errno.EROFS: "o disco é só para leitura.",
        errno.EEXIST: "já existe.", errno.EMFILE: "há arquivos abertos demais.", errno.EADDRINUSE: "a porta está ocupada.",
    }  # fmt: skip
    place = f"{error.filename}: " if error.filename else ""
    return f"{place}{reasons.get(error.errno or 0, f'o sistema recusou ({error.strerror or error}).')}"


def told(error: Exception) -> str:
    """One sentence for whatever stopped a verb."""
    if isinstance(error, CourseError):
        return str(error)
    if isinstance(error, ImportError) and not (error.name or "").startswith("afina"):
        return str(missing(error.name)) if error.name else f"um pacote não carrega: {error}. Rode `afina doctor`."
    if isinstance(error, OSError):
        return _refused(error)
    if isinstance(error, UnicodeError):
        return f"um arquivo não está em UTF-8 ({error.__class__.__name__}: {error}). Regrave-o em UTF-8."
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(frame.filename).name}:{frame.lineno}"
    said = str(error).strip().splitlines()
    return (
        f"algo que não previmos ({error.__class__.__name__} em {place}{': ' + said[0][:200] if said else ''}). "
        "Rode de novo com AFINA_DEBUG=1 e cole o que sair em uma issue, com `afina doctor`."
    )
