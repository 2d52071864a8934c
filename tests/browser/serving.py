"""A real TensorBoard and a real browser, for the tests, the measurements and the pictures."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from playwright.sync_api import Error, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
QUIET = "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update"
START = 60.0  # seconds within which TensorBoard answers


@contextlib.contextmanager
def tensorboard(log_dir, *options):
    """A TensorBoard of this Python on a free port; gives its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(log_dir)]
    command += ["--host", "127.0.0.1", "--port", str(port), *options]
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    # from another folder than the repository's: the installed package is what TensorBoard finds
    process = subprocess.Popen(
        command, cwd=Path(log_dir), env=quiet, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(process, f"{address}/data/plugins_listing")
        yield address
    finally:
        process.terminate()
        process.wait(10)


def _wait_for(process, address):
    end = time.monotonic() + START
    while True:
        try:
            with urllib.request.urlopen(address, timeout=5):  # noqa: S310
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"TensorBoard did not start within {START:.0f} s") from None
            time.sleep(0.2)


@contextlib.contextmanager
def browser():
    """A headless Chromium: the system's, else playwright's own.

    Raises:
        LookupError: if there is none.
    """
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    with sync_playwright() as play:
        try:
            launched = play.chromium.launch(executable_path=found, args=QUIET.split())
        except Error as error:
            raise LookupError(
                f"no browser: none of {', '.join(NAMES)} is on the PATH, and playwright has none "
                f"of its own ({str(error).splitlines()[0]}). Install chromium."
            ) from error
        try:
            yield launched
        finally:
            launched.close()


def open_tab(page, address, *, dark=False):
    """Opens the initwatch tab; gives its frame once everything is drawn."""
    page.goto(f"{address}/?darkMode={'true' if dark else 'false'}#initwatch")
    page.frame_locator("iframe[src*='name=initwatch']").locator("main").wait_for(timeout=30_000)
    (frame,) = [frame for frame in page.frames if "name=initwatch" in frame.url]
    drawn(frame)
    return frame


def drawn(frame):
    """Waits until all that was asked for is there and drawn."""
    frame.locator("main[data-state=ready]").wait_for(timeout=30_000)
