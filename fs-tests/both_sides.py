"""A tester and a node take turns in changing one file, at random; after each turn the other side must see it, whichever
way it reads. Arguments: the node's container, its working directory, a seed, the number of turns. The working
directory is the same one, seen from here."""

import hashlib
import mmap
import os
import random
import subprocess
import sys

container, directory, seed, turns = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
random.seed(seed)
shell = subprocess.Popen(["docker", "exec", "-i", "-w", directory, container, "sh"], stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, text=True)


def node(command):
    """Runs a command in the node's shell; what it printed."""
    shell.stdin.write(f"{command}\necho; echo END\n")
    shell.stdin.flush()
    lines = []
    while (line := shell.stdout.readline()) != "END\n":
        assert line, "the node's shell is gone"
        lines.append(line)
    return "".join(lines).strip()


def through_map(prot):
    fd = os.open("f", os.O_RDWR)
    with mmap.mmap(fd, 0, mmap.MAP_SHARED if prot else mmap.MAP_PRIVATE) as mapped:
        os.close(fd)
        return mapped[:]


def unbuffered():
    fd = os.open("f", os.O_RDONLY | os.O_DIRECT)
    room = mmap.mmap(-1, (len(model) // 4096 + 1) * 4096)
    got = os.preadv(fd, [room], 0)
    os.close(fd)
    return room[:got]


model = bytearray(b"begin")
open("f", "wb").write(model)
kept = os.open("f", os.O_RDWR)
READS = {
    "a new descriptor": lambda: open("f", "rb").read(),
    "a descriptor kept open": lambda: os.pread(kept, 1 << 20, 0),
    "a shared mapping": lambda: through_map(True),
    "a private mapping": lambda: through_map(False),
    "O_DIRECT": unbuffered,
}
still_mapped = [0, 0]

for turn in range(turns):
    at = random.randrange(len(model) + 1)
    text = f"{turn}:" + "".join(random.choices("abcdefgh", k=random.randrange(1, 3000)))
    what = random.choice(["node writes", "node appends", "node truncates", "we write", "we append", "we map", "we truncate"])
    mapping = mmap.mmap(kept, len(model)) if what == "node writes" else None
    before = mapping and mapping[:]
    if what == "node writes":
        node(f"printf %s {text} | dd of=f bs=1 seek={at} conv=notrunc 2>/dev/null" if len(text) < 300 else
             f"printf %s {text} >part; dd if=part of=f bs=4096 seek={at} oflag=seek_bytes conv=notrunc 2>/dev/null || "
             f"dd if=part of=f bs=1 seek={at} conv=notrunc 2>/dev/null")
    elif what == "node appends":
        node(f"printf %s {text} >>f")
        at = len(model)
    elif what == "node truncates":
        node(f"truncate -s {at} f")
    elif what == "we write":
        os.pwrite(kept, text.encode(), at)
    elif what == "we append":
        with open("f", "ab") as file:
            file.write(text.encode())
        at = len(model)
    elif what == "we truncate":
        os.ftruncate(kept, at)
    else:
        text = text[: len(model) - at]
        if text:
            with mmap.mmap(kept, len(model)) as mapped:
                mapped[at : at + len(text)] = text.encode()
                mapped.flush()
    if "truncate" in what:
        del model[at:]
        model += b"x" if not model else b""
        if len(model) == 1 and at == 0:
            os.pwrite(kept, b"x", 0)
    else:
        model[at : at + len(text)] = text.encode()
    name = random.choice(list(READS))
    assert os.stat("f").st_size == len(model), f"turn {turn}, {what}: the size is old"
    got = READS[name]()
    assert got == bytes(model), f"turn {turn} of seed {seed}: after '{what}' {name} reads what was before"
    if mapping:
        still_mapped[mapping[: len(before)] == bytes(model[: len(before)])] += 1
        mapping.close()
    if turn % 5 == 0 or what.startswith("we"):
        assert node("md5sum f").split()[0] == hashlib.md5(model).hexdigest(), f"turn {turn}: the node reads other bytes"

shell.stdin.close()
print(f"seed {seed}, {turns} turns; a mapping from before the node's write showed it {still_mapped[1]} times of {sum(still_mapped)}")
