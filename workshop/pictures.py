"""The diagrams: `workshop/diagrams/NAME.svg`, edited by hand, becomes what `afina.teach.figures` shows in a lesson.

    python -m workshop.pictures            # afina/teach/diagrams/NAME.png and alt.json, from the SVG
    python -m workshop.pictures --check    # fail if one of them is not its source

A lesson shows a PNG because every reader of a notebook does: JupyterLab hides an SVG until the notebook is trusted, and GitHub drops
it now and then. Slides and documents take the SVG itself. Its `<desc>` is the alternative text, wherever the diagram is shown; its
letters are real text, in the font that the slides bring (DejaVu Sans). typst draws the PNG, so no browser and no font of the
system has a say, and the same source gives the same bytes.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib
import typst

from afina.runtime import course_root
from afina.teach.figures import WIDTH, few_colours
from afina.whole import write

FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"  # DejaVu Sans, the letters of the figures
COLOURS, DENSITY = 24, 1.125  # flat areas need few; pixels for each of CSS: lesson 01 shows ten and stays under 300 kB


def diagrams(root: Path) -> dict[str, Path]:
    """{name: its SVG}, in order."""
    return {path.stem: path for path in sorted((root / "workshop" / "diagrams").glob("*.svg"))}


def alt(svg: Path) -> str:
    """The description that the drawing carries. ValueError where it has none."""
    found = ElementTree.parse(svg).findtext("{http://www.w3.org/2000/svg}desc")
    if not found:
        raise ValueError(f"{svg.name}: say in <desc> what a person who cannot see it needs to know")
    return found


def png(svg: Path) -> bytes:
    """The drawing as a lesson shows it."""
    page = f'#set page(width: {WIDTH}in, height: auto, margin: 0pt)\n#image("{svg.name}", width: 100%)'
    world: dict[str, Any] = {"root": svg.parent, "font_paths": [FONTS], "ignore_system_fonts": True}
    return few_colours(typst.compile(page.encode(), format="png", ppi=96 * DENSITY, **world), COLOURS)


def made(root: Path) -> dict[Path, bytes]:
    """{path: content} of all that is made from the drawings."""
    folder, drawn = root / "afina" / "teach" / "diagrams", diagrams(root)
    alts = json.dumps({name: alt(svg) for name, svg in drawn.items()}, ensure_ascii=False, indent=2) + "\n"
    return {folder / "alt.json": alts.encode(), **{folder / f"{name}.png": png(svg) for name, svg in drawn.items()}}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m workshop.pictures", description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only compare the pictures with their sources")
    args = parser.parse_args(argv)
    stale = [(path, new) for path, new in made(course_root()).items() if not path.exists() or path.read_bytes() != new]
    for path, new in stale:
        print(f"{path.name}: {'differs from its source: run `python -m workshop.pictures`' if args.check else 'drawn'}")
        if not args.check:
            write(path, new)
    return 1 if stale and args.check else 0


if __name__ == "__main__":
    sys.exit(main())
