"""A process that decodes pictures for `decoders`: bytes come in on standard input, JPEGs go out on standard output.

    python -m vlrepro.data.download.worker '<rules as JSON>'

Out: `READY` once. Then in: a length (4 bytes, big-endian) and the bytes; out: two lengths, the facts as JSON and the
picture. Its memory is limited, so that a hostile picture costs this process and nothing else.
"""

from __future__ import annotations

import json
import resource
import struct
import sys
from dataclasses import asdict, replace

from PIL import Image

from vlrepro.data.download.options import Rules
from vlrepro.data.download.pictures import Packed, pack_picture

_MEMORY = 3 << 30  # bytes of address space: 64 million pixels, decoded, converted and scaled, and the libraries
READY = b"R"
LENGTH = struct.Struct(">I")
LENGTHS = struct.Struct(">II")


def encode_answer(packed: Packed) -> bytes:
    """The bytes that say `packed`."""
    facts = json.dumps(asdict(replace(packed, data=b"")) | {"data": None}).encode()
    return LENGTHS.pack(len(facts), len(packed.data)) + facts + packed.data


def decode_answer(facts: bytes, data: bytes) -> Packed:
    """What `encode_answer` said."""
    return Packed(**json.loads(facts) | {"data": data})


def main() -> None:
    """Answer until the input ends."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    Image.MAX_IMAGE_PIXELS = None  # the rules have a limit, which is checked before decoding
    rules = Rules(**json.loads(sys.argv[1]))
    sys.stdout.buffer.write(READY)
    sys.stdout.buffer.flush()
    while head := sys.stdin.buffer.read(LENGTH.size):
        picture = sys.stdin.buffer.read(LENGTH.unpack(head)[0])
        sys.stdout.buffer.write(encode_answer(pack_picture(picture, rules)))
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
