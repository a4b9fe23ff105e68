"""The command `edgedigits sign`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from edgedigits.commands.options import json_option
from edgedigits.system.terminal import emit

PASSWORD_VARIABLE = "EDGEDIGITS_PASSWORD"


@click.command(short_help="Sign a bundle.")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--key", required=True, metavar="NAME.key", help="The private key, as `edgedigits keygen` makes it.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Write a signed copy, a directory or a name ending in .zip."
)
@json_option
def sign(bundle: Path, key: str, output: Path | None, json_file: str | None) -> None:
    """Check every file of BUNDLE and sign its manifest, which holds their SHA-256; the signature is manifest.sig in it.

    An older signature is replaced. Exporting again makes a new bundle, which is unsigned. The password of an encrypted
    key is asked for, or read from EDGEDIGITS_PASSWORD.
    """
    from edgedigits.bundle.bundle import Bundle
    from edgedigits.bundle.signature import load_private
    from edgedigits.bundle.signing import sign_bundle

    def ask() -> str:
        return os.environ.get(PASSWORD_VARIABLE) or click.prompt(f"password of {key}", hide_input=True, err=True)

    private = load_private(key, ask)
    opened = Bundle(bundle)
    signature = sign_bundle(opened, private, output)
    where = str(output or opened.path)
    emit({"bundle": where, "signed_by": signature.key}, f"signed {where} with key {signature.key}", json_file)
