"""The HTTP API of a server as methods. Events, filters and answers are what the API has, as `docs/server.md` describes it."""

from __future__ import annotations

import http.client
import json
import selectors
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Union
from urllib.parse import quote, urlencode, urlsplit

Event = Mapping[str, Any]
Expected = Union[int, str]

#: Bytes of an answer, at most: the server's pages have fewer.
ANSWER_BYTES_MAX = 256 << 20


class Unreachable(Exception):
    """The server did not answer."""


class Problem(Exception):
    """A refusal. `document` is what the server says of it: https://www.rfc-editor.org/rfc/rfc9457"""

    def __init__(self, status: int, document: Mapping[str, Any]) -> None:
        super().__init__(document.get("detail") or document.get("title") or f"the server answered {status}")
        self.status = status
        self.document = document

    @property
    def type(self) -> str:
        """What kind of problem it is, such as `version-conflict`."""
        return str(self.document.get("type", "")).rpartition("/")[2]


class Conflict(Problem):
    """The aggregate has another version than was expected: `actual`."""

    @property
    def actual(self) -> int:
        return int(self.document["actualVersion"])


class Client:
    """A store behind a server. It may be used by one thread at a time; each thread makes its own."""

    def __init__(self, url: str, *, namespace: str | None = None, token: str | None = None, timeout: float = 60.0) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is no URL of a server, such as http://127.0.0.1:4280")
        self.url = url.rstrip("/")
        self._parts = parts
        self._token = token
        self._timeout = timeout
        self._base = parts.path.rstrip("/") + ("/v1" if namespace is None else f"/v1/ns/{quote(namespace, safe='')}")
        self._connection: http.client.HTTPConnection | None = None

    def namespace(self, name: str) -> Client:
        """The store of this name on the same server."""
        return Client(self.url, namespace=name, token=self._token, timeout=self._timeout)

    # Writing

    def append(
        self,
        aggregate_id: str,
        events: Event | Sequence[Event],
        *,
        aggregate_type: str | None = None,
        expected: Expected | None = None,
        durability: str | None = None,
        idempotency_key: str | None = None,
    ) -> dict[str, Any]:
        """Appends one event or several, all or none. `expected` is a version, "any", "none" or "exists"; another version is a `Conflict`."""
        parameters = {"aggregateType": aggregate_type, "expectedVersion": expected, "durability": durability}
        body = events if isinstance(events, Mapping) else list(events)
        headers = {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}
        return self._call("POST", f"/streams/{_segment(aggregate_id)}/events", parameters, body, headers)

    def append_all(self, appends: Sequence[Mapping[str, Any]], **members: Any) -> dict[str, Any]:
        """Appends to several aggregates, all or none. `members` are those of the request beside `appends`, such as `condition`."""
        return self._call("POST", "/appends", {}, {"appends": list(appends), **members})

    def delete(self, aggregate_id: str, *, tombstone: bool = False) -> dict[str, Any]:
        """Drops the events of an aggregate; with `tombstone` it takes none any more."""
        return self._call("DELETE", f"/streams/{_segment(aggregate_id)}", {"tombstone": tombstone or None})

    # Reading

    def stream(self, aggregate_id: str, **parameters: Any) -> Iterator[dict[str, Any]]:
        """The events of an aggregate, a page at a time."""
        return self._pages(f"/streams/{_segment(aggregate_id)}/events", parameters)

    def events(self, **filters: Any) -> Iterator[dict[str, Any]]:
        """The events that match the filters of the API, such as `eventType="OrderPaid"`; a list is one of these values."""
        return self._pages("/events", filters)

    def event(self, event: int | str) -> dict[str, Any]:
        """The event with this position or id."""
        return self._call("GET", f"/events/{_segment(str(event))}")

    def count(self, **filters: Any) -> int:
        """How many events match."""
        return int(self._call("GET", "/count", filters)["count"])

    def get(self, path: str, **parameters: Any) -> dict[str, Any]:
        """The answer to any reading path of the API in this store, such as `/statistics` or `/traces/checkout-9`."""
        return self._call("GET", path, parameters)

    # A server that was started with --test-api

    def reset(self, *, now: str | None = None, seed: int | None = None) -> None:
        """Empties the store, or makes it; `now` sets its clock, `seed` makes the ids of events repeatable."""
        self._call("POST", "/test/reset", {"now": now, "seed": seed})

    def advance(self, *, seconds: float) -> str:
        """Moves the clock of the store on, and returns its time."""
        return str(self._call("POST", "/test/clock/advance", {}, {"seconds": seconds})["now"])

    def snapshot(self) -> int:
        """Keeps a copy of the store, and returns its number."""
        return int(self._call("POST", "/test/snapshots")["snapshot"])

    def restore(self, snapshot: int) -> None:
        """Makes the store what it was."""
        self._call("POST", f"/test/snapshots/{snapshot}/restore")

    def wait(self, *, position: int | None = None, group: str | Sequence[str] | None = None, timeout_seconds: int | None = None) -> dict[str, Any]:
        """Waits until a position is visible, and until groups have handled their events up to it, or all. A `Problem` says what is late."""
        return self._call("GET", "/test/wait", {"position": position, "group": group, "timeoutSeconds": timeout_seconds})

    def timeline(self, *, after: int = 0) -> list[dict[str, Any]]:
        """What happened in the store after an entry, in order; at most 1,000 entries."""
        return list(self._call("GET", "/test/timeline", {"after": after, "limit": 1000})["entries"])

    def fail(self, fault: str, **rule: Any) -> int:
        """Makes the next append that matches the rule fail, such as `fail("conflict", aggregateId="order-1")`. Returns the number of the rule."""
        return int(self._call("POST", "/test/faults", {}, {"fault": fault, **rule})["number"])

    def heal(self) -> None:
        """Deletes the rules of faults."""
        self._call("DELETE", "/test/faults")

    def drop(self) -> None:
        """Removes the store from the server."""
        self._call("DELETE", "/test")

    def close(self) -> None:
        """Closes the connection; the next call opens one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _pages(self, path: str, parameters: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        cursor = None
        while True:
            page = self._call("GET", path, {**parameters, "cursor": cursor} if cursor else parameters)
            yield from page["events"]
            cursor = page.get("next")
            if cursor is None:
                return

    def _call(
        self, method: str, path: str, parameters: Mapping[str, Any] | None = None, body: Any = None, more: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        target = self._base + path + _query(parameters or {})
        headers = {"Accept": "application/json", **(more or {})}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        sent = None
        if body is not None:
            sent = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        status, text = self._exchange(method, target, sent, headers)
        try:
            document = json.loads(text) if text or status < 300 else {}
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise Problem(status, {"detail": f"the answer to {method} {target} is no JSON object"})
        if 200 <= status < 300:
            return document
        raise (Conflict if "actualVersion" in document else Problem)(status, document)

    def _exchange(self, method: str, target: str, body: bytes | None, headers: Mapping[str, str]) -> tuple[int, bytes]:
        # What writes is sent once, so a connection that the server has closed while it was idle must be found before.
        if self._connection is not None and _is_over(self._connection):
            self.close()
        # A server may close it in this moment too. Only what reads is sent again.
        for is_last in (method != "GET" or self._connection is None, True):
            try:
                return self._send(method, target, body, headers)
            except (OSError, http.client.HTTPException) as error:
                self.close()
                if is_last:
                    raise Unreachable(f"{self.url} does not answer: {error}") from error
            except BaseException:
                # The rest of this answer must not be taken for the next one.
                self.close()
                raise
        raise AssertionError("the second attempt is the last")

    def _send(self, method: str, target: str, body: bytes | None, headers: Mapping[str, str]) -> tuple[int, bytes]:
        if self._connection is None:
            kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
            self._connection = kind(self._parts.hostname or "", self._parts.port, timeout=self._timeout)
        self._connection.request(method, target, body, dict(headers))
        with self._connection.getresponse() as response:
            text = response.read(ANSWER_BYTES_MAX + 1)
            if len(text) > ANSWER_BYTES_MAX:
                raise http.client.HTTPException(f"the answer has more than {ANSWER_BYTES_MAX} bytes")
            # A read of a number of bytes does not fail when the answer ends before them.
            if response.length:
                raise http.client.IncompleteRead(text, response.length)
            return response.status, text


def _is_over(connection: http.client.HTTPConnection) -> bool:
    """Whether an idle connection has something to read, which is its end: no answer is due."""
    if connection.sock is None:
        return False
    with selectors.DefaultSelector() as selector:
        try:
            selector.register(connection.sock, selectors.EVENT_READ)
        except (OSError, ValueError):
            return True
        return bool(selector.select(0))


def _segment(text: str) -> str:
    return quote(text, safe="")


def _query(parameters: Mapping[str, Any]) -> str:
    given = {key: _value(value) for key, value in parameters.items() if value is not None}
    return f"?{urlencode(given, doseq=True)}" if given else ""


def _value(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return [_value(one) for one in value] if isinstance(value, (list, tuple)) else value
