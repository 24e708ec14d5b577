"""A server of stores in memory, as a process of its own that ends with this one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
from pathlib import Path

from ._client import Client

#: Seconds until a server that does not say where it listens has failed, and until one that should stop is killed.
PATIENCE = 60.0


class ServerError(Exception):
    """The server cannot be started."""


def program() -> str:
    """The path of the program: of `ANNALS_PROGRAM`, of the wheel, or on the `PATH`."""
    named = os.environ.get("ANNALS_PROGRAM")
    if named:
        return named
    name = "annals.exe" if sys.platform == "win32" else "annals"
    installed = Path(sysconfig.get_path("scripts")) / name
    found = str(installed) if installed.is_file() else shutil.which("annals")
    if found is None:
        raise ServerError("the program annals is not found: install the wheel, or set ANNALS_PROGRAM to its path")
    return found


class Server:
    """A server on a free port of the loopback address, with the calls for tests. Every client of it can wipe every store of it."""

    def __init__(self) -> None:
        command = [program(), "serve", "--test-api", "--until-stdin-ends", "--port", "0", "--format", "json"]
        environment = {key: value for key, value in os.environ.items() if key != "ANNALS_STORE"}
        # A file, not a pipe: one that nobody reads would stop the server when it is full.
        self._said = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        try:
            # The server stops when its input ends, which the operating system does for a process that is killed.
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, env=environment, text=True
            )
        except OSError as error:
            self._said.close()
            raise ServerError(f"{command[0]} cannot be started: {error}") from error
        self.url = self._listening()

    def _listening(self) -> str:
        """Reads the one line that says where the server listens."""
        timer = threading.Timer(PATIENCE, self._process.kill)
        timer.start()
        try:
            line = self._process.stdout.readline() if self._process.stdout else ""
            return str(json.loads(line)["url"])
        except (ValueError, KeyError) as error:
            self._process.kill()
            self._process.communicate()
            self._said.seek(0)
            said = self._said.read().strip()
            self._said.close()
            raise ServerError(f"annals serve has failed: {said or 'it has said nothing'}") from error
        finally:
            timer.cancel()

    def client(self) -> Client:
        """A client of the default store."""
        return Client(self.url)

    def namespace(self, name: str) -> Client:
        """A client of the store of this name, which is empty."""
        store = Client(self.url, namespace=name)
        store.reset()
        return store

    def stop(self) -> None:
        """Stops the server."""
        self._process.terminate()
        try:
            self._process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        self._said.close()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
