"""A checkpoint is read back bit for bit or refused, whatever happened to the disk or the process."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from excite.errors import ExciteError
from excite.models.weights import save_tensors
from excite.system import files
from excite.training.checkpoint import LAST, PREVIOUS, load_checkpoint, save_checkpoint

DTYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.bool),
    *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
]


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        one[name].dtype == other[name].dtype and torch.equal(one[name], other[name]) for name in one
    )


def tensors_of(number: int) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(number)
    return {"weights": torch.randn(3, 4, generator=random), "step": torch.tensor(float(number))}


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def save_two(folder: Path) -> None:
    for number in (1, 2):
        save_checkpoint(folder, tensors_of(number), {"epoch": number})


def damage(path: Path, place: int = -1) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_tensors_of_every_kind_come_back_bit_for_bit(tmp_path: Path) -> None:
    tensors = {str(dtype): torch.arange(-3, 9).to(dtype).reshape(3, 4) for dtype in DTYPES}
    tensors |= {
        "number": torch.tensor(1.5),
        "empty": torch.empty(0, 3),
        "channels last": torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
        "transposed": torch.randn(4, 6).T,
        "parameter": torch.nn.Parameter(torch.randn(5)),
        "special": torch.tensor([torch.inf, -torch.inf, -0.0]),
    }
    facts = {"epoch": 3, "history": [{"loss": 0.1 + 0.2}], "name": "größer", "none": None}
    save_checkpoint(tmp_path, tensors, facts)
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None
    assert same(loaded[0], {name: tensor.detach() for name, tensor in tensors.items()})
    assert loaded[1] == facts


def test_without_a_checkpoint_there_is_none(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path) is None
    assert load_checkpoint(tmp_path / "nowhere") is None


def test_the_last_two_are_kept_and_nothing_else(tmp_path: Path) -> None:
    for number in range(4):
        save_checkpoint(tmp_path / "checkpoints", tensors_of(number), {"epoch": number})
    assert names_in(tmp_path / "checkpoints") == [LAST, PREVIOUS]
    loaded = load_checkpoint(tmp_path / "checkpoints")
    assert loaded is not None
    assert loaded[1] == {"epoch": 3}
    assert same(loaded[0], tensors_of(3))


def test_a_changed_bit_anywhere_is_noticed_and_the_one_before_is_taken(tmp_path: Path) -> None:
    save_two(tmp_path)
    sound = (tmp_path / LAST).read_bytes()
    for place in range(len(sound)):  # header, hash, facts and tensors
        damage(tmp_path / LAST, place)
        with pytest.warns(UserWarning, match=r"last.safetensors: damaged checkpoint skipped"):
            loaded = load_checkpoint(tmp_path)
        assert loaded is not None
        assert loaded[1] == {"epoch": 1}
        assert same(loaded[0], tensors_of(1))
        (tmp_path / LAST).write_bytes(sound)


@pytest.mark.parametrize("length", [0, 7, 100, -1])
def test_a_truncated_checkpoint_is_skipped(tmp_path: Path, length: int) -> None:
    save_two(tmp_path)
    (tmp_path / LAST).write_bytes((tmp_path / LAST).read_bytes()[:length])
    with pytest.warns(UserWarning, match="checkpoint skipped"):
        loaded = load_checkpoint(tmp_path)
    assert loaded is not None
    assert loaded[1] == {"epoch": 1}


def test_a_file_that_is_no_checkpoint_is_skipped(tmp_path: Path) -> None:
    save_two(tmp_path)
    save_tensors(tmp_path / LAST, tensors_of(5))  # sound safetensors without facts
    with pytest.warns(UserWarning, match="checkpoint skipped"):
        loaded = load_checkpoint(tmp_path)
    assert loaded is not None
    assert loaded[1] == {"epoch": 1}


def test_two_damaged_checkpoints_are_an_error(tmp_path: Path) -> None:
    save_two(tmp_path)
    damage(tmp_path / LAST)
    damage(tmp_path / PREVIOUS)
    with (
        pytest.warns(UserWarning, match="checkpoint skipped"),
        pytest.raises(ExciteError, match=r"every checkpoint is damaged .*--resume"),
    ):
        load_checkpoint(tmp_path)


def test_a_crash_between_the_two_renames_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_two(tmp_path)
    rename = Path.replace
    calls = itertools.count()

    def crash(self: Path, target: Path) -> Path:
        if next(calls) == 2:  # the temporary file's own, last to previous, and then
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(tmp_path, tensors_of(3), {"epoch": 3})
    monkeypatch.undo()
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None
    assert loaded[1] == {"epoch": 2}
    save_checkpoint(tmp_path, tensors_of(4), {"epoch": 4})
    assert names_in(tmp_path) == [LAST, PREVIOUS]


def test_a_full_disk_leaves_the_checkpoints_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_two(tmp_path)

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(ExciteError, match="no space left on device"):
        save_checkpoint(tmp_path, tensors_of(3), {"epoch": 3})
    monkeypatch.undo()
    assert names_in(tmp_path) == [LAST, PREVIOUS]
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None
    assert loaded[1] == {"epoch": 2}


@pytest.mark.slow
def test_kill_9_at_any_moment_leaves_a_sound_checkpoint(tmp_path: Path) -> None:
    """And what the killed process left behind goes with the next save."""
    code = (
        "import itertools, pathlib, sys, torch\n"
        "from excite.training.checkpoint import save_checkpoint\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "for number in itertools.count(int(sys.argv[2])):\n"
        "    save_checkpoint(folder, {'x': torch.full((200_000,), float(number))}, {'number': number})\n"
        "    print(number, flush=True)\n"
    )
    last = 0
    for rest in (0.003, 0.011, 0.019):
        command = [sys.executable, "-c", code, tmp_path, str(last)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(rest)  # not for anything: the kill comes at some moment of a later save
            process.send_signal(signal.SIGKILL)
            told = [int(line) for line in process.stdout.read().split() if line.isdigit()]
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # neither file is damaged
            loaded = load_checkpoint(tmp_path)
        assert loaded is not None
        number = loaded[1]["number"]
        assert (loaded[0]["x"] == number).all()
        assert number >= max([*told, last]) - 1  # at most the save in progress is lost
        last = number + 1
    for number in (100, 101):
        save_checkpoint(tmp_path, tensors_of(number), {})
    assert names_in(tmp_path) == [LAST, PREVIOUS]


def test_a_killed_writers_leftover_goes_with_the_next_save(tmp_path: Path) -> None:
    (tmp_path / f".next-{LAST}.0123abc.tmp").write_bytes(b"half")
    save_two(tmp_path)
    assert names_in(tmp_path) == [LAST, PREVIOUS]


def test_saved_weights_are_plain_safetensors(tmp_path: Path) -> None:
    tensors = tensors_of(1)
    save_tensors(tmp_path / "model.safetensors", tensors, {"classes": "3"})
    assert same(load_file(tmp_path / "model.safetensors"), tensors)
