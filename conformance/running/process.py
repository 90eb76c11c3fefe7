"""One worker process as the parent sees it: started, fed, listened to, killed with all that it started."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from typing import Literal, NamedTuple

import msgspec

from conformance.case import Case
from conformance.errors import RunError
from conformance.records import ErrorInfo
from conformance.running.messages import CHUNK, Execute, Load, Reply, frame, replies, take

BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from conformance.running.worker import main; main(*map(int, sys.argv[2:]))"
)
THREADS = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)  # fmt: skip
TAIL = 4000  # bytes of the worker's output that are kept
GRACE = 0.5  # seconds that a worker has to say where it hangs, and to leave when it is asked to


class Key(NamedTuple):
    """An engine on a device, as it is asked for."""

    engine: str
    device: str = "cpu"


class Died(msgspec.Struct):
    """The process that ran a case ended (`crash`) or did not answer in time (`timeout`)."""

    verdict: Literal["crash", "timeout"]
    error: ErrorInfo
    seconds: float


class Worker:
    """A process with one engine. `cases` are those sent and not answered; the first of them is running."""

    def __init__(self, key: Key) -> None:
        self.key = key
        self.ready = False
        self.cases: deque[Case] = deque()
        self.lease = 0  # cases that it may still be sent before another engine has its turn
        self.since = time.monotonic()  # when the running case, or the import, began
        self._received = bytearray()
        self._unsent = bytearray()
        self._tail = bytearray()
        self._start()
        self.send(Load(key.engine, key.device))

    def _start(self) -> None:
        theirs_in, self.outgoing = os.pipe()
        self.incoming, theirs_out = os.pipe()
        self.output, their_output = os.pipe()
        command = [sys.executable, "-P", "-c", BOOT, json.dumps([p or os.getcwd() for p in sys.path])]
        try:
            self.process = subprocess.Popen(
                [*command, str(theirs_in), str(theirs_out), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=their_output,
                stderr=their_output,
                pass_fds=(theirs_in, theirs_out),
                start_new_session=True,  # its own process group, so that whatever it starts is killed with it
                env=os.environ | dict.fromkeys(THREADS, "1") | {"PYTHONHASHSEED": "0"},
            )
        except OSError as e:
            for fd in (self.outgoing, self.incoming, self.output):
                os.close(fd)
            raise RunError(f"a worker process could not be started: {e}") from None
        finally:
            for fd in (theirs_in, theirs_out, their_output):
                os.close(fd)
        for fd in (self.outgoing, self.incoming, self.output):
            os.set_blocking(fd, False)

    @property
    def waiting(self) -> bool:
        """Whether there is something left to send that did not fit into the pipe."""
        return bool(self._unsent)

    @property
    def busy(self) -> bool:
        return bool(self.cases) or not self.ready

    def run(self, case: Case) -> None:
        if not self.cases:
            self.since = time.monotonic()
        self.cases.append(case)
        self.lease -= 1
        self.send(Execute(case))

    def send(self, message: Load | Execute) -> None:
        self._unsent += frame(message)
        self.flush()

    def flush(self) -> None:
        """Writes what the pipe takes. A broken pipe is noticed where the worker's end is."""
        try:
            while self._unsent:
                del self._unsent[: os.write(self.outgoing, self._unsent)]
        except BlockingIOError:
            return
        except OSError:
            self._unsent.clear()

    def receive(self) -> tuple[list[Reply], bool]:
        """The answers that have come, in order, and whether more can come.

        None can when the worker has closed its end of the pipe, or sent what is no answer.
        """
        found: list[Reply] = []
        try:
            while data := os.read(self.incoming, CHUNK):
                self._received += data
                while (message := take(self._received)) is not None:
                    found.append(replies.decode(message))
        except BlockingIOError:
            return found, True
        except msgspec.MsgspecError:
            pass
        return found, False

    def answer(self) -> tuple[Case, float]:
        """The case that the answer just received belongs to and its seconds; the next one begins now."""
        before, self.since = self.since, time.monotonic()
        return self.cases.popleft(), self.since - before

    def listen(self) -> bool:
        """Keeps the end of what the worker prints. Returns whether there may be more."""
        try:
            data = os.read(self.output, CHUNK)
        except BlockingIOError:
            return False
        self._tail += data
        del self._tail[:-TAIL]
        return bool(data)

    @property
    def tail(self) -> str:
        """The end of what the worker printed."""
        for _ in range(64):  # something that escaped the process group may go on printing
            if not self.listen():
                break
        return self._tail.decode("utf-8", "replace").strip()

    def ended(self) -> bool:
        return self.process.poll() is not None

    def interrogate(self) -> None:
        """Asks a worker that hangs for its stack (faulthandler prints it on SIGABRT), then kills it."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGABRT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(GRACE)
        self.kill()

    def how_it_ended(self) -> str:
        """Why the process is no longer there: its exit code or the signal. Waits a moment for one that is leaving."""
        try:
            code = self.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            return "it closed its connection to the kit or wrote into it"
        if code >= 0:
            return f"it exited with code {code}"
        try:
            return f"it was killed by {signal.Signals(-code).name} (signal {-code})"
        except ValueError:
            return f"it was killed by signal {-code}"

    def leave(self) -> None:
        """Asks the worker to go: it ends as soon as it sees its pipe closed."""
        with contextlib.suppress(OSError):
            os.close(self.outgoing)
        self.outgoing = -1

    def kill(self) -> None:
        """Ends the process and everything in its process group, and closes the pipes."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def close(self) -> None:
        for fd in (self.outgoing, self.incoming, self.output):
            if fd >= 0:
                os.close(fd)
