#!/bin/sh
# SPDX-License-Identifier: MIT
# inject.sh BUILD - faults on purpose, through a real mount: what kills servers is not seen by programs, what
# kills two of them is refused alone, and the log and the status tell of it.
. "$(dirname "$0")/lib.sh"

generation() { field server.generation; }
exits() { # code command...
    code=$1
    shift
    "$@" >"$work/out" 2>&1
    [ $? = "$code" ]
}

# Names, bytes, links, sizes, durability; every step is checked by the next.
busy() { # directory rounds
    python3 - "$1" "$2" <<'END'
import os, sys
base, rounds = sys.argv[1], int(sys.argv[2])
os.makedirs(base, exist_ok=True)
for i in range(rounds):
    a, b, d = (os.path.join(base, name % i) for name in ("a%d", "b%d", "d%d"))
    with open(a, "xb") as f:
        f.write(b"%d " % i * 700)
        if i % 4 == 0:
            os.fsync(f.fileno())
    os.mkdir(d)
    os.rename(a, os.path.join(d, "moved"))
    os.link(os.path.join(d, "moved"), b)
    os.truncate(b, 100)
    assert open(os.path.join(d, "moved"), "rb").read() == (b"%d " % i * 700)[:100]
    os.unlink(os.path.join(d, "moved"))
    os.rmdir(d)
    if i >= 8:
        os.unlink(os.path.join(base, "b%d" % (i - 8)))
assert sorted(os.listdir(base)) == sorted("b%d" % i for i in range(max(0, rounds - 8), rounds)), os.listdir(base)
END
}

other_generation() { # old: waits for another server, which serves
    for _ in $(seq 100); do
        stat "$mnt" >/dev/null && new=$(generation) && [ -n "$new" ] && [ "$new" != "$1" ] && return 0
        sleep 0.1
    done
    return 1
}

crash_at() { # point passes command...: the command sees nothing of the crash that it brings about
    point=$1
    passes=$2
    shift 2
    was=$(generation)
    "$drover" inject "$mnt" crash --at "$point" --after "$passes" && "$@" && other_generation "$was"
}

write_much() { # enough for the journal to be emptied
    python3 - "$mnt/much" <<'END'
import os, sys
os.makedirs(sys.argv[1], exist_ok=True)
top = os.open(sys.argv[1], os.O_RDONLY)
for i in range(6000):
    os.close(os.open("%d" % i, os.O_CREAT | os.O_EXCL, 0o644, dir_fd=top))
    if i % 100 == 99:
        os.fsync(top)
for i in range(6000):
    os.unlink("%d" % i, dir_fd=top)
os.rmdir(sys.argv[1])
END
}

survives_flips() { # region count rounds
    for seed in $(seq "$3"); do
        "$drover" inject "$mnt" flip --region "$1" --count "$2" --seed "$seed" || return 1
        busy "$mnt/flip-$1-$seed" 12 || return 1
    done
}

rig_start 64M

ok "a plain crash is not seen" sh -c "'$drover' inject '$mnt' crash"
ok "work goes on after it" busy "$mnt/plain" 20
for point in plan apply reply; do
    ok "a crash at $point is not seen" crash_at "$point" 37 busy "$mnt/$point" 40
done
ok "a crash at commit is not seen" crash_at commit 2 busy "$mnt/commit" 40
ok "a crash at checkpoint is not seen" crash_at checkpoint 3 write_much

# A recovery that dies needs operations in the gap; where it comes too late for that, it is armed for the next.
recovery_dies() {
    was=$(generation)
    busy "$mnt/recovery" 300 &
    worker=$!
    sleep 0.2
    "$drover" inject "$mnt" crash --at recovery || return 1
    wait "$worker" && other_generation "$was" && "$drover" inject "$mnt" clear
}
ok "a crash of the recovery itself is not seen" recovery_dies

hangs() {
    was=$(generation)
    "$drover" inject "$mnt" hang && busy "$mnt/hang" 5 && other_generation "$was"
}
ok "a server that stops is replaced" hangs

ok "flips in metadata are survived" survives_flips metadata 20 3
# One bit of an entry is put right. Of more the log cannot be believed, which is not this test's.
ok "a flip in the log of operations is survived" survives_flips plog 1 4
echo something >"$mnt/something"
ok "a flip in a page's descriptor is survived" survives_flips descriptors 1 4
for region in heap stack data; do
    ok "flips in $region are told in the log" sh -c "'$drover' inject '$mnt' flip --region $region --count 2 --seed 1 &&
        '$drover' log --raw '$mnt' | grep -q 'event=flip region=$region '"
done
# What these have struck is nobody's business here.
rig_umount || "$drover" umount -f "$mnt"
rm -f "$work"/*.pid "$img"
rig_start 64M

mkdir "$mnt/poisoned" "$mnt/other"
echo victim >"$mnt/poisoned/victim"
echo bystander >"$mnt/other/bystander"
ok "an operation is poisoned" "$drover" inject "$mnt" poison unlink "$mnt/poisoned"
refused() {
    python3 -c '
import errno, os, sys
try:
    os.unlink(sys.argv[1])
except OSError as e:
    sys.exit(e.errno != errno.EIO)
sys.exit("it was done")' "$mnt/poisoned/victim"
}
ok "it is refused with EIO after two deaths" refused
ok "which the status counts" test "$(field recoveries.poisoned)" -ge 1
ok "other operations there go on" sh -c "touch '$mnt/poisoned/new' && mv '$mnt/poisoned/new' '$mnt/other/new' && cat '$mnt/poisoned/victim'"
ok "the operation elsewhere goes on" rm "$mnt/other/bystander"
ok "the poison is cleared" "$drover" inject "$mnt" clear
ok "and the operation works again" rm "$mnt/poisoned/victim"
ok "so it does for what only reads" sh -c "'$drover' inject '$mnt' poison lookup '$mnt/other' && ! stat '$mnt/other/none' && '$drover' inject '$mnt' clear"

log_tells() {
    "$drover" log "$mnt" >"$work/log" && grep -q '  CRASH     generation .*SIGABRT: failed check, request ' "$work/log" &&
        grep -q '^    condition   !"poisoned by drover inject" at ' "$work/log" && grep -q '^    request     op=UNLINK ' "$work/log" &&
        grep -q '^    trace       [0-9]*  inject_on_request+0x' "$work/log" && grep -q '^    worker      serves, transaction ' "$work/log" &&
        grep -q '  recovery  generation .*crashed, pause .* ms, act ' "$work/log"
}
ok "the log has readable crash reports and recoveries" log_tells
histogram_is_whole() {
    "$drover" status --json "$mnt" | python3 -c '
import json, sys
r = json.load(sys.stdin)["recoveries"]
buckets = r["pause_ms"]["histogram"]
assert sum(b["count"] for b in buckets) == r["count"] > 0, r
assert buckets[-1]["to_ms"] is None and r["crashes"] >= 2, r'
}
ok "the histogram of the status has all pauses" histogram_is_whole
ok "the status is readable" sh -c "'$drover' status '$mnt' | grep -q 'pauses    p50 '"

ok "faults of disks are refused in the open" exits 1 "$drover" inject "$mnt" disk error
ok "wrong usage is told as such" exits 2 "$drover" inject "$mnt" crash --at lunch
ok "so is an unknown region" exits 2 "$drover" inject "$mnt" flip --region soup
ok "and an unknown operation" exits 2 "$drover" inject "$mnt" poison dance "$mnt"
ok "a file elsewhere cannot be poisoned" exits 1 "$drover" inject "$mnt" poison unlink /
rig_stop
rig_done
