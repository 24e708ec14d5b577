"""Prints every event in a folder of segments as a line of JSON, and what is left of others; knows nothing but docs/file-format.md."""

import json
import os
import re
import struct
import sys
import uuid
import zlib

LIMIT = 2**30 + 2**20
TIME_MIN, TIME_MAX = -377705116800000000, 253402300799999999


class Torn(Exception):
    """What a machine that stopped may leave at the end of the last segment."""


def lz4_block(block, length):
    out, at = bytearray(), 0

    def more(number):
        nonlocal at
        while number >= 15:
            at += 1
            number += block[at - 1]
            if block[at - 1] != 255:
                break
        return number

    while at < len(block):
        token, at = block[at], at + 1
        literals = more(token >> 4)
        out += block[at : at + literals]
        at += literals
        if at >= len(block):
            break
        distance, at = int.from_bytes(block[at : at + 2], "little"), at + 2
        copied = more(token & 15) + 4
        assert 0 < distance <= len(out) and len(out) + copied <= length, "bad LZ4"
        for _ in range(copied):
            out.append(out[-distance])
    assert len(out) == length, "compressed content of another length than said"
    return bytes(out)


class Content:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, length):
        assert self.at + length <= len(self.data), "content is cut off"
        self.at += length
        return self.data[self.at - length : self.at]

    def unsigned(self):
        [first] = self.take(1)
        assert first <= 253, "bad varint"
        return first if first < 251 else int.from_bytes(self.take(2 ** (first - 250)), "little")

    def signed(self):
        number = self.unsigned()
        return number // 2 if number % 2 == 0 else -(number // 2) - 1

    def bytes(self):
        return self.take(self.unsigned())

    def str(self, least=0, most=1024):
        text = self.bytes()
        assert least <= len(text) <= most, "a name is empty, or too long"
        assert b"\0" not in text, "a name has a U+0000 in it"
        return text.decode()

    def option(self):
        [tag] = self.take(1)
        assert tag <= 1, "bad option"
        return self.str() if tag else None

    def content_type(self):
        variant = self.unsigned()
        assert variant <= 2, "bad content type"
        return ["json", "bytes", None][variant] or self.str()

    def gap(self, first, last):
        gap = {"first": self.unsigned(), "last": self.unsigned(), "count": self.unsigned()}
        variant = self.unsigned()
        assert variant <= 9 and first <= gap["first"] <= gap["last"] <= last, "bad gap"
        gap["reason"] = ["Budget", "Age", "Limit", "Truncated", "Deleted", "Archived", "Lost", "Several", "Elsewhere", "Snapshot"][variant]
        return gap | ({"of": self.str(1)} if 2 <= variant <= 5 else {})

    def mark(self, before):
        mark = {"position": before + self.unsigned(), "aggregateType": self.str(1), "aggregateId": self.str(1, 1035)}
        return mark | {"version": self.unsigned(), "gap": self.unsigned()}

    def kind(self):
        kind = {"aggregateType": self.str(1), "eventType": self.str(1), "schemaVersion": self.unsigned()}
        return kind | {"dataType": self.content_type(), "metadataType": self.content_type()}


def in_range(time):
    assert TIME_MIN <= time <= TIME_MAX, "a time is out of range"
    return time


def shown(data):
    return data.hex() if len(data) <= 256 else f"{data[:16].hex()} and so on, {len(data)} bytes"


def sparse_front(content, count, first, last):
    gaps = [content.gap(first, last) for _ in range(content.unsigned())]
    assert len(gaps) <= 4096 and sum(gap["count"] for gap in gaps) == last - first + 1 - count, "bad gaps"
    yield from ({"gone": gap} for gap in gaps)
    marks, before = content.unsigned(), first
    assert marks <= 262144, "too many marks"
    for number in range(marks):
        mark = content.mark(before)
        assert (number == 0 or mark["position"] > before) and mark["position"] <= last, "bad place of a mark"
        is_change = mark["aggregateId"].startswith("$") and not mark["aggregateId"].startswith("$$snapshot:")
        assert mark["version"] > 0 and not is_change, "bad mark"
        before, mark["gap"] = mark["position"], gaps[mark["gap"]]["reason"]
        yield {"mark": mark}


def events_of(content, count, first, last, sparse):
    content = Content(content)
    if sparse:
        yield from sparse_front(content, count, first, last)
    kinds = [content.kind() for _ in range(content.unsigned())]
    time, position = 0, first
    for _ in range(count):
        position += content.unsigned() if sparse else 0
        assert position <= last, "an event beyond its frame"
        event = {"position": position} | kinds[content.unsigned()]
        event["version"] = content.unsigned()
        assert event["version"] > 0, "version 0"
        event["id"] = str(uuid.UUID(bytes=content.take(16)))
        time = event["timestamp"] = in_range(time + content.signed())
        event["recordedAt"] = in_range(time + content.signed())
        event["aggregateId"] = content.str(1, 1035)
        for name in ["correlationId", "causationId", "userId", "organizationId"]:
            event[name] = content.option()
        [tags] = content.take(1)
        assert tags <= 32, "too many tags"
        event["tags"] = [content.str() for _ in range(tags)]
        event["metadata"], event["data"] = shown(content.bytes()), shown(content.bytes())
        yield event
        position += 1
    assert content.at == len(content.data), "bytes behind the last event"


def frame_header(data, at, store):
    header = data[at : at + 56]
    if len(header) < 56 or header[:4] != b"FRAM" or zlib.crc32(store + header[:52]) != int.from_bytes(header[52:], "little"):
        raise Torn("no frame")
    return struct.unpack_from("<4xB3xIIIIQQQ", header)


def batch_at(data, at, store, position):
    """The frames of a batch, each as its content, number of events, positions and whether it is sparse; and where it ends."""
    frames = []
    while True:
        flags, stored, raw, count, checksum, first, last, _ = frame_header(data, at, store)
        content = data[at + 56 : at + 56 + stored]
        if stored > LIMIT or len(content) < stored or zlib.crc32(content) != checksum:
            raise Torn("a frame is cut off or damaged")
        sparse = flags & 8 != 0
        follows = position + count - 1 <= last and position <= last if sparse else last == position + count - 1
        if first != (position if count or sparse else position - 1) or not follows:
            raise Torn("positions do not follow")
        assert raw <= LIMIT and (raw <= 256 * stored if flags & 1 else raw == stored), "bad length"
        frames.append((lz4_block(content, raw) if flags & 1 else content, count, position, last, sparse))
        position, at = last + 1, at + (56 + stored + 7) // 8 * 8
        if not flags & 2:
            return frames, at, position


def was_synced(data, store, position):
    for at in range(64, len(data), 8):
        try:
            if frame_header(data, at, store)[-1] >= position:
                return True
        except Torn:
            pass
    return False


def head_of(folder):
    """The first position of the newest segment, and a position that was synced; 0 where nothing is said."""
    try:
        with open(os.path.join(folder, "head"), "rb") as file:
            data = file.read(64)
    except FileNotFoundError:
        return 0, 0
    if len(data) < 64 or data[:10] != b"ANNALHED\1\0" or zlib.crc32(data[:60]) != int.from_bytes(data[60:], "little"):
        return 0, 0
    return struct.unpack_from("<QQ", data, 32)


def read(folder):
    last = yield from segments(folder)
    newest, synced = head_of(folder)
    assert newest == 0 or f"{newest:020}.segment" in os.listdir(folder), f"the segment from position {newest} on is missing"
    assert synced <= last, f"position {synced} was synced, and {last} is the last"


def segments(folder):
    names = sorted(name for name in os.listdir(folder) if re.fullmatch(r"\d{20}\.segment", name))
    position, store, versions = 1, None, {}
    for name in names:
        with open(os.path.join(folder, name), "rb") as file:
            data = file.read()
        header = data[:64]
        magic, version, id, first = struct.unpack_from("<8sH6x16sQ", header.ljust(64, b"\0"))
        if len(header) < 64 or magic != b"ANNALSEG" or zlib.crc32(header[:60]) != int.from_bytes(header[60:], "little"):
            torn = all(byte in (0, whole) for byte, whole in zip(header, b"ANNALSEG\1\0\0\0\0\0\0\0"))
            assert name == names[-1] and torn and not any(data[64:]), f"{name}: no header"
            return position - 1
        assert version == 1, f"{name}: unknown version {version}"
        assert (first, first) == (position, int(name[:20])) and store in (None, id), f"{name}: does not follow"
        store, at = id, 64
        while any(data[at:]):
            try:
                frames, end, after = batch_at(data, at, store, position)
            except Torn as torn:
                assert name == names[-1] and not was_synced(data, store, position), f"{name} at byte {at}: {torn}"
                return position - 1
            for event in (event for frame in frames for event in events_of(*frame)):
                if "gone" not in event:
                    known = event.get("mark", event)
                    assert known["version"] > versions.get(known["aggregateId"], 0), "versions do not rise"
                    versions[known["aggregateId"]] = known["version"]
                yield event
            at, position = end, after
    return position - 1


if __name__ == "__main__":
    for event in read(sys.argv[1]):
        print(json.dumps(event))
