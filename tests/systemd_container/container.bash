#!/usr/bin/env bash
# The container of the tests: creates the Debian tree or uses the cached one, boots it, and runs the checks.
#
#   container.bash BINARY       in the namespaces that tests/systemd_container/run creates
set -euo pipefail

# The packages that a Debian needs to boot. Traffic comes from the python3 of this machine, in the
# network of the container.
packages=systemd-sysv
root=/run/test/root
leader=

main() {
    cache=$PWD/target/nspawn
    mkdir -p "$cache"
    # Hides the service manager and the runtime files of this machine.
    mount -t tmpfs -o size=75%,mode=755 tmpfs /run
    mkdir -p "$root"
    find_suite
    archive=$cache/$suite-$(dpkg --print-architecture)-$packages.tar
    [ -e "$archive" ] || make_archive
    forget_proxies
    tar -C "$root" -xf "$archive"
    install_program "$1"
    boot
    check_everything
    inside systemctl poweroff 2>/dev/null
    wait "$nspawn" || true
    finish
}

# All remaining processes end with this one.
finish() {
    result "$passed" "$failed" "$skipped"
    exit "$failed"
}

# The release of this machine, whose libraries the binary is linked with.
find_suite() {
    suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    [ -n "$suite" ] || skip "/etc/os-release names no release"
    [ -e "/usr/share/debootstrap/scripts/$suite" ] || skip "debootstrap does not know $suite"
}

# The archive gets its name at the end, so an archive with this name is complete.
make_archive() {
    local log=$cache/debootstrap.log mirror
    mirror=$(find_mirror)
    find_proxies
    printf 'creating a Debian tree: %s from %s\n' "$suite" "${mirror:-the default mirror}"
    # shellcheck disable=SC2086 # no mirror is no argument
    debootstrap --variant=minbase --include="$packages" "$suite" "$root" $mirror >"$log" 2>&1 ||
        skip "debootstrap could not create $suite: $(tail -n 1 "$log")"
    rm -rf "$root"/var/cache/apt "$root"/var/lib/apt/lists "$root"/usr/share/{doc,locale,man}
    tar -C "$root" --numeric-owner -cf "$archive.new" .
    rm -rf "$root" && mkdir "$root"
    # The user who became root for this must be able to remove it.
    [ -z "${SUDO_UID:-}" ] || chown "$SUDO_UID:$SUDO_GID" "$cache" "$archive.new" "$log"
    mv "$archive.new" "$archive"
}

# Prints the mirror of the sources of apt, in any of their formats.
find_mirror() {
    local uri
    uri=$(apt-get indextargets --format '$(RELEASE) $(CODENAME) $(COMPONENT) $(REPO_URI)' \
        'Created-By: Packages' |
        awk -v suite="$suite" '($1 == suite || $2 == suite) && / main / { print $NF; exit }')
    case "$uri" in
        # A list of mirrors, which debootstrap does not support: the first one.
        mirror+file:*) uri=${uri#mirror+file:} && awk '!/^#/ { print $1; exit }' "${uri%/}" ;;
        http://* | https://* | file:*) echo "$uri" ;;
    esac
}

# debootstrap uses the proxies of the environment only.
find_proxies() {
    local http='' https=''
    eval "$(apt-config shell http Acquire::http::Proxy https Acquire::https::Proxy)"
    [ -z "$http" ] || [ "$http" = DIRECT ] || export http_proxy=${http_proxy:-$http}
    [ -z "$https" ] || [ "$https" = DIRECT ] || export https_proxy=${https_proxy:-$https}
}

# Proxies must not be used for loopback.
forget_proxies() {
    unset HTTP_PROXY HTTPS_PROXY ALL_PROXY http_proxy https_proxy all_proxy
}

# Installs what the headers of the units describe, and the drop-in of the tests.
install_program() {
    local units=$root/etc/systemd/system etc=$root/etc/ssm-proxyd
    install -m 755 "$1" "$root/usr/local/bin/ssm-proxyd"
    install -m 644 systemd/ssm-proxyd.service systemd/ssm-proxyd.socket "$units"
    install -D -m 644 systemd/credentials.conf "$units/ssm-proxyd.service.d/credentials.conf"
    install -m 644 tests/systemd_container/test.conf "$units/ssm-proxyd.service.d/"
    install -m 644 tests/systemd_container/simulator.service "$units"
    install -d -m 755 "$etc"
    printf '[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n' \
        AKIDTEST test/not/a/secret | install -m 600 /dev/stdin "$etc/credentials"
}

# The service manager of this machine cannot be reached from here, so nothing is registered with it.
boot() {
    local console=$cache/console.log
    systemd-nspawn --quiet --register=no --keep-unit --private-network --console=pipe \
        --machine=ssm-proxyd-test --directory="$root" --boot >"$console" 2>&1 &
    nspawn=$!
    wait_for is_up || skip "systemd-nspawn could not boot the Debian: $(tail -n 3 "$console")"
}

# `degraded` counts as booted: units that fail in a container do not matter here.
is_up() {
    leader=$(cat "/proc/$nspawn/task/$nspawn/children" 2>/dev/null) && leader=${leader%% *}
    [ -n "$leader" ] && case "$(inside systemctl is-system-running 2>/dev/null)" in
        running | degraded) ;;
        *) false ;;
    esac
}

# Runs a command in the container.
inside() { nsenter --target "$leader" --all -- "$@"; }

# Runs a command of this machine in the network of the container.
in_network() { nsenter --target "$leader" --net -- "$@"; }

# Waits until a command succeeds; fails after a minute.
wait_for() {
    local deadline=$((SECONDS + 60))
    until "$@"; do
        [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 0.05
    done
}

# shellcheck source=tests/systemd_container/results.bash
. tests/systemd_container/results.bash
# shellcheck source=tests/systemd_container/checks.bash
. tests/systemd_container/checks.bash
# shellcheck source=tests/systemd_container/package_checks.bash
. tests/systemd_container/package_checks.bash
main "$@"
