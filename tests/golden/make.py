#!/usr/bin/env python3
"""Writes the golden files of this folder, with an encoder that shares no code with ours.

The layouts are those of docs/protocol.md sections 3 and 8.2, the bodies those of sections 2.2, 4, 5,
6.2 and 9.1. The values of section 3.1 were compared byte by byte with the serializer of the
reference client; this script writes nothing unless it produces the same bytes.

    python3 tests/golden/make.py && git diff --exit-code tests/golden
"""

import hashlib
import json
import pathlib
import struct
import uuid

MESSAGE_ID = uuid.UUID("dd01e56b-ff48-483e-a508-b5f073f31b16")
CREATED = 1503434274948
SYN, FIN = 1, 2

# docs/protocol.md, section 3.1: all of A, the head of B, and the pieces of the third check value.
# Its digest is that of `printf '\0\0\0\2' | sha256sum`.
PUBLISHED_A = """
    00 00 00 74 69 6e 70 75 74 5f 73 74 72 65 61 6d 5f 64 61 74 61 20 20 20 20 20 20 20 20 20 20 20
    20 20 20 20 00 00 00 01 00 00 01 5e 0b aa 78 84 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
    a5 08 b5 f0 73 f3 1b 16 dd 01 e5 6b ff 48 48 3e 23 9f 59 ed 55 e7 37 c7 71 47 cf 55 ad 0c 1b 03
    0b 6d 7e e7 48 a7 42 69 52 f9 b8 52 d5 a9 35 e5 00 00 00 01 00 00 00 07 70 61 79 6c 6f 61 64
"""
PUBLISHED_B = """
    00 00 00 74 61 63 6b 6e 6f 77 6c 65 64 67 65 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20 20
    20 20 20 20 00 00 00 01 00 00 01 5e 0b aa 78 84 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 03
    a5 08 b5 f0 73 f3 1b 16 dd 01 e5 6b ff 48 48 3e e2 7c 5d 76 90 7e 77 69 ee b0 bb 85 4b e4 6b 26
    5d f4 08 7b 53 de f7 81 55 2e 1c 58 0d 3d 8f 74 00 00 00 00 00 00 00 b0 7b 22 41 63 6b
"""
PUBLISHED_C = {
    0x30: "01 02 03 04 05 06 07 08 00 00 00 00 00 00 00 02",
    0x50: "43 3e bf 5b",
    0x6C: "db 12 cf 1a",
    0x70: "00 00 00 0a 00 00 00 04 00 00 00 02",
}


def message(kind, payload, seq=0, flags=0, payload_type=0):
    """A message of a data channel (section 3)."""
    halves_swapped = MESSAGE_ID.bytes[8:] + MESSAGE_ID.bytes[:8]
    return b"".join(
        [
            struct.pack(">I", 116),
            kind.encode().ljust(32, b" "),
            struct.pack(">IQqQ", 1, CREATED, seq, flags),
            halves_swapped,
            hashlib.sha256(payload).digest(),
            struct.pack(">II", payload_type, len(payload)),
            payload,
        ]
    )


def frame(command, stream, data=b""):
    """A frame of smux v1 (section 8.2)."""
    return struct.pack("<BBHI", 1, command, len(data), stream) + data


def body(value):
    """A JSON payload, without spaces."""
    return json.dumps(value, separators=(",", ":")).encode()


ACKNOWLEDGE = body(
    {
        "AcknowledgedMessageType": "output_stream_data",
        "AcknowledgedMessageId": str(MESSAGE_ID),
        "AcknowledgedMessageSequenceNumber": 5,
        "IsSequentialMessage": True,
    }
)
HANDSHAKE_REQUEST = body(
    {
        "AgentVersion": "3.3.0.0",
        "RequestedClientActions": [
            {
                "ActionType": "SessionType",
                "ActionParameters": {
                    "SessionType": "Port",
                    "Properties": {
                        "localPortNumber": "0",
                        "portNumber": "9001",
                        "type": "LocalPortForwarding",
                    },
                },
            }
        ],
    }
)
HANDSHAKE_RESPONSE = body(
    {
        "ClientVersion": "1.2.764.0",
        "ProcessedClientActions": [
            {"ActionType": "SessionType", "ActionStatus": 1, "ActionResult": None, "Error": ""}
        ],
        "Errors": None,
    }
)
HANDSHAKE_COMPLETE = body({"HandshakeTimeToComplete": 12345678, "CustomerMessage": ""})
CHANNEL_CLOSED = body(
    {
        "MessageId": str(MESSAGE_ID),
        "CreatedDate": "2017-08-22T20:37:54.948Z",
        "DestinationId": "client-0123",
        "SessionId": "user-0123456789abcdef0",
        "MessageType": "channel_closed",
        "SchemaVersion": 1,
        "Output": "Port number is empty in session properties.",
    }
)
AGENT_SESSION_STATE = body(
    {"SchemaVersion": 1, "SessionState": "Connected", "SessionId": "user-0123456789abcdef0"}
)
OPEN_DATA_CHANNEL = body(
    {
        "MessageSchemaVersion": "1.0",
        "RequestId": str(MESSAGE_ID),
        "TokenValue": "a-token-that-opens-nothing",
        "ClientId": "7f1e54b4-5e3c-4a55-9d2a-1c7f0f7d9a11",
        "ClientVersion": "1.2.764.0",
    }
)

GOLDEN = {
    "message_input": (
        "An input message; docs/protocol.md section 3.1, example A, all of it published there.",
        message("input_stream_data", b"payload", payload_type=1),
    ),
    "message_acknowledge": (
        "An acknowledgement; docs/protocol.md section 3.1, example B, with the body of section 6.2.",
        message("acknowledge", ACKNOWLEDGE, flags=SYN | FIN),
    ),
    "message_flag": (
        "Every field with a value of its own; docs/protocol.md section 3.1, the third check value.",
        message(
            "input_stream_data",
            bytes([0, 0, 0, 2]),
            seq=0x0102030405060708,
            flags=FIN,
            payload_type=10,
        ),
    ),
    "message_output": (
        "The first message of an agent; docs/protocol.md sections 3 and 5.1, body of 5.2 (measured).",
        message("output_stream_data", HANDSHAKE_REQUEST, flags=SYN, payload_type=5),
    ),
    "message_channel_closed": (
        "The end of a session; by the layout of docs/protocol.md section 3, body of 9.1.",
        message("channel_closed", CHANNEL_CLOSED),
    ),
    "message_start_publication": (
        "StartPublication; by the layout of docs/protocol.md section 3, without a payload.",
        message("start_publication", b""),
    ),
    "message_pause_publication": (
        "PausePublication; by the layout of docs/protocol.md section 3, without a payload.",
        message("pause_publication", b""),
    ),
    "message_agent_session_state": (
        "An agent's first binary message; by the layout of docs/protocol.md section 3, body of 4.1.",
        message("agent_session_state", AGENT_SESSION_STATE, flags=SYN | FIN),
    ),
    "message_other": (
        "A type that clients do not know; by the layout of docs/protocol.md section 3, type of 2.2.",
        message("data_channel_ready", b"{}"),
    ),
    "payload_open_data_channel": (
        "The first frame on a websocket; docs/protocol.md section 2.2.",
        OPEN_DATA_CHANNEL,
    ),
    "payload_acknowledge": (
        "The body of an acknowledgement, 176 bytes; docs/protocol.md section 6.2.",
        ACKNOWLEDGE,
    ),
    "payload_handshake_request": (
        "The request of a real agent; docs/protocol.md section 5.2, the measured example.",
        HANDSHAKE_REQUEST,
    ),
    "payload_handshake_response": (
        "The response of a client; docs/protocol.md section 5.3, without spaces.",
        HANDSHAKE_RESPONSE,
    ),
    "payload_handshake_complete": (
        "The end of a handshake; by the fields of docs/protocol.md section 4.2.",
        HANDSHAKE_COMPLETE,
    ),
    "payload_channel_closed": (
        "The end of a session; by the fields of docs/protocol.md section 9.1.",
        CHANNEL_CLOSED,
    ),
    "flag_disconnect_to_port": ("Flag 1; docs/protocol.md section 4.2.", struct.pack(">I", 1)),
    "flag_terminate_session": ("Flag 2; docs/protocol.md section 4.2.", struct.pack(">I", 2)),
    "flag_connect_to_port_error": ("Flag 3; docs/protocol.md section 4.2.", struct.pack(">I", 3)),
    "flag_other": ("A flag without a meaning.", struct.pack(">I", 0x01020304)),
    "frame_syn": ("SYN of stream 3; docs/protocol.md section 8.2, as published.", frame(0, 3)),
    "frame_psh": ("PSH of stream 3; docs/protocol.md section 8.2, as published.", frame(2, 3, b"hello")),
    "frame_fin": ("FIN of stream 3; docs/protocol.md section 8.2, as published.", frame(1, 3)),
    "frame_nop": ("NOP; docs/protocol.md section 8.2, as published.", frame(3, 0)),
}

PUBLISHED_FRAMES = {
    "frame_syn": "01 00 00 00 03 00 00 00",
    "frame_psh": "01 02 05 00 03 00 00 00 68 65 6c 6c 6f",
    "frame_fin": "01 01 00 00 03 00 00 00",
    "frame_nop": "01 03 00 00 00 00 00 00",
}


def check_published_values():
    a, b, c = (GOLDEN[f"message_{name}"][1] for name in ("input", "acknowledge", "flag"))
    assert a == bytes.fromhex(PUBLISHED_A), "example A"
    assert b.startswith(bytes.fromhex(PUBLISHED_B)) and b.endswith(b"}"), "example B"
    assert (len(a), len(b), len(ACKNOWLEDGE)) == (127, 296, 176), "lengths"
    for offset, digits in PUBLISHED_C.items():
        piece = bytes.fromhex(digits)
        assert c[offset : offset + len(piece)] == piece, f"third check value at {offset:#x}"
    for name, digits in PUBLISHED_FRAMES.items():
        assert GOLDEN[name][1] == bytes.fromhex(digits), name


def dump(data):
    """Formats sixteen bytes per line: offset, hexadecimal digits, and printable characters."""
    for at in range(0, len(data), 16):
        row = data[at : at + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        yield f"{at:04x}  {row.hex(' '):47}  |{text}|\n"


if __name__ == "__main__":
    check_published_values()
    for name, (origin, data) in GOLDEN.items():
        text = f"# {origin}\n# Written by make.py.\n" + "".join(dump(data))
        pathlib.Path(__file__).with_name(f"{name}.hex").write_text(text)
