"""The ONNX file behind BentoML: ``bentoml serve bentoml_service:Classifier``, with SERVICE_FILE,
SERVICE_THREADS, and SERVICE_WORKERS in the environment; 0 threads: the default of ONNX Runtime.

Runs in an environment with bentoml, onnxruntime, and Pillow.
"""

import os

import bentoml
import numpy as np
import onnxruntime
from PIL import Image

WORKERS = int(os.environ["SERVICE_WORKERS"])


@bentoml.service(workers=WORKERS)
class Classifier:
    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(os.environ["SERVICE_THREADS"])
        self.session = onnxruntime.InferenceSession(os.environ["SERVICE_FILE"], options)
        self.side = self.session.get_inputs()[0].shape[1]

    @bentoml.api
    def predict(self, image: Image.Image) -> list[float]:
        image = image.convert("RGB")
        side = min(image.size)
        left, top = (image.width - side) / 2, (image.height - side) / 2
        box = (left, top, left + side, top + side)
        pixels = np.asarray(image.resize((self.side, self.side), Image.Resampling.BILINEAR, box=box))
        return self.session.run(["probabilities"], {"pixels": pixels[None]})[0][0].tolist()
