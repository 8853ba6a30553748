# Builds the container image and runs the program in it, with the configuration of the Kubernetes example and
# its probes. Part of tests/packages/run.

image_context=$packages/image
image_options=(--root "$PWD/$packages/image-store" --runroot "$PWD/$packages/image-run" --storage-driver vfs)

container_image() {
    if [ "$(id -u)" != 0 ]; then
        skipped=$((skipped + 1))
        printf '\n== SKIPPED: not tested: the container image: requires root\n\n' | tee /dev/stderr
        return
    fi
    mkdir -p "$image_context"
    cp target/package/bin/ssm-proxyd "$image_context/"
    touch "$image_context/ca-certificates.crt"
    [ ! -e /etc/ssl/certs/ca-certificates.crt ] || cp /etc/ssl/certs/ca-certificates.crt "$image_context/"
    check "the image is built from scratch" build_image
    check "it has only the program and certificates" has_only_its_files
    check "its command is the daemon" has_command
    check "the daemon in it answers the probes of the Kubernetes example" answers_probes
}

build_image() {
    buildah "${image_options[@]}" build --isolation chroot --file packaging/container/Containerfile \
        --tag ssm-proxyd-test "$image_context" &&
        container=$(buildah "${image_options[@]}" from ssm-proxyd-test) &&
        rootfs=$(buildah "${image_options[@]}" mount "$container")
}

has_only_its_files() {
    local files
    files=$(cd "$rootfs" && find . -type f | sort) && echo "$files"
    [ "$files" = $'./etc/ssl/certs/ca-certificates.crt\n./usr/bin/ssm-proxyd' ]
}

has_command() {
    buildah "${image_options[@]}" inspect --type image ssm-proxyd-test | python3 -c '
import json, sys
config = json.load(sys.stdin)["OCIv1"]["config"]
print(config)
assert config["User"] == "65532:65532"
assert config["Entrypoint"] + config["Cmd"] == \
    ["/usr/bin/ssm-proxyd", "run", "--config", "/etc/ssm-proxyd/config.toml"]'
}

# The binary of the tests is linked with libraries of this machine; that of a release is static.
answers_probes() {
    local library port daemon status=0
    for library in $(ldd "$image_context/ssm-proxyd" | grep -o '/[^ ]*'); do
        install -D "$library" "$rootfs$library"
    done
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    install -d "$rootfs/etc/ssm-proxyd"
    configuration_of_example "$port" >"$rootfs/etc/ssm-proxyd/config.toml"
    chmod 755 "$rootfs" "$rootfs/etc/ssm-proxyd" && chmod 644 "$rootfs/etc/ssm-proxyd/config.toml"
    env -i "PATH=$PATH" AWS_ACCESS_KEY_ID=dummy AWS_SECRET_ACCESS_KEY=dummy AWS_EC2_METADATA_DISABLED=true \
        chroot --userspec=65532:65532 "$rootfs" /usr/bin/ssm-proxyd run --config /etc/ssm-proxyd/config.toml &
    daemon=$!
    probe_all "$port" || status=1
    kill -TERM "$daemon"
    wait "$daemon" && [ "$status" = 0 ]
}

# The file of the ConfigMap, with free ports.
configuration_of_example() {
    sed -n '/^  config.toml: |$/,/^---$/ s/^    //p' packaging/kubernetes/sidecar.yaml |
        sed "s/0\.0\.0\.0:9187/127.0.0.1:$1/; s/localhost:5432/127.0.0.1:0/"
}

probe_all() {
    local path paths
    paths=$(sed -n 's/^ *path: \(\/[a-z]*\)$/\1/p' packaging/kubernetes/sidecar.yaml)
    [ "$(wc -l <<<"$paths")" = 3 ] || { echo "the example has other probes: $paths" && return 1; }
    for path in $paths; do
        curl --silent --show-error --fail --noproxy '*' --retry 100 --retry-delay 1 --retry-max-time 60 --retry-connrefused \
            "http://127.0.0.1:$1$path" || return 1
    done
}
