# Results of the tests under systemd: messages, and a line for .ci/run.

# Prints the summary line of `cargo test`, which .ci/run adds up: passed, failed, skipped.
result() {
    local word=ok
    [ "$2" = 0 ] || word=FAILED
    printf 'test result: %s. %d passed; %d failed; %d ignored; 0 measured; 0 filtered out; finished in %d.00s\n' \
        "$word" "$1" "$2" "$3" "$SECONDS"
}

skip() {
    printf '\n== SKIPPED: not tested under a real systemd: %s\n\n' "$*" >&2
    result 0 0 1
    exit 0
}

stop() {
    printf '\n== %s\n' "$*" >&2
    exit 1
}
