"""Writes a command while signals come that it handles, ignores or blocks, and after EINTR writes again, as Python does.

interrupted_writer.py FILE LINE main|thread: which thread writes. Prints what write(2) returned, or its errno, once;
fails when no signal came while it waited.
"""
import os
import signal
import sys
import threading
import time

path, line, where = sys.argv[1:]
data = (line + "\n").encode()
heard = set()
handled = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGALRM, signal.SIGRTMIN}
for number in handled:
    signal.signal(number, lambda number, _: heard.add(number))
signal.signal(signal.SIGUSR2, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPIPE})
# One that comes again and again by itself.
signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)

fd = os.open(path, os.O_WRONLY)
# What the sender sends, to the process and to the thread that writes.
sent = sorted(handled - {signal.SIGALRM}) + [signal.SIGUSR2, signal.SIGPIPE]
# What ends no process by default, or stops it until it is continued.
sent += [signal.SIGWINCH, signal.SIGCHLD, signal.SIGURG, signal.SIGSTOP, signal.SIGCONT]
writer = threading.get_native_id()
sender = None


def send():
    """In a process of its own, which a stop does not stop."""
    global sender
    target, thread = os.getpid(), threading.get_native_id()
    sender = os.fork()
    if sender == 0:
        signal.setitimer(signal.ITIMER_REAL, 0)
        while True:
            for number in sent:
                os.kill(target, number)
                # Linux takes a thread's id too.
                os.kill(thread, number)
                time.sleep(0.02)


def write():
    send()
    began = time.monotonic()
    heard.clear()
    try:
        print(os.write(fd, data), flush=True)
    except OSError as error:
        print(error, flush=True)
    print(f"{time.monotonic() - began:.1f} s", file=sys.stderr)


if where == "main":
    write()
else:
    thread = threading.Thread(target=write)
    thread.start()
    thread.join()
os.kill(sender, signal.SIGKILL)
os.waitpid(sender, 0)
missing = handled - heard
if missing:
    sys.exit(f"never heard: {missing}")
