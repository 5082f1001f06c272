"""Near-duplicates: products that say almost the same, found without comparing every pair (`afina prep --near-duplicates`).

Near is a Jaccard similarity of their runs of three words (shared over all). MinHash (Broder, 1997) estimates it with a standard error
of sqrt(J (1 - J) / PERMUTATIONS), 0.035 at 0.8; LSH compares only sketches that agree on a whole band (github.com/beowolx/rensa).
"""

from collections.abc import Sequence

from rensa import RMinHash, RMinHashDeduplicator

from afina.errors import require

PERMUTATIONS = 128  # a sketch of 512 bytes
BANDS = (4, 8, 16, 32, 64)
RECALL = 0.9  # of pairs exactly at the threshold; those above it are found more often
RUN = 3
_SEED = 2026


def sketches(texts: Sequence[str]) -> list[RMinHash]:
    """The sketch of each text. Pickles of about 0.7 KB; equal for equal sets of runs, on every machine."""
    return RMinHash.from_token_sets([runs(text) for text in texts], PERMUTATIONS, _SEED)


def runs(text: str) -> list[str]:
    """Every run of three words of a cleaned text, whatever its case, commas and periods; a shorter text is one run."""
    words = text.casefold().replace(",", " ").replace(".", " ").split()
    if len(words) <= RUN:
        return [" ".join(words) or text]
    return [" ".join(run) for run in zip(words, words[1:], words[2:], strict=False)]


def bands(threshold: float) -> int:
    """The fewest bands that find a pair at the threshold with probability RECALL: 1 - (1 - J^r)^bands, r numbers a band."""
    return next(b for b in BANDS if 1 - (1 - threshold ** (PERMUTATIONS // b)) ** b >= RECALL)


class NearDuplicates:
    """The sketches kept so far. About 2 KB of memory each at a threshold of 0.8 (benchmarks/results/data_scale.json)."""

    def __init__(self, threshold: float):
        remedy = "Use de 0.5 (metade dos trechos em comum) a 1 (todos); 0.8 é um bom começo."
        problem = f"{threshold:g} não serve como limiar de quase iguais."
        require(0.5 <= threshold <= 1, problem, remedy, "near_duplicates")
        self._kept = RMinHashDeduplicator(threshold, PERMUTATIONS, True, bands(threshold), _SEED)
        self._asked = 0

    def repeats(self, sketch: RMinHash) -> bool:
        """Does it come near one that was kept before it? If not, it is kept from now on."""
        self._asked += 1
        return not self._kept.add(str(self._asked), sketch)
