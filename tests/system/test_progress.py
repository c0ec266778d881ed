"""Progress: lines on standard error, a bar on a terminal, and nothing on standard output."""

from __future__ import annotations

import dataclasses
import io
import re
import time

import pytest
from rich.console import Console

from excite.system import progress
from excite.system.progress import ConsoleDisplay, Display, Status, clock

STATUS = Status(
    epoch=2,
    epochs=20,
    step=5,
    steps=40,
    loss=0.4321,
    accuracy=0.875,
    images_per_second=123.4,
    seconds_left=83.0,
)
ROW = {
    **{
        "epoch": 3,
        "train_loss": 0.5,
        "train_accuracy": 0.75,
        "val_loss": 0.25,
        "val_accuracy": 0.9,
        "lr": 0.1,
    },
    **{"images_per_second": 99.6, "seconds": 61.0},
}


def everything(display: Display) -> None:
    display.note("begin")
    display.detail("a reason")
    display.fact("data", "3 images")
    show = display.stage("decoding")
    show(1, 2)
    show(2, 2)
    with display.waiting("thinking"):
        pass
    display.status(STATUS)
    display.epoch(ROW, best=True)
    display.close()


def test_without_a_terminal_each_message_is_one_plain_line_on_standard_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    everything(ConsoleDisplay())
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "begin",
        "data      3 images",
        "epoch 2/20 step 5/40  loss 0.432  accuracy 87.5%  1:23 left",
        "epoch   train loss  accuracy  validation loss  accuracy  images/s     time",
        "    3        0.500     75.0%            0.250     90.0%       100     1:01 best",
    ]
    assert "\x1b" not in err


def test_verbose_adds_reasons_and_durations(capsys: pytest.CaptureFixture[str]) -> None:
    everything(ConsoleDisplay(verbose=True))
    lines = capsys.readouterr().err.splitlines()
    assert "          a reason" in lines
    assert any(line.strip().startswith("decoding: 2 in ") for line in lines)


def test_the_header_of_the_epochs_stands_above_its_columns_and_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    display = ConsoleDisplay()
    for row in (ROW, ROW | {"epoch": 100, "images_per_second": 12345.0, "seconds": 36000.0}):
        display.epoch(row, best=True)
    header, first, last = capsys.readouterr().err.splitlines()
    for column, cell in [("train loss", "0.500"), ("images/s", "100"), ("time", "1:01")]:
        end = header.index(column) + len(column)
        assert first[:end].endswith(cell)
    assert last.split() == ["100", "0.500", "75.0%", "0.250", "90.0%", "12345", "10:00:00", "best"]
    assert max(map(len, (header, first, last))) <= 80


@pytest.mark.parametrize("terminal", [True, False])
def test_a_wait_of_over_a_second_is_named_while_it_lasts(
    monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    monkeypatch.setattr(progress, "NAMED_AFTER", 0.01)
    screen = io.StringIO()
    display = ConsoleDisplay(Console(file=screen, force_terminal=terminal, width=80))
    with display.waiting("compiling kernels"):
        deadline = time.monotonic() + 10
        while "compiling kernels" not in screen.getvalue():
            assert time.monotonic() < deadline
            time.sleep(0.01)
    display.note("end")
    assert screen.getvalue().endswith("end\n")


def test_a_short_wait_leaves_no_line_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with ConsoleDisplay().waiting("loading"):
        pass
    assert capsys.readouterr().err == ""


def test_on_a_terminal_of_80_columns_nothing_wraps() -> None:
    screen = io.StringIO()
    display = ConsoleDisplay(Console(file=screen, force_terminal=True, width=80, color_system=None))
    display.fact("data", "word " * 40)
    display.status(dataclasses.replace(STATUS, epoch=100, epochs=100, seconds_left=36000.0))
    display.epoch(ROW, best=True)
    display.close()
    display._draw("comparing weights on corrupted images", 0.6, "12,345 of 20,000")
    display.close()
    lines = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line) for line in re.split(r"[\r\n]", screen.getvalue())]
    assert max(map(len, lines)) <= 80
    assert sum(line.count("word") for line in lines) == 40
    assert any(line.startswith("          word") for line in lines)
    assert any("10:00:00 left" in line for line in lines)
    assert any("12,345 of 20,000" in line for line in lines)


def test_there_is_no_forecast_before_there_can_be_one(capsys: pytest.CaptureFixture[str]) -> None:
    ConsoleDisplay().status(dataclasses.replace(STATUS, seconds_left=None, images_per_second=None))
    assert "left" not in capsys.readouterr().err


def test_quiet_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    everything(Display())
    assert not Display().due()
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_the_bar_disappears_after_closing() -> None:
    screen = io.StringIO()
    display = ConsoleDisplay(Console(file=screen, force_terminal=True, width=200, highlight=False))
    display.status(STATUS)
    assert "\x1b[?25l" in screen.getvalue()  # the cursor is hidden while the bar is drawn
    display.epoch(ROW, best=False)
    display.close()
    display.close()  # twice is as good as once
    text = screen.getvalue()
    assert "epoch 2/20" in text
    assert text.count("0.250     90.0%") == 1
    assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l")  # and shown again


def test_notes_are_printed_literally_on_one_line() -> None:
    """File names may hold what the terminal library takes for markup or an emoji."""
    screen = io.StringIO()
    note = "a [b]/:warning:/[/b] " + "x" * 300
    ConsoleDisplay(Console(file=screen, width=40)).note(note)
    assert screen.getvalue() == note + "\n"


def test_on_a_terminal_a_note_is_broken_between_words_and_a_path_is_not() -> None:
    screen = io.StringIO()
    display = ConsoleDisplay(Console(file=screen, width=40, force_terminal=True, color_system=None))
    note = "the metrics are optimistic; the first image is photos/val/ants/10308379_1b6c72e180.jpg in val"
    display.note(note)
    lines = screen.getvalue().splitlines()
    assert " ".join(lines) == note
    assert [len(line) <= 40 for line in lines if "/" not in line] == [True] * (len(lines) - 1)
    screen.truncate(screen.seek(0))
    path = "runs/photos of the second hospital/with a long name"
    display.unbroken("run", path)
    assert screen.getvalue() == f"run       {path}\n"


@pytest.mark.parametrize(("terminal", "wait"), [(True, progress.REFRESH), (False, progress.PLAIN_REFRESH)])
def test_a_status_is_printed_after_enough_time(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, wait: float
) -> None:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    console = Console(file=io.StringIO(), force_terminal=terminal, width=200)
    display = ConsoleDisplay(console)
    for show in (lambda: display.status(STATUS), lambda: display.epoch(ROW, best=False)):
        now[0] += wait * 0.9
        assert not display.due()
        now[0] += wait * 0.2
        assert display.due()
        show()
        assert not display.due()
    display.close()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00"),
        (0.4, "0:00"),
        (9, "0:09"),
        (59.7, "1:00"),
        (83, "1:23"),
        (3599, "59:59"),
        (3599.6, "1:00:00"),
    ],
)
def test_the_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text
    assert clock(3723) == "1:02:03"
    assert clock(36 * 3600) == "36:00:00"


def test_a_stage_foretells_how_long_it_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Items that were done before, by another process, do not count for the pace."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    show = ConsoleDisplay().stage("checking images")
    now[0] = 100.1
    show(401, 1000)
    now[0] = 200.0
    show(500, 1000)
    assert capsys.readouterr().err == "checking images: 500 of 1,000, 8:20 left ...\n"
