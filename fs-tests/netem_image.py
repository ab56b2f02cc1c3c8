"""Packs the initial file system of netem.sh's guest. Arguments: the image, the directory of the kernel's modules, the
program of Python that is to be init, and the cthulhu to test. Python, its modules and `ip` are taken from this machine."""

import lzma
import os
import re
import subprocess
import sys

image, modules, init, cthulhu = sys.argv[1:]

# What the guest needs of the kernel. One that has no module is built in, or the check that needs it will tell.
WANTED = """veth bridge sch_netem sch_htb nf_tables nft_numgen nft_reject_inet nft_reject_ipv4 nft_reject_ipv6 nft_queue
nft_dup_ipv4 nft_dup_ipv6 nfnetlink_queue inet_diag tcp_diag udp_diag""".split()

packed = set()


def entry(out, path, mode, data=b"", device=(0, 0)):
    """One file of an archive as cpio(1) calls "newc"."""
    name = path.encode() + b"\0"
    fields = (len(packed), mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name), 0)
    header = b"070701" + b"".join(b"%08x" % field for field in fields) + name
    for part in (header, data):
        out.write(part + bytes(-len(part) % 4))
    packed.add(path)


def add(out, path, data):
    """A file below the directories that it needs."""
    parts = path.strip("/").split("/")
    for depth in range(1, len(parts)):
        above = "/".join(parts[:depth])
        if above not in packed:
            entry(out, above, 0o40755)
    if "/".join(parts) not in packed:
        entry(out, "/".join(parts), 0o100755, data)


def read(path):
    with open(path, "rb") as file:
        return file.read()


def add_program(out, source, path=None):
    """A program or a library, with the libraries that it is linked against."""
    add(out, path or source, read(source))
    told = subprocess.run(["ldd", source], capture_output=True, text=True).stdout
    for library in re.findall(r"(/\S+) \(0x", told):
        add(out, library, read(library))


def python_files():
    """What the guest's program loads, found by loading it here."""
    code = f"""import sys, encodings.idna
sys.argv = ["init", "--load-only"]
exec(compile(open({init!r}).read(), "init", "exec"))
for module in list(sys.modules.values()):
    if getattr(module, "__file__", None): print(module.__file__)"""
    told = subprocess.run(["/usr/bin/python3", "-SE", "-c", code], capture_output=True, text=True, check=True).stdout
    return told.split()


def module_files():
    """The paths of all modules, by the names that they call each other."""
    found = {}
    for directory, _, files in os.walk(modules):
        for file in files:
            if ".ko" in file:
                found[file.split(".ko")[0].replace("-", "_")] = os.path.join(directory, file)
    return found


def add_module(out, files, name, order):
    """A module after those that it needs."""
    if name in order or name not in files:
        return
    data = read(files[name])
    if files[name].endswith(".xz"):
        data = lzma.decompress(data)
    needed = re.search(rb"\0depends=([^\0]*)\0", data)[1].decode()
    for other in filter(None, needed.split(",")):
        add_module(out, files, other.replace("-", "_"), order)
    order.append(name)
    add(out, f"modules/{name}.ko", data)


with open(image, "wb") as out:
    for directory in ("proc", "sys", "run", "tmp", "dev"):
        entry(out, directory, 0o40755)
    entry(out, "dev/console", 0o20600, device=(5, 1))
    files, order = module_files(), []
    for name in WANTED:
        add_module(out, files, name, order)
    add(out, "modules/order", "\n".join(order).encode())
    add_program(out, "/usr/bin/python3")
    for file in python_files():
        (add_program if file.endswith(".so") else lambda out, file: add(out, file, read(file)))(out, file)
    add_program(out, "/bin/ip")
    add_program(out, cthulhu, "bin/cthulhu")
    add(out, "init", read(init))
    entry(out, "TRAILER!!!", 0)
