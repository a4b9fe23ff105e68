"""The command `edgedigits keygen`."""

from __future__ import annotations

from pathlib import Path

import click

from edgedigits.commands.options import json_option
from edgedigits.system.terminal import emit


@click.command(short_help="Make a pair of keys to sign with.")
@click.argument("name", type=click.Path(path_type=Path))
@click.option("--password", is_flag=True, help="Ask for a password, and encrypt the private key with it.")
@json_option
def keygen(name: Path, password: bool, json_file: str | None) -> None:
    """Make an ed25519 key pair: NAME.key, which signs and stays with you, and NAME.pub, for everybody who verifies.

    Both are PEM, as openssl writes them. NAME.key is made for its owner alone to read; no file is ever overwritten.
    """
    from edgedigits.bundle.signature import make_keys

    word = click.prompt("password", hide_input=True, confirmation_prompt=True, err=True) if password else None
    private, public, fingerprint = make_keys(name, word)
    facts = {"private": str(private), "public": str(public), "fingerprint": fingerprint}
    emit(facts, f"{private}: the private key; whoever has it can sign\n{public}: key {fingerprint}", json_file)
