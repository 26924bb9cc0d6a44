#!/usr/bin/env bash
# How is the CPU image built, and when must it be built again?
#
# Prepares the wheels of the project and of all it depends on, in the versions that this checkout's
# Python has (what was tested is what is packed), builds the image from lamstore-cpu.def and prints
# its path. An image of the same definition, sources and versions is not built twice.
#
#   containers/build_cpu.sh
#
#   PYTHON              a Python 3.11 with the dependencies installed   (default .venv/bin/python)
#   APPTAINER           the program to build with                       (default apptainer in PATH)
#   LAMSTORE_SIF_CACHE  where images are kept                           (default ~/.cache/lamstore/sif)
#   MIRROR              the Debian mirror                               (default: this machine's own)
#   TORCH               "no" leaves torch and what needs it out: no neural engine, no training,
#                       280 MB and some time less                      (default yes)
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PYTHON=${PYTHON:-$ROOT/.venv/bin/python}
APPTAINER=${APPTAINER:-apptainer}
CACHE=${LAMSTORE_SIF_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/lamstore/sif}
DEFINITION=$ROOT/containers/lamstore-cpu.def
PACKAGES=(lamstore jobs analysis hpc)
TORCH=${TORCH:-yes}
NEURAL=(torch monai tensorboard tensorboard_data_server grpcio sympy mpmath networkx)

fail() {
    echo "build_cpu.sh: $*" >&2
    exit 1
}

# Versions that this Python has, as pip constraints; the project itself is built from its sources.
constraints() {
    "$PYTHON" -m pip list --format=freeze --exclude-editable --exclude lamstore
}

# The project's files, as a build sees them: relative to the root, in one order everywhere.
sources() {
    cd "$ROOT"
    find "${PACKAGES[@]}" -type f -not -name '*.pyc' -print0 | LC_ALL=C sort -z
    printf '%s\0' pyproject.toml
    [[ ! -f README.md ]] || printf '%s\0' README.md
}

content_digest() {
    {
        echo "torch: $TORCH"
        constraints
        sha256sum <"$DEFINITION"
        (cd "$ROOT" && sources | xargs -0 sha256sum)
    } | sha256sum | cut -c1-16
}

# The wheel is built from a copy: a build/ left in the checkout would put deleted modules into it.
prepare_wheels() {
    local work=$1
    mkdir "$work/source" "$work/wheels"
    sources | tar --create --directory "$ROOT" --null --files-from - | tar --extract --directory "$work/source"
    [[ -f $work/source/README.md ]] || echo "lamstore" >"$work/source/README.md"
    constraints >"$work/constraints.txt"
    "$PYTHON" -m pip wheel --quiet --no-deps --wheel-dir "$work/wheels" "$work/source"
    "$PYTHON" -m pip wheel --quiet --constraint "$work/constraints.txt" \
        --wheel-dir "$work/wheels" "$work"/wheels/lamstore-*.whl
    [[ $TORCH == yes ]] || drop_neural "$work/wheels"
}

drop_neural() {
    local package
    for package in "${NEURAL[@]}"; do
        rm -f "$1/$package"-*.whl
    done
}

mirror() {
    # shellcheck disable=SC2016  # apt fills these names in
    apt-get indextargets --format '$(ORIGIN) $(LABEL) $(REPO_URI)' 'Identifier: Packages' 2>/dev/null |
        awk '$1 == "Debian" && $2 == "Debian" { print $3; exit }'
}

build() {
    local image=$1 digest=$2 work
    work=$(mktemp -d)
    # shellcheck disable=SC2064  # this run's folder, also when the variable is gone
    trap "rm -rf '$work'" EXIT
    prepare_wheels "$work"
    # Level 1: packing takes a third of the time of the default and the image is a tenth larger.
    "$APPTAINER" --quiet build --mksquashfs-args "-Xcompression-level 1" \
        --build-arg WHEELS="$work/wheels" \
        --build-arg MIRROR="${MIRROR:-$(mirror)}" --build-arg SOURCE_DIGEST="$digest" \
        "$image.part" "$DEFINITION"
    mv "$image.part" "$image" # a build that was interrupted never looks like an image
}

main() {
    local digest image log
    command -v "$APPTAINER" >/dev/null || fail "no $APPTAINER; run tests/cluster/apptainer.sh"
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' ||
        fail "$PYTHON is not Python 3.11, which is the image's"
    [[ $TORCH == yes || $TORCH == no ]] || fail "TORCH is '$TORCH', neither yes nor no"
    digest=$(content_digest)
    image=$CACHE/lamstore-cpu-$digest.sif
    mkdir -p "$CACHE"
    exec 9>"$CACHE/.lock"
    flock 9
    if [[ ! -f $image ]]; then
        log=$CACHE/lamstore-cpu-$digest.log
        rm -f "$image.part"
        (build "$image" "$digest") >"$log" 2>&1 9>&- || {
            tail -n 40 "$log" >&2
            fail "the image was not built; all of it in $log"
        }
    fi
    echo "$image"
}

main "$@"
