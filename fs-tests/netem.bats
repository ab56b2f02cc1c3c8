#!/usr/bin/env bats
# Network faults by netem, which the kernel of the machine itself may lack: sandboxes in a guest whose kernel has it. See netem.sh.

load lib.bash

setup_file() {
    begin
    local status=0
    "$FS_TESTS/netem.sh" >"$TMP/out" 2>"$TMP/stderr" || status=$?
    echo "$status" >"$TMP/status"
}

teardown_file() { end; }

# found NAME: the guest's check of that name went well; prints what it measured, or else all that the guest said.
found() {
    case $(<"$TMP/status") in
    77) skip "$(<"$TMP/stderr")" ;;
    esac
    grep -q "^ok $1: " "$TMP/out" && sed -n "s/^ok $1: /# /p" "$TMP/out" >&3 && return
    cat "$TMP/out" "$TMP/stderr"
    return 1
}

@test 'a sandbox finds what its kernel can do' { found probe; }
@test 'without a fault, nothing happens to packets' { found nothing; }
@test 'delay: each packet of one link waits, those of others do not' { found waits; }
@test 'delay: each link its own' { found each-its-own; }
@test 'delay: however many wait, none is lost' { found waits-long; }
@test 'jitter spreads, and keeps the order' { found jitter; }
@test 'loss: the share that was asked for' { found loss; }
@test 'duplicate: the share that was asked for, and none is lost' { found duplicate; }
@test 'corrupt: the share that was asked for, and nobody is given a wrong packet' { found corrupt; }
@test 'reorder: the share that was asked for overtakes, the others keep their order' { found reorder; }
@test 'rate: what was asked for passes, and other links have all they had' { found rate; }
@test 'rate and delay at once' { found rate-and-delay; }
@test 'broadcast: what is in force on one link is on no other' { found to-many; }
@test 'delay, loss, duplicate, corrupt and reorder at once: TCP delivers what was sent' { found all-at-once; }
@test 'drop is silence, reject an answer' { found cut; }
@test 'host: to it and from it' { found outside; }
@test 'crash: silence both ways' { found silent; }
@test 'delay, corrupt and reorder through the native queue of nft, as if there were no netem' { found without-netem; }
@test 'heal: who waits is not lost, who comes then does not wait' { found healed; }

@test 'the guest has made no check but these, and each went well' {
    case $(<"$TMP/status") in
    77) skip "$(<"$TMP/stderr")" ;;
    esac
    cat "$TMP/out" "$TMP/stderr"
    is "$(<"$TMP/status")" 0
    is "$(grep -c '^FAILED ' "$TMP/out")" 0
    is "$(grep -c '^ok ' "$TMP/out")" $((BATS_TEST_NUMBER - 1))
}
