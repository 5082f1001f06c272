"""Check cells: those of "Sua vez" in a lesson (`check`, which never raises) and those of a graded task (`expect`, which does)."""

import math
from collections.abc import Callable
from json import dumps, loads  # bound now: a student's cell may replace what `json` holds
from typing import Any

BLANK = "ainda em branco: complete a célula de resposta, rode-a, e rode esta de novo"
MAX_SHOWN = 200  # characters of a value in a message


def check(answer: object, test: Callable[[object], bool | str]) -> None:
    """Judge an exercise's answer and print the verdict in Portuguese.

    `test(answer)` returns True, or a sentence that explains the mistake. An `answer` of None or ... means "not done yet".
    A test that stops inside the student's own function is reported as what it is, with the exception's name and text.
    """
    if answer is None or answer is ...:
        print("✎ Ainda em branco: complete a célula acima e rode as duas de novo.")
        return
    try:
        verdict = test(answer)
        right = not isinstance(verdict, str) and bool(verdict)  # NumPy's and torch's True count, too
    except Exception as error:
        verdict, right = f"seu código parou com {type(error).__name__}: {error}", False
    if right:
        print("✔ Isso mesmo!")
    else:
        print(f"✘ Ainda não: {verdict or 'confira a conta e tente de novo'}.")


class NotYet(AssertionError):
    """An answer of a graded task that is not right; the text is Portuguese and shown as it is."""

    def _render_traceback_(self) -> list[str]:
        return [f"✘ {self}"]  # what IPython shows: a student needs the sentence, not our stack


def expect(found: object, wanted: object, what: str, *, tolerance: float = 1e-4) -> None:
    """One visible example of a graded task: print `✔ what`, or raise NotYet with what was expected and what was found.

    `wanted` is a value, or a function from `found` to True or to a sentence that explains the mistake. The comparison is
    `difference`, so an object with magic operators persuades nobody.
    """
    problem = difference(found, wanted, tolerance)
    if problem:
        raise NotYet(f"{what}: {problem}.")
    print(f"✔ {what}")


def difference(found: object, wanted: object, tolerance: float = 1e-4) -> str:
    """How `found` differs from `wanted`, as a Portuguese phrase; empty when it does not.

    Numbers are compared within `tolerance` (relative or absolute); lists, tuples, arrays and tensors element by element.
    """
    if found is None or found is ...:
        return BLANK if wanted is not None else ""
    if callable(wanted):
        try:
            verdict = wanted(found)
        except Exception as error:
            verdict = f"não deu para conferir {shown(found)}: {type(error).__name__}: {error}"
        return "" if verdict is True else str(verdict or f"{shown(found)} não serve")
    one, other = plain(found), plain(wanted)
    if _same(one, other, tolerance):
        return ""
    if isinstance(one, list) and isinstance(other, list):
        if len(one) != len(other):
            return f"esperava {len(other)} itens, encontrei {len(one)}: {shown(one)} em vez de {shown(other)}"
        where = next(i for i, pair in enumerate(zip(one, other, strict=True)) if not _same(*pair, tolerance))
        if len(one) > 1:
            return f"no item {where}, esperava {shown(other[where])}, encontrei {shown(one[where])}"
    return f"esperava {shown(other)}, encontrei {shown(one)}"


def plain(value: Any) -> Any:
    """`value` as str, bytes, int, float, bool, None, list and dict only; anything else becomes the name of its type.

    The types are compared exactly: a subclass may carry an `__eq__` of its own.
    """
    if type(value).__name__ in ("Tensor", "ndarray", "Parameter", "Series", "Index") and hasattr(value, "tolist"):
        value = (value.detach() if hasattr(value, "detach") else value).tolist()
    kind = type(value)
    if kind in (str, bytes, int, float, bool, type(None)):
        return value
    if kind in (list, tuple):
        return [plain(item) for item in value]
    if kind in (set, frozenset):
        return sorted((plain(item) for item in value), key=repr)
    if kind is dict:
        return {plain(key) if type(key) is not tuple else key: plain(item) for key, item in value.items()}
    if hasattr(value, "item") and type(value).__module__.split(".")[0] == "numpy":
        return value.item()
    return f"<{kind.__name__}>"


def _same(one: Any, other: Any, tolerance: float) -> bool:
    if type(one) in (int, float) and type(other) in (int, float):
        both_nan = one != one and other != other
        return both_nan or one == other or math.isclose(one, other, rel_tol=tolerance, abs_tol=tolerance)
    if type(one) is not type(other):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all(_same(a, b, tolerance) for a, b in zip(one, other, strict=True))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key], tolerance) for key in one)
    return one == other


def shown(value: object) -> str:
    """A value in a message: its repr, cut in the middle when it is long."""
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN // 2]} … {text[-MAX_SHOWN // 2 :]}"


PROBE_MIME = "application/x-afina-probe"


def probe(code: str, inputs: str, namespace: dict) -> None:
    """In a student's kernel: run the grader's `code` on `inputs` (JSON) and publish what came out, for it to judge outside.

    `code` is an expression, or statements that set `output`; see `workshop.tasks`. No expected value ever comes here.
    """
    from IPython.display import display

    names = namespace | {"inputs": loads(inputs)}
    try:
        try:
            expression = compile(code, "<caso escondido>", "eval")
        except SyntaxError:
            exec(code, names)
            found = names["output"]
        else:
            found = eval(expression, names)
        answer = {"found": plain(found)}
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"[:500]}
    display({PROBE_MIME: dumps(answer)}, raw=True)
