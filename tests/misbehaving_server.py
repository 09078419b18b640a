"""A web server in a thread that behaves badly in every way that the path asked for names."""

import gzip
import io
import json
import socket
import ssl
import struct
import threading
import time
import zlib
from collections import Counter
from contextlib import suppress
from email.utils import formatdate
from socketserver import StreamRequestHandler, ThreadingTCPServer

import numpy as np
from PIL import Image

from vlrepro.config.packs import WebConfig

PACE = {"attempts": 3, "backoff": 0.02, "delay": 0, "per_host": 32, "connect": 0.5, "read": 0.5, "total": 1.0}
PACE |= {"longest_wait": 2.0, "decoders": 1, "connections": 64}


def told(**changes):
    """Rules and pace for the server here; `changes` are of the rules, or of the pace where they are in `PACE`."""
    pace = PACE | {key: value for key, value in changes.items() if key in PACE}
    rules = {key: value for key, value in changes.items() if key not in PACE}
    values = {"format": "conceptual_captions", "allow_private": True, "max_bytes": 200_000, "max_frames": 20} | rules
    entry = WebConfig(**values, pace=pace).model_dump()
    return entry, entry.pop("pace")


def encoded(kind="JPEG", size=(40, 30), seed=0, **options):
    """A picture of smooth colours."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (3, 4, 3), dtype=np.uint8))
    stream = io.BytesIO()
    small.resize(size, Image.Resampling.BICUBIC).save(stream, kind, **options)
    return stream.getvalue()


def png_bomb(side=30_000):
    """A small PNG whose header says `side` x `side` pixels, as many as its data would unpack to."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(side * (side // 8 + 1)), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def gif(frames, size=(20, 20)):
    """An animation whose frames all differ."""
    pictures = [Image.new("P", size, number % 256) for number in range(frames)]
    for picture in pictures:
        picture.putpalette([value for grey in range(256) for value in (grey, 255 - grey, 7)])
    stream = io.BytesIO()
    pictures[0].save(stream, "GIF", save_all=True, append_images=pictures[1:])
    return stream.getvalue()


PICTURE = encoded()
HTML = b"<html><body>Not found</body></html>"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="9" height="9"/></svg>'
LONG_CUT = encoded(size=(200, 200))


class Handler(StreamRequestHandler):
    """One connection: requests are answered until a way of misbehaving ends it."""

    def handle(self):
        while line := self.rfile.readline(70_000):
            self.path = line.split()[1].decode()
            self.sent = {}
            while (header := self.rfile.readline(70_000)) not in (b"\r\n", b""):
                name, _, value = header.decode("latin-1").partition(":")
                self.sent[name.lower()] = value.strip()
            with self.server.lock:
                self.server.seen.append((self.path, self.sent))
                self.server.counts[self.path] += 1
            if self.answer(self.path.strip("/").split("?")[0].split("/")[0]) is False:
                return

    def answer(self, way):
        count = self.server.counts[self.path]
        if way in PLAIN:
            return self.reply(**PLAIN[way])
        return getattr(self, way)(count) if hasattr(self, way) else self.reply(body=PICTURE)

    def reply(self, body=b"", status=200, headers=(), length=None, kind="image/jpeg"):
        head = [f"HTTP/1.1 {status} X", f"Content-Type: {kind}", *headers]
        head += [] if length is False else [f"Content-Length: {len(body) if length is None else length}"]
        self.write("\r\n".join(head).encode() + b"\r\n\r\n" + body)
        return length is None

    def write(self, data):
        with suppress(OSError):  # the other side has had enough
            self.wfile.write(data)

    def stop(self, data=b""):
        """Send `data`, then reset the connection."""
        self.write(data)
        time.sleep(0.02)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.rfile = self.wfile = io.BytesIO()
        return False

    def reset_at_once(self, _):
        return self.stop()

    def reset_mid_body(self, _):
        return self.stop(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + LONG_CUT[:900])

    def reset_once(self, count):
        return self.stop() if count == 1 else self.reply(body=PICTURE)

    def close_at_once(self, _):
        return False

    def drip(self, _):
        self.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        return self._drop_by_drop()

    def drip_headers(self, _):
        self.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        return self._drop_by_drop()

    def _drop_by_drop(self):
        for _ in range(60):
            self.write(b"x")
            if self.server.closing.wait(0.1):
                break
        return False

    def silence(self, _):
        self.server.closing.wait(4)
        return False

    def header_flood(self, _):
        self.write(b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % number for number in range(5000)) + b"\r\n")
        return False

    def endless(self, _):
        self.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n\r\n" + PICTURE)
        for _ in range(40):
            self.write(bytes(20_000))
        return False

    def chunk_cut(self, _):
        self.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n" + LONG_CUT[:300])
        return False

    def busy_then_ok(self, count):
        return self.reply(status=429, headers=["Retry-After: 1"]) if count == 1 else self.reply(body=PICTURE)

    def busy_for_long(self, count):
        return self.reply(status=429, headers=["Retry-After: 3600"]) if count == 1 else self.reply(body=PICTURE)

    def busy_until_date(self, count):
        date = formatdate(time.time() + 2, usegmt=True)
        return self.reply(status=429, headers=[f"Retry-After: {date}"]) if count == 1 else self.reply(body=PICTURE)

    def error_then_ok(self, count):
        return self.reply(status=500) if count == 1 else self.reply(body=PICTURE)

    def chain(self, _):
        left = int(self.path.split("/")[2])
        place = f"/chain/{left - 1}" if left > 1 else "/picture"
        return self.reply(status=302, headers=[f"Location: {place}"])

    def to(self, _):
        place = {
            "file": "file:///etc/passwd",
            "data": "data:image/png;base64,AAAA",
            "private": "http://10.255.255.1/picture",
            "removed": "https://i.imgur.com/removed.png",
        }[self.path.split("/")[2]]
        return self.reply(status=301, headers=[f"Location: {place}"])

    def row(self, _):
        """Another picture for each path, after a moment."""
        number = int(self.path.split("/")[2])
        self.server.closing.wait(self.server.moment)
        return self.reply(body=encoded(seed=number, size=(30 + number % 7, 40)))

    def numbered(self, _):
        return self.row(_) if int(self.path.split("/")[2]) % 5 else self.reply(status=404)


PLAIN = {
    "html_as_jpeg": {"body": HTML},
    "svg": {"body": SVG, "kind": "image/svg+xml"},
    "wrong_type": {"body": PICTURE, "kind": "text/html"},
    "png": {"body": encoded("PNG")},
    "webp": {"body": encoded("WEBP")},
    "bmp": {"body": encoded("BMP")},
    "gif": {"body": gif(3)},
    "gif_bomb": {"body": gif(60)},
    "png_bomb": {"body": png_bomb()},
    "truncated": {"body": LONG_CUT[:-400]},
    "tiny": {"body": encoded(size=(8, 60))},
    "empty": {"body": b""},
    "short_length": {"body": PICTURE, "length": len(PICTURE) // 2},
    "long_length": {"body": PICTURE, "length": len(PICTURE) + 50},
    "declared_big": {"body": b"", "length": 10**9},
    "gzipped": {"body": gzip.compress(PICTURE), "headers": ["Content-Encoding: gzip"]},
    "gzip_bomb": {"body": gzip.compress(bytes(30_000_000)), "headers": ["Content-Encoding: gzip"]},
    "gzip_broken": {"body": b"\x1f\x8b\x08nonsense", "headers": ["Content-Encoding: gzip"]},
    "not_modified": {"status": 304},
    "forbidden": {"status": 403, "body": HTML},
    "missing": {"status": 404, "body": HTML},
    "gone": {"status": 410},
    "unavailable": {"status": 503},
    "not_implemented": {"status": 501},
    "nowhere": {"status": 302},
    "loop": {"status": 302, "headers": ["Location: /loop"]},
    "robots": {"body": PICTURE, "headers": ["X-Robots-Tag: all", "X-Robots-Tag: noai, nofollow"]},
    "robots_us": {"body": PICTURE, "headers": ["X-Robots-Tag: vlrepro: noimageindex"]},
    "robots_other": {"body": PICTURE, "headers": ["X-Robots-Tag: googlebot: noindex"]},
}


class Server(ThreadingTCPServer):
    """Listens on every loopback address; `seen` are (path, headers) of all requests, `counts` theirs by path."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 256

    def __init__(self, moment=0.0, certificate=None):
        super().__init__(("0.0.0.0", 0), Handler)
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.lock = threading.Lock()
        self.closing = threading.Event()
        self.seen = []
        self.counts = Counter()
        self.moment = moment
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def url(self, path, host="127.0.0.1"):
        return f"http://{host}:{self.port}/{path}"

    def handle_error(self, request, client_address):
        pass  # connections that break are what it is for

    def __exit__(self, *error):
        self.closing.set()
        self.shutdown()
        super().__exit__(*error)


def list_of(path, urls):
    """A list in Conceptual Captions' format."""
    path.write_text("".join(f"caption {row}\t{url}\n" for row, url in enumerate(urls)))
    return path


if __name__ == "__main__":  # a server for another process: says its port, ends with its input
    with Server(moment=0.05) as server:
        print(json.dumps(server.port), flush=True)
        input()
