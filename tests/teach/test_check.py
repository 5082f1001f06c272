"""The check cells of a lesson, and what a task's examples compare."""

import numpy as np
import pytest
import torch

from afina.teach.check import check


@pytest.mark.parametrize(
    ("answer", "printed"),
    [
        (..., "Ainda em branco"),
        (None, "Ainda em branco"),
        (4, "Isso mesmo"),
        (np.float64(4), "Isso mesmo"),
        (np.float64(5), "Ainda não: era 4"),
        (torch.tensor(4), "Isso mesmo"),
        (5, "Ainda não: era 4"),
        ("x", "parou com TypeError"),
    ],
)
def test_check_explains(answer, printed, capsys):
    check(answer, lambda n: n + 0 == 4 or "era 4")
    assert printed in capsys.readouterr().out
