"""Daemons, js-libp2p peers and full nodes for these tests; each ends with the test or the module that started it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.interop.bcoin import Bcoin
from tests.interop.bcoin import missing as bcoin_missing
from tests.interop.beacon_daemon import BeaconDaemon
from tests.interop.btcd import Btcd
from tests.interop.btcd import missing as btcd_missing
from tests.interop.btcd_nodes import BLOCKS, Nodes, Tell
from tests.interop.js_peer import JsPeer, missing
from tests.interop.recorded import Recorded
from tests.support.daemons import Daemon, spvnode
from tests.support.vectors import unpacked


@pytest.fixture(scope="session", autouse=True)
def installed() -> None:
    """These tests are worth nothing where they do not run: what is missing is a failure that says so, not a skip."""
    problem = missing()
    if problem is not None:
        pytest.fail(problem, pytrace=False)


@pytest.fixture(scope="session")
def btcd_installed() -> None:
    """As ``installed``."""
    problem = btcd_missing()
    if problem is not None:
        pytest.fail(problem, pytrace=False)


@pytest.fixture(scope="session")
def bcoin_installed() -> None:
    """As ``installed``."""
    problem = bcoin_missing()
    if problem is not None:
        pytest.fail(problem, pytrace=False)


@pytest.fixture
def nodes(btcd_installed: None, bcoin_installed: None, tmp_path: Path) -> Iterator[Nodes]:
    """Starts full nodes, and daemons that follow them, which end with the test."""
    made = Nodes(tmp_path)
    try:
        yield made
    finally:
        made.end()


@pytest.fixture(scope="session")
def long_lived(btcd_installed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Btcd, Daemon]]:
    """A btcd with thousands of blocks, and the daemon that follows it, for tests that only add to them."""
    made = Nodes(tmp_path_factory.mktemp("long"))
    try:
        btcd = made.btcd("--v2transport", blocks=BLOCKS)
        node = made.follower(btcd.address, "--p2p-listen", "127.0.0.1:0")
        node.wait_height(BLOCKS)
        yield btcd, node
    finally:
        made.end()


@pytest.fixture(scope="session")
def long_lived_bcoin(bcoin_installed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Bcoin, Daemon]]:
    """The same with bcoin."""
    made = Nodes(tmp_path_factory.mktemp("long-bcoin"))
    try:
        bcoin = made.bcoin(blocks=BLOCKS)
        node = made.follower(bcoin.address, "--p2p-listen", "127.0.0.1:0")
        node.wait_height(BLOCKS)
        yield bcoin, node
    finally:
        made.end()


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Tell:
    """Prints a measurement, whatever becomes of the test."""

    def told(text: str) -> None:
        with capsys.disabled():
            print(f"\n  {text}", end="")

    return told


@contextmanager
def starter(folder: Path) -> Iterator[Callable[..., JsPeer]]:
    peers: list[JsPeer] = []

    def start(**options: Any) -> JsPeer:
        peers.append(JsPeer(folder / f"js-{len(peers)}.log", **options))
        return peers[-1]

    try:
        yield start
    finally:
        for peer in peers:
            peer.leave()
        for peer in peers:
            peer.wait()


@pytest.fixture
def js(tmp_path: Path) -> Iterator[Callable[..., JsPeer]]:
    """Starts js peers that end with the test."""
    with starter(tmp_path) as start:
        yield start


@pytest.fixture(scope="module")
def module_js(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., JsPeer]]:
    """The same for a whole module."""
    with starter(tmp_path_factory.mktemp("js")) as start:
        yield start


@pytest.fixture(scope="session")
def mainnet_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 32,260 headers of mainnet."""
    file = tmp_path_factory.mktemp("mainnet") / "headers.bin"
    file.write_bytes(unpacked("mainnet_0-32259.bin"))
    return file


@pytest.fixture(scope="module")
def mainnet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon that has the headers that ship with the package."""
    node = Daemon(tmp_path_factory.mktemp("mainnet") / "node", "bitcoin")
    done = spvnode("import", "@bundled", "--network", "bitcoin", "--datadir", str(node.folder))
    assert done.returncode == 0, done.stderr
    node.start("--log-level", "debug")  # where every fault of a peer is told
    node.address()
    yield node
    assert node.stop() == 0


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon of mainnet without headers, not started."""
    node = Daemon(tmp_path / "node", "bitcoin")
    yield node
    assert node.stop() == 0


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Callable[..., BeaconDaemon]]:
    """Makes daemons of an Ethereum network, not started; those that run at the end must end well."""
    nodes: list[BeaconDaemon] = []

    def make(recorded: Recorded, **options: Any) -> BeaconDaemon:
        nodes.append(BeaconDaemon(tmp_path / f"node-{len(nodes)}", recorded, **options))
        return nodes[-1]

    yield make
    for node in nodes:
        if node.process is not None and node.process.poll() is None:
            assert node.stop() == 0
