"""Open damaged .tflite files in tflite-runtime, each in a fork, and count the exit statuses.

Run as ``python fuzz_classic.py FILE...``. Most of the damage is at the ends of a file, where its structure is.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import sys
from collections import Counter
from pathlib import Path

from edgedigits.errors import ModelError
from edgedigits.runtimes.session import Session

SAMPLES = 150
ENDS = 1500, 6000  # bytes before and after the weights of the packaged models


def damaged(content: bytes, chance: random.Random) -> bytes:
    """Truncated, or with some bytes changed."""
    if chance.random() < 0.15:
        return content[: chance.randrange(1, len(content))]
    changed = bytearray(content)
    for _ in range(chance.choice([1, 1, 1, 2, 4, 16])):
        head, tail = (min(end, len(content)) for end in ENDS)
        at = chance.choice([chance.randrange(head), len(content) - 1 - chance.randrange(tail)])
        if chance.random() < 0.5:
            changed[at] ^= 1 << chance.randrange(8)
        else:
            at &= ~3
            values = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", chance.randbytes(4))
            changed[at : at + 4] = chance.choice(values)
    return bytes(changed)


def exit_status(content: bytes) -> int:
    """Of a process that opens the file: 0 if it opens or is refused."""
    copy = os.fork()
    if copy == 0:
        resource.setrlimit(resource.RLIMIT_CPU, (10, 10))
        status = 1
        try:
            with contextlib.suppress(ModelError):
                Session(content, "tflite", "tflite-runtime").close()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1])


if __name__ == "__main__":
    files = [Path(name).read_bytes() for name in sys.argv[1:]]
    Session(files[0], "tflite", "tflite-runtime").close()  # import it before the forks
    chance = random.Random(0)
    found = [exit_status(damaged(chance.choice(files), chance)) for _ in range(SAMPLES)]
    sys.stdout.write(f"{dict(Counter(found))}\n")
