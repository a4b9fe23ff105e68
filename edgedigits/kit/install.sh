#!/bin/sh
# Install edgedigits from this folder. Needs python3, but no network, pip or root. Checks the kit and the machine before
# it writes anything, and replaces an earlier installation only after the new one has worked.
set -eu
umask 022

fail() {
    printf 'install.sh: %s\n' "$1" >&2
    exit 2
}

start=$PWD
kit=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
prefix=${HOME:-}/edgedigits
python=python3
while [ $# -gt 0 ]; do
    case $1 in
    --prefix | --python)
        [ -n "${2:-}" ] || fail "$1 needs a value; expected: sh install.sh [--prefix DIR] [--python python3]"
        if [ "$1" = --prefix ]; then prefix=$2; else python=$2; fi
        shift 2
        ;;
    -h | --help)
        printf '%s\n' 'sh install.sh [--prefix DIR] [--python python3]' \
            'Installs into DIR; the default is ~/edgedigits.'
        exit 0
        ;;
    *) fail "unknown option $1; expected: sh install.sh [--prefix DIR] [--python python3]" ;;
    esac
done

# 1. Check the kit. The list may have one format only, so that a change of the list itself is found too.
cd -- "$kit"
command -v sha256sum >/dev/null || fail "sha256sum, which checks the kit, is missing; install coreutils"
[ -f SHA256SUMS ] || fail "no SHA256SUMS in $kit; unpack the whole kit: python3 -m zipfile -e kit.zip kit"
if LC_ALL=C grep -Evq '^[0-9a-f]{64}  [^ ]+$' SHA256SUMS; then
    fail "SHA256SUMS is damaged; copy the kit again"
fi
checked=$(LC_ALL=C sha256sum --check --strict --quiet SHA256SUMS 2>/dev/null) ||
    fail "this kit is damaged: $(printf '%s' "$checked" | head -n 1 | cut -d : -f 1); copy it again"
# Again, because the changed byte may be in the lines above.
LC_ALL=C sha256sum --check --strict --status SHA256SUMS || exit 2

# 2. Check the machine.
. ./kit.conf
found=$(cd -- "$start" && command -v "$python") || fail "$python not found; give the path of your Python, such as --python /usr/bin/python3"
case $found in /*) python=$found ;; *) python=$start/$found ;; esac
case $prefix in /*) ;; *) prefix=$start/$prefix ;; esac
given=$prefix
prefix=$(readlink -f -- "$prefix") && [ -d "$(dirname -- "$prefix")" ] ||
    fail "the parent folder of $given does not exist; create it with mkdir -p, or choose another --prefix"
case $prefix in *:*) fail "$prefix contains a colon, which separates entries of PYTHONPATH; choose another --prefix" ;; esac
beside=$(dirname -- "$prefix")
"$python" -I -c '
import importlib.machinery, importlib.util, os, platform, shutil, sys
description, python, suffix, machines, glibc, need_kb, modules, beside = sys.argv[1:]
own = importlib.machinery.EXTENSION_SUFFIXES[0]
libc = (os.confstr("CS_GNU_LIBC_VERSION") or "").split(" ")[-1]
missing = [module for module in modules.split() if importlib.util.find_spec(module.partition("=")[0]) is None]
free_kb = shutil.disk_usage(beside).free // 1024
if own != suffix or platform.machine() not in machines.split():
    why = "this kit is for %s with Python %s; this machine is %s with Python %d.%d (%s); make a kit for it" % (
        description, python, platform.machine(), sys.version_info[0], sys.version_info[1], own.strip(".").split(".")[0])
elif [int(part) for part in libc.split(".")] < [int(part) for part in glibc.split(".")]:
    why = "this kit needs glibc %s or newer, this machine has %s; upgrade its system" % (glibc, libc)
elif missing:
    why = "neither this kit nor this machine has %s; run: sudo apt install %s" % (
        ", ".join(module.partition("=")[0] for module in missing), " ".join(m.partition("=")[2] for m in missing))
elif free_kb < int(need_kb):
    why = "the installation needs %d MB, but %d MB are free in %s; free some, or choose another --prefix" % (
        int(need_kb) // 1024, free_kb // 1024, beside)
else:
    sys.exit(0)
sys.stderr.write("install.sh: %s\n" % why)
sys.exit(2)
' "$description" "$python_version" "$suffix" "$machines" "$glibc" "$need_kb" "$modules" "$beside" || exit 2
if [ -e "$prefix" ]; then
    [ -d "$prefix" ] || fail "$prefix is a file; choose another --prefix"
    for entry in "$prefix"/* "$prefix"/.[!.]*; do
        case ${entry##*/} in
        bin | lib | debian | kit.conf | '*' | '.[!.]*') ;;
        *) fail "$prefix contains ${entry##*/}, which is not from an earlier installation; choose another --prefix" ;;
        esac
    done
fi

# 3. Install into a temporary folder next to the prefix, test it there, then move it to the prefix.
new=$beside/.edgedigits-$$.new
old=$beside/.edgedigits-$$.old
clean() {
    status=$?
    trap - EXIT
    if [ -e "$old" ] && [ ! -e "$prefix" ]; then mv -- "$old" "$prefix"; fi
    rm -rf -- "$new"
    exit "$status"
}
trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' HUP TERM
mkdir -- "$new" 2>/dev/null || fail "cannot write to $beside; choose another --prefix"

try() {
    printed=$("$@" 2>&1) || fail "$1 failed: $(printf '%s' "$printed" | tail -n 1); $prefix is unchanged"
}
try mkdir -- "$new/bin" "$new/lib"
# shellcheck disable=SC2086 # one argument per wheel
try "$python" -I -c '
import sys, zipfile
for wheel in sys.argv[2:]:
    zipfile.ZipFile("wheels/" + wheel).extractall(sys.argv[1])
' "$new/lib" $wheels
for data in "$new"/lib/*.data/purelib "$new"/lib/*.data/platlib; do
    if [ -d "$data" ]; then try cp -R -- "$data/." "$new/lib"; fi
done
for package in $packages; do
    try dpkg-deb --extract "debian/$package" "$new/debian"
done
try mkdir -p -- "$new/lib/edgedigits/models/notebook"
try cp -- bundle/* "$new/lib/edgedigits/models/notebook"
try cp -- kit.conf "$new"
quoted=$(printf '%s' "$python" | sed "s/'/'\\\\''/g")
{
    printf '%s\n' '#!/bin/sh' 'top=$(dirname -- "$(dirname -- "$(readlink -f -- "$0")")")' \
        'export PYTHONPATH="$top/lib" PYTHONNOUSERSITE=1 PYTHONSAFEPATH=1'
    if [ -n "$packages" ]; then
        printf '%s\n' 'debian=$top/debian/usr/lib' 'export PYTHONPATH="$PYTHONPATH:$debian/python3/dist-packages"' \
            "libraries=\$debian/$triplet" \
            'export LD_LIBRARY_PATH="$libraries:$libraries/blas:$libraries/lapack${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"'
    fi
    printf '%s\n' "exec '$quoted' -m edgedigits \"\$@\""
} >"$new/bin/edgedigits" || fail "cannot write to $new; $prefix is unchanged"
try chmod 755 "$new/bin/edgedigits"
try "$new/bin/edgedigits" predict --bundle "$new/lib/edgedigits/models/notebook" --index "$index" --runtime "$runtime"
case $printed in
*"$expected"*) ;;
*) fail "the installed model and the trained one give different answers: $printed; $prefix is unchanged" ;;
esac

if [ -e "$prefix" ]; then mv -- "$prefix" "$old"; fi
mv -- "$new" "$prefix"
rm -rf -- "$old"
printf '%s\n' "$printed" "installed $("$prefix/bin/edgedigits" --version) with $runtime in $prefix" \
    "to test it on all images: $prefix/bin/edgedigits parity" "to shorten the command: export PATH=\"$prefix/bin:\$PATH\""
