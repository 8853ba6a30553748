#!/usr/bin/env python3
"""Records docs/images/*.svg: the terminal of `demo`, and of `top` beside it.

    python3 docs/images/record.py target/debug/ssm-proxyd

The programs run in a private tmux on loopback, without AWS. Needs tmux.
"""

import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from xml.sax.saxutils import escape

FOLDER = pathlib.Path(__file__).resolve().parent
CELL_WIDTH, CELL_HEIGHT, MARGIN = 8.4, 18, 12
BACKGROUND, FOREGROUND = "#1b1d23", "#d6d8dd"
PALETTE = ["#3b3f4a", "#e06c75", "#98c379", "#e5c07b", "#61afef", "#c678dd", "#56b6c2", "#d6d8dd",
           "#7f848e", "#ef8b93", "#b1d897", "#f0d79b", "#8cc5f5", "#d79be6", "#7fcfd9", "#ffffff"]


def main(program):
    program = str(pathlib.Path(program).resolve())
    with tempfile.TemporaryDirectory() as directory:
        terminal = Terminal(f"{directory}/tmux")
        try:
            record(terminal, program)
        finally:
            terminal.run("kill-server")


def record(terminal, program):
    terminal.start("demo", 98, 70, f"TMPDIR={terminal.folder} {program} demo --keep")
    text = terminal.wait_for("demo", "Press Ctrl-C to stop")
    addresses = dict(reversed(pair) for pair in re.findall(r"(127\.0\.0\.1:\d+) .*→ (\w+)\.internal", text))
    admin_socket = re.search(r"top --socket (\S+)", text).group(1)
    lines = terminal.capture("demo").split("\n")
    end = next(number for number, line in enumerate(lines) if "The tunnel keeps running" in line)
    draw("demo.svg", lines[:end], "ssm-proxyd demo")

    stop = threading.Event()
    for name, count in [("source", 5), ("sink", 2), ("web", 3)]:
        host, port = addresses[name].split(":")
        for number in range(count):
            client = [host, int(port), name, number, stop]
            threading.Thread(target=transfer, args=client, daemon=True).start()
    terminal.start("top", 100, 18, f"{program} top --socket {admin_socket}")
    terminal.wait_for("top", "source")
    time.sleep(45)
    draw("top.svg", terminal.capture("top").split("\n"), "ssm-proxyd top")
    stop.set()
    terminal.run("send-keys", "-t", "top", "q")
    terminal.run("send-keys", "-t", "demo", "C-c")
    terminal.wait_for("demo", "log in as usual")


def transfer(host, port, name, number, stop):
    """Uses a forward of the demo again and again."""
    time.sleep(3 * number)
    while not stop.is_set():
        try:
            with socket.create_connection((host, port)) as client:
                exchange(client, name, stop)
        except OSError:
            pass
        stop.wait(1 + 2 * number)


def exchange(client, name, stop):
    if name == "web":
        client.sendall(b"GET / HTTP/1.1\r\nHost: web.internal\r\nConnection: close\r\n\r\n")
    until = time.monotonic() + 6
    while time.monotonic() < until and not stop.is_set():
        if name == "sink":
            client.sendall(bytes(8192))
        elif not client.recv(8192):
            return


class Terminal:
    """Windows of a private tmux."""

    def __init__(self, path):
        self.path = path
        self.folder = str(pathlib.Path(path).parent)

    def run(self, *arguments):
        command = ["tmux", "-S", self.path, "-f", "/dev/null", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def start(self, name, width, height, command):
        size = ["-x", str(width), "-y", str(height)]
        self.run("new-session", "-d", "-s", name, *size, "sh", "-c", f"trap : INT; LC_ALL=C.UTF-8 {command}; sleep 60")

    def capture(self, name):
        return self.run("capture-pane", "-p", "-e", "-t", name)

    def wait_for(self, name, text):
        for _ in range(600):
            shown = self.run("capture-pane", "-p", "-S", "-200", "-t", name)
            if text in shown:
                return shown
            time.sleep(0.1)
        raise SystemExit(f"{text!r} is not in\n{shown}")


def draw(name, lines, title):
    """Writes a drawing of the lines of a terminal."""
    while lines and not strip(lines[-1]).strip():
        lines.pop()
    columns = max(len(strip(line)) for line in lines)
    width = round(columns * CELL_WIDTH + 2 * MARGIN)
    height = round(len(lines) * CELL_HEIGHT + 2 * MARGIN)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{width}" height="{height}" rx="6" fill="{BACKGROUND}"/>',
        f'<g font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="14" fill="{FOREGROUND}" '
        'xml:space="preserve">',
    ]
    for row, line in enumerate(lines):
        parts.extend(drawn(line, row))
    parts += ["</g>", "</svg>"]
    (FOLDER / name).write_text("\n".join(parts) + "\n", encoding="utf-8")


def drawn(line, row):
    """The runs of equal style in a line."""
    column, style = 0, Style()
    for part in re.split(r"(\x1b\[[0-9;]*m)", line):
        if part.startswith("\x1b"):
            style.apply([int(code or 0) for code in part[2:-1].split(";")])
            continue
        part = strip(part)
        foreground, background = style.colours()
        left, top = MARGIN + column * CELL_WIDTH, MARGIN + row * CELL_HEIGHT
        if part and background:
            yield (f'<rect x="{left:.1f}" y="{top}" width="{len(part) * CELL_WIDTH:.1f}" '
                   f'height="{CELL_HEIGHT}" fill="{background}"/>')
        text = part.rstrip()
        if text.strip():
            start = len(text) - len(text.lstrip())
            words = text.lstrip()
            colour = f' fill="{foreground}"' if foreground else ""
            weight = ' font-weight="bold"' if style.is_bold else ""
            yield (f'<text x="{left + start * CELL_WIDTH:.1f}" y="{top + 14}" '
                   f'textLength="{len(words) * CELL_WIDTH:.1f}"{colour}{weight}>{escape(words)}</text>')
        column += len(part)


def strip(text):
    return re.sub(r"\x1b\[[0-9;]*m|\x1b[()].|[\x00-\x1f]", "", text)


class Style:
    """The colours of the text that follows."""

    def __init__(self):
        self.apply([0])

    def apply(self, codes):
        while codes:
            code = codes.pop(0)
            if code == 0:
                self.foreground = self.background = None
                self.is_bold = self.is_dim = self.is_reversed = False
            elif code == 1:
                self.is_bold = True
            elif code == 2:
                self.is_dim = True
            elif code == 7:
                self.is_reversed = True
            elif code == 22:
                self.is_bold = self.is_dim = False
            elif code == 27:
                self.is_reversed = False
            elif 30 <= code <= 37 or 90 <= code <= 97:
                self.foreground = PALETTE[code - 30 if code < 90 else code - 82]
            elif 40 <= code <= 47 or 100 <= code <= 107:
                self.background = PALETTE[code - 40 if code < 100 else code - 92]
            elif code in (38, 48):
                colour = extended(codes)
                if code == 38:
                    self.foreground = colour
                else:
                    self.background = colour
            elif code == 39:
                self.foreground = None
            elif code == 49:
                self.background = None

    def colours(self):
        foreground = self.foreground or (PALETTE[8] if self.is_dim else None)
        if self.is_reversed:
            return self.background or BACKGROUND, foreground or FOREGROUND
        return foreground, self.background


def extended(codes):
    """A colour of the 256, or of red, green and blue."""
    if codes.pop(0) == 2:
        red, green, blue = codes[:3]
        del codes[:3]
        return f"#{red:02x}{green:02x}{blue:02x}"
    number = codes.pop(0)
    if number < 16:
        return PALETTE[number]
    if number >= 232:
        level = 8 + 10 * (number - 232)
        return f"#{level:02x}{level:02x}{level:02x}"
    number -= 16
    levels = [0, 95, 135, 175, 215, 255]
    return "#" + "".join(f"{levels[part]:02x}" for part in (number // 36, number // 6 % 6, number % 6))


if __name__ == "__main__":
    main(*sys.argv[1:])
