"""Seeded ways to damage a file: its bytes, its place, the values of its JSON, the entries of its archive.

Each is a function of a path and a random generator. It returns the words of which a refusal must say at least one,
besides the name of the file: the key whose value was replaced, say.
"""

import json
import os
import shutil
import struct
import warnings
import zipfile

LEVELS = 10_000  # of nesting
MARK = "a value that is replaced by raw text"
WILD = [
    *(None, "text", "", [], [1], ["a"], {}, {"a": 1}, float("nan"), float("inf"), float("-inf"), 10**30, 1e308, -1, 0),
    *(True, False, 0.5, "${oc.env:HOME}", "${factor}", "${nowhere}", "\x00", "\ud800", "../..", "x" * 10_000, [[[]]]),
]
RAW = [  # values that no library writes
    "[" * LEVELS + "]" * LEVELS,
    '{"a":' * LEVELS + "1" + "}" * LEVELS,
    "9" * 5000,
    "1e400",
]


# Bytes


def empty(path, rng):
    path.write_bytes(b"")


def junk(path, rng):
    path.write_bytes(rng.randbytes(300))


def cut(path, rng):
    held = path.read_bytes()
    path.write_bytes(held[: rng.randrange(1, len(held) - 1)])


def flipped(path, rng):
    held = bytearray(path.read_bytes())
    for _ in range(rng.randrange(1, 6)):
        held[rng.randrange(len(held))] ^= 1 << rng.randrange(8)
    path.write_bytes(held)


def zeroed(path, rng):
    held = bytearray(path.read_bytes())
    start = rng.randrange(len(held))
    path.write_bytes(held[:start] + bytes(len(held[start : start + 64])) + held[start + 64 :])


def page_instead(path, rng):
    path.write_text("<!DOCTYPE html><html><body>404: not found</body></html>\n")


def utf16(path, rng):
    path.write_bytes(path.read_bytes().decode("latin-1").encode("utf-16"))


def latin1(path, rng):
    held = path.read_bytes()
    at = rng.randrange(len(held))
    path.write_bytes(held[:at] + "é".encode("latin-1") + held[at:])


def marked(path, rng):
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())


def twice(path, rng):
    path.write_bytes(2 * path.read_bytes())


# Its place


def folder_instead(path, rng):
    path.unlink()
    path.mkdir()


def link_to_nowhere(path, rng):
    path.unlink()
    path.symlink_to("nowhere")


def link_to_itself(path, rng):
    path.unlink()
    path.symlink_to(path.name)


def no_permission(path, rng):
    path.chmod(0)  # root reads it all the same


# Values


def _places(node, path=()):
    """Yield the keys that lead to every value in plain data."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from _places(value, (*path, key))


def drawn(tree, rng):
    """Return the mapping or list that holds a drawn value, its key there, and the keys that lead to it."""
    place = rng.choice(list(_places(tree)))
    node = tree
    for key in place[:-1]:
        node = node[key]
    return node, place[-1], [key for key in place if isinstance(key, str)]


def _json(path, change, rng):
    """Change one JSON file, or one line of it, and return the words that a refusal needs."""
    lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    number = rng.randrange(len(lines))
    lines[number], words = change(json.loads(lines[number]), rng)
    path.write_bytes(("\n".join(lines) + "\n").encode("utf-8", errors="surrogatepass"))
    return [f"line {number + 1}", f"row {number}", f"/{number} "] if path.suffix == ".jsonl" else words


def _replaced(tree, rng):
    node, key, words = drawn(tree, rng)
    node[key] = rng.choice(WILD)
    return json.dumps(tree), words


def _removed(tree, rng):
    node, key, words = drawn(tree, rng)
    del node[key]
    return json.dumps(tree), words


def _raw(tree, rng):
    node, key, _ = drawn(tree, rng)
    node[key] = MARK
    return json.dumps(tree).replace(json.dumps(MARK), rng.choice(RAW)), ()


def _twofold(tree, rng):
    key = rng.choice(list(tree))
    return f"{{{json.dumps(key)}: {json.dumps(rng.choice(WILD))}, {json.dumps(tree)[1:]}", [key]


def _other(tree, rng):
    return json.dumps(rng.choice([[tree], [], None, 5, "text", True, {}, {"a": tree}])), ()


def _nearly(tree, rng):
    text = json.dumps(tree)
    return rng.choice([text[:-1] + ",}", text.replace('"', "'"), "// comment\n" + text, text + "]", text[1:]]), ()


def _of_json(change):
    """Return the damage that makes a change to a JSON file."""

    def damage(path, rng):
        return _json(path, change, rng)

    damage.__name__ = change.__name__.removeprefix("_")
    return damage


replaced, removed, raw, twofold, other, nearly = VALUES = [
    *map(_of_json, (_replaced, _removed, _raw, _twofold, _other, _nearly))
]


# Archives


def _flag(path, at_local, at_central, bit):
    held = bytearray(path.read_bytes())
    for sign, at in ((b"PK\3\4", at_local), (b"PK\1\2", at_central)):
        start = held.find(sign)
        while start >= 0:
            (flags,) = struct.unpack_from("<H", held, start + at)
            struct.pack_into("<H", held, start + at, flags | bit)
            start = held.find(sign, start + 4)
    path.write_bytes(held)


def encrypted(path, rng):
    _flag(path, 6, 8, 1)


def unknown_method(path, rng):
    _flag(path, 8, 10, 97)


def wrong_checksum(path, rng):
    _flag(path, 14, 16, rng.randrange(1, 2**16))


def _entries(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _written(path, entries):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, held in entries:
            archive.writestr(name, held)


def bomb(path, rng):
    """100 MB from 99 kB, of one line, of blank lines, or of lines."""
    held = rng.choice([b"0", b"\n", b'{"input": 1}\n', b" "])
    _written(path, [(name, held * (10**8 // len(held))) for name in list(_entries(path))[:1]])


def outside(path, rng):
    _written(path, [(f"../../{name}", held) for name, held in _entries(path).items()])


def folder_inside(path, rng):
    _written(path, [(f"{name}/", b"") for name in _entries(path)])


def repeated(path, rng):
    held = [*_entries(path).items()]
    held[1:1] = [(held[0][0], b"")]
    with_warning_off(path, held)


def with_warning_off(path, held):
    """Write an archive that has a name twice, of which zipfile warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _written(path, held)


def packed_again(path, rng):
    inner = path.with_suffix(".inner")
    shutil.copy(path, inner)
    _written(path, [("data.zip", inner.read_bytes())])
    os.unlink(inner)


BYTES = [empty, junk, cut, flipped, zeroed, page_instead, utf16, latin1, marked, twice]
PLACES = [folder_instead, link_to_nowhere, link_to_itself, no_permission]
ARCHIVE = [encrypted, unknown_method, wrong_checksum, bomb, outside, folder_inside, repeated, packed_again]
