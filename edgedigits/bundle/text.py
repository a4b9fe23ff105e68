"""A bundle's contents as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgedigits.system.text import table

if TYPE_CHECKING:
    from edgedigits.bundle.bundle import Bundle


def inspect_text(bundle: Bundle) -> str:
    """The text of `edgedigits inspect`: tensors, sizes, provenance, and whose signature it has."""
    from edgedigits.bundle.signing import signature_status

    manifest, signature = bundle.manifest, signature_status(bundle)
    head = ("artifact", "bytes", "opened by", "sha256")
    rows = [(a.file, f"{a.bytes:,}", ", ".join(a.runtimes), a.sha256[:16]) for a in manifest.artifacts]
    rows += [(name, f"{len(bundle.read(name)):,}", "", digest[:16]) for name, digest in manifest.files.items()]
    lines = [f"{manifest.name} ({bundle.path}): {manifest.images} images, labels {' '.join(manifest.labels)}"]
    if signature is not None:
        checked = "verified" if signature["verified"] else "not verified; use `edgedigits verify`"
        lines.append(f"signed by {signature['key']}, {checked}")
    elif bundle.signature() is not None:
        lines.append("manifest.sig is damaged")
    lines.append("")
    padded = [(name, size.rjust(9), runtimes, digest) for name, size, runtimes, digest in rows]
    lines += [table(head, padded, left=4), ""]
    for a in manifest.artifacts:
        lines += [f"{a.file}", f"  input   {a.input}", f"  output  {a.output}"]
        lines += [f"  {key}  {_plain(value)}" for key, value in a.facts.items()]
    for title in ("preprocessing", "training", "calibration", "versions", "data"):
        lines += ["", title, *(f"  {key}  {_plain(value)}" for key, value in getattr(manifest, title).items())]
    return "\n".join(lines)


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        value = [f"{key} {_plain(item)}" for key, item in value.items()]
    return ", ".join(map(_plain, value)) if isinstance(value, list | tuple) else str(value)
