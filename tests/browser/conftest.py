"""A log, a browser, and a page in which nothing may go wrong."""

import contextlib
import subprocess

import pytest

from tests.browser.fits import python


@pytest.fixture(scope="session")
def logs(tmp_path_factory):
    """Two runs: weights that are too small, and He's."""
    folder = tmp_path_factory.mktemp("logs")
    code = f"""
fit({str(folder / "before")!r}, keras.initializers.RandomNormal(stddev=0.05))
fit({str(folder / "after")!r}, keras.initializers.HeNormal())
"""
    subprocess.run(python(code), check=True, timeout=120)
    return folder


@pytest.fixture(scope="session")
def chromium():
    serving = pytest.importorskip("tests.browser.serving", exc_type=ImportError)
    with contextlib.ExitStack() as stack:
        try:
            started = stack.enter_context(serving.browser())
        except LookupError as error:
            pytest.skip(str(error))
        yield started


@pytest.fixture
def page(chromium):
    """A page in which nothing may go wrong: no error on the console, no violation of the CSP."""
    context = chromium.new_context(viewport={"width": 1500, "height": 1000})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    wrong = []

    def hear(message):
        # a page opened outside TensorBoard's own has no icon, which the browser asks for by itself
        if message.type == "error" and not message.location["url"].endswith("/favicon.ico"):
            wrong.append(f"{message.text} {message.location['url']}")

    page.on("console", hear)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("response", lambda r: r.status >= 400 and wrong.append(f"{r.status} {r.url}"))
    yield page
    context.close()
    assert wrong == []
