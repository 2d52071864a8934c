"""The bar over several runs, on a terminal and elsewhere."""

import io

from rich.console import Console

from initwatch.outlets.progress import ProgressBar


def printed(shown, terminal):
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=80, highlight=False)
    with ProgressBar(6, shown, console) as bar:
        bar.begin("he_normal, seed [0]", 3)
        bar.step()
        bar.note("a run failed")
        bar._progress.refresh()
    return file.getvalue()


def test_run_and_steps_stand_on_the_terminal():
    text = printed(shown=True, terminal=True)
    assert "he_normal, seed [0]" in text
    assert "4/6" in text
    assert "initwatch: a run failed" in text


def test_a_file_gets_lines_only():
    assert printed(shown=True, terminal=False) == "initwatch: a run failed\n"


def test_silence():
    assert printed(shown=False, terminal=True) == printed(shown=False, terminal=False) == ""
