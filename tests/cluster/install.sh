#!/usr/bin/env bash
# What must be installed here before a real one-machine SLURM cluster and Apptainer can be tested?
#
# Installs the Debian packages that tests/cluster needs: as root, quietly, and in a fraction of a
# second when they are all there. No package starts its own daemon (the cluster of the tests brings
# its own keys, ports and folders; see slurm.py), and nothing in /etc/slurm is written.
#
#   tests/cluster/install.sh           install what is missing
#   tests/cluster/install.sh --check   only name what is missing; exit 1 if something is
set -euo pipefail

PACKAGES=(
    slurm-wlm slurmdbd munge mariadb-server # the cluster
    squashfs-tools patchelf debootstrap     # apptainer.sh and the CPU image
    shellcheck                              # checks of the generated batch scripts
)
POLICY=/usr/sbin/policy-rc.d

missing_packages() {
    local package
    for package in "${PACKAGES[@]}"; do
        [[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" == installed ]] ||
            printf '%s\n' "$package"
    done
}

# Debian starts a daemon at installation unless this hook says 101. A hook that was there before
# (containers have one) comes back afterwards, whatever happens.
forbid_daemons() {
    SAVED_POLICY=""
    if [[ -e $POLICY ]]; then
        SAVED_POLICY=$(mktemp)
        cp -p "$POLICY" "$SAVED_POLICY"
    fi
    trap restore_policy EXIT
    printf '#!/bin/sh\nexit 101\n' >"$POLICY"
    chmod 755 "$POLICY"
}

restore_policy() {
    rm -f "$POLICY"
    if [[ -n $SAVED_POLICY ]]; then
        cp -p "$SAVED_POLICY" "$POLICY"
        rm -f "$SAVED_POLICY"
    fi
}

apt_quiet() {
    local log
    log=$(mktemp)
    if ! DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 "$@" >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        return 1
    fi
    rm -f "$log"
}

main() {
    local missing
    command -v dpkg-query >/dev/null || {
        echo "install.sh: this is not a Debian system; install SLURM, munge and MariaDB by hand" >&2
        exit 2
    }
    mapfile -t missing < <(missing_packages)
    ((${#missing[@]})) || exit 0
    if [[ ${1:-} == --check ]]; then
        echo "missing Debian packages: ${missing[*]}"
        exit 1
    fi
    if ((EUID != 0)); then
        echo "install.sh: needs root to install: ${missing[*]}" >&2
        exit 2
    fi
    exec 9>/var/lock/lamstore-install.lock
    flock 9
    mapfile -t missing < <(missing_packages) # another run may have been at it while this one waited
    ((${#missing[@]})) || exit 0
    forbid_daemons
    apt_quiet update
    apt_quiet install --no-install-recommends "${missing[@]}"
}

main "$@"
