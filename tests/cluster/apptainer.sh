#!/usr/bin/env bash
# How does Apptainer run on a Debian release that does not carry it?
#
# Debian has Apptainer in its unstable suite only, built for a newer libc than this machine's. This
# fetches the four packages from there with an apt list of its own (the machine's own sources stay as
# they are, their mirror is used), unpacks them under a private prefix and rewrites the programs to
# load that libc. Prints the path of the `apptainer` to call. A second run only prints.
#
#   tests/cluster/apptainer.sh [PREFIX]        default: $LAMSTORE_APPTAINER or /opt/lamstore-apptainer
set -euo pipefail

PREFIX=${1:-${LAMSTORE_APPTAINER:-/opt/lamstore-apptainer}}
SUITE=sid
PACKAGES=(apptainer libc6 libseccomp2 libsqlite3-0)
KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

fail() {
    echo "apptainer.sh: $*" >&2
    exit 1
}

# The archive (not the security one) that this machine's own apt takes its packages from.
mirror() {
    # shellcheck disable=SC2016  # apt fills these names in
    apt-get indextargets --format '$(ORIGIN) $(LABEL) $(REPO_URI)' 'Identifier: Packages' |
        awk '$1 == "Debian" && $2 == "Debian" { print $3; exit }'
}

# apt with its own sources, lists, status and archive folders below $1: the machine's are not touched.
private_apt() {
    local state=$1
    shift
    apt-get -qq -o Dir::Etc::SourceList="$state/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null \
        -o Dir::State::Lists="$state/lists" -o Dir::Cache="$state/cache" \
        -o Dir::State::Status="$state/status" -o APT::Update::Post-Invoke-Success::= \
        -o Acquire::Languages=none -o APT::Sandbox::User=root \
        -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false "$@"
}

fetch() {
    local state=$1 uri
    uri=$(mirror)
    [[ -n $uri ]] || fail "no Debian archive among this machine's apt sources (apt-get indextargets)"
    mkdir -p "$state/lists/partial" "$state/cache/archives/partial" "$state/debs"
    : >"$state/status"
    echo "deb [signed-by=$KEYRING] $uri $SUITE main" >"$state/sources.list"
    private_apt "$state" update
    (cd "$state/debs" && private_apt "$state" download "${PACKAGES[@]}")
}

unpack() {
    local state=$1 root=$2 package deb
    for package in "${PACKAGES[@]}"; do
        for deb in "$state/debs/${package}"_*.deb; do
            dpkg-deb -x "$deb" "$root/$([[ $package == apptainer ]] && echo app || echo lib)"
        done
    done
}

# The new libc is for these programs only. rpath must be the old, forced kind (DT_RPATH): it also
# holds for the libraries that the libraries load, and LD_LIBRARY_PATH cannot put others before it.
patch_program() {
    local program=$1 libraries=$2
    patchelf --set-interpreter "$libraries/ld-linux-x86-64.so.2" \
        --force-rpath --set-rpath "$libraries:/usr/lib/x86_64-linux-gnu" "$program"
}

# apptainer.conf does not hold for the %post of a build, which asks for every capability and is
# refused where the machine lacks one. Virtual machines and CI runners lack this one.
write_wrapper() {
    mkdir -p "$1/bin"
    cat >"$1/bin/apptainer" <<WRAPPER
#!/bin/sh
export APPTAINER_DROP_CAPS="\${APPTAINER_DROP_CAPS-CAP_SYS_RESOURCE}"
exec "$1/app/usr/bin/apptainer" "\$@"
WRAPPER
    chmod 755 "$1/bin/apptainer"
}

install_into() {
    local prefix=$1 state app libraries
    state=$(mktemp -d)
    # shellcheck disable=SC2064  # this run's folder, also when the variable is gone
    trap "rm -rf '$state'" EXIT
    rm -rf "$prefix"
    mkdir -p "$prefix/app" "$prefix/lib"
    fetch "$state"
    unpack "$state" "$prefix"
    app=$prefix/app/usr
    libraries=$prefix/lib/usr/lib/x86_64-linux-gnu
    # Away from /usr, `apptainer` looks for its configuration and session folder in usr/, `starter`
    # in usr/lib/.
    mv "$prefix/app/etc" "$prefix/app/var" "$app/"
    ln -s ../etc ../var "$app/lib/"
    patch_program "$app/bin/apptainer" "$libraries"
    patch_program "$app/lib/x86_64-linux-gnu/apptainer/bin/starter" "$libraries"
    # By default root enters a container with all capabilities: the same refusal, for `exec`.
    sed -i 's/^root default capabilities = .*/root default capabilities = no/' \
        "$app/etc/apptainer/apptainer.conf"
    write_wrapper "$prefix"
    "$prefix/bin/apptainer" version >"$prefix/version"
}

main() {
    local program=$PREFIX/bin/apptainer tool
    if [[ ! -s $PREFIX/version ]]; then
        ((EUID == 0)) || fail "needs root to install into $PREFIX (as root, images build and run)"
        for tool in patchelf dpkg-deb apt-get mksquashfs; do
            command -v "$tool" >/dev/null || fail "$tool is missing; run tests/cluster/install.sh"
        done
        exec 9>/var/lock/lamstore-apptainer.lock
        flock 9
        [[ -s $PREFIX/version ]] || (install_into "$PREFIX") >&2
    fi
    echo "$program"
}

main "$@"
