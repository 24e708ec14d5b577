"""A client of the event store Annals, and a server of it for tests."""

from ._client import Client, Conflict, Problem, Unreachable
from ._server import Server, ServerError

__all__ = ["Client", "Conflict", "Problem", "Server", "ServerError", "Unreachable"]
