#!/usr/bin/env python3
"""Verifies a transparency log from its static files, with the standard library alone.

Nothing here is shared with the programs that write the log: the note, the
checkpoint, Ed25519, every entry bundle, every tile and the root are read and
computed from the public formats (C2SP signed-note, tlog-checkpoint,
tlog-cosignature, tlog-tiles; RFC 6962; RFC 8032).

    tlog_verify.py http://127.0.0.1:7480/.landfall --key VKEY --key VKEY [--held NOTE]
    tlog_verify.py /var/lib/landfall/coordinator/log --key VKEY --key VKEY

Both keys of the log are wanted: the one that signs checkpoints (type 0x01) and
the one that timestamps them (type 0x04). With --held, an older note of the same
log, a truncation, a fork and a replayed older checkpoint are told apart.

Exit 0: verified; 1: refused, and why; 2: wrong use.
"""

import argparse
import base64
import binascii
import hashlib
import http.client
import os
import sys
import urllib.parse

NOTE_LIMIT = 64 * 1024
SIGNATURE_LIMIT = 64
ENTRY_LIMIT = 60_000
WIDTH = 256
HASH = 32
BUNDLE_LIMIT = WIDTH * (2 + ENTRY_LIMIT)
ED25519 = 0x01
COSIGNATURE = 0x04


class Refused(Exception):
    """The log is not what it should be; `name` says in which way."""

    def __init__(self, name, detail):
        super().__init__(f"{name}: {detail}")
        self.name = name


class Missing(Exception):
    """The log has no such file."""


# --- Ed25519 (RFC 8032, verification only) ---------------------------------

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
SQRT_M1 = pow(2, (P - 1) // 4, P)


def point_add(a, b):
    x1, y1, z1, t1 = a
    x2, y2, z2, t2 = b
    m = (y1 - x1) * (y2 - x2) % P
    n = (y1 + x1) * (y2 + x2) % P
    c = 2 * t1 * t2 * D % P
    d = 2 * z1 * z2 % P
    e, f, g, h = n - m, d - c, d + c, n + m
    return e * f % P, g * h % P, f * g % P, e * h % P


def point_mul(scalar, point):
    result = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            result = point_add(result, point)
        point = point_add(point, point)
        scalar >>= 1
    return result


def point_equal(a, b):
    return (a[0] * b[2] - b[0] * a[2]) % P == 0 and (a[1] * b[2] - b[1] * a[2]) % P == 0


def point_decode(data):
    """The curve point of 32 bytes, or None."""
    y = int.from_bytes(data, "little")
    sign = y >> 255
    y &= (1 << 255) - 1
    if y >= P:
        return None
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P:
        x = x * SQRT_M1 % P
    if (x * x - x2) % P:
        return None
    if x == 0 and sign:
        return None
    if x & 1 != sign:
        x = P - x
    return x, y, 1, x * y % P


BASE = point_decode((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))


def ed25519_verify(public_key, message, signature):
    if len(public_key) != 32 or len(signature) != 64:
        return False
    point = point_decode(public_key)
    commitment = point_decode(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if point is None or commitment is None or s >= L:
        return False
    digest = hashlib.sha512(signature[:32] + public_key + message).digest()
    h = int.from_bytes(digest, "little") % L
    return point_equal(point_mul(s, BASE), point_add(commitment, point_mul(h, point)))


# --- keys and notes --------------------------------------------------------


def decode_base64(text):
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


class Key:
    """A verifier key: name+hex(key id)+base64(type || public key)."""

    def __init__(self, text):
        parts = text.split("+", 2)
        if len(parts) != 3:
            raise ValueError(f"not a verifier key: {text!r}")
        self.name, id_hex, material = parts
        raw = decode_base64(material)
        if not self.name or any(c.isspace() for c in self.name) or raw is None or len(raw) != 33:
            raise ValueError(f"not an Ed25519 verifier key: {text!r}")
        self.kind, self.public = raw[0], raw[1:]
        if self.kind not in (ED25519, COSIGNATURE):
            raise ValueError(f"key type {self.kind:#04x} is not known")
        self.id = hashlib.sha256(self.name.encode() + b"\n" + raw).digest()[:4]
        if self.id.hex() != id_hex:
            raise ValueError(f"key id of {self.name} is {self.id.hex()}, not {id_hex}")


def parse_note(note):
    """(signed text, [(key name, key id, signature)])"""
    if len(note) > NOTE_LIMIT:
        raise Refused("malformed note", f"more than {NOTE_LIMIT} bytes")
    try:
        text = note.decode("utf-8")
    except UnicodeDecodeError:
        raise Refused("malformed note", "not UTF-8") from None
    if any((ord(c) < 0x20 and c != "\n") or ord(c) == 0x7F for c in text):
        raise Refused("malformed note", "control characters")
    split = text.rfind("\n\n")
    if split < 0 or not text.endswith("\n"):
        raise Refused("malformed note", "no signatures")
    signed, tail = text[: split + 1], text[split + 2 :]
    lines = tail.split("\n")[:-1]
    if not lines or len(lines) > SIGNATURE_LIMIT:
        raise Refused("malformed note", f"{len(lines)} signatures")
    signatures = []
    for line in lines:
        parts = line.split(" ")
        raw = decode_base64(parts[2]) if len(parts) == 3 and parts[0] == "\u2014" else None
        if raw is None or len(raw) < 5 or not parts[1] or "+" in parts[1]:
            raise Refused("malformed note", f"signature line {line!r}")
        signatures.append((parts[1], raw[:4], raw[4:]))
    return signed, signatures


class Checkpoint:
    """A checkpoint that both keys of the log vouch for."""

    def __init__(self, note, keys):
        self.note = note
        signed, signatures = parse_note(note)
        signed_bytes = signed.encode()
        good = {}
        for name, key_id, signature in signatures:
            for key in keys:
                if key.name != name or key.id != key_id:
                    continue
                if key.kind == ED25519:
                    when, message, raw = 0, signed_bytes, signature
                else:
                    when = int.from_bytes(signature[:8], "big")
                    message = f"cosignature/v1\ntime {when}\n".encode() + signed_bytes
                    raw = signature[8:]
                if not ed25519_verify(key.public, message, raw):
                    raise Refused("bad signature", f"of {name} (type {key.kind:#04x})")
                good[key.kind] = max(when, good.get(key.kind, 0))
        if ED25519 not in good:
            raise Refused("unknown key", "no signature of the log's key")
        if COSIGNATURE not in good:
            raise Refused("no timestamp", "no cosignature of the log's timestamping key")
        self.time = good[COSIGNATURE]
        lines = signed.split("\n")
        if len(lines) < 4:
            raise Refused("malformed note", "not a checkpoint")
        self.origin = lines[0]
        if self.origin != keys[0].name:
            raise Refused("other origin", self.origin)
        size = lines[1]
        if not (size.isascii() and size.isdigit()) or (size != "0" and size[0] == "0") or int(size) >= 2**63:
            raise Refused("malformed note", f"size {size!r}")
        self.size = int(size)
        root = decode_base64(lines[2])
        if root is None or len(root) != HASH:
            raise Refused("malformed note", "root hash")
        self.root = root


# --- where the files are ---------------------------------------------------


class Directory:
    def __init__(self, path):
        self.path = path

    def get(self, name, limit):
        try:
            with open(os.path.join(self.path, name), "rb") as file:
                data = file.read(limit + 1)
        except (FileNotFoundError, NotADirectoryError):
            raise Missing(name) from None
        return bounded(name, data, limit)


class Http:
    def __init__(self, url):
        parts = urllib.parse.urlsplit(url)
        self.prefix = parts.path.rstrip("/")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self.connection = kind(parts.netloc, timeout=30)

    def get(self, name, limit):
        for attempt in (1, 2):
            try:
                self.connection.request("GET", f"{self.prefix}/{name}")
                response = self.connection.getresponse()
                data = response.read(limit + 1)
                break
            except (http.client.HTTPException, ConnectionError):
                # A kept-alive connection may have been closed meanwhile: once more on a new one.
                self.connection.close()
                if attempt == 2:
                    raise
        if response.status == 404:
            return self.drop(Missing(name), data, limit)
        if response.status != 200:
            return self.drop(OSError(f"{name}: HTTP status {response.status}"), data, limit)
        if len(data) > limit:
            self.connection.close()
        return bounded(name, data, limit)

    def drop(self, error, data, limit):
        if len(data) > limit:
            self.connection.close()
        raise error


def bounded(name, data, limit):
    if len(data) > limit:
        raise Refused("tampered entry", f"{name} is larger than {limit} bytes")
    return data


# --- the tree (RFC 6962) and its files (tlog-tiles) ------------------------


def leaf_hash(entry):
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left, right):
    return hashlib.sha256(b"\x01" + left + right).digest()


def subtree(hashes):
    """Root of a complete subtree; the number of hashes is a power of two."""
    while len(hashes) > 1:
        hashes = [node_hash(hashes[i], hashes[i + 1]) for i in range(0, len(hashes), 2)]
    return hashes[0]


class Edge:
    """The right edge of a growing tree: per level the hashes of its unfinished tile."""

    def __init__(self):
        self.size = 0
        self.levels = [[]]

    def push(self, leaf, tile_done):
        self.size += 1
        level, value = 0, leaf
        while True:
            if level == len(self.levels):
                self.levels.append([])
            hashes = self.levels[level]
            hashes.append(value)
            if len(hashes) < WIDTH:
                return
            tile_done(level, (self.size >> (8 * (level + 1))) - 1, hashes)
            value = subtree(hashes)
            self.levels[level] = []
            level += 1

    def root(self):
        result = None
        for hashes in self.levels:
            end = len(hashes)
            while end:
                part = end & -end
                left = subtree(hashes[end - part : end])
                result = left if result is None else node_hash(left, result)
                end -= part
        return result if result is not None else hashlib.sha256(b"").digest()


def number_path(number):
    parts = [f"{number % 1000:03d}"]
    while number >= 1000:
        number //= 1000
        parts.append(f"x{number % 1000:03d}")
    return "/".join(reversed(parts))


def tile_name(level, index, width):
    name = f"tile/{level}/{number_path(index)}"
    return name if width == WIDTH else f"{name}.p/{width}"


def get_tile(source, level, index, width, limit):
    """A tile or bundle of at least `width`; the full one serves where a partial one is gone."""
    try:
        return source.get(tile_name(level, index, width), limit)
    except Missing:
        if width == WIDTH:
            raise
    return source.get(tile_name(level, index, WIDTH), limit)


def split_bundle(data, name):
    entries, at = [], 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 2], "big")
        end = at + 2 + length
        if length > ENTRY_LIMIT:
            raise Refused("tampered entry", f"entry {len(entries)} of {name} is too long")
        if at + 2 > len(data) or end > len(data):
            raise Refused("truncated log", f"{name} ends within entry {len(entries)}")
        entries.append(data[at + 2 : end])
        at = end
    return entries


def compare(held, offered):
    """What an older note of the same log proves before any entry is read."""
    if offered.size < held.size:
        name = "truncated log" if offered.time > held.time else "older checkpoint"
        raise Refused(name, f"size {offered.size} of time {offered.time}, held {held.size} of {held.time}")
    if offered.size == held.size and offered.root != held.root:
        raise Refused("fork", f"two roots for size {held.size}")
    if offered.size == held.size and offered.time < held.time:
        raise Refused("older checkpoint", f"time {offered.time}, held {held.time}")


def verify(source, keys, held):
    try:
        checkpoint = Checkpoint(source.get("checkpoint", NOTE_LIMIT), keys)
    except Missing:
        raise Refused("truncated log", "no checkpoint") from None
    if held is not None:
        compare(held, checkpoint)

    edge, tiles = Edge(), Edge()
    first_difference = None  # (kind, place)
    held_root = hashlib.sha256(b"").digest()

    def check_tile(level, index, hashes):
        nonlocal first_difference
        if level == 0 and len(hashes) == WIDTH:
            return  # compared entry by entry
        data = get_tile(source, level, index, len(hashes), WIDTH * HASH)
        if data[: len(hashes) * HASH] != b"".join(hashes) and first_difference is None:
            first_difference = tile_name(level, index, len(hashes))

    try:
        for index in range((checkpoint.size + WIDTH - 1) // WIDTH):
            width = min(WIDTH, checkpoint.size - index * WIDTH)
            name = tile_name("entries", index, width)
            entries = split_bundle(get_tile(source, "entries", index, width, BUNDLE_LIMIT), name)
            if len(entries) < width:
                raise Refused("truncated log", f"{name} has {len(entries)} entries")
            tile = get_tile(source, 0, index, width, WIDTH * HASH)
            if len(tile) < width * HASH:
                raise Refused("truncated log", tile_name(0, index, width))
            for i in range(width):
                leaf, stored = leaf_hash(entries[i]), tile[i * HASH : (i + 1) * HASH]
                if leaf != stored and first_difference is None:
                    first_difference = f"entry {index * WIDTH + i}"
                edge.push(leaf, check_tile)
                tiles.push(stored, lambda *_: None)
                if held is not None and edge.size == held.size:
                    held_root = edge.root()
        for level, hashes in enumerate(edge.levels):
            if level and hashes:
                check_tile(level, checkpoint.size >> (8 * (level + 1)), hashes)
    except Missing as missing:
        raise Refused("truncated log", f"no {missing}") from None

    if edge.root() != checkpoint.root:
        if first_difference is not None and tiles.root() == checkpoint.root:
            raise Refused("tampered entry", first_difference)
        raise Refused("tampered entry", "the entries do not hash to the signed root")
    if first_difference is not None:
        raise Refused("tampered tile", first_difference)
    if held is not None and held_root != held.root:
        raise Refused("fork", f"another tree at size {held.size}")
    return checkpoint


def main():
    parser = argparse.ArgumentParser(description="verify a tlog-tiles log")
    parser.add_argument("log", help="URL of the log's prefix, or its directory")
    parser.add_argument("--key", action="append", required=True, metavar="VKEY", help="verifier key; give both")
    parser.add_argument("--held", metavar="FILE", help="an older note of the same log")
    arguments = parser.parse_args()
    try:
        keys = [Key(text) for text in arguments.key]
    except ValueError as error:
        parser.error(str(error))
    if {key.kind for key in keys} != {ED25519, COSIGNATURE} or len({key.name for key in keys}) != 1:
        parser.error("one key of type 0x01 and one of type 0x04 are wanted, of one name")
    remote = arguments.log.startswith(("http://", "https://"))
    source = Http(arguments.log) if remote else Directory(arguments.log)
    held = None
    if arguments.held is not None:
        try:
            with open(arguments.held, "rb") as file:
                held = Checkpoint(file.read(NOTE_LIMIT + 1), keys)
        except (OSError, Refused) as error:
            parser.error(f"held note: {error}")
    try:
        checkpoint = verify(source, keys, held)
    except Refused as refused:
        print(f"refused: {refused}", file=sys.stderr)
        return 1
    except (OSError, http.client.HTTPException) as error:
        print(f"not verified: {error}", file=sys.stderr)
        return 1
    print(f"verified origin={checkpoint.origin} size={checkpoint.size} root={base64.b64encode(checkpoint.root).decode()} time={checkpoint.time}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
