"""Check cells of "Sua vez": right, not yet, or an explanation of what went wrong; never an exception in the student's face."""

from __future__ import annotations

from collections.abc import Callable


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
