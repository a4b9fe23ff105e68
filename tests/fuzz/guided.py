"""`make fuzz`: run each target with atheris, which keeps the inputs that reach new code and continues from there.

guided.py SECONDS                each target in a process of its own
guided.py SECONDS TARGET         one target
guided.py SECONDS TARGET FILE    repeat a failing input, which is in build/fuzz; it belongs in a test then
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import atheris

HERE = Path(__file__).parent
FAILURES = HERE.parents[1] / "build" / "fuzz"
sys.path[:0] = [str(HERE), str(HERE.parents[1])]
with atheris.instrument_imports(include=["edgedigits"]):
    from targets import TARGETS


def main(seconds: str, name: str | None = None, *failing: str) -> None:
    if name is None:
        commands = [[sys.executable, __file__, seconds, name] for name in TARGETS]
        raise SystemExit(max([subprocess.run(command).returncode != 0 for command in commands]))
    warnings.simplefilter("ignore")
    FAILURES.mkdir(parents=True, exist_ok=True)
    target = TARGETS[name]
    with tempfile.TemporaryDirectory() as corpus:
        for number, content in enumerate(target.valid()):
            target.accepts(content)  # what is made once is made before it counts
            (Path(corpus) / str(number)).write_bytes(content)
        limits = [f"-max_total_time={seconds}", "-rss_limit_mb=2048", "-timeout=20", "-max_len=65536"]
        print(f"== {name}", flush=True)
        atheris.Setup(
            [__file__, *limits, f"-artifact_prefix={FAILURES}/{name}-", *(failing or [corpus])], target.accepts
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
