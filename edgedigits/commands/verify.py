"""The command `edgedigits verify`."""

from __future__ import annotations

from pathlib import Path

import click

from edgedigits.commands.options import json_option, trusted_option
from edgedigits.errors import BundleError, SignatureError
from edgedigits.system.terminal import FAILED, emit


@click.command(short_help="Verify the signature of a bundle.")
@click.argument("bundle", type=click.Path(path_type=Path))
@trusted_option
@json_option
def verify(bundle: Path, keys: tuple[str, ...], json_file: str | None) -> int:
    """Verify that a trusted key signed BUNDLE and that every file matches the signature.

    The exit status is 0 if so; 1 if the bundle is unsigned, signed by another key, changed or damaged; and 2 if the
    check cannot be made.
    """
    from edgedigits.bundle.bundle import Bundle
    from edgedigits.bundle.signature import trusted_keys

    facts = {"bundle": str(bundle), "holds": False, "signed_by": None, "files": [], "message": ""}
    trusted = keys or trusted_keys()
    try:
        opened = Bundle(bundle, signed_by=trusted)
        facts["signed_by"] = opened.signer
        opened.verify()
    except BundleError as error:
        if not facts["signed_by"] and not isinstance(error, SignatureError):
            raise  # the signature cannot be checked: status 2
        emit(facts | {"message": str(error)}, f"NOT VERIFIED: {error}", json_file)
        return FAILED
    files = [*opened.names, *opened.manifest.files]
    text = f"{opened.path}: verified; signed by {opened.signer}, {len(files)} files match"
    emit(facts | {"bundle": str(opened.path), "holds": True, "files": files}, text, json_file)
    return 0
