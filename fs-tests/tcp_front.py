#!/usr/bin/env python3
"""A TCP port of 127.0.0.1 in front of an engine's socket.

usage: tcp_front.py [--delay MS] [--tls DIRECTORY] ENGINE_SOCKET PORT_FILE

Takes a free port and writes it to PORT_FILE. With --tls it speaks TLS, with ca.pem, server.pem and key.pem of that directory,
and wants a client certificate of that authority. --delay is the time that bytes take in each direction, as on a long line:
opening a connection takes a round trip too, and so does each flight of a TLS handshake. Each connection is a line of stdout.
"""
import argparse
import asyncio
import os
import ssl


async def copy(reader, writer, delay, ready):
    """Passes bytes on, each `delay` after it came, and none before `ready`, a time of the loop."""
    loop = asyncio.get_running_loop()
    waiting = asyncio.Queue()

    async def deliver():
        while True:
            due, data = await waiting.get()
            await asyncio.sleep(due - loop.time())
            if not data:
                break
            writer.write(data)
            await writer.drain()

    delivery = asyncio.create_task(deliver())
    try:
        while data := await reader.read(1 << 16):
            waiting.put_nowait((max(loop.time(), ready) + delay, data))
    except OSError:
        pass
    waiting.put_nowait((loop.time() + delay, b""))
    try:
        await delivery
        if writer.can_write_eof():
            writer.write_eof()
        else:
            writer.close()
    except OSError:
        pass


async def join(near, far, delay):
    ready = asyncio.get_running_loop().time() + 2 * delay
    await asyncio.gather(copy(near[0], far[1], delay, ready), copy(far[0], near[1], delay, 0))
    for _, writer in near, far:
        writer.close()


async def listen(connect, delay, context=None):
    """Starts to listen on a free port; `connect` opens the way to the engine."""

    async def serve(reader, writer):
        if context is None:
            print("connection", flush=True)
        try:
            await join((reader, writer), await connect(), delay)
        except OSError:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    return server, server.sockets[0].getsockname()[1]


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--delay", type=float, default=0)
    parser.add_argument("--tls")
    parser.add_argument("engine")
    parser.add_argument("port_file")
    options = parser.parse_args()

    servers = []
    connect = lambda: asyncio.open_unix_connection(options.engine)
    if options.tls:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=os.path.join(options.tls, "ca.pem"))
        context.load_cert_chain(os.path.join(options.tls, "server.pem"), os.path.join(options.tls, "key.pem"))
        context.verify_mode = ssl.CERT_REQUIRED
        # The long line is before the end of TLS, so that its handshake takes its time too.
        inner, inner_port = await listen(connect, 0, context)
        servers.append(inner)
        connect = lambda: asyncio.open_connection("127.0.0.1", inner_port)
    outer, port = await listen(connect, options.delay / 1000)
    servers.append(outer)
    with open(options.port_file + ".new", "w") as file:
        file.write(f"{port}\n")
    os.rename(options.port_file + ".new", options.port_file)
    await asyncio.gather(*(server.serve_forever() for server in servers))


asyncio.run(main())
