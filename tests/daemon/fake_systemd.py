"""A minimal service manager with socket activation.

    fake_systemd.py TCP-ADDRESS UNIX-PATH COMMAND...

Binds both, and runs the command with them as "web" and "local". Each time the command ends, its exit
code is printed; it runs again once a file UNIX-PATH.again exists, which is removed. The command is
killed with the manager.
"""

import ctypes
import os
import signal
import socket
import sys
import time

PR_SET_PDEATHSIG = 1

address, path, *command = sys.argv[1:]
host, port = address.rsplit(":", 1)
tcp = socket.create_server((host, int(port)))
unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
unix.bind(path)
unix.listen()

while True:
    child = os.fork()
    if child == 0:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.dup2(os.dup(tcp.fileno()), 13)
        os.dup2(os.dup(unix.fileno()), 14)
        os.dup2(13, 3)
        os.dup2(14, 4)
        os.set_inheritable(3, True)
        os.set_inheritable(4, True)
        os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="2", LISTEN_FDNAMES="web:local")
        os.execv(command[0], command)
    print("pid", child, flush=True)
    _, status = os.waitpid(child, 0)
    print("ended", os.waitstatus_to_exitcode(status), flush=True)
    while not os.path.exists(path + ".again"):
        time.sleep(0.01)
    os.remove(path + ".again")
