"""Progress: lines on standard error, a bar on a terminal, and nothing on standard output."""

from __future__ import annotations

import io

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
    show = display.stage("decoding")
    show(1, 2)
    show(2, 2)
    display.status(STATUS)
    display.epoch(ROW, best=True)
    display.close()


def test_without_a_terminal_each_message_is_one_plain_line_on_standard_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    everything(ConsoleDisplay())
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert lines == [
        "begin",
        lines[1],
        "epoch 2/20 step 5/40  loss 0.432  accuracy 87.5%  123 images/s  1:23 left",
        "epoch   3  train loss 0.500 accuracy 75.0%  validation loss 0.250 accuracy 90.0%  "
        "100 images/s  1:01  best",
    ]
    assert lines[1].startswith("decoding: 2 in ")
    assert "\x1b" not in err


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
    assert text.count("validation loss 0.250") == 1
    assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l")  # and shown again


def test_notes_are_printed_literally_on_one_line() -> None:
    """File names may hold what the terminal library takes for markup or an emoji."""
    screen = io.StringIO()
    note = "a [b]/:warning:/[/b] " + "x" * 300
    ConsoleDisplay(Console(file=screen, width=40)).note(note)
    assert screen.getvalue() == note + "\n"


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
