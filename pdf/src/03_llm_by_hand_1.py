"""Figures of deck 03: the charts of lessons 04 and 05, drawn by their own cells from what they measured."""

import pandas as pd

from afina.gpt.loader import Windows
from workshop.slides import cell_picture, flatter, numbers, said


def languages():
    """Lesson 04, part 11: tokens a word of two tokenizers in four kinds of text."""
    kinds = ["prosa (pt)", "resenhas (pt)", "mensagens (pt)", "descrições (en)"]
    rows = [numbers(said("04", "^" + kind.replace("(", r"\(").replace(")", r"\)") + r"(.*)$")[0]) for kind in kinds]
    names = ["treinado em inglês", "treinado em português"]
    table = pd.DataFrame([row[:2] for row in rows], kinds, names)
    return cell_picture("04", "O mesmo texto, quantos tokens?", table=table, ratio=table[names[0]] / table[names[1]])


def waste():
    """Lesson 05, part 6: the share of the positions that is padding, by the way of making batches."""
    ways = ("até o contexto", "até a maior do lote", "lotes por tamanho", "empacotado")
    shares = {way: float(said("05", rf"^{way} +\d+ posições, (\S+)% de preenchimento")[0]) / 100 for way in ways}
    return cell_picture("05", "Quanto do cálculo é preenchimento", waste=shares)


PICTURES = {
    "languages": languages,
    "windows": lambda: flatter(cell_picture("05", "As mesmas 33 posições", Windows=Windows), 2.7),
    "waste": waste,
}
