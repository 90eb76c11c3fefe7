"""What the parent and a worker say to each other: frames over two pipes of their own.

A frame is its length (8 bytes, little endian) and one MessagePack message. The parent sends `Load`, the worker answers
`Ready` or `Refused`; then the parent sends cases and the worker answers each with its `Outcome`, in order. Cases may be
sent ahead: the first one without an answer is the one that is running.
"""

from __future__ import annotations

import os
from typing import Any

import msgspec

from conformance.case import Case
from conformance.outcome import Outcome
from conformance.records import EngineInfo

HEAD = 8
CHUNK = 1 << 20


class Load(msgspec.Struct, tag="load"):
    """Import this engine."""

    engine: str
    device: str


class Execute(msgspec.Struct, tag="execute"):
    """Run this case."""

    case: Case


class Ready(msgspec.Struct, tag="ready"):
    """The engine is imported; this is how it introduced itself."""

    info: EngineInfo


class Refused(msgspec.Struct, tag="refused"):
    """The engine cannot be imported, in one line; `hint` as in KitError."""

    what: str
    hint: str | None = None


class Done(msgspec.Struct, tag="done"):
    """What running one case left behind."""

    outcome: Outcome


Request = Load | Execute
Reply = Ready | Refused | Done

requests: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
replies: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)


def frame(message: Any) -> bytes:
    """The message as it travels. Raises what msgspec raises for a value that MessagePack cannot hold."""
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(HEAD, "little") + body


def write(fd: int, data: bytes) -> None:
    """Writes all of it to a blocking pipe."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def take(buffer: bytearray) -> bytes | None:
    """Takes the first whole message out of what was received so far; None where it is not there yet."""
    if len(buffer) < HEAD:
        return None
    end = HEAD + int.from_bytes(buffer[:HEAD], "little")
    if len(buffer) < end:
        return None
    body = bytes(memoryview(buffer)[HEAD:end])
    del buffer[:end]
    return body
