# One node of Kubernetes: containerd and a kubelet, below one folder, for as long as standard input is open.
#
#   sh node.sh FOLDER KUBECONFIG KUBELET PORT PROGRAM-OF-THE-KUBELET
#
# Lines on standard input: `stop` ends both as a machine that goes down would (containers go on, as they do when containerd
# restarts), `start` starts them again; each is answered by a line. When input ends, however the test ended, all that was
# started here ends with it: containers, their shims, mounts, control groups.
#
# Pods use the network of the machine: no network plugin is called, though one has to be configured.
set -u
folder=$1 kubeconfig=$2 name=$3 port=$4 program=$5
socket="$folder/containerd.sock"

mkdir -p "$folder/cni"
cat > "$folder/cni/10-none.conflist" <<EOF
{"cniVersion": "0.4.0", "name": "none", "plugins": [{"type": "loopback"}]}
EOF
cat > "$folder/containerd.toml" <<EOF
version = 2
root = "$folder/containerd/root"
state = "$folder/containerd/state"
[grpc]
  address = "$socket"
[plugins."io.containerd.internal.v1.opt"]
  path = "$folder/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "docker.io/library/pause:test"
  disable_apparmor = true
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    conf_dir = "$folder/cni"
EOF
cat > "$folder/kubelet.yaml" <<EOF
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: 127.0.0.1
port: $port
readOnlyPort: 0
healthzPort: 0
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
cgroupDriver: cgroupfs
cgroupsPerQOS: false
enforceNodeAllocatable: []
failCgroupV1: false
failSwapOn: false
localStorageCapacityIsolation: false
evictionHard: {memory.available: 50Mi, nodefs.available: "1%", nodefs.inodesFree: "1%", imagefs.available: "1%"}
containerRuntimeEndpoint: unix://$socket
podLogsDir: $folder/pods
resolvConf: ""
EOF

containers() {
    ctr --address "$socket" --namespace k8s.io "$@" 2>> "$folder/ctr.log"
}

start() {
    containerd --config "$folder/containerd.toml" >> "$folder/containerd.log" 2>&1 < /dev/null &
    containerd=$!
    tries=0
    until containers version > /dev/null; do
        tries=$((tries + 1))
        if [ "$tries" -gt 100 ] || ! kill -0 "$containerd"; then
            return 1
        fi
        sleep 0.1
    done
    for image in "$folder"/images/*.tar; do
        containers images import "$image" > /dev/null || return 1
    done
    "$program" --kubeconfig "$kubeconfig" --config "$folder/kubelet.yaml" --root-dir "$folder/kubelet" \
        --cert-dir "$folder/kubelet-pki" --hostname-override "$name" >> "$folder/kubelet.log" 2>&1 < /dev/null &
    kubelet=$!
}

stop() {
    kill -KILL "$kubelet" "$containerd" 2> /dev/null
    wait "$kubelet" "$containerd" 2> /dev/null
}

# The shims of this node that are still there, by their process numbers. (The search itself names the socket too.)
shims() {
    for cmdline in $(grep -lzxF -e "$socket" /proc/[0-9]*/cmdline 2> /dev/null); do
        process=${cmdline%/cmdline}
        if grep -q '^containerd-shim' "$process/comm" 2> /dev/null; then
            echo "${process#/proc/}"
        fi
    done
}

# What containerd was doing when the kubelet ended may leave a shim that nobody ends.
end_shims() {
    for shim in $(shims); do
        sockets=$(readlink "/proc/$shim"/fd/* | sed -n 's/^socket:\[\(.*\)\]$/\1/p')
        pkill -KILL -P "$shim"
        kill -KILL "$shim"
        for inode in $sockets; do
            awk -v inode="$inode" '$7 == inode && index($8, "/run/containerd/s/") == 1 {print $8}' /proc/net/unix |
                xargs --no-run-if-empty rm -f
        done
    done
}

answer() {
    # The one who asked may be gone already.
    echo "$1" 2> /dev/null || true
}

end() {
    kill -KILL "$kubelet" 2> /dev/null
    # A containerd that was stopped cannot end its containers.
    kill -0 "$containerd" 2> /dev/null || { containerd --config "$folder/containerd.toml" >> "$folder/containerd.log" 2>&1 & containerd=$!; sleep 2; }
    for task in $(containers tasks list --quiet); do
        containers tasks delete --force "$task" > /dev/null
    done
    tries=0
    while [ -n "$(shims)" ] && [ "$tries" -lt 30 ]; do
        tries=$((tries + 1))
        sleep 0.1
    done
    kill -KILL "$containerd" 2> /dev/null
    wait "$kubelet" "$containerd" 2> /dev/null
    end_shims
    # The deepest first.
    awk -v folder="$folder/" 'index($5, folder) == 1 {print $5}' /proc/self/mountinfo | sort -r | while read -r mount; do
        umount -l "$mount"
    done
    # Goes only when it is empty: another node may be using it.
    rmdir /sys/fs/cgroup/k8s.io /sys/fs/cgroup/*/k8s.io 2> /dev/null
    rm -rf "$folder/containerd" "$folder/kubelet"
}

# Ctrl-C is for the test; its end is seen by the end of the input.
trap '' INT TERM HUP
if start; then answer started; else answer failed; fi
while read -r command; do
    case $command in
        stop) stop; answer stopped ;;
        start) if start; then answer started; else answer failed; fi ;;
    esac
done
end
