"""How a child process ends, and how much memory it may use."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

# A Windows process that crashes ends with an NTSTATUS; these are the most common ones (ntstatus.h).
_NTSTATUS = {
    0xC0000005: "STATUS_ACCESS_VIOLATION",
    0xC000001D: "STATUS_ILLEGAL_INSTRUCTION",
    0xC00000FD: "STATUS_STACK_OVERFLOW",
    0xC0000409: "STATUS_STACK_BUFFER_OVERRUN",
}
ILLEGAL_INSTRUCTION = ("SIGILL", "STATUS_ILLEGAL_INSTRUCTION")
_SMALLEST_SHARE = 256_000_000  # bytes; every runtime but TensorFlow starts in that


def crash_signal(returncode: int) -> str | None:
    """Name the signal, or on Windows the exception, that ended a process; None if it ended by itself."""
    if -128 < returncode < 0:
        return signal.Signals(-returncode).name
    code = returncode & 0xFFFFFFFF
    return _NTSTATUS.get(code, f"status 0x{code:08X}") if code >= 0xC0000000 else None


def crash_message(name: str) -> str:
    """Say in one line what a crash by this signal means and what to do."""
    if name in ILLEGAL_INSTRUCTION:
        hint = "it uses an instruction that this processor lacks; `edgedigits doctor` shows which runtimes work here"
    elif name == "SIGKILL":
        hint = "the system does that when memory runs out; close other programs or use a smaller model"
    else:
        hint = "the model is damaged, malicious or not for this runtime; use a trusted model or another --runtime"
    return f"the runtime crashed ({name}): {hint}"


def prefer_as_oom_victim(pid: int) -> None:
    """Tell Linux to kill this process first when memory runs out, not the one that watches it."""
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/oom_score_adj").write_text("1000", encoding="ascii")


def memory_in_use(pid: int) -> int:
    """Bytes of a process's private memory, resident or swapped out; 0 where the system is not Linux.

    Memory that is reserved but untouched does not count, because 64-bit runtimes reserve a lot.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    lines = (line.split() for line in status.splitlines() if line.startswith(("RssAnon:", "VmSwap:")))
    return sum(int(line[1]) * 1024 for line in lines)


def total_memory() -> int | None:
    """Bytes of memory that this machine has; None where the system does not report it."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return None


def memory_share(processes: int = 1) -> int | None:
    """Bytes that each of several concurrent processes may use: three quarters of the memory, divided equally.

    None where the system does not report its memory; never less than 256 MB.
    """
    total = total_memory()
    return None if total is None else max(_SMALLEST_SHARE, total * 3 // 4 // processes)
