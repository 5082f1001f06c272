"""Moved to `workshop/colab.py`; a lesson that somebody saved on Colab calls it here, for one release."""

import runpy
from pathlib import Path

if __name__ == "__main__":
    runpy.run_path(str(Path(__file__).resolve().parents[1] / "workshop" / "colab.py"), run_name="__main__")
