"""``pytest tests/contract/suite.py --runtime NAME`` runs the contract for one runtime."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--runtime", help="the runtime that tests/contract/suite.py holds to the contract")
