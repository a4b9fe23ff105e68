"""`edgedigits remote` over a real ssh server: homes on this machine are the devices."""

from __future__ import annotations

import io
import json
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kits import on_linux
from sshd import Host, Server, new_key

from edgedigits.benchmark.result import BenchmarkReport, LatencyRow
from edgedigits.bundle.bundle import GOLDEN, Bundle
from edgedigits.remote import device
from edgedigits.remote.device import BUSY
from edgedigits.remote.probe import MARK, DeviceFacts, read_probe
from edgedigits.remote.ssh import Connection, HostError, parse_host
from edgedigits.remote.text import hosts_text
from edgedigits.remote.visit import HostResult, file_name
from edgedigits.system.terminal import FAILED, TROUBLE

pytestmark = on_linux
KIT = ("--runtime", "numpy")
CHECK = ("parity", "--artifact", "float32.tflite", "--batch", "500")
BENCHMARK = ("benchmark", "--artifact", "float32.tflite", "--windows", "2", "--min-seconds", "0.1", "--starts", "1")
Done = subprocess.CompletedProcess[str]
Remote = Callable[..., Done]
# Ends the whole connection as soon as parity has a row.
DIES = """
server=$PPID
sh -c "$SSH_ORIGINAL_COMMAND" | while IFS= read -r line; do
    printf '%s\\n' "$line"
    case $line in *'float32.tflite in numpy'*) kill -9 "$server" ;; esac
done
"""


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def running(host: Host) -> list[str]:
    """The command lines of processes that run anything of the host's home."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if f"{host.home}/" in line:
            found.append(line)
    return found


@pytest.fixture
def statuses(remote: Remote, tmp_path: Path) -> Callable[..., tuple[Done, dict[str, Any]]]:
    """Run `edgedigits remote`, and also return its JSON by host."""

    def run(*arguments: str) -> tuple[Done, dict[str, Any]]:
        done = remote("--json", "hosts.json", *arguments)
        return done, {result["host"]: result for result in read(tmp_path / "hosts.json")}

    return run


def wait_until_nothing_runs(host: Host) -> None:
    while running(host):
        time.sleep(0.05)


def test_it_installs_once_and_removes_everything(
    remote: Remote, server: Server, one: Host, two: Host, cache: Path, temporary: Path, tmp_path: Path
) -> None:
    """The second of the hosts has a Python without venv."""
    (kit,) = (cache / "edgedigits" / "kits").iterdir()
    made, results = kit.stat().st_mtime_ns, tmp_path / "build" / "remote"
    before = [server.connections(host) for host in (one, two)]

    def run(*arguments: str, hosts: tuple[Host, ...] = (one, two), did: str) -> Done:
        done = remote(*(host.name for host in hosts), *KIT, *arguments)
        assert done.returncode == 0, done.stderr
        assert [done.stderr.count(f"{host.name}  done: {did}") for host in hosts] == [1] * len(hosts), done.stderr
        return done

    assert run(*CHECK, did="installed").stdout.count("1 of 1 rows pass") == 2
    for host in (one, two):
        rows = read(results / host.name / "parity.json")["rows"]
        assert [(row["runtime"], row["mismatches"]) for row in rows] == [("numpy", 0)]
        assert [name for name in host.files() if not f"{name}/".startswith(".cache/edgedigits/")] == [".cache"]
    done = run("--sequential", *BENCHMARK, did="already installed")
    assert done.stderr.index("one  done") < done.stderr.index("two  connecting")
    assert done.stdout.count("float32.tflite in numpy") == 2
    for host in (one, two):
        (row,) = read(results / host.name / "benchmark.json")["rows"]
        assert f"{round(sum(row['window_p50_ns']) / 2):,}"[:-1] in done.stdout
        assert f"{host.name}: build/remote/{host.name}/parity.json is from an earlier run\n" in done.stdout
    page = (results / "report.html").read_text(encoding="utf-8")
    assert all(host.name in page for host in (one, two))
    assert page.count("parity.json is from an earlier run") == 2
    assert "2 of 2 runs have a row to ship" in page
    done = run("--remove", "doctor", hosts=(two,), did="already installed")
    assert f"\ntwo: {read(results / 'two' / 'doctor.json')['verdict']}\n" in done.stdout
    assert two.files() == []
    assert [server.connections(host) - count for host, count in zip((one, two), before, strict=True)] == [2, 3]
    assert kit.stat().st_mtime_ns == made
    assert list(temporary.iterdir()) == []  # no socket is left


@pytest.mark.slow
def test_without_a_command_it_runs_parity_and_the_benchmark(
    installed_host: Callable[..., Host],
    statuses: Callable[..., tuple[Done, dict[str, Any]]],
    bundle_copy: Path,
    tmp_path: Path,
) -> None:
    """On a bundle of one's own, which is copied once."""
    host = installed_host("whole")
    copied = []
    for command in ("--quick",), CHECK:
        done, results = statuses("whole", *KIT, "--bundle", str(bundle_copy), *command)
        assert (done.returncode, results["whole"]["message"]) == (0, ""), done.stderr
        copied.append([path.stat().st_mtime_ns for path in host.installed.glob("bundle-*/bundle.zip")])
        if command != CHECK:
            assert list(results["whole"]["files"]) == ["parity", "benchmark"]
            assert "9 of 9 rows pass" in done.stdout
    assert copied[0] == copied[1] != []
    facts = read(tmp_path / "build" / "remote" / "whole" / "benchmark.json")
    done, results = statuses("whole", *KIT, "benchmark", "--watch", "--sustained", "0.02")
    assert " ns at first, " in results["whole"]["verdict"]
    assert f"\nwhole: {results['whole']['verdict']}\n" in done.stdout
    assert (facts["method"]["windows"], Path(facts["bundle"]).name) == (5, "bundle.zip")


def test_a_failed_check_there_is_1(
    statuses: Callable[..., tuple[Done, dict[str, Any]]],
    replace_in_bundle: Callable[[str, bytes], Path],
    installed_host: Callable[..., Host],
    tmp_path: Path,
) -> None:
    golden = io.BytesIO()
    np.savez(golden, logits=-Bundle().golden())
    bundle = replace_in_bundle(GOLDEN, golden.getvalue())
    installed_host("three")
    done, results = statuses("three", *KIT, "--bundle", str(bundle), *CHECK)
    assert done.returncode == 1, done.stderr
    assert (results["three"]["status"], results["three"]["message"]) == ("failed", "parity")
    path = Path("build", "remote", "three", "parity.json")
    assert f"three: FAILED: parity; see {path}" in done.stdout
    facts = read(tmp_path / path)
    assert (Path(facts["bundle"]).name, facts["passed"]) == ("bundle.zip", False)


def test_a_host_that_cannot_be_used_is_a_row_and_the_others_go_on(
    server: Server,
    installed_host: Callable[..., Host],
    statuses: Callable[..., tuple[Done, dict[str, Any]]],
    tmp_path: Path,
) -> None:
    (tmp_path / "programs").mkdir()
    for name in ("sh", "uname"):
        (tmp_path / "programs" / name).symlink_to(f"/bin/{name}")
    server.add_host("pythonless", script=f'PATH={tmp_path}/programs; exec sh -c "$SSH_ORIGINAL_COMMAND"')
    server.add_host("shellless", script="echo There is no shell. >&2; exit 1")
    server.add_host("full", script='HOME=/proc; exec sh -c "$SSH_ORIGINAL_COMMAND"')  # nothing is free there
    dying, good = installed_host("dying", DIES), installed_host("good")
    new_key(server.folder / "keys" / "stranger")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and does not listen
        off = f"nobody@127.0.0.1:{closed.getsockname()[1]}"
        others = ("dying", "pythonless", "shellless", "full", "stranger", off, "nameless.invalid")
        done, results = statuses(*others, "good", *KIT, *CHECK)
    assert done.returncode == 2
    for host, message in {
        "dying": "during parity: the connection was closed; see whether the host is on",
        "shellless": "it has no POSIX shell (There is no shell.); expected a device with Linux",
        "pythonless": "it has no Python (Linux ",
        "full": " MB installed, but 0 MB are free in ~/.cache/edgedigits/",
        "stranger": "it refuses the key; run: ssh-copy-id stranger; ssh-add for",
        off: "it has no ssh server; on the device run: sudo systemctl enable --now ssh",
        "nameless.invalid": "no host has that name; check the spelling, or its entry in ~/.ssh/config",
    }.items():
        assert results[host]["status"] == "trouble"
        assert message in results[host]["message"], done.stderr
        assert f"{host}: {results[host]['message']}\n" in done.stdout
    assert (results["good"]["status"], list(results["good"]["files"])) == ("ok", ["parity"])
    wait_until_nothing_runs(dying)
    assert running(good) == []


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)])
def test_what_runs_there_ends_with_us(
    number: int, installed_host: Callable[..., Host], start: Callable[..., subprocess.Popen[str]], remote: Remote
) -> None:
    """Also where we are killed, and cannot do anything about it. Until then another run does not remove its files."""
    hosts = [installed_host(f"{name}{number}") for name in "ab"]
    process = start(*(host.name for host in hosts), *KIT, "--remove", "benchmark")
    assert process.stderr is not None
    begun = [process.stderr.readline() for _ in range(6)]
    assert begun[-1].endswith("  benchmark\n"), begun
    while not all(running(host) for host in hosts):
        time.sleep(0.05)
    if number == signal.SIGINT:
        other = remote(hosts[0].name, *KIT, "--remove", *CHECK)
        assert (other.returncode, other.stdout.count("1 of 1 rows pass")) == (2, 1), other.stderr
        assert f"{hosts[0].name}: removing: {BUSY}\n" in other.stdout
        assert running(hosts[0])
    process.send_signal(number)
    shown, printed = process.communicate()
    if number == signal.SIGINT:
        assert [f"\n{host.name}: during benchmark: stopped\n" in shown for host in hosts] == [True, True], shown
        assert process.returncode == 130
        assert "Traceback" not in printed
        assert [running(host) for host in hosts] == [[], []]
        assert [host.files() for host in hosts] == [[], []]
    for host in hosts:
        wait_until_nothing_runs(host)


def test_what_is_finished_is_shown_after_ctrl_c(
    installed_host: Callable[..., Host], start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    hosts = [installed_host(name) for name in ("first", "second", "third")]
    process = start("--sequential", *(host.name for host in hosts), *KIT, *CHECK)
    assert process.stderr is not None
    while not process.stderr.readline().startswith("second  connecting"):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    shown = process.communicate()[0]
    assert process.returncode == 130
    assert shown.splitlines()[2].split()[0] == "first"
    assert "1 of 1 rows pass" in shown.splitlines()[2]
    assert "\nthird: stopped\n" in shown
    assert "first" in (tmp_path / "build" / "remote" / "report.html").read_text(encoding="utf-8")


def test_an_installation_that_another_run_removed(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="another run has removed the installation; run this again"):
        device.run(str(tmp_path), ["parity"])


def test_which_devices_get_a_kit() -> None:
    facts = {
        "executable": "/usr/bin/python3", "python": [3, 11], "suffix": ".cpython-311-arm-linux-gnueabihf.so",
        "system": "Linux", "machine": "aarch64", "libc": "glibc 2.36", "free_bytes": 1, "installed": "", "bundles": [],
    }  # fmt: skip

    def probed(**changes: Any) -> DeviceFacts:
        return read_probe(["Welcome!", f"{MARK}Linux aarch64", f"{MARK}{json.dumps(facts | changes)}"])

    assert probed().target().name == "pi-32"  # a 32-bit system on a 64-bit kernel
    assert probed(suffix=".cpython-311-aarch64-linux-gnu.so").target().name == "pi-64"
    unfit: dict[str, dict[str, Any]] = {
        "it has Python 3.9, edgedigits needs 3.10 or newer; upgrade its system": {"python": [3, 9]},
        "no runtime is built for a Pi 1 or Zero": {"machine": "armv6l"},
        "(cpython-311-aarch64-linux-musl); kits are for": {"suffix": ".cpython-311-aarch64-linux-musl.so", "libc": ""},
        "it is Linux on aarch64 with Python 3.13 (cpython-313t": {
            "suffix": ".cpython-313t-aarch64-linux-gnu.so",
            "python": [3, 13],
        },
        "its Python prints something else than expected": {"free_bytes": "many"},
    }
    for message, changes in unfit.items():
        with pytest.raises(HostError, match=re.escape(message)):
            probed(**changes).target()
    with pytest.raises(HostError, match="it has no POSIX shell"):
        read_probe(["'sh' is not recognized as an internal or external command"])


def test_the_table() -> None:
    """The ratio is to the slowest host; an invalid run has none and sets none."""

    def ran(host: str, median: int, **changes: Any) -> HostResult:
        row = LatencyRow("float32.tflite", "litert", 1, "ok", 44_000, p50_ns=median, window_p50_ns=(median,))
        machine = dict.fromkeys(("model", "cpu")) | {"model": f"Model of {host}"}
        invalid = changes.pop("invalid", None)
        benchmark = BenchmarkReport("notebook", machine, {}, (), invalid, False, {}, (row,))
        return HostResult(host, runtime="litert", benchmark=benchmark, **changes)

    hot = {"invalid": "the device was throttled", "status": FAILED, "message": "benchmark", "files": {}}
    off = HostResult("off", TROUBLE, "it does not answer; switch it on")
    lines = hosts_text([ran("fast", 1_000), ran("slow", 4_000), ran("hot", 9_000, **hot), off]).splitlines()
    assert [" ".join(line.split()[-3:]) for line in lines[2:6]] == [
        "litert 1,000 4.00", "litert 4,000 1.00", "litert 9,000 INVALID", "- - -",
    ]  # fmt: skip
    assert lines[-3:] == [
        "hot: INVALID: the device was throttled",
        "hot: FAILED: benchmark; see ",
        "off: it does not answer; switch it on",
    ]


def test_hosts_and_folders() -> None:
    assert parse_host("pi@one") == "pi@one"
    assert parse_host("pi@one:2222") == "ssh://pi@one:2222"
    assert parse_host("fe80::1") == "fe80::1"
    assert [file_name(host) for host in ("pi@one:22", "ssh://pi@one:22", "..", "a/../b")] == [
        "pi@one_22", "pi@one_22", "host", "a_.._b",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("host", "copy_id", "known"),
    [("pi@one", "pi@one", "one"), ("pi@one:22", "-p 22 pi@one", "'[one]:22'"), ("fe80::1", "fe80::1", "fe80::1")],
)
def test_what_to_type(host: str, copy_id: str, known: str) -> None:
    connection = Connection(parse_host(host), ["ssh"], Path("unused"))
    assert f"run: ssh-copy-id {copy_id}; ssh-add" in connection.explain("pi@one: Permission denied (publickey).")
    assert connection.explain("WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!").endswith(f": ssh-keygen -R {known}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("one:22", "ssh://one:22"), "one:22 is given twice"),
        (("one", "predict", "--index", "1"), "not predict; a host of that name is user@predict"),
        (("parity",), "give a HOST before parity; a host of that name is user@parity"),
        (("one", "parity", "--unsen"), "No such option '--unsen'"),
        (("one", "parity", "robust"), "parity takes no 'robust' here; give the bundle with --bundle, before parity"),
        (("one", "benchmark", "--json", "x"), "benchmark takes no --json here; give --json or --output before"),
        (("one", "benchmark", "--watch"), "--watch needs --sustained MINUTES here"),
        (("one", "benchmark", "--watch", "--sustained", "0"), "--watch needs --sustained MINUTES here"),
        (("one", "--quick", "parity"), "--quick stands for `benchmark --quick`"),
        (("--ssh", "ssh '", "one"), "--ssh ssh ': No closing quotation; expected a command such as 'ssh -F FILE'"),
        (("-o", "/dev/null/results", "one"), "cannot write /dev/null/results/one/parity.json: Not a directory"),
        (("@h", "doctor"), "@h: ssh does not take that name; expected [user@]host or ssh://[user@]host[:port]"),
        (("--ssh", "no-such-ssh", "one"), "cannot start no-such-ssh"),
        (("--bundle", "no-such", "one"), "no-such: no such bundle"),
        (("--", "-oProxyCommand=x"), "'-oProxyCommand=x' is no host"),
    ],
)
def test_bad_arguments(arguments: tuple[str, ...], message: str, edgedigits: Callable[..., Done]) -> None:
    done = edgedigits("remote", *arguments)
    assert done.returncode == 2
    assert message in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_the_help_of_a_command_lacks_what_is_refused(edgedigits: Callable[..., Done]) -> None:
    done = edgedigits("remote", "one", "benchmark", "--help")
    assert done.returncode == 0
    assert [option in done.stdout for option in ("--windows", "--runtime", "--key", "--json")] == [True, *[False] * 3]
