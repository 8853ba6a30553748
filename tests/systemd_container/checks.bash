# Checks of ssm-proxyd under a real systemd. container.bash runs them and defines `inside`, `in_network`
# and `wait_for`. Each function continues with the service as the previous one left it, so the first
# failure is the last check.

passed=0 failed=0 skipped=0

check_everything() {
    check "the Debian has the libraries of the binary" has_libraries
    start_simulator
    starts_when_ready
    carries_traffic
    gets_credentials_from_systemd
    is_sandboxed
    writes_to_the_journal
    reloads
    restarts_without_refusing
    is_restarted_by_the_watchdog
    recovers_from_a_crash
    drains
    refuses_to_start_with_an_invalid_file
    measure
    check_package
}

# One test: the command must succeed. Otherwise its output and the journal are printed.
check() {
    local title=$1 output=/run/test/output
    shift
    if "$@" >"$output" 2>&1; then
        passed=$((passed + 1))
        printf 'test systemd: %s ... ok\n' "$title"
        return
    fi
    failed=1
    printf 'test systemd: %s ... FAILED: %s\n' "$title" "$*"
    tail -n 10 "$output" | sed 's/^/    /'
    inside journalctl --quiet --boot --lines=20 --output=short-monotonic --no-pager | sed 's/^/    | /'
    finish
}

skip_check() {
    skipped=$((skipped + 1))
    printf 'test systemd: %s ... SKIPPED: %s\n' "$1" "$2" | tee /dev/stderr
}

has_libraries() {
    local needed
    needed=$(inside ldd /usr/local/bin/ssm-proxyd 2>&1) && echo "$needed" && ! grep 'not found' <<<"$needed"
}

# Starts a simulator of AWS and an agent, and an echo as the destination.
start_simulator() {
    in_network python3 tests/systemd_container/traffic.py echo 7000 &
    inside systemctl start simulator
    wait_for ledger started >/dev/null 2>&1 || stop "the simulator does not answer"
}

traffic() { in_network python3 tests/systemd_container/traffic.py "$@"; }

ledger() { traffic ledger "$@"; }

ledger_is() { [ "$(ledger "$1")" = "$2" ]; }

# A property of the service.
property() { inside systemctl show --value --property="$1" ssm-proxyd; }

property_is() { [ "$(property "$1")" = "$2" ] || { echo "$1 is $(property "$1"), not $2" && false; }; }

# Replaces the file atomically: common settings, and a forward for each NAME=LISTEN.
configure() {
    configuration "$@" >"$root/etc/ssm-proxyd/new"
    mv "$root/etc/ssm-proxyd/new" "$root/etc/ssm-proxyd/config.toml"
}

configuration() {
    printf '[limits]\nsession_start_rate = 1000\n[shutdown]\ndrain_timeout = "30s"\n'
    local forward
    for forward in "$@"; do
        printf '[[forward]]\nname = "%s"\nlisten = "%s"\n' "${forward%%=*}" "${forward#*=}"
        printf 'target = "i-0123456789abcdef0"\nremote = "db.internal:5432"\n'
    done
}

# From here on, `journal` prints the lines that the service logs after this call.
mark_journal() {
    since=$(inside journalctl --quiet --lines=0 --show-cursor | sed -n 's/^-- cursor: //p')
}

journal() {
    inside journalctl --sync
    inside journalctl --quiet --unit=ssm-proxyd --after-cursor="$since" --no-pager "$@"
}

logged() { journal --output=cat | grep --fixed-strings -- "$1"; }

not_logged() { ! logged "$1"; }

# The file is a pipe at first: the program cannot become ready before the check writes into it.
starts_when_ready() {
    local pipe=$root/etc/ssm-proxyd/config.toml starting
    inside systemctl daemon-reload
    mkfifo "$pipe" && chmod 644 "$pipe"
    inside systemctl start ssm-proxyd &
    starting=$!
    check "it is activating while it runs and is not ready" wait_for is_starting
    check "systemctl start waits for that" kill -0 "$starting"
    check "it reads its configuration" write_to_pipe "$pipe" db=127.0.0.1:6000
    check "systemctl start succeeds" wait "$starting"
    check "it listens then" traffic exchange 6000
    check "it is active" property_is ActiveState active
    check "its status shows the forwards and connections" wait_for property_is StatusText "1 forward, 0 connections"
    configure db=127.0.0.1:6000
}

is_starting() { [ "$(property SubState)" = start ] && [ "$(property MainPID)" != 0 ] && property_is ActiveState activating; }

# Opening a pipe waits for a reader; the wait has a limit.
write_to_pipe() {
    local pipe=$1
    shift
    configuration "$@" >/run/test/first && timeout 60 cp /run/test/first "$pipe"
}

carries_traffic() {
    check "bytes come back through a forward" traffic exchange 6000
    check "their session ends with them" wait_for ledger_is open 0
}

# Sessions were started before, and the simulator accepts only calls signed with the keys of the file.
gets_credentials_from_systemd() {
    local file=/run/credentials/ssm-proxyd.service/aws
    check "the shipped drop-in is in force" has_drop_in credentials.conf
    check "the service can read its credentials" \
        inside setpriv --reuid="$(user_of_service)" --clear-groups cat "$file"
    check "another user cannot read them" fails inside setpriv --reuid=65534 --clear-groups cat "$file"
    check "every call is signed with them" ledger_is unsigned 0
}

has_drop_in() { property DropInPaths | grep --fixed-strings "/ssm-proxyd.service.d/$1"; }

fails() { ! "$@"; }

user_of_service() { field Uid; }

# The first value of a line of /proc/PID/status.
field() { inside cat "/proc/$(property MainPID)/status" | awk -v name="$1:" '$1 == name { print $2 }'; }

has_field() { [ "$(field "$1")" = "$2" ] || { echo "$1 is $(field "$1"), not $2" && false; }; }

is_sandboxed() {
    local place
    check "it runs as a dynamic user" is_dynamic "$(user_of_service)"
    check "it gets no new privileges" has_field NoNewPrivs 1
    check "it has no capability" has_field CapEff 0000000000000000
    check "it can get none" has_field CapBnd 0000000000000000
    check "its system calls are filtered" has_field Seccomp 2
    for place in /new /home/new /root/new /etc/new /usr/new /var/new; do
        check "not even root can write $place in its namespace" fails confined touch "$place"
    done
    check "it may write into its state" confined touch /var/lib/ssm-proxyd/new
    check "other users cannot read its state" state_is "$(user_of_service) 700"
    inside systemd-analyze security --no-pager ssm-proxyd 2>&1 | grep 'Overall exposure' || true
}

# systemd.exec(5) gives the range.
is_dynamic() { echo "$1" && [ "$1" -ge 61184 ] && [ "$1" -le 65519 ]; }

# Runs a command in the mount namespace of the service.
confined() { inside nsenter --target "$(property MainPID)" --mount -- "$@"; }

state_is() { [ "$(inside stat --dereference --format '%u %a' /var/lib/ssm-proxyd)" = "$1" ]; }

writes_to_the_journal() {
    check "its lines have its unit, its name and a priority" journal_has \
        _SYSTEMD_UNIT=ssm-proxyd.service SYSLOG_IDENTIFIER=ssm-proxyd PRIORITY=6
    check "the lines of a forward have its name as a field" journal_has \
        _SYSTEMD_UNIT=ssm-proxyd.service SSM_PROXYD_FORWARD=db
    check "the record of a connection has its fields" wait_for has_record
}

# The record of the connection that `exchange` has made.
has_record() {
    inside journalctl --sync
    inside journalctl --quiet --no-pager --output=json _SYSTEMD_UNIT=ssm-proxyd.service PRIORITY=6 \
        SSM_PROXYD_FORWARD=db SSM_PROXYD_SENT=262144 SSM_PROXYD_RECEIVED=262144 \
        SSM_PROXYD_REASON=client_closed SSM_PROXYD_ENDED_BY=client |
        grep --fixed-strings '"SSM_PROXYD_SESSION":"simulator-'
}

journal_has() {
    inside journalctl --sync
    inside journalctl --quiet --no-pager --output=cat "$@" | grep --fixed-strings listening
}

# The unit decides if `systemctl reload` waits for the result; there must be one in any case.
reloads() {
    local pid
    pid=$(property MainPID)
    mark_journal
    configure db=127.0.0.1:6000 more=127.0.0.1:6001
    check "systemctl reload succeeds" inside systemctl reload ssm-proxyd
    check "it logs the changes" wait_for logged "reloaded: +1 −0 ~0 =1"
    check "the new forward listens" traffic exchange 6001
    check "its status includes it" wait_for property_is StatusText "2 forwards, 0 connections"

    mark_journal
    configure db=127.0.0.1:6000 'more=127.0.0.1:ABC'
    check "systemctl reload fails with an invalid file" fails inside systemctl reload ssm-proxyd
    check "an invalid file changes nothing" wait_for logged "reload failed; keeping the current configuration"
    check "it logs the position of the error" wait_for logged "/etc/ssm-proxyd/config.toml:12:10"
    check "it logs the invalid value" logged '127.0.0.1:ABC'
    check "both forwards still listen" both_listen
    check "it is still active" property_is ActiveState active
    check "it is the same process" property_is MainPID "$pid"
    check "root can request its status" status_matches "more +ready "
}

status_matches() { inside ssm-proxyd status | grep --extended-regexp "$1"; }

both_listen() { traffic exchange 6000 && traffic exchange 6001; }

restarts_without_refusing() {
    if [ ! -e /proc/net/if_inet6 ]; then
        skip_check "restarts under load" "the shipped socket is on ::1 too, and this machine has no IPv6"
        return
    fi
    configure db=127.0.0.1:6000 orders=systemd:orders-db
    check "the shipped socket is installed by the commands in its header" inside sh -exc "$(commands_in_header_of ssm-proxyd.socket)"
    check "it serves a port bound by systemd" traffic exchange 5432
    check "no connection is refused in five restarts under load" restart_under_load
    cat /run/test/output
}

# The commands in the header of a unit, without those that install the files.
commands_in_header_of() { sed -n 's/^#   \(systemctl .*\)/\1/p' "systemd/$1"; }

restart_under_load() {
    local stop=/run/test/stop clients times=0
    traffic hammer "$stop" 5432 &
    clients=$!
    while [ "$((times += 1))" -le 5 ] && inside systemctl restart ssm-proxyd; do
        # Pending connections are served before the next restart.
        traffic exchange 5432 || break
    done
    touch "$stop"
    wait "$clients" && [ "$times" = 6 ]
}

is_restarted_by_the_watchdog() {
    local pid drop_in=/run/systemd/system/ssm-proxyd.service.d/watchdog.conf
    printf '[Service]\nWatchdogSec=3s\n' | inside install -D -m 644 /dev/stdin "$drop_in"
    inside systemctl daemon-reload
    check "it starts with a short watchdog timeout" inside systemctl restart ssm-proxyd
    pid=$(property MainPID)
    mark_journal
    inside sh -c "kill -STOP $pid"
    check "an unresponsive process is killed" wait_for logged "Watchdog timeout"
    check "a new process starts" wait_for is_another "$pid"
    check "the new process serves" traffic exchange 6000
    inside rm "$drop_in"
    inside systemctl daemon-reload
    check "it starts with the shipped watchdog timeout" inside systemctl restart ssm-proxyd
}

is_another() { [ "$(property MainPID)" != "$1" ] && [ "$(property MainPID)" != 0 ] && property_is ActiveState active; }

# Opens a connection in the background; `exchange_held` uses it.
hold() {
    coproc traffic hold "$1"
    held=$COPROC_PID held_output=${COPROC[0]} held_input=${COPROC[1]}
    held_prints open
}

held_prints() { read -r -t 60 -u "$held_output" line && [ "$line" = "$1" ]; }

close_held() { exec {held_input}>&- && wait "$held"; }

exchange_held() { echo >&"$held_input" && held_prints same; }

recovers_from_a_crash() {
    local pid
    pid=$(property MainPID)
    mark_journal
    hold 6000 || stop "no connection to crash under"
    inside sh -c "kill -KILL $pid"
    check "it comes back after a crash" wait_for is_another "$pid"
    check "it logs that sessions are still active" \
        wait_for logged "terminating sessions that a killed former run left active"
    check "it terminates them" wait_for ledger_is open 0
    check "it serves again" traffic exchange 6000
    close_held || true
}

drains() {
    local stopping
    mark_journal
    hold 6000 || stop "no connection to drain"
    inside systemctl stop ssm-proxyd &
    stopping=$!
    check "a stop waits for open connections" wait_for logged "waiting for open connections"
    check "new connections are refused" wait_for traffic closed 6000
    check "its status shows that" wait_for property_is StatusText "waiting for open connections"
    check "it is deactivating" property_is ActiveState deactivating
    check "an open connection finishes" exchange_held
    check "systemctl stop waits for that" kill -0 "$stopping"
    check "the connection closes cleanly" close_held
    check "then systemctl stop succeeds" wait "$stopping"
    check "nothing was reset" not_logged "reset connections"
    check "it has stopped" property_is ActiveState inactive
    check "with success" property_is Result success
    check "with exit status 0" property_is ExecMainStatus 0
    check "all sessions are terminated" ledger_is open 0
}

refuses_to_start_with_an_invalid_file() {
    mark_journal
    configure 'db=127.0.0.1:ABC'
    inside systemctl reset-failed ssm-proxyd
    check "systemctl start fails with an invalid file" fails inside systemctl start ssm-proxyd
    check "with exit status 78" property_is ExecMainStatus 78
    check "the service has failed" property_is ActiveState failed
    check "permanently" property_is SubState failed
    check "it was not restarted" property_is NRestarts 0
    check "it logs the position of the error" logged "/etc/ssm-proxyd/config.toml:7:10"
}

# Prints measurements; nothing is asserted about them.
measure() {
    local forwards=() number start ready
    for number in {0..99}; do
        forwards+=("f$number=127.0.0.1:$((6100 + number))")
    done
    configure "${forwards[@]}"
    check "it starts with a hundred forwards" inside systemctl start ssm-proxyd
    start=$(property ExecMainStartTimestampMonotonic) ready=$(property ActiveEnterTimestampMonotonic)
    printf 'with 100 forwards: ready after %d ms, %d MiB resident\n' \
        "$(((ready - start) / 1000))" "$(($(field VmRSS) / 1024))"
    check "it stops with a hundred forwards" inside systemctl stop ssm-proxyd
}
