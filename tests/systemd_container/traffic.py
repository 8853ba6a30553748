"""What the trial under systemd does on the network, one command each.

    traffic.py echo PORT                sends back what comes, until it is ended
    traffic.py exchange PORT            sends 256 KiB through a forward and must get them back
    traffic.py hold PORT                the same at each line of its input, on one connection; tells `open`, `same`
    traffic.py hammer STOP PORT...      connects over and over until the file STOP is there; tells what happened
    traffic.py closed PORT              nobody listens
    traffic.py ledger WORD              of the simulator: how many sessions are `open`, were `started`, or how
                                        many calls were `unsigned` or signed wrongly
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

PATIENCE = 60


def echo(port):
    server = socket.create_server(("127.0.0.1", int(port)), backlog=1024)
    while True:
        connection, _ = server.accept()
        threading.Thread(target=send_back, args=(connection,), daemon=True).start()


def send_back(connection):
    with connection:
        try:
            while data := connection.recv(65536):
                connection.sendall(data)
        except OSError:
            pass


def connect(port, host="127.0.0.1"):
    return socket.create_connection((host, int(port)), timeout=PATIENCE)


def exchanged(connection, length):
    """Whether so many random bytes come back as they went."""
    sent, received = os.urandom(length), bytearray()
    sender = threading.Thread(target=send, args=(connection, sent), daemon=True)
    sender.start()
    while len(received) < length and (data := connection.recv(65536)):
        received += data
    return bytes(received) == sent


def send(connection, data):
    """The reader sees it too if the connection is lost."""
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
    """At least 2000 connections, on both loopbacks; ends after five minutes whatever happens."""
    ends = time.monotonic() + 300
    tally, lock = Counter(), threading.Lock()

    def strike(host, port):
        try:
            connection = connect(port, host)
        except ConnectionRefusedError:
            return "refused"
        except ConnectionResetError:
            # It was taken, and reset by a daemon that stops before we had a look at it.
            return "cut"
        except OSError as error:
            print(f"{host} port {port}: {error}")
            return "failed"
        with connection:
            try:
                return "served" if exchanged(connection, 8) else "cut"
            except OSError:
                return "cut"

    def work(host, port):
        while time.monotonic() < ends:
            outcome = strike(host, port)
            with lock:
                tally[outcome] += 1
                if os.path.exists(stop) and tally.total() >= 2000:
                    return

    addresses = [(host, port) for port in ports for host in ("127.0.0.1", "::1")] * 4
    with concurrent.futures.ThreadPoolExecutor(len(addresses)) as workers:
        list(workers.map(lambda address: work(*address), addresses))
    words = ("served", "cut", "refused", "failed")
    print(f"{tally.total()} connections:", ", ".join(f"{tally[word]} {word}" for word in words))
    return tally["refused"] + tally["failed"] == 0 and tally["served"] > tally["cut"]


def closed(port):
    try:
        connect(port).close()
    except ConnectionRefusedError:
        return True
    return False


def ledger(word):
    with urllib.request.urlopen("http://127.0.0.1:4566/simulator/ledger", timeout=PATIENCE) as answer:
        book = json.load(answer)
    signatures = book["signatures"]
    print({
        "open": sum(session["ended_us"] is None for session in book["sessions"]),
        "started": book["started"],
        "unsigned": sum(count for kind, count in signatures.items() if kind != "valid"),
    }[word])


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
