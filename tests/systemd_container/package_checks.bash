# Checks of the Debian package: installation, upgrade under load, removal and purge. They follow those of
# checks.bash in the same container, where the unit was installed by hand.

# Packages of two versions that tests/packages/run has built.
old_package=target/packages/old.deb new_package=target/packages/new.deb

check_package() {
    local title="installation, upgrade and purge of the package"
    if [ ! -e "$old_package" ] || [ ! -e "$new_package" ]; then
        skip_check "$title" "tests/packages/run has built no package"
        return
    fi
    if [ ! -e /proc/net/if_inet6 ]; then
        skip_check "$title" "the shipped socket is on ::1 too, and this machine has no IPv6"
        return
    fi
    remove_hand_installed_files
    is_installed
    is_upgraded_under_load
    is_removed
    is_purged
}

# The drop-ins remain: credentials, and the address of the simulator.
remove_hand_installed_files() {
    inside systemctl stop ssm-proxyd.socket ssm-proxyd || stop "the service does not stop"
    inside systemctl disable --quiet ssm-proxyd.socket ssm-proxyd
    rm "$root"/etc/systemd/system/ssm-proxyd.{service,socket}
    # The simulator still runs from this file.
    rm "$root/usr/local/bin/ssm-proxyd" "$root/etc/ssm-proxyd/config.toml"
    inside systemctl daemon-reload
    cp "$old_package" "$new_package" "$root/root/"
}

dpkg_installs() { inside env DEBIAN_FRONTEND=noninteractive dpkg --install "/root/$(basename "$1")"; }

is_installed() {
    check "the package is installed" dpkg_installs "$old_package"
    check "all of its files are there" inside dpkg --verify ssm-proxyd
    check "the installation does not start it" property_is ActiveState inactive
    check "the installation does not enable it" property_is UnitFileState disabled
    check "its unit is that of the package" has_packaged_unit
    check "the example is valid" inside env --unset=AWS_CA_BUNDLE ssm-proxyd check --config /etc/ssm-proxyd/config.toml.example
    check "completions and manual pages are those of the program" has_shell_files
    configure db=127.0.0.1:6000 orders=systemd:orders-db
    check "it is enabled and starts" inside systemctl enable --quiet --now ssm-proxyd.socket ssm-proxyd
    check "bytes come back through a port bound by systemd" traffic exchange 5432
    check "bytes come back through a port of its own" traffic exchange 6000
}

# /lib is /usr/lib, and systemd of some releases prints the one, of others the other.
has_packaged_unit() { property FragmentPath | grep --extended-regexp '^(/usr)?/lib/systemd/system/ssm-proxyd.service$'; }

# minbase has neither man nor bash-completion.
has_shell_files() {
    inside bash -c '. /usr/share/bash-completion/completions/ssm-proxyd && complete -p ssm-proxyd' &&
        inside zcat /usr/share/man/man1/ssm-proxyd-run.1.gz | grep '^\.TH'
}

is_upgraded_under_load() {
    local old clients=/run/test/stop-upgrade hammer upgrade
    old=$(property MainPID)
    mark_journal
    hold 5432 || stop "no connection to upgrade under"
    traffic hammer "$clients" 5432 >/run/test/hammer &
    hammer=$!
    dpkg_installs "$new_package" >/run/test/upgrade 2>&1 &
    upgrade=$!
    check "the upgrade waits for open connections" wait_for logged "waiting for open connections"
    check "an open connection still works" exchange_held
    check "the open connection closes cleanly" close_held
    check "the upgrade succeeds" wait "$upgrade"
    check "a new process serves" wait_for is_another "$old"
    check "it is the binary of the new package" runs_installed_binary
    check "bytes come back after the upgrade" traffic exchange 5432
    touch "$clients"
    check "no connection was refused" wait "$hammer"
    cat /run/test/hammer
    check "it is still enabled" property_is UnitFileState enabled
    check "the configuration was not touched" inside grep --quiet 'systemd:orders-db' /etc/ssm-proxyd/config.toml
}

# A process of a replaced binary shows `(deleted)`.
runs_installed_binary() { [ "$(inside readlink "/proc/$(property MainPID)/exe")" = /usr/bin/ssm-proxyd ]; }

is_removed() {
    check "the package is removed" inside dpkg --remove ssm-proxyd
    check "nothing listens any more" traffic closed 5432
    check "all sessions are terminated" wait_for ledger_is open 0
    check "its configuration remains" test -e "$root/etc/ssm-proxyd/config.toml"
    check "the binary is gone" fails test -e "$root/usr/bin/ssm-proxyd"
}

is_purged() {
    check "the package is purged" inside dpkg --purge ssm-proxyd
    check "none of its files is left" no_leftovers
}

# Drop-ins were made by the administrator.
no_leftovers() {
    local left
    left=$(inside find / -xdev -name '*ssm-proxyd*' -not -path '/proc/*' -not -path '/run/*' \
        -not -path '/etc/systemd/system/ssm-proxyd.service.d*' -not -path '/tmp/*' -not -path '/var/tmp/*')
    echo "left: $left"
    [ -z "$left" ]
}
