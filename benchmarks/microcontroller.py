"""The generated C on emulated microcontrollers: flash, stack and instructions of an image, and emlearn's float code.

QEMU runs the firmware of ``tests/mcu`` on all 5000 images, and a plugin (``icount.c``) counts what the guest executes
between two marks. **Instructions, not time**: nothing here ran on silicon. Needs what ``make test-mcu`` needs.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from side_by_side import Row, at_most, markdown, progress, run

PROJECT = Path(__file__).parents[1]
sys.path.insert(0, str(PROJECT / "tests" / "mcu"))

# These need the path above, or come after it in order.
from boards import BOARDS, Board, Result, build, flash_bytes, missing_tools, symbol  # noqa: E402
from boards import run as run_board  # noqa: E402

from edgedigits.bundle.bundle import Bundle  # noqa: E402
from edgedigits.parity.board import full_integer_artifact  # noqa: E402
from edgedigits.runtimes.oracle.arithmetic import NumpyAdapter  # noqa: E402
from edgedigits.runtimes.oracle.reader import read_chain  # noqa: E402
from edgedigits_export.targets.microcontroller.library import write_library  # noqa: E402

BUNDLES = ("notebook", "robust")
LEVELS = ("-O2", "-Os")  # Arduino's boards are built with -Os
LIMITS = {"flash": 12_500, "stack": 1_850, "m4": 23_000, "m0": 40_000}
# emlearn's generated code as firmware: its network takes float, and the class is all that it returns.
EMLEARN_HEADER = (
    "#include <stdint.h>\n#define DIGITS_INPUTS 400\n#define DIGITS_CLASSES 10\nint digits_selftest(void);\n"
)
EMLEARN_HEADER += "int digits_predict(const float *x, int8_t *y);\n"
EMLEARN_CODE = '#include "digits.h"\n{code}\nint digits_selftest(void) {{ return 0; }}\n'
EMLEARN_CODE += (
    "int digits_predict(const float *x, int8_t *y) {{ (void)y; return (int)net_predict(x, DIGITS_INPUTS); }}\n"
)


def counted(board: Board, elf: Path, x: Any, plugin: Path) -> tuple[Result, list[int]]:
    """Run the firmware; also the instructions of each image."""
    counts = elf.parent / "counts"
    mark = symbol(board, elf, "mark")
    result = run_board(board, elf, x, 10, ["-plugin", f"{plugin},out={counts},mark={mark:#x}"])
    marks = [int(line.split()[1]) for line in counts.read_text().splitlines() if line.startswith("0 ")]
    empty = marks[1] - marks[0]
    return result, [end - start - empty for start, end in zip(marks[2::2], marks[3::2], strict=True)]


def measure_c(name: str, core: str, level: str, folder: Path, plugin: Path) -> Row:
    """One bundle on one core."""
    board, bundle, artifact = BOARDS[core], Bundle(name), full_integer_artifact(Bundle(name))
    library = folder / "digits"
    write_library(bundle, library, "digits")
    x = artifact.input.quantize(bundle.inputs()[0])
    full = np.full((1, 400), 127, np.int8)
    elf = build(board, sorted((library / "src").glob("*.c")), library / "src", folder, [level])
    result, counts = counted(board, elf, np.concatenate([x, full]), plugin)
    expected = NumpyAdapter(bundle.read(artifact.file), "reference").run(x)
    return {
        "core": board.core,
        "bundle": name,
        "code": f"edgedigits {level}",
        "images": len(x),
        "wrong_logits": int((result.answers[:-1, :-1] != expected).sum()) if result.status == 0 else expected.size,
        "flash_bytes": result.flash,
        "stack_bytes": result.stack,
        "mean_instructions": round(float(np.mean(counts[:-1]))),
        "worst_instructions": max(counts[:-1]),
        "full_instructions": counts[-1],
    }


def measure_emlearn(core: str, folder: Path, plugin: Path) -> Row:
    """The float32 model by emlearn's only method for float that gives valid C, with newlib's expf."""
    import emlearn
    from emlearn.net import c_generate_net_loadable

    board, bundle = BOARDS[core], Bundle()
    operators = read_chain(bundle.read("float32.tflite"), ["FULLY_CONNECTED"])[1]
    layers = [[tensor.values for tensor in op.inputs[1:] if tensor is not None] for op in operators]
    activations = ["relu", "relu", "softmax"]
    code = c_generate_net_loadable(activations, [w.T for w, _ in layers], [b for _, b in layers], prefix="net")
    (folder / "digits.h").write_text(EMLEARN_HEADER)
    (folder / "digits.c").write_text(EMLEARN_CODE.format(code=code))
    x, _ = bundle.inputs()
    include = ["-I", str(Path(emlearn.__file__).parent), "-fhosted", "-w", "-DINPUT=float", "-O2"]
    elf = build(board, [folder / "digits.c"], folder, folder, include, ["-lc_nano", "-lm", "-lnosys"])
    result, counts = counted(board, elf, x, plugin)
    right = int((result.answers[:, -1] == bundle.golden().argmax(axis=1)).sum())
    if right < len(x):
        raise SystemExit(f"emlearn: only {right} of {len(x)} classes are right")
    return {
        "core": board.core,
        "bundle": "notebook",
        "code": "emlearn, float32, -O2",
        "images": len(x),
        "wrong_logits": None,
        "flash_bytes": flash_bytes(board, folder / "digits.c.o", ram=True),
        "stack_bytes": result.stack,
        "mean_instructions": round(float(np.mean(counts))),
        "worst_instructions": max(counts),
        "full_instructions": None,
    }


def measure(quick: bool) -> Row:
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plugin = folder / "icount.so"
        source = str(Path(__file__).parent / "icount.c")
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", str(plugin), source], check=True)
        for core, board in BOARDS.items():
            if why := missing_tools(board):
                raise SystemExit(why)
            for level in LEVELS[:1] if quick else LEVELS:
                for bundle in BUNDLES[:1] if quick else BUNDLES:
                    progress(f"{board.core}, {bundle}, {level}")
                    place = folder / f"{core}{level}-{bundle}"
                    place.mkdir()
                    rows.append(measure_c(bundle, core, level, place, plugin))
        if find_spec("emlearn") is None:
            progress("")
            print("emlearn is not installed: left out; pip install emlearn", file=sys.stderr)
        else:
            (folder / "emlearn").mkdir()
            rows.append(measure_emlearn("m4", folder / "emlearn", plugin))
    compilers = {board.prefix: f"{board.prefix}gcc" for board in BOARDS.values()}
    versions = {gcc: _first_line(gcc, "-dumpversion") for gcc in compilers.values()}
    versions["qemu"] = _first_line("qemu-system-arm", "--version").split("version ")[1].split()[0]
    return {"versions": versions, "rows": rows, "table": table(rows), "targets": targets(rows)}


def _first_line(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0]


def table(rows: list[Row]) -> str:
    head = (
        "core",
        "bundle",
        "code",
        "wrong logits",
        "flash",
        "stack",
        "instructions, mean",
        "worst image",
        "no background",
    )
    keys = ("flash_bytes", "stack_bytes", "mean_instructions", "worst_instructions", "full_instructions")
    return markdown(
        head,
        [
            (
                row["core"],
                row["bundle"],
                row["code"],
                "-" if row["wrong_logits"] is None else f"{row['wrong_logits']} of {row['images'] * 10:,}",
                *("-" if row[key] is None else f"{row[key]:,}" for key in keys),
            )
            for row in rows
        ],
    )


def targets(rows: list[Row]) -> list[str]:
    ours = [row for row in rows if row["code"].startswith("edgedigits")]
    fast = {row["core"]: row for row in ours if row["code"].endswith("-O2") and row["bundle"] == "notebook"}
    return [
        at_most("wrong logits, sum of all rows", sum(row["wrong_logits"] for row in ours), 0),
        at_most("bytes of flash", max(row["flash_bytes"] for row in ours), LIMITS["flash"]),
        at_most("bytes of stack", max(row["stack_bytes"] for row in ours), LIMITS["stack"]),
        at_most("instructions of an image on the M4", fast["Cortex-M4"]["mean_instructions"], LIMITS["m4"]),
        at_most("instructions of an image on the M0", fast["Cortex-M0"]["mean_instructions"], LIMITS["m0"]),
    ]


if __name__ == "__main__":
    run("microcontroller", "The generated C on emulated microcontrollers", measure)
