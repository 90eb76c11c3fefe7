"""The process in which an engine runs cases: `main(incoming, outgoing, parent)`, two pipes and the parent's pid.

Nothing here decides anything: it loads the engine, runs what it is sent, and answers. Standard output and standard
error belong to the engine; the protocol has pipes of its own. The process ends when its parent does.
"""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import os
import resource
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING

import msgspec

from conformance.case import Case
from conformance.errors import EngineError
from conformance.outcome import Outcome, Raised
from conformance.records import EngineInfo
from conformance.running.messages import CHUNK, Done, Execute, Load, Ready, Refused, frame, requests, take, write

if TYPE_CHECKING:
    from conformance.engines.base import Engine

PR_SET_PDEATHSIG = 1


def main(incoming: int, outgoing: int, parent: int) -> None:
    """Serves requests until the parent closes its end; never returns."""
    _settle(incoming, outgoing, parent)
    engine: Engine | None = None
    buffer = bytearray()
    while True:
        message = take(buffer)
        if message is None:
            received = os.read(incoming, CHUNK)
            if not received:
                os._exit(0)  # at once: an engine's own teardown can hang or crash, and judges nothing
            buffer += received
            continue
        match requests.decode(message):
            case Load(engine=name, device=device):
                engine = _load(outgoing, name, device)
            case Execute(case=case):
                assert engine is not None
                write(outgoing, _answer(case, engine))


def _settle(incoming: int, outgoing: int, parent: int) -> None:
    """Keeps the pipes to itself, dies with its parent, leaves no core file, and says where it was when it dies."""
    for fd in (incoming, outgoing):
        os.set_inheritable(fd, False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.enable()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def _load(outgoing: int, name: str, device: str) -> Engine:
    from conformance import engines, language  # noqa: F401  (language is imported before the heap is frozen)

    try:
        engine = engines.load(name, device)
        info = EngineInfo(engine.name, engine.version, engine.device, engine.drop_in)
    except EngineError as e:
        write(outgoing, frame(Refused(e.what, e.hint)))
        os._exit(0)
    gc.collect()
    gc.freeze()  # what is imported stays: collecting between cases then looks at a case's own objects only
    write(outgoing, frame(Ready(info)))
    return engine


def _answer(case: Case, engine: Engine) -> bytes:
    from conformance.language import execute

    try:
        outcome = execute(case, engine, alone=True)
    except BaseException as e:  # KeyboardInterrupt passes through execute; here only an engine can have raised it
        outcome = Outcome(case.name, error=Raised(type(e).__name__, str(e)))
    try:
        return frame(Done(outcome))
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError) as e:
        why = f"the engine left a value behind that cannot be read: {e}"
        return frame(Done(Outcome(case.name, error=Raised(type(e).__name__, why))))
