"""Write the page, the models and what parity is proven on, as a folder of static files or as one HTML file."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgedigits import __version__
from edgedigits.bundle.bundle import Artifact, Bundle
from edgedigits.errors import InputError
from edgedigits.runtimes.oracle.arithmetic import open_model
from edgedigits.system.files import atomic_directory, sha256, write_text
from edgedigits_export.targets.web.litert import VERSION

STATIC = Path(__file__).parent / "static"
# In an order in which a module follows those that it imports.
MODULES = ("files", "tflite", "pictures", "plausibility", "litert", "parity", "app")
PROOF = "model/proof.f32"


def write_site(bundle: Bundle, output: Path, litert: Mapping[str, bytes], draw_only: bool = False) -> int:
    """Write the page to ``output``, one file if the name ends in .html, and return its size in bytes.

    Args:
        litert: the files of LiteRT.js, see :func:`edgedigits_export.targets.web.litert.read_package`; may be empty.
        draw_only: leave out the images and with them the proof of parity.

    Raises:
        InputError: the page cannot read digits with this bundle, or ``output`` is a folder of something else.
    """
    artifacts = _artifacts(bundle, bool(litert))
    files = {f"model/{artifact.file}": bundle.read(artifact.file) for artifact in artifacts}
    if not draw_only:
        files[PROOF] = _proof(bundle)
    files |= {f"runtime/{name}": content for name, content in litert.items()}
    facts = _facts(bundle, artifacts, files, bool(litert))
    if output.suffix.lower() in (".html", ".htm"):
        page = _single_page(facts, files)
        write_text(output, page)
        return len(page.encode())
    if output.is_dir() and any(output.iterdir()) and not _is_site(output):
        raise InputError(f"{output} holds other files and would be replaced; choose a new folder")
    files = _folder(facts, files)
    with atomic_directory(output) as folder:
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
    return sum(map(len, files.values()))


def _is_site(folder: Path) -> bool:
    worker = folder / "sw.js"
    return worker.is_file() and b"'edgedigits-" in worker.read_bytes()


def _artifacts(bundle: Bundle, litert: bool) -> list[Artifact]:
    """The .tflite artifacts; InputError if the page cannot draw their input or has no runtime for them."""
    contract = bundle.manifest.contract
    if contract.pictures != "digits" or contract.output == "sigmoid":
        what = f"pictures: {contract.pictures}, shape {contract.shape}, output: {contract.output}"
        raise InputError(
            f"{bundle.path}: the page draws 20x20 digits for models that give one score per class, not for {what}"
        )
    found = [artifact for artifact in bundle.manifest.artifacts if artifact.format == "tflite"]
    if not found:
        raise InputError(f"{bundle.path} has no .tflite artifact, which a browser could run; export it with one")
    if not litert and not any(runs_in_js(bundle, artifact) for artifact in found):
        raise InputError(
            f"{bundle.path}: the models have operators that the page's own runtime lacks, which is for dense models; "
            "use --runtime litert"
        )
    return found


def runs_in_js(bundle: Bundle, artifact: Artifact) -> bool:
    """Whether the page's own runtime can run the artifact: it has the operators of the numpy runtime."""
    try:
        open_model(bundle.read(artifact.file), artifact.format, 1, "exact")
    except ValueError:
        return False
    return True


def _proof(bundle: Bundle) -> bytes:
    """Inputs, reference outputs, labels and the probes' inputs as little-endian float32, one after the other."""
    inputs, labels = bundle.inputs()
    probes = bundle.probes()
    arrays = [inputs, bundle.golden(), labels, *([probes.x] if probes else [])]
    return b"".join(np.ascontiguousarray(array, "<f4").tobytes() for array in arrays)


def _facts(bundle: Bundle, artifacts: list[Artifact], files: Mapping[str, bytes], litert: bool) -> dict[str, Any]:
    """What the page knows about its files, as JSON types."""
    manifest, probes = bundle.manifest, bundle.probes()
    return {
        "name": manifest.name,
        "version": __version__,
        "litert": VERSION if litert else None,
        "images": manifest.images,
        "width": math.prod(manifest.contract.shape),
        "labels": list(manifest.labels),
        "output": manifest.contract.output,
        "temperature": manifest.temperature,
        "probes": len(probes.x) if probes else 0,
        "artifacts": [
            {"file": a.file, "sha256": a.sha256, "bytes": a.bytes, "js": runs_in_js(bundle, a)} for a in artifacts
        ],
        "files": {name: sha256(content) for name, content in files.items()},
    }


def _page(facts: dict[str, Any], policy: str, style: str, script: str, data: str = "") -> str:
    notice = ""
    if facts["litert"]:
        policy = policy.replace("script-src", "script-src blob: 'wasm-unsafe-eval'")
        notice = f" LiteRT.js {facts['litert']} by the LiteRT authors, Apache License 2.0."
    values = {
        "policy": policy,
        "name": html.escape(facts["name"]),
        "version": __version__,
        "images": f"{facts['images']:,}",
        "notice": notice,
        "style": style,
        "data": _json_block("site", facts) + data,
        "script": script,
    }
    return _fill("index.html", values)


def _fill(name: str, values: Mapping[str, str]) -> str:
    """A file of ``static/`` with its ``{{names}}`` replaced by values, in which none is looked for."""
    template = (STATIC / name).read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], template)


def _json_block(name: str, value: Any) -> str:
    # So that no text in it can end the element.
    text = json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")
    return f'<script type="application/json" id="{name}">{text}</script>\n'


def _folder(facts: dict[str, Any], files: Mapping[str, bytes]) -> dict[str, bytes]:
    """All files of the folder by name."""
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; worker-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    # What the page needs first is asked for at once, not when the script that imports it has come.
    early = [f'<link rel="modulepreload" href="{module}.js">' for module in MODULES]
    early.append(f'<link rel="preload" as="fetch" crossorigin href="model/{facts["artifacts"][0]["file"]}">')
    style = "\n".join(['<link rel="stylesheet" href="style.css">', *early])
    page = _page(facts, policy, style, '<script type="module" src="app.js"></script>')
    sources = [*(f"{module}.js" for module in MODULES), "style.css"]
    site = {"index.html": page.encode(), **{name: (STATIC / name).read_bytes() for name in sources}, **files}
    digest = sha256("".join(f"{name} {sha256(content)}\n" for name, content in site.items()).encode())
    worker = _fill("sw.js", {"digest": digest[:16], "files": json.dumps(["./", *site])})
    return {**site, "sw.js": worker.encode()}


def _single_page(facts: dict[str, Any], files: Mapping[str, bytes]) -> str:
    """The page with everything inside, for which a file:// address suffices."""
    style = (STATIC / "style.css").read_text(encoding="utf-8")
    script = "".join(_as_function(module) for module in MODULES)
    policy = (
        f"default-src 'none'; script-src {_hash_source(script)}; style-src {_hash_source(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    packed = {name: base64.b64encode(gzip.compress(content, 9, mtime=0)).decode() for name, content in files.items()}
    elements = f"<style>{style}</style>", f'<script type="module">{script}</script>'
    return _page(facts, policy, *elements, _json_block("packed", packed))


def _as_function(module: str) -> str:
    """A module as a call whose result holds its exports, so that all of them fit into one inline script."""
    source = (STATIC / f"{module}.js").read_text(encoding="utf-8")
    source = re.sub(r"^import (\{.*\}) from '\./(\w+)\.js';$", r"const \1 = \2_module;", source, flags=re.MULTILINE)
    names = re.findall(r"^export (?:async )?(?:const|function) (\w+)", source, flags=re.MULTILINE)
    source = re.sub(r"^export ", "", source, flags=re.MULTILINE)
    return f"const {module}_module = (() => {{\n{source}return {{{', '.join(names)}}};\n}})();\n"


def _hash_source(text: str) -> str:
    """An inline element's source for a content security policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
