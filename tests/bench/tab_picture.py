"""The README's pictures of the tab: the quickstart's two runs, in a real TensorBoard.

    python -m tests.bench.tab_picture [LOG_DIR]

LOG_DIR holds what ``examples/quickstart.py`` wrote; without it the quickstart runs first.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.browser.serving import browser, drawn, open_tab, tensorboard

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "examples" / "pictures"
SIZE = {"width": 1440, "height": 1064}


def main(log_dir=None):
    with tempfile.TemporaryDirectory() as folder:
        if log_dir is None:
            log_dir = folder
            script = ROOT / "examples" / "quickstart.py"
            subprocess.run([sys.executable, str(script), log_dir], check=True)
        with tensorboard(Path(log_dir).absolute()) as address, browser() as chromium:
            for name, dark, act in (
                ("tab.png", False, compare),
                ("tab_dark.png", True, first_finding),
            ):
                page = chromium.new_page(viewport=SIZE)
                frame = open_tab(page, address, dark=dark)
                act(frame)
                drawn(frame)
                page.screenshot(path=PICTURES / name)
                print(PICTURES / name)
                page.close()


def compare(frame):
    """Both runs side by side."""
    frame.select_option("#compare", "after/initwatch")


def first_finding(frame):
    """The sick run, with the card of the first layer that was found."""
    frame.locator(".finding-head").first.click()
    frame.locator("main").evaluate("() => scrollTo(0, 0)")


if __name__ == "__main__":
    main(*sys.argv[1:2])
