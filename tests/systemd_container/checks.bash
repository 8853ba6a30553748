# What must be true of ssm-proxyd under a real systemd. container.bash runs it, with its words
# `inside`, `near` and `wait_for`. Each scene goes on from where the one before it has left the service,
# so the first failure is the last check.

passed=0 failed=0 skipped=0

check_everything() {
    check "the Debian has the libraries of the binary" has_its_libraries
    start_the_far_side
    starts_when_ready
    carries_traffic
    has_credentials_from_systemd
    is_shut_in
    writes_to_the_journal
    reloads
    restarts_without_a_refusal
    is_watched
    comes_back_after_a_crash
    drains
    does_not_start_with_a_bad_file
    is_measured
}

# One test: the command must succeed. What it said, and the journal, is told if not.
check() {
    local title=$1 said=/run/trial/said
    shift
    if "$@" >"$said" 2>&1; then
        passed=$((passed + 1))
        printf 'test systemd: %s ... ok\n' "$title"
        return
    fi
    failed=1
    printf 'test systemd: %s ... FAILED: %s\n' "$title" "$*"
    tail -n 10 "$said" | sed 's/^/    /'
    inside journalctl --quiet --boot --lines=20 --output=short-monotonic --no-pager | sed 's/^/    | /'
    finish
}

pass_over() {
    skipped=$((skipped + 1))
    printf 'test systemd: %s ... SKIPPED: %s\n' "$1" "$2" | tee /dev/stderr
}

has_its_libraries() {
    local needed
    needed=$(inside ldd /usr/local/bin/ssm-proxyd 2>&1) && echo "$needed" && ! grep 'not found' <<<"$needed"
}

# AWS, an agent, and an echo that the agent reaches.
start_the_far_side() {
    near python3 tests/systemd_container/traffic.py echo 7000 &
    inside systemctl start simulator
    wait_for ledger started >/dev/null 2>&1 || stop "the simulator does not answer"
}

traffic() { near python3 tests/systemd_container/traffic.py "$@"; }

ledger() { traffic ledger "$@"; }

ledger_says() { [ "$(ledger "$1")" = "$2" ]; }

# A property of the service.
show() { inside systemctl show --value --property="$1" ssm-proxyd; }

shows() { [ "$(show "$1")" = "$2" ] || { echo "$1 is $(show "$1"), not $2" && false; }; }

# Another file, whole at once: what all have in common, and a forward for each NAME=LISTEN.
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

# What follows is looked for in the lines of the service from here on.
mark() {
    since=$(inside journalctl --quiet --lines=0 --show-cursor | sed -n 's/^-- cursor: //p')
}

journal() {
    inside journalctl --sync
    inside journalctl --quiet --unit=ssm-proxyd --after-cursor="$since" --no-pager "$@"
}

said() { journal --output=cat | grep --fixed-strings -- "$1"; }

unsaid() { ! said "$1"; }

# The file is a pipe at first: the program cannot become ready before somebody writes into it.
starts_when_ready() {
    local pipe=$root/etc/ssm-proxyd/config.toml starting
    inside systemctl daemon-reload
    mkfifo "$pipe" && chmod 644 "$pipe"
    inside systemctl start ssm-proxyd &
    starting=$!
    check "it is activating while it runs and is not ready" wait_for is_starting
    check "systemctl start waits for that" kill -0 "$starting"
    check "it reads its configuration" write_into "$pipe" db=127.0.0.1:6000
    check "systemctl start succeeds" wait "$starting"
    check "it listens then" traffic exchange 6000
    check "it is active" shows ActiveState active
    check "its status shows the forwards and connections" wait_for shows StatusText "1 forward, 0 connections"
    configure db=127.0.0.1:6000
}

is_starting() { [ "$(show SubState)" = start ] && [ "$(show MainPID)" != 0 ] && shows ActiveState activating; }

# Opening a pipe waits for a reader, and shall not wait for ever.
write_into() {
    local pipe=$1
    shift
    configuration "$@" >/run/trial/first && timeout 60 cp /run/trial/first "$pipe"
}

carries_traffic() {
    check "bytes come back through a forward" traffic exchange 6000
    check "their session ends with them" wait_for ledger_says open 0
}

# Sessions started above, and the simulator takes what is signed with the file's keys alone.
has_credentials_from_systemd() {
    local file=/run/credentials/ssm-proxyd.service/aws
    check "the shipped drop-in is in force" has_drop_in credentials.conf
    check "the service can read its credentials" \
        inside setpriv --reuid="$(user_of_service)" --clear-groups cat "$file"
    check "another user cannot read them" fails inside setpriv --reuid=65534 --clear-groups cat "$file"
    check "every call is signed with them" ledger_says unsigned 0
}

has_drop_in() { show DropInPaths | grep --fixed-strings "/ssm-proxyd.service.d/$1"; }

fails() { ! "$@"; }

user_of_service() { field Uid; }

# The first value of a line of the process's status.
field() { inside cat "/proc/$(show MainPID)/status" | awk -v name="$1:" '$1 == name { print $2 }'; }

has_field() { [ "$(field "$1")" = "$2" ] || { echo "$1 is $(field "$1"), not $2" && false; }; }

is_shut_in() {
    local place
    check "it runs as a dynamic user" is_dynamic "$(user_of_service)"
    check "it gets no new privileges" has_field NoNewPrivs 1
    check "it has no capability" has_field CapEff 0000000000000000
    check "it can get none" has_field CapBnd 0000000000000000
    check "its system calls are filtered" has_field Seccomp 2
    for place in /new /home/new /root/new /etc/new /usr/new /var/new; do
        check "not even root could write $place where it is" fails confined touch "$place"
    done
    check "it may write into its state" confined touch /var/lib/ssm-proxyd/new
    check "other users cannot read its state" state_is "$(user_of_service) 700"
    inside systemd-analyze security --no-pager ssm-proxyd 2>&1 | grep 'Overall exposure' || true
}

# systemd.exec(5) gives the range.
is_dynamic() { echo "$1" && [ "$1" -ge 61184 ] && [ "$1" -le 65519 ]; }

# Runs a command with the service's view of the files.
confined() { inside nsenter --target "$(show MainPID)" --mount -- "$@"; }

state_is() { [ "$(inside stat --dereference --format '%u %a' /var/lib/ssm-proxyd)" = "$1" ]; }

writes_to_the_journal() {
    check "its lines have its unit, its name and a priority" journal_has \
        _SYSTEMD_UNIT=ssm-proxyd.service SYSLOG_IDENTIFIER=ssm-proxyd PRIORITY=6
    check "the lines of a forward have its name as a field" journal_has \
        _SYSTEMD_UNIT=ssm-proxyd.service SSM_PROXYD_FORWARD=db
}

journal_has() {
    inside journalctl --sync
    inside journalctl --quiet --no-pager --output=cat "$@" | grep --fixed-strings listening
}

# Whether `systemctl reload` waits for the outcome is the unit's choice; that there is one is not.
reloads() {
    local pid
    pid=$(show MainPID)
    mark
    configure db=127.0.0.1:6000 more=127.0.0.1:6001
    check "systemctl reload succeeds" inside systemctl reload ssm-proxyd
    check "it logs the changes" wait_for said "reloaded: +1 −0 ~0 =1"
    check "the new forward listens" traffic exchange 6001
    check "its status includes it" wait_for shows StatusText "2 forwards, 0 connections"

    mark
    configure db=127.0.0.1:6000 'more=127.0.0.1:ABC'
    check "systemctl reload fails with an invalid file" fails inside systemctl reload ssm-proxyd
    check "an invalid file changes nothing" wait_for said "reload failed; keeping the current configuration"
    check "it logs the position of the error" wait_for said "/etc/ssm-proxyd/config.toml:12:10"
    check "it logs the invalid value" said '127.0.0.1:ABC'
    check "both forwards still listen" both_listen
    check "it is active still" shows ActiveState active
    check "it is the same process" shows MainPID "$pid"
    check "root can request its status" tells "more +ready "
}

tells() { inside ssm-proxyd status | grep --extended-regexp "$1"; }

both_listen() { traffic exchange 6000 && traffic exchange 6001; }

restarts_without_a_refusal() {
    if [ ! -e /proc/net/if_inet6 ]; then
        pass_over "restarts under load" "the shipped socket is on ::1 too, and this machine has no IPv6"
        return
    fi
    configure db=127.0.0.1:6000 orders=systemd:orders-db
    check "the shipped socket is installed by the commands in its header" inside sh -exc "$(head_of ssm-proxyd.socket)"
    check "it serves a port bound by systemd" traffic exchange 5432
    check "no connection is refused in five restarts under load" restart_under_load
    cat /run/trial/said
}

# What the head of a unit tells a person to type, but for the files, which are there.
head_of() { sed -n 's/^#   \(systemctl .*\)/\1/p' "systemd/$1"; }

restart_under_load() {
    local stop=/run/trial/stop hammering times=0
    traffic hammer "$stop" 5432 &
    hammering=$!
    while [ "$((times += 1))" -le 5 ] && inside systemctl restart ssm-proxyd; do
        # Whoever waited is served before the next one.
        traffic exchange 5432 || break
    done
    touch "$stop"
    wait "$hammering" && [ "$times" = 6 ]
}

is_watched() {
    local pid drop_in=/run/systemd/system/ssm-proxyd.service.d/watchdog.conf
    printf '[Service]\nWatchdogSec=3s\n' | inside install -D -m 644 /dev/stdin "$drop_in"
    inside systemctl daemon-reload
    check "it starts with a short watchdog timeout" inside systemctl restart ssm-proxyd
    pid=$(show MainPID)
    mark
    inside sh -c "kill -STOP $pid"
    check "an unresponsive process is killed" wait_for said "Watchdog timeout"
    check "a new process starts" wait_for is_another "$pid"
    check "the new process serves" traffic exchange 6000
    inside rm "$drop_in"
    inside systemctl daemon-reload
    check "it starts with the shipped watchdog timeout" inside systemctl restart ssm-proxyd
}

is_another() { [ "$(show MainPID)" != "$1" ] && [ "$(show MainPID)" != 0 ] && shows ActiveState active; }

# A connection that does what it is told by `ask`, a line each.
hold() {
    coproc traffic hold "$1"
    held=$COPROC_PID answers=${COPROC[0]} questions=${COPROC[1]}
    answered open
}

answered() { read -r -t 60 -u "$answers" answer && [ "$answer" = "$1" ]; }

let_go() { exec {questions}>&- && wait "$held"; }

ask() { echo >&"$questions" && answered same; }

comes_back_after_a_crash() {
    local pid
    pid=$(show MainPID)
    mark
    hold 6000 || stop "no connection to crash under"
    inside sh -c "kill -KILL $pid"
    check "it comes back after a crash" wait_for is_another "$pid"
    check "it logs that sessions are still active" \
        wait_for said "terminating sessions that a killed former run left active"
    check "it terminates them" wait_for ledger_says open 0
    check "it serves again" traffic exchange 6000
    let_go || true
}

drains() {
    local stopping
    mark
    hold 6000 || stop "no connection to drain"
    inside systemctl stop ssm-proxyd &
    stopping=$!
    check "a stop waits for open connections" wait_for said "waiting for open connections"
    check "new connections are refused" wait_for traffic closed 6000
    check "its status shows that" wait_for shows StatusText "waiting for open connections"
    check "it is deactivating" shows ActiveState deactivating
    check "an open connection finishes" ask
    check "systemctl stop waits for that" kill -0 "$stopping"
    check "the connection closes cleanly" let_go
    check "then systemctl stop succeeds" wait "$stopping"
    check "nothing was reset" unsaid "resetting connections"
    check "it has stopped" shows ActiveState inactive
    check "with success" shows Result success
    check "with exit status 0" shows ExecMainStatus 0
    check "all sessions are terminated" ledger_says open 0
}

does_not_start_with_a_bad_file() {
    mark
    configure 'db=127.0.0.1:ABC'
    inside systemctl reset-failed ssm-proxyd
    check "systemctl start fails with an invalid file" fails inside systemctl start ssm-proxyd
    check "with exit status 78" shows ExecMainStatus 78
    check "the service has failed" shows ActiveState failed
    check "permanently" shows SubState failed
    check "it was not restarted" shows NRestarts 0
    check "it logs the position of the error" said "/etc/ssm-proxyd/config.toml:7:10"
}

# For people; nothing is asserted.
is_measured() {
    local forwards=() number start ready
    for number in {0..99}; do
        forwards+=("f$number=127.0.0.1:$((6100 + number))")
    done
    configure "${forwards[@]}"
    check "it starts with a hundred forwards" inside systemctl start ssm-proxyd
    start=$(show ExecMainStartTimestampMonotonic) ready=$(show ActiveEnterTimestampMonotonic)
    printf 'with 100 forwards: ready after %d ms, %d MiB resident\n' \
        "$(((ready - start) / 1000))" "$(($(field VmRSS) / 1024))"
    check "it stops with a hundred forwards" inside systemctl stop ssm-proxyd
}
