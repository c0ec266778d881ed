"""Kill trainings on shards at random steps, resume them, and compare the weights with those of the folder.

Example: python benchmarks/shard_kills.py --kills 20

The reference is a training on the folder of images. Each other training reads shards, decodes on demand, is
ended by SIGKILL at a random step, right after a checkpoint, and resumed in a new process.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from excite.api import train
from excite.data.reading import read_manifest
from excite.data.shards import write_shards

OPTIONS = {
    "model": "densenet_bc_40_12",
    "model_options": {"block_config": [1, 1], "growth_rate": 4, "init_channels": 4},
    "image_size": 16,
    "batch_size": 8,
    "near_duplicates": False,
    "device": "cpu",
    "epochs": 3,
    "quiet": True,
}
KILLED = """
import os, signal, sys
from excite.api import train
from excite.training.loop import Trainer

original, left = Trainer.train_step, [int(sys.argv[3])]

def step(self):
    if left[0] == 0:
        self.save()
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1
    original(self)

Trainer.train_step = step
train(sys.argv[1], out=sys.argv[2], pixel_cache="off", **eval(sys.argv[4]))
"""


def make_folder(folder: Path) -> None:
    random = np.random.default_rng(0)
    for number in range(60):
        place = folder / "abc"[number % 3]
        place.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 120, (20, 24, 3), dtype=np.uint8)
        pixels[:, :, number % 3] += np.uint8(90)
        Image.fromarray(pixels).save(place / f"{number}.png")


def weights(run: Path) -> str:
    return hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=20)
    options = parser.parse_args()
    equal = 0
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        os.environ["EXCITE_CACHE"] = str(work / "cache")
        make_folder(work / "folder")
        write_shards(read_manifest(work / "folder"), work / "shards", shard_bytes=20_000)
        expected = weights(train(work / "folder", out=str(work / "whole"), **OPTIONS).path)
        steps = np.random.default_rng(0).integers(1, 15, options.kills)
        for number, step in enumerate(steps.tolist()):
            out = work / f"killed-{number}"
            call = [sys.executable, "-c", KILLED, str(work / "shards"), str(out), str(step), repr(OPTIONS)]
            done = subprocess.run(call, capture_output=True, text=True, check=False)
            if done.returncode != -signal.SIGKILL:
                raise SystemExit(f"was not killed at step {step}: {done.stderr}")
            resumed = [sys.executable, "-m", "excite", "--quiet", "train", "--resume", "--out", str(out)]
            subprocess.run(resumed, check=True, stdout=subprocess.DEVNULL)
            equal += weights(out) == expected
            print(f"killed at step {step}: {equal} of {number + 1} bit-equal", flush=True)


if __name__ == "__main__":
    main()
