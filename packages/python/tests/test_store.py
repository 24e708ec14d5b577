"""The client and the server, with the standard library alone: `python -m unittest` in this folder runs them."""

import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest
from unittest import mock

from annals_store import Client, Conflict, Problem, Server, ServerError, Unreachable


def is_answered(address):
    try:
        socket.create_connection(address, timeout=10).close()
    except ConnectionError:
        return False
    return True


class StoreTest(unittest.TestCase):
    numbers = itertools.count(1)

    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.addClassCleanup(cls.server.stop)

    def setUp(self):
        self.store = self.server.namespace(f"test-{next(self.numbers)}")
        self.addCleanup(self.store.close)

    def place(self, order="order-1", **given):
        return self.store.append(order, {"eventType": "OrderPlaced", "eventData": {"total": 1}}, aggregate_type="Order", **given)

    def test_what_is_appended_is_read(self):
        self.assertEqual(self.place(expected="none")["lastVersion"], 1)
        self.store.append("order-1", [{"eventType": "OrderPaid"}, {"eventType": "OrderSent", "tags": ["a", "b"]}], expected=1)
        self.assertEqual([event["eventType"] for event in self.store.stream("order-1")], ["OrderPlaced", "OrderPaid", "OrderSent"])
        self.assertEqual(self.store.count(eventType=["OrderPaid", "OrderSent"]), 2)
        self.assertEqual(self.store.event(3)["tags"], ["a", "b"])
        self.assertEqual(self.store.get("/statistics")["total"], 3)

    def test_a_conflict_has_the_actual_version(self):
        self.place()
        with self.assertRaises(Conflict) as refused:
            self.place(expected="none")
        self.assertEqual((refused.exception.actual, refused.exception.type), (1, "version-conflict"))
        self.assertEqual(self.store.count(), 1)

    def test_faults_strike_and_the_timeline_tells(self):
        self.store.reset(seed=7)
        self.assertEqual(self.store.fail("conflict", aggregateId="order-1", times=2), 1)
        with self.assertRaises(Conflict) as refused:
            self.place()
        self.assertEqual(refused.exception.actual, 0)
        self.store.heal()
        self.place()
        entries = self.store.timeline()
        self.assertEqual([entry["kind"] for entry in entries[-3:]], ["reset", "fault", "appended"])
        self.assertEqual(self.store.timeline(after=entries[-1]["number"]), [])

    def test_a_wait_says_what_is_late(self):
        self.place()
        self.assertEqual(self.store.wait(position=1)["visible"], 1)
        with self.assertRaises(Problem) as late:
            self.store.wait(position=2, timeout_seconds=0)
        self.assertEqual((late.exception.status, late.exception.type), (408, "not-reached"))

    def test_a_refusal_says_why(self):
        with self.assertRaises(Problem) as refused:
            self.store.event(7)
        self.assertEqual((refused.exception.status, refused.exception.type), (404, "not-found"))
        with self.assertRaisesRegex(Problem, "nonsense"):
            list(self.store.events(nonsense=1))

    def test_a_key_makes_a_repetition_harmless(self):
        first = self.place(idempotency_key="k-1")
        again = self.place(idempotency_key="k-1")
        self.assertEqual((again["repeated"], again["lastPosition"]), (True, first["lastPosition"]))
        self.assertEqual(self.store.count(), 1)

    def test_every_page_is_read(self):
        self.store.append("many", [{"eventType": "Counted", "eventData": number} for number in range(1000)], aggregate_type="Thing")
        self.assertEqual([event["eventData"] for event in self.store.events(limit=7)], list(range(1000)))
        self.assertEqual([event["version"] for event in self.store.stream("many", limit=300)], list(range(1, 1001)))

    def test_names_may_have_any_character(self):
        name = "a/b ?&#%ü\u202e\"<>"
        self.place(name)
        self.assertEqual([event["aggregateId"] for event in self.store.stream(name)], [name])
        self.assertEqual(self.store.count(aggregate=name), 1)

    def test_stores_of_two_names_share_nothing(self):
        self.place()
        with self.server.namespace("another") as another:
            self.assertEqual(another.count(), 0)
        self.assertEqual(self.store.count(), 1)

    def test_the_clock_is_set_and_moved(self):
        self.store.reset(now="2026-01-31T12:00:00Z", seed=7)
        self.place()
        self.assertEqual(self.store.advance(seconds=90), "2026-01-31T12:01:30Z")
        self.place()
        self.assertEqual([event["timestamp"] for event in self.store.events()], ["2026-01-31T12:00:00Z", "2026-01-31T12:01:30Z"])

    def test_a_snapshot_is_restored(self):
        self.place()
        kept = self.store.snapshot()
        self.place()
        self.store.restore(kept)
        self.assertEqual(self.store.count(), 1)

    def test_several_aggregates_are_all_or_none(self):
        appends = [{"aggregateId": name, "aggregateType": "Account", "events": [{"eventType": "Moved"}]} for name in ("a", "b")]
        self.store.append_all(appends)
        with self.assertRaises(Problem):
            self.store.append_all([appends[0], {**appends[1], "expectedVersion": 7}])
        self.assertEqual(self.store.count(), 2)

    def test_a_deleted_aggregate_has_no_events(self):
        self.place()
        self.store.delete("order-1")
        self.assertEqual(list(self.store.stream("order-1")), [])

    def test_a_connection_that_the_server_closed_is_opened_again(self):
        self.assertEqual(self.store.count(), 0)
        self.store._connection.sock.close()
        self.assertEqual(self.store.count(), 0)


class ServerTest(unittest.TestCase):
    @unittest.skipUnless(hasattr(signal, "SIGKILL"), "Windows has no signals")
    def test_a_killed_process_left_its_server_behind(self):
        script = "import annals_store, os, signal; print(annals_store.Server().url, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
        killed = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        self.assertEqual(killed.returncode, -signal.SIGKILL)
        address = ("127.0.0.1", int(killed.stdout.rsplit(":", 1)[1]))
        deadline = time.monotonic() + 30
        while is_answered(address):
            self.assertLess(time.monotonic(), deadline, f"{killed.stdout} still answers")
        # The port is free: another can listen on it.
        socket.create_server(address).close()

    def test_a_server_stops_with_its_block(self):
        with Server() as server, server.client() as store:
            self.assertEqual(store.count(), 0)
        with self.assertRaises(Unreachable):
            server.client().count()

    def test_a_program_that_is_not_there_is_named(self):
        with mock.patch.dict(os.environ, {"ANNALS_PROGRAM": "/absent/annals"}), self.assertRaisesRegex(ServerError, "/absent/annals"):
            Server()

    def test_a_program_that_fails_is_heard(self):
        with mock.patch("annals_store._server.program", return_value="false"), self.assertRaisesRegex(ServerError, "it has said nothing"):
            Server()

    def test_the_store_of_the_environment_is_not_wiped(self):
        with mock.patch.dict(os.environ, {"ANNALS_STORE": "file:/absent"}), Server() as server, server.client() as store:
            self.assertEqual(store.count(), 0)

    def test_an_address_that_is_none_is_refused(self):
        for url in ("", "127.0.0.1:4280", "ftp://127.0.0.1", "http://"):
            with self.assertRaisesRegex(ValueError, "no URL"):
                Client(url)


def answer(text, status="200 OK", length=None):
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(text) if length is None else length}\r\n\r\n{text}".encode()


class Scripted:
    """A server that gives these answers, a list for each connection, and closes the connection behind the last; `None` is no answer."""

    def __init__(self, *connections):
        self.methods = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.thread = threading.Thread(target=self.serve, args=(connections,), daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def serve(self, connections):
        for answers in connections:
            connection, _ = self.listener.accept()
            with connection, connection.makefile("rb") as requests:
                for given in answers:
                    self.methods.append(requests.readline().split()[0].decode())
                    lines = iter(requests.readline, b"\r\n")
                    lengths = [int(line.split(b":")[1]) for line in lines if line.lower().startswith(b"content-length:")]
                    requests.read(sum(lengths))
                    if given is not None:
                        connection.sendall(given)
        self.listener.close()


class HostileServerTest(unittest.TestCase):
    def given(self, *connections):
        server = Scripted(*connections)
        store = Client(server.url)
        self.addCleanup(store.close)
        return server, store

    def test_an_answer_that_was_cut_off_was_taken_for_a_whole_one(self):
        server, store = self.given([answer("{}", length=99)])
        with self.assertRaises(Unreachable):
            store.append("a", {"eventType": "X"})
        self.assertEqual(server.methods, ["POST"])

    def test_an_answer_that_was_no_object_broke_the_client(self):
        for status in ("200 OK", "404 Not Found"):
            for text in ("[1]", '"actualVersion"', "5", "null", "<html>", "[" * 200_000):
                _, store = self.given([answer(text, status)])
                with self.assertRaisesRegex(Problem, "no JSON object") as refused:
                    store.count()
                self.assertEqual(refused.exception.status, int(status[:3]))

    def test_an_append_without_an_answer_had_succeeded(self):
        _, store = self.given([answer("")])
        with self.assertRaisesRegex(Problem, "no JSON object"):
            store.append("a", {"eventType": "X"})

    def test_a_refusal_without_a_body_has_its_status(self):
        for status in (307, 500, 503):
            _, store = self.given([answer("", f"{status} Other")])
            with self.assertRaises(Problem) as refused:
                store.count()
            self.assertEqual(refused.exception.status, status)

    def test_a_write_failed_on_a_connection_that_had_ended(self):
        server, store = self.given([answer('{"count":0}')], [answer('{"lastVersion":1}')])
        self.assertEqual(store.count(), 0)
        # Waits until the end of the connection has arrived.
        self.assertEqual(store._connection.sock.recv(1, socket.MSG_PEEK), b"")
        self.assertEqual(store.append("a", {"eventType": "X"}), {"lastVersion": 1})
        self.assertEqual(server.methods, ["GET", "POST"])

    def test_a_write_without_an_answer_is_not_sent_again(self):
        server, store = self.given([answer('{"count":0}'), None], [answer("{}")])
        store.count()
        with self.assertRaises(Unreachable):
            store.append("a", {"eventType": "X"})
        self.assertEqual(server.methods, ["GET", "POST"])

    def test_a_connection_was_kept_in_the_middle_of_an_answer(self):
        server, store = self.given([answer('{"count":1}')], [answer('{"count":2}')])
        with mock.patch("http.client.HTTPResponse.read", side_effect=KeyboardInterrupt), self.assertRaises(KeyboardInterrupt):
            store.count()
        self.assertIsNone(store._connection)
        self.assertEqual(store.count(), 2)
        self.assertEqual(server.methods, ["GET", "GET"])


if __name__ == "__main__":
    unittest.main()
