"""The command `edgedigits sign`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from edgedigits.commands.options import json_option, output_option, prompt_password
from edgedigits.system.terminal import emit


@click.command(short_help="Sign a bundle.")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--key", required=True, metavar="NAME.key", help="Private key written by `edgedigits keygen`.")
@output_option("Write a signed copy: a directory, or a name ending in .zip.")
@json_option
def sign(bundle: Path, key: str, output: Path | None, json_file: str | None) -> None:
    """Check every file of BUNDLE, then sign its manifest, which contains their SHA-256.

    The signature is written to manifest.sig in the bundle and replaces an older one. A bundle that is exported again
    must be signed again. The password of an encrypted key is prompted for, or taken from EDGEDIGITS_PASSWORD.
    """
    from edgedigits.bundle.bundle import Bundle
    from edgedigits.bundle.signature import load_private
    from edgedigits.bundle.signing import sign_bundle

    def password() -> str:
        return os.environ.get("EDGEDIGITS_PASSWORD") or prompt_password(f"password of {key}")

    private = load_private(key, password)
    opened = Bundle(bundle)
    signature = sign_bundle(opened, private, output)
    path = str(output or opened.path)
    emit({"bundle": path, "signed_by": signature.key}, f"signed {path} with key {signature.key}", json_file)
