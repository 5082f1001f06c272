"""Train, validation or test, decided by the title alone: no random state, no memory of other rows.

The same title never sits in two splits, adding rows never moves old ones, and every engine and machine agrees.
"""

from bisect import bisect
from collections.abc import Iterable, Sequence
from itertools import accumulate

import xxhash

from afina.errors import require

SPLITS = ("train", "validation", "test")
SHARES = (0.90, 0.05, 0.05)


def assign_splits(titles: Iterable[str], shares: Sequence[float] = SHARES) -> list[str]:
    """The split of each cleaned title: its place on the ring of 64-bit hashes (XXH3 of the casefolded text).

    `shares` are those of train, validation and test; CourseError if they are not three parts of one.
    """
    bad = len(shares) != len(SPLITS) or min(shares) < 0 or abs(sum(shares) - 1) > 1e-9
    problem = f"as partes {', '.join(f'{share:g}' for share in shares)} não servem."
    remedy = "Dê três números não negativos que somem 1: treino, validação e teste, como 0.90, 0.05, 0.05."
    require(not bad, problem, remedy, "divisão")
    # The last bound is the ring's end: whatever rounding leaves over belongs to the last split.
    bounds = [round(total * 2**64) for total in accumulate(shares)][:-1]
    digest = xxhash.xxh3_64_intdigest
    return [SPLITS[bisect(bounds, digest(title.casefold().encode()))] for title in titles]
