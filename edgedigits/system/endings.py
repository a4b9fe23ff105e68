"""How a process that runs a model ends: by which signal, past which limit, and what to do then."""

from __future__ import annotations

import os
import signal
from pathlib import Path

# A Windows process that dies ends with an NTSTATUS; these are the commonest (ntstatus.h).
_NTSTATUS = {
    0xC0000005: "STATUS_ACCESS_VIOLATION",
    0xC000001D: "STATUS_ILLEGAL_INSTRUCTION",
    0xC00000FD: "STATUS_STACK_OVERFLOW",
    0xC0000409: "STATUS_STACK_BUFFER_OVERRUN",
}
ILLEGAL = ("SIGILL", "STATUS_ILLEGAL_INSTRUCTION")
POLL_SECONDS = 0.05  # how often a process's memory is looked at: 20 readings a second of some 30 microseconds
PATIENCE_SECONDS = 2.0  # for a process that was asked to end; native code in a loop does not hear it
_LEAST_BYTES = 256_000_000


def killed_by(status: int) -> str | None:
    """The signal, or on Windows the exception, behind a process's exit status; None if it ended by itself."""
    if -128 < status < 0:
        try:
            return signal.Signals(-status).name
        except ValueError:  # a real-time signal, which has no name
            return f"signal {-status}"
    code = status & 0xFFFFFFFF
    return _NTSTATUS.get(code, f"status 0x{code:08X}") if code >= 0xC0000000 else None


def died_of(name: str) -> str:
    """One line about a process that such a signal ended."""
    if name in ILLEGAL:
        what = "this processor lacks an instruction that it was built with: `edgedigits doctor` says what works here"
    elif name == "SIGKILL":
        what = "so the system ends what takes most when memory runs out: end what else runs, or use a smaller model"
    else:
        what = "the model is damaged, hostile, or not for this runtime: use one that you trust, or another --runtime"
    return f"the runtime died of {name}; {what}"


def too_slow(seconds: float) -> str:
    """One line about a process that was ended for taking so long."""
    return f"no answer within {seconds:g} s and ended; allow more with --timeout"


def too_large(limit: int) -> str:
    """One line about a process that was ended for taking more than ``limit`` bytes."""
    much = f"took over {limit / 1e6:,.0f} MB of memory and was ended"
    return f"{much}; allow more with --memory-limit, if you trust the model"


def give_way(pid: int) -> None:
    """Should the system's memory run out before anybody looks, let this process go, and not who watches it (Linux)."""
    try:
        Path(f"/proc/{pid}/oom_score_adj").write_text("1000", encoding="ascii")
    except OSError:
        return


def memory_taken(pid: int) -> int | None:
    """The bytes of a process that are nobody else's and no file's, in memory or swapped out; None off Linux.

    What it has reserved but not touched does not count: 64-bit runtimes reserve much.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    lines = (line.split() for line in status.splitlines() if line.startswith(("RssAnon:", "VmSwap:")))
    return sum(int(line[1]) * 1024 for line in lines)


def memory_share(processes: int = 1) -> int | None:
    """What each of so many processes at once may take: three quarters of the memory there is, shared out.

    None where the system does not tell. Never under 256 MB, which any runtime but TensorFlow starts in.
    """
    try:
        there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
    return max(_LEAST_BYTES, there * 3 // 4 // processes)
