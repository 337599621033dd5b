"""Discovery between two real zeroconf instances on the loopback interface, and the TXT records they
exchange."""

from __future__ import annotations

import sys

import pytest
import trio
import zeroconf
from hypothesis import given
from hypothesis import strategies as st

from p2p import mdns
from p2p.mdns import MdnsUnavailable, decode_txt, encode_txt, run_mdns
from p2p.memory import address_of

LOOPBACK = ["127.0.0.1"]


def test_two_nodes_on_one_interface_find_each_other_and_not_themselves() -> None:
    found: dict[str, list[str]] = {"a": [], "b": []}
    both = trio.Event()

    async def main() -> None:
        async def run(name: str, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
            def heard(addr: str) -> None:
                trio.lowlevel.current_task()  # raises outside the trio thread
                found[name].append(addr)
                if all(found.values()):
                    both.set()

            addrs = [address_of(name), "/ip4/127.0.0.1/tcp/4001/p2p/" + address_of(name).rsplit("/", 1)[1]]
            await run_mdns(addrs, heard, interfaces=LOOPBACK, task_status=task_status)

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                await nursery.start(run, "a")
                await nursery.start(run, "b")
                await both.wait()
                nursery.cancel_scope.cancel()

    trio.run(main)
    assert found["a"][0] == address_of("b")
    assert address_of("a") not in found["a"]
    assert address_of("b") not in found["b"]


def test_made_up_names_and_records_are_bounded_and_harmless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drives the bridge as zeroconf's browser thread does, faster than the trio thread looks."""
    found: list[str] = []

    class Records:
        """Answers every look-up at once, every third time with rubbish, every fifth by an error of
        the library."""

        def __init__(self, service_type: str, name: str) -> None:
            self.n = int(name)
            self.text = bytes([255, 1, 2]) if self.n % 3 == 0 else encode_txt([f"/addr/{self.n}"])

        def load_from_cache(self, running: object) -> None:
            if self.n % 5 == 0:
                raise zeroconf.NamePartTooLongException

    monkeypatch.setattr(zeroconf, "ServiceInfo", Records)

    async def main() -> None:
        token = trio.lowlevel.current_trio_token()
        bridge = mdns._Bridge(zeroconf, "own", found.append, token)

        def flood() -> None:
            for n in range(1, 5_000):
                bridge.changed(None, mdns.SERVICE_TYPE, str(n), zeroconf.ServiceStateChange.Added)

        flood()  # in the trio thread, so that nothing can be delivered meanwhile
        assert found == []
        await trio.sleep(0.1)
        assert 0 < len(found) <= mdns.MAX_PENDING
        before = len(found)
        bridge.changed(None, mdns.SERVICE_TYPE, "99998", zeroconf.ServiceStateChange.Added)
        await trio.sleep(0.1)
        assert len(found) == before  # names are used up
        bridge.close()

    trio.run(main)


def test_without_zeroconf_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zeroconf", None)
    with pytest.raises(MdnsUnavailable, match="needs the zeroconf package"):
        trio.run(run_mdns, [], lambda addr: None)


def test_an_interface_that_is_not_ours_is_a_typed_error() -> None:
    async def main() -> None:
        await run_mdns([], lambda addr: None, interfaces=["192.0.2.1"])

    with pytest.raises(MdnsUnavailable, match=r"192\.0\.2\.1"):
        trio.run(main)


def test_txt_records_round_trip_within_their_limits() -> None:
    addrs = [f"/ip4/10.0.0.{n}/tcp/4001/p2p/Qm" for n in range(20)]
    assert decode_txt(encode_txt(addrs)) == addrs[: mdns.MAX_ADDRS]
    assert encode_txt(["/" + "x" * 248]) == b""
    assert decode_txt(encode_txt(["/" + "x" * 246])) == ["/" + "x" * 246]


@given(st.binary(max_size=400))
def test_any_txt_data_decodes_to_a_bounded_list(data: bytes) -> None:
    addrs = decode_txt(data)
    assert len(addrs) <= mdns.MAX_ADDRS
    assert all(len(addr) < mdns.MAX_TXT_STRING and addr.isascii() for addr in addrs)
