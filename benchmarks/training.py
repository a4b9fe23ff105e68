"""Training: the notebook's plain ``fit`` against ``edgedigits_export.training.notebook.train``.

Same network, seed, data, batches and optimizer; 40 epochs with batches of 32; each run in a new process. The time
covers seed, build, compile and fit; ours also computes the logits for the history.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

from side_by_side import Row, at_least, at_most, in_child, in_turns, markdown, run

NOTEBOOK, SILENT, OURS = "notebook `fit`", "notebook `fit`, verbose=0", "`edgedigits train`"
SEED, EPOCHS, BATCH, LEARNING_RATE = 1234, 40, 32, 0.001
DATA = Path(__file__).parents[1] / "data"


def child(request: Row) -> Row:
    """Train once; seconds, loss of the last epoch, errors on the 5000."""
    import keras

    from edgedigits.parity.metrics import errors
    from edgedigits_export.training.data import load_xy
    from edgedigits_export.training.notebook import train

    x, y = load_xy(DATA)
    keras.ops.convert_to_tensor(x[:1])  # starts TensorFlow, which is not measured
    start = time.perf_counter()
    if request["rival"] == OURS:
        trained = train(x, y, seed=SEED, epochs=EPOCHS)
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "loss": trained.history["final_loss"], "errors": trained.history["errors"]}
    keras.utils.set_random_seed(SEED)
    model = keras.Sequential(
        [
            keras.Input((400,)),
            keras.layers.Dense(25, activation="relu", name="L1"),
            keras.layers.Dense(15, activation="relu", name="L2"),
            keras.layers.Dense(10, activation="linear", name="L3"),
        ]
    )
    model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=keras.optimizers.Adam(learning_rate=LEARNING_RATE),
    )
    verbose = 0 if request["rival"] == SILENT else 1
    losses = model.fit(x, y, epochs=EPOCHS, batch_size=BATCH, verbose=verbose).history["loss"]
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "loss": float(losses[-1]), "errors": int(errors(model.predict(x, verbose=0), y))}


def measure(quick: bool) -> Row:
    rivals = (NOTEBOOK, SILENT, OURS)
    runs: dict[str, list[Row]] = {name: [] for name in rivals}
    for _, name in in_turns(rivals, 1 if quick else 5):
        runs[name].append(in_child(__file__, {"rival": name}))
    seconds = {name: statistics.median(r["seconds"] for r in runs[name]) for name in rivals}
    rows = [
        {
            "rival": name,
            "seconds": [round(r["seconds"], 3) for r in runs[name]],
            "median_seconds": round(seconds[name], 3),
            "times_faster_than_notebook": round(seconds[NOTEBOOK] / seconds[name], 2),
            "loss": sorted({r["loss"] for r in runs[name]}),
            "errors": sorted({r["errors"] for r in runs[name]}),
        }
        for name in rivals
    ]
    table = markdown(
        ("40 epochs on 5000 digits", "seconds, median", "times faster", "loss", "errors of 5000"),
        (
            (
                row["rival"],
                f"{row['median_seconds']:.2f}",
                f"{row['times_faster_than_notebook']:.2f}",
                " ".join(f"{loss:.4f}" for loss in row["loss"]),
                " ".join(map(str, row["errors"])),
            )
            for row in rows
        ),
    )
    ours = rows[-1]
    targets = [
        at_least("times faster than the notebook's fit", ours["times_faster_than_notebook"], 2),
        at_least("times faster than the same with verbose=0", seconds[SILENT] / seconds[OURS], 2),
        at_most("errors", max(ours["errors"]), 19),
        at_most("loss", max(ours["loss"]), 0.0330),
    ]
    return {"repetitions": len(runs[OURS]), "rows": rows, "table": table, "targets": targets}


if __name__ == "__main__":
    run("training", "Training: the notebook's fit against edgedigits", measure, child)
