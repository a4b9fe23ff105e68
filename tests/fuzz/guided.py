"""`make fuzz`: runs each target with atheris, which keeps the inputs that reach new code and continues from there.

A target runs in a process of its own for ``--seconds``. An input that fails is saved in the folder ``--finds`` and
printed with the command that repeats it; it belongs in a test then.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

HERE = Path(__file__).parent
MEMORY_MB, SECONDS_AN_INPUT = 2048, 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="TARGET", help="all of them if none is named")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--finds", type=Path, default=HERE.parents[1] / "build" / "fuzz")
    parser.add_argument("--again", type=Path, metavar="FILE", help="run one target on one find")
    parser.add_argument("--inside", help=argparse.SUPPRESS)  # the process of one target, and its corpus
    given = parser.parse_args()
    sys.path[:0] = [str(HERE), str(HERE.parents[1]), str(HERE.parents[1] / "export")]
    if given.inside:
        _inside(given.names[0], given.inside, given.seconds, given.finds)
    warnings.simplefilter("ignore")
    from targets import TARGETS

    if given.again:
        target = TARGETS[given.names[0]]
        print("read" if target.accepts(target.input_of(given.again.read_bytes())) else "refused")
        return
    given.finds.mkdir(parents=True, exist_ok=True)
    failed = [name for name in given.names or TARGETS if not _run(name, given.seconds, given.finds)]
    if failed:
        print(
            f"\nfinds in {given.finds}: {', '.join(failed)}; `python {sys.argv[0]} TARGET --again FILE` shows one again"
        )
    raise SystemExit(1 if failed else 0)


def _run(name: str, seconds: int, finds: Path) -> bool:
    """One target in its own process; whether it found nothing."""
    from targets import TARGETS

    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(TARGETS[name].seeds()):
            (Path(corpus) / f"whole{number}").write_bytes(b"\0" + seed)
        for number in range(64):  # tapes that differ in their first choices
            (Path(corpus) / f"tape{number}").write_bytes(bytes([1, number % 4, number // 4, *range(number, 120)]))
        command = [sys.executable, __file__, name, "--inside", corpus, "--seconds", str(seconds), "--finds", str(finds)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    said = done.stdout + done.stderr
    runs = re.findall(r"^#(\d+)\s.*?cov: (\d+)", said, re.MULTILINE) or [("0", "0")]
    count = re.search(r"Done (\d+) runs", said)
    inputs = int(count[1]) if count else int(runs[-1][0])
    verdict = "0 finds" if done.returncode == 0 else f"A FIND (status {done.returncode})"
    print(
        f"{name:10} {inputs:9,} inputs, {int(runs[0][1]):,} to {int(runs[-1][1]):,} edges of code, {verdict}",
        flush=True,
    )
    if done.returncode:
        told = re.search(r"=== Uncaught Python exception: ===.*?(?===\d+==|\Z)", said, re.DOTALL)
        print(told[0] if told else said[-2000:], re.findall(r"written to (\S+)", said), flush=True)
    return done.returncode == 0


def _inside(name: str, corpus: str, seconds: int, finds: Path) -> None:
    import atheris

    with atheris.instrument_imports(include=["edgedigits"]):
        from targets import TARGETS
    warnings.simplefilter("ignore")
    target = TARGETS[name]
    for seed in target.seeds():  # what is made once is made before it counts
        target.accepts(seed)
    limits = [f"-max_total_time={seconds}", f"-rss_limit_mb={MEMORY_MB}", f"-timeout={SECONDS_AN_INPUT}"]
    options = ["-max_len=65536", "-len_control=0", f"-artifact_prefix={finds}/{name}-", "-print_final_stats=1"]

    def one(data: bytes) -> None:
        target.accepts(target.input_of(data))

    atheris.Setup([sys.argv[0], *limits, *options, corpus], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
