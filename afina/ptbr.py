"""Numbers and plurals as Brazilians write and read them: the one place that swaps points and commas."""

import math

from afina.errors import CourseError

_SWAP = str.maketrans(",.", ".,")


def number(value: float, digits: int = 0) -> str:
    """1234567.891 -> "1.234.568", or with two digits "1.234.567,89"."""
    return f"{value:,.{digits}f}".translate(_SWAP)


def decimal(value: float, digits: int = 2) -> str:
    """0.8312 -> "0,83": for tables and figures, without a thousands point."""
    return f"{value:.{digits}f}".translate(_SWAP)


def general(value: float) -> str:
    """As short as `%g` writes it: 0.5 -> "0,5", 8.0 -> "8"."""
    return f"{value:g}".translate(_SWAP)


def percent(part: float, digits: int = 1) -> str:
    """A share as a percentage: 0.8312 -> "83,1 %"."""
    return f"{decimal(100 * part, digits)} %"


def dollars(value: float) -> str:
    """US$ in the Brazilian way: two decimals, four where two would show nothing."""
    digits = 2 if value >= 0.1 or value == 0 else 4
    return f"US$ {number(value, digits)}"


def plural(count: float, one: str, many: str = "") -> str:
    """plural(1, "linha") -> "1 linha"; plural(3000, "linha") -> "3.000 linhas"; irregular words give `many`."""
    return f"{number(count)} {one if count == 1 else many or one + 's'}"


def parse(text: str) -> float:
    """What a Brazilian types as a number: "0,67", "1.234,5", "83 %" (0.83) and also "0.67". CourseError for anything else."""
    cleaned = text.strip().replace(" ", "").replace("\u00a0", "")
    scale = 0.01 if cleaned.endswith("%") else 1.0
    cleaned = cleaned.removesuffix("%").removeprefix("R$").removeprefix("US$")
    whole, comma, rest = cleaned.rpartition(",")
    if comma:  # the last comma is the decimal one; points before it group thousands
        cleaned = f"{whole.replace('.', '')}.{rest}"
    elif cleaned.count(".") > 1:
        cleaned = cleaned.replace(".", "")
    try:
        value = float(cleaned) * scale
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise CourseError(f'"{text}" não é um número.', 'Escreva, por exemplo, "0,67" ou "1.234,5".', where="número")
    return value
