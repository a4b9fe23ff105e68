"""LiteRT.js in headless Chromium: the packaged models, and one with a convolution. Slow: the package is 12 MB."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import CHROMIUM, Browser
from web_page import open_page, prove

from edgedigits.bundle.bundle import GOLDEN, MANIFEST, Bundle
from edgedigits.errors import EdgeDigitsError, InputError
from edgedigits.report.loading import load_benchmark, load_parity
from edgedigits.report.recommendation import recommend
from edgedigits.runtimes.session import Session
from edgedigits_export.targets.web import litert
from edgedigits_export.targets.web.site import write_site

REQUIRED = os.environ.get("EDGEDIGITS_BROWSER") == "required"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None and not REQUIRED,
        reason="no chromium; Debian: apt-get install --no-install-recommends chromium",
    ),
]
CACHE = Path(
    os.environ.get("EDGEDIGITS_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "edgedigits")
)


@pytest.fixture(scope="module")
def package() -> dict[str, bytes]:
    """The files of LiteRT.js; its npm package is kept outside of the repository."""
    kept = CACHE / f"litertjs-core-{litert.VERSION}.tgz"
    if not kept.is_file() or hashlib.sha512(kept.read_bytes()).hexdigest() != litert.SHA512:
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            try:
                litert.npm_pack(Path(folder)).replace(kept)
            except EdgeDigitsError as cause:
                pytest.skip(str(cause))
    return litert.read_package(kept)


def prove_here(browser: Browser, server: ThreadingHTTPServer, folder: Path) -> Path:
    open_page(browser, f"http://127.0.0.1:{server.server_port}/")
    return prove(browser, folder)


@pytest.mark.parametrize("name", ["notebook", "robust"])
def test_the_packaged_models(
    name: str,
    package: dict[str, bytes],
    browser: Browser,
    serve: Callable[[Path], ThreadingHTTPServer],
    tmp_path: Path,
    counted: Callable[[str], None],
) -> None:
    write_site(Bundle(name), tmp_path / "site", package)
    assert "Apache License" in (tmp_path / "site" / "runtime" / "LICENSE.txt").read_text(encoding="utf-8")
    saved = prove_here(browser, serve(tmp_path / "site"), tmp_path)
    report, timed = load_parity(saved), load_benchmark(saved)
    tflite = [artifact.file for artifact in Bundle(name).manifest.artifacts if artifact.format == "tflite"]
    ran = [(row.artifact, row.runtime, row.mismatches) for row in report.rows]
    assert ran == [(file, runtime, 0) for file in tflite for runtime in ("js", "litert.js")]
    (kernels,) = {row.kernels for row in report.rows if row.runtime == "litert.js"}
    assert kernels in ("relaxed-simd", "simd")
    roundings = {row.artifact: row.arithmetic for row in report.rows if row.runtime == "litert.js"}
    assert roundings == {file: "xnnpack" if "int8" in file else None for file in tflite}
    assert recommend(timed, report).row is not None
    counted(f"{name} in LiteRT.js ({kernels}): 0 mismatches in {len(ran)} rows; rounds like {roundings}")


@pytest.mark.parametrize(
    ("script", "kernels", "status"),
    [
        (
            "const valid = WebAssembly.validate; WebAssembly.validate = code => code.length < 36 && valid(code)",
            "simd",
            "ok",
        ),
        ("delete globalThis.WebAssembly", "simd", "missing"),
    ],
    ids=["without relaxed SIMD", "without WebAssembly"],
)
def test_an_older_browser(
    script: str,
    kernels: str,
    status: str,
    package: dict[str, bytes],
    browser: Browser,
    serve: Callable[[Path], ThreadingHTTPServer],
    tmp_path: Path,
) -> None:
    write_site(Bundle("robust"), tmp_path / "site", package)
    added = browser.send("Page.addScriptToEvaluateOnNewDocument", source=script)
    report = load_parity(prove_here(browser, serve(tmp_path / "site"), tmp_path))
    browser.send("Page.removeScriptToEvaluateOnNewDocument", **added)
    assert report.passed
    found = [(row.kernels, row.status) for row in report.rows if row.runtime == "litert.js"]
    assert set(found) == {(kernels, status)}


def test_a_convolution_runs_in_litert_alone(
    package: dict[str, bytes],
    browser: Browser,
    serve: Callable[[Path], ThreadingHTTPServer],
    replace_in_bundle: Callable[[str, bytes], Path],
    tmp_path: Path,
) -> None:
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(3)
    layers = [keras.layers.Reshape((20, 20, 1)), keras.layers.Conv2D(4, 5, strides=3, activation="relu")]
    model = keras.Sequential([keras.Input((400,)), *layers, keras.layers.Flatten(), keras.layers.Dense(10)])
    content = bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    with Session(content, "tflite", "tensorflow") as session:
        logits = np.concatenate([session.run(batch) for batch in np.split(Bundle().inputs()[0], 10)])
    np.savez(tmp_path / GOLDEN, logits=logits)
    replace_in_bundle(GOLDEN, (tmp_path / GOLDEN).read_bytes())
    folder = replace_in_bundle("float32.tflite", content)
    facts: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    facts["artifacts"] = [artifact for artifact in facts["artifacts"] if artifact["file"] == "float32.tflite"]
    (folder / MANIFEST).write_text(json.dumps(facts), encoding="utf-8")
    with pytest.raises(InputError, match="use --runtime litert"):
        write_site(Bundle(folder), tmp_path / "site", {})
    write_site(Bundle(folder), tmp_path / "site", package)
    (row,) = load_parity(prove_here(browser, serve(tmp_path / "site"), tmp_path)).rows
    assert (row.runtime, row.status, row.mismatches, row.arithmetic) == ("litert.js", "ok", 0, None)
