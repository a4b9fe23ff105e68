"""The command `edgedigits keygen`."""

from __future__ import annotations

from pathlib import Path

import click

from edgedigits.commands.options import json_option, prompt_password
from edgedigits.system.terminal import emit


@click.command(short_help="Create a key pair for signing.")
@click.argument("name", type=click.Path(path_type=Path))
@click.option("--password", is_flag=True, help="Prompt for a password and encrypt the private key with it.")
@json_option
def keygen(name: Path, password: bool, json_file: str | None) -> None:
    """Create an ed25519 key pair: the private key NAME.key, which signs, and the public key NAME.pub, which verifies.

    Both are PEM files, as openssl writes them. Only the owner can read NAME.key. Existing files are not overwritten.
    """
    from edgedigits.bundle.signature import make_keys

    secret = prompt_password("password", confirm=True) if password else None
    private, public, fingerprint = make_keys(name, secret)
    facts = {"private": str(private), "public": str(public), "fingerprint": fingerprint}
    emit(facts, f"{private}: private key; anyone who has it can sign\n{public}: public key {fingerprint}", json_file)
