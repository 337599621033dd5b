"""Packs Ethereum vectors into the archives beside this file. Run by hand; SOURCES.md says where the input comes from.

    python tests/vectors/ethereum/pack.py VECTORS REAL STATES

VECTORS holds the unpacked reference tests (``light_client-*``, ``ssz_static-lc-*``, ``bls-altair-*``,
``bls12-381-tests-*``), REAL one folder per recorded set, STATES what make_states.py wrote. Needs cramjam and PyYAML.
Snappy is taken off everything (xz does better). Each ``value.yaml`` is reduced to a digest of its canonical JSON, which
the tests make again from the decoded value.
"""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import sys
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import cramjam
import yaml

HERE = Path(__file__).parent
FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 1 << 26}]
HEX_TWICE = ("updates.json",)  # in the largest sets the same as updates.ssz, and hex compresses badly
LARGE_SETS = ("mainnet-capella-nimbus21", "goerli-bellatrix-helios2022", "mainnet-capella-portal")


def write(name: str, members: Iterable[tuple[str, bytes]]) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path, data in members:
            info = tarfile.TarInfo(path)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    packed = lzma.compress(buffer.getvalue(), format=lzma.FORMAT_XZ, filters=FILTERS)
    (HERE / name).write_bytes(packed)
    print(f"{name}: {len(packed):,} bytes")


def plain(path: Path) -> tuple[str, bytes]:
    if path.suffix == ".ssz_snappy":
        return path.name.replace(".ssz_snappy", ".ssz"), bytes(cramjam.snappy.decompress_raw(path.read_bytes()))
    return path.name, path.read_bytes()


def tree(root: Path, prefix: str = "") -> Iterator[tuple[str, bytes]]:
    for path in sorted(root.rglob("*")):
        if path.is_file() and path.name != "manifest.yaml":
            name, data = plain(path)
            yield prefix + str(path.parent.relative_to(root) / name), data


def as_strings(value: object) -> object:
    """A value.yaml as the Beacon API would write it: numbers are strings."""
    if isinstance(value, dict):
        return {key: as_strings(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_strings(item) for item in value]
    return value if isinstance(value, bool | str) else str(value)


def digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]


def ssz_static(roots: Iterable[Path]) -> Iterator[tuple[str, bytes]]:
    index = {}
    for root in roots:
        for case in sorted(path.parent for path in root.glob("*/*/ssz_static/*/*/*/roots.yaml")):
            preset, fork, _, kind, suite, number = case.relative_to(root).parts
            value = yaml.load((case / "value.yaml").read_text(), yaml.CSafeLoader)
            expected = yaml.safe_load((case / "roots.yaml").read_text())["root"]
            name = f"{preset}/{fork}/{kind}/{suite}/{number}.ssz"
            index[name] = [expected, digest(as_strings(value))]
            yield name, plain(case / "serialized.ssz_snappy")[1]
    yield "index.json", json.dumps(index).encode()


def real(root: Path) -> Iterator[tuple[str, bytes]]:
    for name, data in tree(root):
        folder, _, file = name.partition("/")
        if not (folder in LARGE_SETS and file in HEX_TWICE):
            yield name, data


def main(vectors: Path, recorded: Path, states: Path) -> None:
    write("ssz_static.tar.xz", ssz_static(sorted(vectors.glob("ssz_static-lc-*/"))))
    write("light_client.tar.xz", tree(next(vectors.glob("light_client-*/"))))
    write("collection_states.tar.xz", (entry for entry in tree(states) if entry[0].endswith(".ssz")))
    write("bls.tar.xz", [*tree(next(vectors.glob("bls-altair-*/"))), *tree(next(vectors.glob("bls12-381-tests-*/")))])
    write("real.tar.xz", real(recorded))


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:4]))
