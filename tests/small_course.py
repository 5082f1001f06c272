"""Lessons of a few lines, for the tests of what runs and makes lessons."""

from pathlib import Path

from workshop import notebooks

PASSES = """\
# %% [markdown]
# # 00 · Passa
#
# Uma promessa.

# %% id="answer"
print(6 * 7)

# %%
from IPython.display import display

display({"image/png": "iVBORw0KGgo=", "text/plain": "x"}, metadata={"image/png": {"alt": 'um "ponto"'}}, raw=True)

# %% [markdown]
# [próxima](01_fails.ipynb)
"""
FAILS = """\
# %% [markdown]
# # 01 · Falha
#
# Outra promessa.

# %%
x = 1

# %% id="boom"
# a comment, then the line that matters
open("nada.json")
"""
DIES = "# %% [markdown]\n# # 02 · Morre\n\n# %%\nimport os\n\nos._exit(1)\n"
MEETS = """\
# %% [markdown]
# # 03 · Encontra

# %%
import os
import pathlib
import time

pathlib.Path("../{mine}").write_text(str(os.getpid()))
print(os.environ["OMP_NUM_THREADS"])
limit = time.monotonic() + 60
while not pathlib.Path("../{other}").exists():
    assert time.monotonic() < limit
    time.sleep(0.1)
"""


def add_lesson(root: Path, name: str, text: str) -> None:
    source = root / "notebooks" / "src" / f"{name}.py"
    source.write_text(text, encoding="utf-8")
    notebooks.write_notebook(notebooks.build(source, None), root / "notebooks" / f"{name}.ipynb")
