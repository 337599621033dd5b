"""What every reply about a chain says beside its subject, and what the descriptions of all results are made with."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired, TypedDict

from msgspec import Meta

Hex = str
Json = dict[str, Any]


def note(text: str) -> Meta:
    """What a field means, for the documents and docs/rpc.md."""
    return Meta(description=text)


class Freshness(TypedDict):
    """Seconds; null while there is nothing."""

    tip_age: Annotated[float | None, note("Since the time that the newest header names.")]
    last_useful_event_age: Annotated[float | None, note("Since a peer last told something new.")]


class Start(TypedDict):
    """Where trust in a chain of headers begins."""

    kind: Annotated[str, note("`genesis`, or a `checkpoint` that the operator named.")]
    height: int
    hash: Hex
    complete: Annotated[bool, note("All headers from genesis up are held and were checked.")]


class Grounds(TypedDict):
    """What a beacon chain rests on."""

    kind: Annotated[str, note("How the checkpoint came: `root` (configured), `quorum`, `peers` or `file`.")]
    slot: Annotated[int, note("Of the checkpoint.")]
    root: Annotated[Hex, note("Of the checkpoint's block.")]
    vouched_by: Annotated[list[str], note("Who named it.")]


class Standing(TypedDict):
    """How much a reply about a chain deserves belief."""

    network: Annotated[str, note("Whose chain the reply is about.")]
    freshness: Freshness
    ready: Annotated[bool, note("As `/readyz`.")]


class HeaderStanding(Standing):
    """Of a Bitcoin network."""

    start: Annotated[Start, note("Where trust begins.")]


class BeaconStanding(Standing):
    """Of an Ethereum network."""

    grounds: Annotated[Grounds, note("What all of it rests on.")]


class EitherStanding(Standing):
    """Of any network; null while its chain has not begun."""

    start: NotRequired[Annotated[Start | None, note("Bitcoin: where trust begins.")]]
    grounds: NotRequired[Annotated[Grounds | None, note("Ethereum: what all of it rests on.")]]


def schema_of(kind: type) -> dict[str, Any]:
    """A reference to the schema of one of these types, in a document that has all of them."""
    return {"$ref": f"#/components/schemas/{kind.__name__}"}
