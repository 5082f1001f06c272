"""The words that the course's made-up texts are built from."""

import json
from pathlib import Path

LEXICON = json.loads(Path(__file__).with_name("lexicon.json").read_text(encoding="utf-8"))
SENTIMENTS = ("positivo", "negativo", "neutro")
