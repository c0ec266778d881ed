"""The ONNX file behind LitServe: ``python litserve_service.py FILE PORT THREADS WORKERS``.

0 threads: the default of ONNX Runtime.

Runs in an environment with litserve, onnxruntime, and Pillow.
"""

import io
import sys

import litserve
import numpy as np
import onnxruntime
from PIL import Image

FILE, PORT, THREADS, WORKERS = sys.argv[1], *map(int, sys.argv[2:])


class Classifier(litserve.LitAPI):
    def setup(self, device):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = THREADS
        self.session = onnxruntime.InferenceSession(FILE, options)
        self.side = self.session.get_inputs()[0].shape[1]

    def decode_request(self, request):
        image = Image.open(io.BytesIO(request["image"].file.read())).convert("RGB")
        side = min(image.size)
        left, top = (image.width - side) / 2, (image.height - side) / 2
        box = (left, top, left + side, top + side)
        return np.asarray(image.resize((self.side, self.side), Image.Resampling.BILINEAR, box=box))

    def predict(self, pixels):
        return self.session.run(["probabilities"], {"pixels": pixels[None]})[0]

    def encode_response(self, output):
        return {"probabilities": output[0].tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(Classifier(), accelerator="cpu", workers_per_device=WORKERS)
    server.run(port=PORT, host="127.0.0.1", generate_client_file=False, log_level="error")
