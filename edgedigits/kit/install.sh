#!/bin/sh
# Installs edgedigits from this folder. Needs python3; no network, no pip, no root. Nothing is written before the kit
# has been checked and found to be for this machine, and an earlier installation stands until the new one has worked.
set -eu
umask 022

refuse() {
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
        [ -n "${2:-}" ] || refuse "$1 needs a value; expected: sh install.sh [--prefix DIR] [--python python3]"
        if [ "$1" = --prefix ]; then prefix=$2; else python=$2; fi
        shift 2
        ;;
    -h | --help)
        printf '%s\n' 'sh install.sh [--prefix DIR] [--python python3]' \
            'Installs into DIR, ~/edgedigits unless told otherwise.'
        exit 0
        ;;
    *) refuse "$1 is not known; expected: sh install.sh [--prefix DIR] [--python python3]" ;;
    esac
done

# 1. Is the kit whole? Each line of the list in one spelling only, so that a change of the list itself is found too.
cd -- "$kit"
command -v sha256sum >/dev/null || refuse "sha256sum is missing, so that the kit cannot be checked; install coreutils"
[ -f SHA256SUMS ] || refuse "no SHA256SUMS in $kit; unpack the whole kit: python3 -m zipfile -e kit.zip kit"
if LC_ALL=C grep -Evq '^[0-9a-f]{64}  [^ ]+$' SHA256SUMS; then
    refuse "SHA256SUMS is damaged; copy the kit again"
fi
checked=$(LC_ALL=C sha256sum --check --strict --quiet SHA256SUMS 2>/dev/null) ||
    refuse "this kit is damaged: $(printf '%s' "$checked" | head -n 1 | cut -d : -f 1); copy it again"
# Once more and by itself: the changed byte may be in the lines above.
LC_ALL=C sha256sum --check --strict --status SHA256SUMS || exit 2

# 2. Is it for this machine?
. ./kit.conf
found=$(cd -- "$start" && command -v "$python") || refuse "there is no $python; give yours: --python /usr/bin/python3"
case $found in /*) python=$found ;; *) python=$start/$found ;; esac
case $prefix in /*) ;; *) prefix=$start/$prefix ;; esac
given=$prefix
prefix=$(readlink -f -- "$prefix") && [ -d "$(dirname -- "$prefix")" ] ||
    refuse "the folder of $given does not exist; make it with mkdir -p, or choose another --prefix"
case $prefix in *:*) refuse "$prefix has a colon, which Python cannot search; choose another --prefix" ;; esac
beside=$(dirname -- "$prefix")
"$python" -I -c '
import importlib.machinery, importlib.util, os, platform, shutil, sys
words, python, suffix, machines, glibc, need_kb, modules, beside = sys.argv[1:]
own = importlib.machinery.EXTENSION_SUFFIXES[0]
libc = (os.confstr("CS_GNU_LIBC_VERSION") or "").split(" ")[-1]
missing = [module for module in modules.split() if importlib.util.find_spec(module.partition("=")[0]) is None]
free_kb = shutil.disk_usage(beside).free // 1024
if own != suffix or platform.machine() not in machines.split():
    why = "this kit is for %s with Python %s; this machine is %s with Python %d.%d (%s); make one for it" % (
        words, python, platform.machine(), sys.version_info[0], sys.version_info[1], own.strip(".").split(".")[0])
elif [int(part) for part in libc.split(".")] < [int(part) for part in glibc.split(".")]:
    why = "this kit needs glibc %s, this machine has %s; it needs a newer system" % (glibc, libc)
elif missing:
    why = "this kit lacks what this machine lacks too: %s; sudo apt install %s" % (
        ", ".join(module.partition("=")[0] for module in missing), " ".join(m.partition("=")[2] for m in missing))
elif free_kb < int(need_kb):
    why = "the installation takes %d MB, but %d MB are free in %s; free some, or choose another --prefix" % (
        int(need_kb) // 1024, free_kb // 1024, beside)
else:
    sys.exit(0)
sys.stderr.write("install.sh: %s\n" % why)
sys.exit(2)
' "$words" "$python_version" "$suffix" "$machines" "$glibc" "$need_kb" "$modules" "$beside" || exit 2
if [ -e "$prefix" ]; then
    [ -d "$prefix" ] || refuse "$prefix is a file; choose another --prefix"
    for entry in "$prefix"/* "$prefix"/.[!.]*; do
        case ${entry##*/} in
        bin | lib | debian | kit.conf | '*' | '.[!.]*') ;;
        *) refuse "$prefix holds ${entry##*/}, which is not of an earlier installation; choose another --prefix" ;;
        esac
    done
fi

# 3. Install into a folder beside, try it there, then let it take its place.
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
mkdir -- "$new" 2>/dev/null || refuse "cannot write to $beside; choose another --prefix"

try() {
    said=$("$@" 2>&1) || refuse "$1 failed: $(printf '%s' "$said" | tail -n 1); $prefix is as it was"
}
try mkdir -- "$new/bin" "$new/lib"
# shellcheck disable=SC2086 # one argument a wheel
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
} >"$new/bin/edgedigits" || refuse "cannot write to $new; $prefix is as it was"
try chmod 755 "$new/bin/edgedigits"
try "$new/bin/edgedigits" predict --bundle "$new/lib/edgedigits/models/notebook" --index "$index" --runtime "$runtime"
case $said in
*"$expected"*) ;;
*) refuse "the installed model answers otherwise than the trained one: $said; $prefix is as it was" ;;
esac

if [ -e "$prefix" ]; then mv -- "$prefix" "$old"; fi
mv -- "$new" "$prefix"
rm -rf -- "$old"
printf '%s\n' "$said" "installed $("$prefix/bin/edgedigits" --version) with $runtime in $prefix" \
    "prove it on all images: $prefix/bin/edgedigits parity" "for the short name: export PATH=\"$prefix/bin:\$PATH\""
