"""Network traffic of the tests under systemd, one command each.

    traffic.py echo PORT                returns received bytes until it is killed
    traffic.py exchange PORT            sends 256 KiB through a forward, which must be returned
    traffic.py hold PORT                the same for each line of stdin, on one connection; prints `open`, `same`
    traffic.py hammer STOP PORT...      connects repeatedly until the file STOP exists; prints the outcomes
    traffic.py closed PORT              succeeds if the port has no listener
    traffic.py ledger NAME              prints a counter of the simulator: sessions `open` or `started`, or
                                        calls that were `unsigned` or had an invalid signature
"""

import concurrent.futures
import contextlib
import json
import os
import socket
import sys
import threading
import time
import urllib.request
from collections import Counter

TIMEOUT = 60


def echo(port):
    server = socket.create_server(("127.0.0.1", int(port)), backlog=1024)
    while True:
        connection, _ = server.accept()
        threading.Thread(target=echo_connection, args=(connection,), daemon=True).start()


def echo_connection(connection):
    with connection:
        try:
            while data := connection.recv(65536):
                connection.sendall(data)
        except OSError:
            pass


def connect(port, host="127.0.0.1"):
    return socket.create_connection((host, int(port)), timeout=TIMEOUT)


def exchanged(connection, length):
    """Returns true if this number of random bytes is returned unchanged."""
    sent, received = os.urandom(length), bytearray()
    sender = threading.Thread(target=send, args=(connection, sent), daemon=True)
    sender.start()
    while len(received) < length and (data := connection.recv(65536)):
        received += data
    return bytes(received) == sent


def send(connection, data):
    """Ignores a lost connection: the reader fails too."""
    with contextlib.suppress(OSError):
        connection.sendall(data)


def exchange(port):
    with connect(port) as connection:
        return exchanged(connection, 1 << 18)


def hold(port):
    with connect(port) as connection:
        if not exchanged(connection, 8):
            return False
        print("open", flush=True)
        for _ in sys.stdin:
            if not exchanged(connection, 1 << 18):
                return False
            print("same", flush=True)
    return True


def hammer(stop, *ports):
    """Opens at least 2000 connections, on both loopbacks, for at most five minutes."""
    ends = time.monotonic() + 300
    totals, lock = Counter(), threading.Lock()

    def try_connection(host, port):
        try:
            connection = connect(port, host)
        except ConnectionRefusedError:
            return "refused"
        except ConnectionResetError:
            # It was accepted, and reset by a daemon that stops.
            return "reset"
        except OSError as error:
            print(f"{host} port {port}: {error}")
            return "failed"
        with connection:
            try:
                return "served" if exchanged(connection, 8) else "reset"
            except OSError:
                return "reset"

    def work(host, port):
        while time.monotonic() < ends:
            outcome = try_connection(host, port)
            with lock:
                totals[outcome] += 1
                if os.path.exists(stop) and totals.total() >= 2000:
                    return

    addresses = [(host, port) for port in ports for host in ("127.0.0.1", "::1")] * 4
    with concurrent.futures.ThreadPoolExecutor(len(addresses)) as workers:
        list(workers.map(lambda address: work(*address), addresses))
    names = ("served", "reset", "refused", "failed")
    print(f"{totals.total()} connections:", ", ".join(f"{totals[name]} {name}" for name in names))
    return totals["refused"] + totals["failed"] == 0 and totals["served"] > totals["reset"]


def closed(port):
    try:
        connect(port).close()
    except ConnectionRefusedError:
        return True
    return False


def ledger(name):
    with urllib.request.urlopen("http://127.0.0.1:4566/simulator/ledger", timeout=TIMEOUT) as response:
        content = json.load(response)
    signatures = content["signatures"]
    print({
        "open": sum(session["ended_us"] is None for session in content["sessions"]),
        "started": content["started"],
        "unsigned": sum(count for kind, count in signatures.items() if kind != "valid"),
    }[name])


def main():
    command, *arguments = sys.argv[1:]
    commands = (echo, exchange, hold, hammer, closed, ledger)
    run = {function.__name__: function for function in commands}[command]
    try:
        done = run(*arguments)
    except OSError as error:
        sys.exit(f"{command}: {error}")
    sys.exit(0 if done is None or done else 1)


main()
