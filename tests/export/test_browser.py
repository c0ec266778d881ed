"""The page of examples/browser in a real browser: the probabilities of the test vectors, and of a photo.

Takes onnxruntime-web, which npm installs: EXCITE_ORT_WEB names its folder ``dist``.
"""

from __future__ import annotations

import base64
import os
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from excite.bundle.predictor import Predictor
from excite.export.export import export_run
from excite.runs.run import Run

ORT = os.environ.get("EXCITE_ORT_WEB")
PAGE = Path(__file__).parents[2] / "examples" / "browser" / "index.html"
FILES = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
OF_PIXELS = "async data => Array.from(await probabilities(Uint8Array.from(atob(data), c => c.charCodeAt(0))))"
OF_FILE = """async data => {
  const bytes = Uint8Array.from(atob(data), c => c.charCodeAt(0));
  return Array.from(pixels(await createImageBitmap(new Blob([bytes]), { colorSpaceConversion: 'none' })));
}"""


class Handler(SimpleHTTPRequestHandler):
    extensions_map = {**SimpleHTTPRequestHandler.extensions_map, ".mjs": "text/javascript"}  # noqa: RUF012

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def site(run: Run, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of the page, and its model."""
    if ORT is None:
        pytest.skip("EXCITE_ORT_WEB names no folder with onnxruntime-web")
    (tmp_path / "ort").mkdir()
    for name in FILES:
        shutil.copyfile(Path(ORT) / name, tmp_path / "ort" / name)
    shutil.copyfile(PAGE, tmp_path / "index.html")
    [exported] = export_run(run, ["onnx"], tmp_path / "photos.onnx")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", exported.path
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.slow
def test_the_page_gives_the_same_probabilities(site: tuple[str, Path], tmp_path: Path) -> None:
    api = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    address, model = site
    predictor = Predictor.load(model)
    noise = np.random.default_rng(0).integers(0, 256, (90, 130, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(address)
        page.wait_for_function("!document.querySelector('#file').disabled")
        for vector in predictor.info.test_vectors():
            found = page.evaluate(OF_PIXELS, base64.b64encode(vector.pixels.tobytes()).decode())
            np.testing.assert_allclose(found, vector.probabilities, atol=1e-6)
        content = (tmp_path / "noise.png").read_bytes()
        pixels = np.array(page.evaluate(OF_FILE, base64.b64encode(content).decode()))
        own = predictor.pixels(content)
        assert np.abs(pixels.reshape(own.shape) - own.astype(int)).max() <= 1
        page.set_input_files("#file", tmp_path / "noise.png")
        page.wait_for_function("document.querySelector('#out').textContent.includes('%')")
        lines = page.inner_text("#out").splitlines()
        browser.close()
    [prediction] = predictor.predict(content)
    assert lines[0].split() == [f"{100 * prediction.probabilities['a']:.1f}", "%", "a"]
