"""The picture of the chat page in lesson 17, taken of the real page in headless Chromium.

python tests/chat_picture.py            # after lesson 17 has run: serves build/17_atendente_v1, writes docs/chat_page.png
"""

import sys
import tempfile
from pathlib import Path

from browser import browser
from PIL import Image

from afina.runtime import course_root
from afina.serve import serving
from afina.serve.improve import ASKED, make_exam

SIZE = (820, 960)  # CSS pixels


def main() -> int:
    root = course_root()
    exam, picture = make_exam(8), root / "docs" / "chat_page.png"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        base = root / "models" / "llama-base"
        checkpoint = root / "build" / "17_atendente_v1"
        with (
            serving(checkpoint, base=base, feedback=folder / "feedback.sqlite", show=False) as server,
            browser(folder, *SIZE) as page,
        ):
            page.call(
                "Emulation.setDeviceMetricsOverride", width=SIZE[0], height=SIZE[1], deviceScaleFactor=1, mobile=False
            )
            page.open(server.page)
            for count, kind in enumerate(("marca", ASKED), 1):
                page.run("document.querySelector('#question').focus()")
                page.type(exam[kind][1][0])
                page.press("Enter")
                page.wait(
                    f"document.querySelectorAll('.actions:not([hidden]) .fix').length >= {count} && document.querySelector('#stop').hidden"
                )
            page.run("document.querySelectorAll('[data-rating=up]')[0].click()")
            page.run("[...document.querySelectorAll('[data-rating=down]')].at(-1).click()")
            page.run("[...document.querySelectorAll('.fix')].at(-1).click()")
            page.wait("document.querySelector('.correction:not([hidden]) textarea') !== null")
            page.run("document.querySelector('.correction:not([hidden]) textarea').select()")
            page.type(exam[ASKED][1][1])
            page.run("document.querySelector('main').scrollTo(0, 99999)")
            page.screenshot(folder / "page.png")
        image = Image.open(folder / "page.png").convert("RGB")
        image.quantize(48, dither=Image.Dither.NONE).save(picture, optimize=True)
    print(f"{picture}: {picture.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
