"""Proof bundles in their JSON form, one type for each kind: all that ``spvnode verify`` needs."""

from __future__ import annotations

from typing import Annotated, TypedDict

from spvnode.rpc.results.standing import Hex, note


class HeaderBundle(TypedDict):
    """One header. ``merkle/bundle.py`` tells what each field is."""

    version: int
    network: str
    genesis: Hex
    range_start: int
    start_height: int
    start_hash: Hex
    height: int
    header: Annotated[Hex, note("80 bytes.")]
    cp_height: int
    tip_header: Hex
    root: Hex
    chainwork: Hex
    made_at: int
    nodes: list[Hex]


class BeaconItem(TypedDict):
    """A light-client object."""

    kind: str
    fork_digest: Hex
    ssz: Hex


class BeaconBundle(TypedDict):
    """A beacon chain's header."""

    version: int
    network: str
    genesis_validators_root: Hex
    checkpoint_root: Hex
    made_at: int
    items: list[BeaconItem]


class TxBundle(TypedDict):
    """A transaction."""

    version: int
    tx_count: int
    position: int
    coinbase: Hex
    transaction: Hex
    header_proof: HeaderBundle
    nodes: list[Hex]


class AncestryBundle(TypedDict):
    """One block is an ancestor of another."""

    version: int
    network: str
    genesis: Hex
    range_start: int
    start_height: int
    start_hash: Hex
    old_height: int
    old_header: Hex
    new_height: int
    new_header: Hex
    old_peaks: list[Hex]
    new_peaks: list[Hex]
    old_path: list[Hex]
    new_path: list[Hex]
    start_path: list[Hex]
    proof: list[Hex]


class HeaderRow(TypedDict):
    """A header and its height."""

    height: int
    header: Hex


class HeadersBundle(TypedDict):
    """Many headers."""

    version: int
    network: str
    genesis: Hex
    range_start: int
    start_height: int
    start_hash: Hex
    cp_height: int
    tip_header: Hex
    root: Hex
    headers: list[HeaderRow]
    nodes: list[Hex]
