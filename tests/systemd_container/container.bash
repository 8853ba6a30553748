#!/usr/bin/env bash
# The container of the trial: makes the Debian or takes the one that is kept, boots it, and checks.
#
#   container.bash BINARY       in namespaces of its own, which tests/systemd_container/run makes
set -euo pipefail

# What makes a Debian boot. Traffic comes from this machine's own python3, in the container's network.
packages=systemd-sysv
root=/run/trial/root
leader=

main() {
    kept=$PWD/target/nspawn
    mkdir -p "$kept"
    # In place of the machine's own: its service manager and its runtime files are out of sight.
    mount -t tmpfs -o size=75%,mode=755 tmpfs /run
    mkdir -p "$root"
    find_suite
    archive=$kept/$suite-$(dpkg --print-architecture)-$packages.tar
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

# Whatever still runs ends with this process.
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

# The name is given at the end, so what has it is complete.
make_archive() {
    local log=$kept/debootstrap.log mirror
    mirror=$(find_mirror)
    find_proxies
    printf 'making a Debian: %s from %s\n' "$suite" "${mirror:-the default mirror}"
    # shellcheck disable=SC2086 # no mirror is no argument
    debootstrap --variant=minbase --include="$packages" "$suite" "$root" $mirror >"$log" 2>&1 ||
        skip "debootstrap could make no $suite: $(tail -n 1 "$log")"
    rm -rf "$root"/var/cache/apt "$root"/var/lib/apt/lists "$root"/usr/share/{doc,locale,man}
    tar -C "$root" --numeric-owner -cf "$archive.new" .
    rm -rf "$root" && mkdir "$root"
    # Whoever became root for this shall be able to remove it.
    [ -z "${SUDO_UID:-}" ] || chown "$SUDO_UID:$SUDO_GID" "$kept" "$archive.new" "$log"
    mv "$archive.new" "$archive"
}

# What apt itself reads in its lists of sources, in whichever form they are written.
find_mirror() {
    local uri
    uri=$(apt-get indextargets --format '$(RELEASE) $(CODENAME) $(COMPONENT) $(REPO_URI)' \
        'Created-By: Packages' |
        awk -v suite="$suite" '($1 == suite || $2 == suite) && / main / { print $NF; exit }')
    case "$uri" in
        # A list of mirrors, which debootstrap does not know: the first one.
        mirror+file:*) uri=${uri#mirror+file:} && awk '!/^#/ { print $1; exit }' "${uri%/}" ;;
        http://* | https://* | file:*) echo "$uri" ;;
    esac
}

# debootstrap knows those of the environment alone.
find_proxies() {
    local http='' https=''
    eval "$(apt-config shell http Acquire::http::Proxy https Acquire::https::Proxy)"
    [ -z "$http" ] || [ "$http" = DIRECT ] || export http_proxy=${http_proxy:-$http}
    [ -z "$https" ] || [ "$https" = DIRECT ] || export https_proxy=${https_proxy:-$https}
}

# They are in the way of what listens on loopback.
forget_proxies() {
    unset HTTP_PROXY HTTPS_PROXY ALL_PROXY http_proxy https_proxy all_proxy
}

# As the heads of the units say, and the drop-in of the trial.
install_program() {
    local units=$root/etc/systemd/system etc=$root/etc/ssm-proxyd
    install -m 755 "$1" "$root/usr/local/bin/ssm-proxyd"
    install -m 644 systemd/ssm-proxyd.service systemd/ssm-proxyd.socket "$units"
    install -D -m 644 systemd/credentials.conf "$units/ssm-proxyd.service.d/credentials.conf"
    install -m 644 tests/systemd_container/trial.conf "$units/ssm-proxyd.service.d/"
    install -m 644 tests/systemd_container/simulator.service "$units"
    install -d -m 755 "$etc"
    printf '[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n' \
        AKIDTRIAL trial/not/a/secret | install -m 600 /dev/stdin "$etc/credentials"
}

# Nobody here could talk to the machine's own service manager, so nothing is registered with it.
boot() {
    local console=$kept/console.log
    systemd-nspawn --quiet --register=no --keep-unit --private-network --console=pipe \
        --machine=ssm-proxyd-trial --directory="$root" --boot >"$console" 2>&1 &
    nspawn=$!
    wait_for is_up || skip "systemd-nspawn could not boot the Debian: $(tail -n 3 "$console")"
}

# `degraded` is up too: a unit that fails in a container is no business of ours.
is_up() {
    leader=$(cat "/proc/$nspawn/task/$nspawn/children" 2>/dev/null) && leader=${leader%% *}
    [ -n "$leader" ] && case "$(inside systemctl is-system-running 2>/dev/null)" in
        running | degraded) ;;
        *) false ;;
    esac
}

# Runs a command in the container.
inside() { nsenter --target "$leader" --all -- "$@"; }

# Runs a command of this machine's, in the network of the container.
near() { nsenter --target "$leader" --net -- "$@"; }

# Until a command succeeds; fails when that takes longer than any healthy machine would need.
wait_for() {
    local deadline=$((SECONDS + 60))
    until "$@"; do
        [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 0.05
    done
}

# shellcheck source=tests/systemd_container/words.bash
. tests/systemd_container/words.bash
# shellcheck source=tests/systemd_container/checks.bash
. tests/systemd_container/checks.bash
main "$@"
