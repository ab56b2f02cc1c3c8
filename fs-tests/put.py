"""Writes stdin to a file in one write(2). Prints OK, or "NUMBER NAME" of the errno, after "close" if close(2) had it."""
import errno
import os
import sys

data = sys.stdin.buffer.read()
where = ""
try:
    fd = os.open(sys.argv[1], os.O_WRONLY | os.O_TRUNC)
    try:
        written = os.write(fd, data)
        if written != len(data):
            sys.exit(f"short write: {written} of {len(data)}")
    finally:
        where = "close " if sys.exc_info()[0] is None else ""
        os.close(fd)
    print("OK")
except OSError as error:
    name = {errno.EOPNOTSUPP: "EOPNOTSUPP"}.get(error.errno) or errno.errorcode[error.errno]
    print(f"{where}{error.errno} {name}")
