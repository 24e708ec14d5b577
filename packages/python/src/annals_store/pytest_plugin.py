"""Fixtures for pytest: a server for the session, and a store for each test."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from . import Client, Server

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def annals_server() -> Iterator[Server]:
    """The server of the session, which starts with the first test that needs it."""
    with Server() as server:
        yield server


@pytest.fixture
def annals(annals_server: Server) -> Iterator[Client]:
    """A store of the test's own, which is empty."""
    with annals_server.namespace(f"test-{next(_numbers)}") as store:
        yield store
        store.drop()
