#!/usr/bin/env python3
"""A link between a program and a server, that can be slow, cut and mended.

usage: proxy.py LISTEN TARGET CONTROL

LISTEN and TARGET are HOST:PORT or the path of a unix socket; with the port 0, a free one is taken. The address that is
listened at stands in CONTROL.address, as HOST:PORT or PATH.

It passes bytes, whatever they mean, so also upgraded connections; each direction ends by itself (half-close). Every line
written to the FIFO CONTROL is a command; how many have been carried out stands in CONTROL.done.

delay MS  each byte arrives MS later, in both directions, as over a longer line: the rate stays as it is. 0 ends it. A new
          connection is accepted at once, but what is sent over it takes its time. A round trip costs twice MS.
cut       nothing gets through, and nobody is told: what is sent arrives after `mend`. New connections are taken, silently.
mend      ends a cut
reset     all connections end with a reset, at both ends; new ones work
"""
import asyncio
import os
import socket
import struct
import sys
import time

# Bytes on their way in one direction: more than any line holds at the delays of a test.
WINDOW = 8 << 20
PIECE = 1 << 16


class Link:
    def __init__(self, target):
        self.target = target
        self.delay = 0.0
        self.mended = asyncio.Event()
        self.mended.set()
        self.tasks = set()

    async def serve(self, reader, writer):
        """A new connection. It runs until both directions have ended."""
        task = asyncio.current_task()
        self.tasks.add(task)
        far = None
        try:
            await self.mended.wait()
            far_reader, far = await connect(self.target)
            async with asyncio.TaskGroup() as directions:
                directions.create_task(self.carry(reader, far))
                directions.create_task(self.carry(far_reader, writer))
        except (OSError, ExceptionGroup):
            # One end broke it off, so the other hears of that too.
            abort(writer, far)
        except asyncio.CancelledError:
            abort(writer, far)
        finally:
            self.tasks.discard(task)
            for one in (writer, far):
                if one:
                    one.close()

    async def carry(self, reader, writer):
        """One direction: what is read is written when its time has come."""
        underway = asyncio.Queue()
        room = asyncio.Condition()
        size = 0

        async def receive():
            nonlocal size
            while True:
                data = await reader.read(PIECE)
                async with room:
                    await room.wait_for(lambda: size < WINDOW)
                    size += len(data)
                underway.put_nowait((time.monotonic() + self.delay, data))
                if not data:
                    return

        async def deliver():
            nonlocal size
            while True:
                due, data = await underway.get()
                while (wait := due - time.monotonic()) > 0:
                    await asyncio.sleep(wait)
                await self.mended.wait()
                if not data:
                    if writer.can_write_eof():
                        writer.write_eof()
                    return
                writer.write(data)
                await writer.drain()
                async with room:
                    size -= len(data)
                    room.notify()

        async with asyncio.TaskGroup() as ends:
            ends.create_task(receive())
            ends.create_task(deliver())

    async def reset(self):
        ended = list(self.tasks)
        for task in ended:
            task.cancel()
        await asyncio.gather(*ended, return_exceptions=True)

    async def command(self, line):
        match line.split():
            case ["delay", ms] if ms.replace(".", "", 1).isdecimal():
                self.delay = float(ms) / 1000
            case ["cut"]:
                self.mended.clear()
            case ["mend"]:
                self.mended.set()
            case ["reset"]:
                await self.reset()
            case _:
                print(f"proxy.py: no such command: {line}", file=sys.stderr)


def abort(*writers):
    """Ends connections with a reset rather than an end of file."""
    for writer in writers:
        if writer:
            one = writer.get_extra_info("socket")
            # One that the other end has broken off is closed already.
            if one.family != socket.AF_UNIX and one.fileno() >= 0:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()


def no_delay(writer):
    one = writer.get_extra_info("socket")
    if one.family != socket.AF_UNIX:
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


async def connect(target):
    if "/" in target:
        return await asyncio.open_unix_connection(target)
    host, port = target.rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    no_delay(writer)
    return reader, writer


async def listen(address, serve):
    if "/" in address:
        await asyncio.start_unix_server(serve, address, backlog=1024)
        return address
    host, port = address.rsplit(":", 1)
    server = await asyncio.start_server(serve, host, int(port), backlog=1024)
    return "%s:%d" % server.sockets[0].getsockname()[:2]


def tell(path, text):
    with open(path + ".new", "w") as file:
        file.write(f"{text}\n")
    os.rename(path + ".new", path)


async def main(address, target, control):
    link = Link(target)

    async def serve(reader, writer):
        no_delay(writer)
        await link.serve(reader, writer)

    if not os.path.exists(control):
        os.mkfifo(control)
    # Open for writing too: so it has no end when a writer goes.
    fifo = os.open(control, os.O_RDWR | os.O_NONBLOCK)
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(commands), os.fdopen(fifo, "rb", 0)
    )
    tell(control + ".done", 0)
    tell(control + ".address", await listen(address, serve))
    done = 0
    while line := await commands.readline():
        await link.command(line.decode())
        done += 1
        tell(control + ".done", done)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    try:
        asyncio.run(main(*sys.argv[1:]))
    except KeyboardInterrupt:
        pass
