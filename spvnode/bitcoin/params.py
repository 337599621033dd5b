"""Networks as tables. Adding one is one entry here and its vectors.

Source of every number: Bitcoin Core v28.1 ``src/kernel/chainparams.cpp``.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from merkle.hashing import sha256d
from spvnode.types import HEADER_SIZE, Hash32, Height, Work, hash_from_hex

_DAY = 24 * 60 * 60


@dataclass(frozen=True, slots=True)
class PresyncParams:
    """How a chain of doubtful work is downloaded twice; see ``presync``.

    One bit is noted every ``commitment_period`` headers; a header is handed on once ``redownload_buffer`` headers on
    top of it were seen a second time. A header that differs from the first pass gets through with a chance of
    2 ** -(redownload_buffer // commitment_period).
    """

    commitment_period: int
    redownload_buffer: int


CORE_PRESYNC = PresyncParams(commitment_period=615, redownload_buffer=14_621)
"""Bitcoin Core v28.1 ``src/headerssync.cpp``, the same for every network: 23 bits at least, 702 kB."""


@dataclass(frozen=True, slots=True)
class AddressForm:
    """How a network writes addresses: the version bytes of base58check, and the readable part of bech32 (BIP173)."""

    key_hash: int
    script_hash: int
    prefix: str


TEST_ADDRESSES = AddressForm(0x6F, 0xC4, "tb")
"""All networks for tests alike, regtest's prefix apart."""


@dataclass(frozen=True, slots=True)
class ChainParams:
    """The consensus table of one network.

    ``pow_limit`` is the easiest target allowed; ``timespan`` and ``spacing`` are in seconds; the three ``bip`` heights
    are the first at which block versions 2, 3 and 4 are required; ``checkpoints`` ascend by height.
    """

    name: str
    magic: bytes
    default_port: int
    genesis_header: bytes
    pow_limit: int
    pow_limit_bits: int
    timespan: int
    spacing: int
    bip34_height: int
    bip66_height: int
    bip65_height: int
    allow_min_difficulty: bool
    no_retargeting: bool
    bip94: bool
    minimum_chain_work: Work
    checkpoints: tuple[tuple[Height, Hash32], ...] = ()
    held: Height | None = None
    """Of these, the operator's; his word may be the wrong one."""
    presync: PresyncParams = CORE_PRESYNC
    addresses: AddressForm = TEST_ADDRESSES
    genesis_hash: Hash32 = field(init=False)

    def __post_init__(self) -> None:
        if len(self.genesis_header) != HEADER_SIZE:
            raise ValueError(f"genesis_header: {len(self.genesis_header)} bytes, expected {HEADER_SIZE}")
        object.__setattr__(self, "genesis_hash", Hash32(sha256d(self.genesis_header)))

    @property
    def interval(self) -> int:
        """Blocks per difficulty period (``DifficultyAdjustmentInterval``)."""
        return self.timespan // self.spacing

    def last_checkpoint(self, tip_height: int) -> Height | None:
        """Height of the highest built-in checkpoint at or below ``tip_height``."""
        passed = [height for height, _ in self.checkpoints if height <= tip_height]
        return passed[-1] if passed else None

    def holding(self, height: Height, block_hash: Hash32) -> ChainParams:
        """These with one checkpoint more, which outweighs work like those that are built in: whoever names a block
        vouches for it. One that is built in stays as it is."""
        if height in dict(self.checkpoints):
            return self
        return replace(self, checkpoints=tuple(sorted([*self.checkpoints, (height, block_hash)])), held=height)


_SATOSHI_MERKLE_ROOT = hash_from_hex("4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b")
_TESTNET4_MERKLE_ROOT = hash_from_hex("7aa0a7ae1e223414cb807e40cd57e667b718e42aaf9306db9102fe28912b7b4e")


def _genesis(time: int, nonce: int, bits: int, merkle_root: Hash32 = _SATOSHI_MERKLE_ROOT) -> bytes:
    return struct.pack("<i32s32sIII", 1, bytes(32), merkle_root, time, bits, nonce)


def _checkpoints(*entries: tuple[int, str]) -> tuple[tuple[Height, Hash32], ...]:
    return tuple((Height(height), hash_from_hex(text)) for height, text in entries)


_LIMIT_32_ZERO_BITS = (1 << 224) - 1

BITCOIN = ChainParams(
    name="bitcoin",
    magic=bytes.fromhex("f9beb4d9"),
    default_port=8333,
    genesis_header=_genesis(1231006505, 2083236893, 0x1D00FFFF),
    pow_limit=_LIMIT_32_ZERO_BITS,
    pow_limit_bits=0x1D00FFFF,
    timespan=14 * _DAY,
    spacing=600,
    bip34_height=227931,
    bip66_height=363725,
    bip65_height=388381,
    allow_min_difficulty=False,
    no_retargeting=False,
    bip94=False,
    minimum_chain_work=Work(0x88E186B70E0862C193EC44D6),
    addresses=AddressForm(0x00, 0x05, "bc"),
    checkpoints=_checkpoints(
        (11111, "0000000069e244f73d78e8fd29ba2fd2ed618bd6fa2ee92559f542fdb26e7c1d"),
        (33333, "000000002dd5588a74784eaa7ab0507a18ad16a236e7b1ce69f00d7ddfb5d0a6"),
        (74000, "0000000000573993a3c9e41ce34471c079dcf5f52a0e824a81e7f953b8661a20"),
        (105000, "00000000000291ce28027faea320c8d2b054b2e0fe44a773f3eefb151d6bdc97"),
        (134444, "00000000000005b12ffd4cd315cd34ffd4a594f430ac814c91184a0d42d2b0fe"),
        (168000, "000000000000099e61ea72015e79632f216fe6cb33d7899acb35b75c8303b763"),
        (193000, "000000000000059f452a5f7340de6682a977387c17010ff6e6c3bd83ca8b1317"),
        (210000, "000000000000048b95347e83192f69cf0366076336c639f9b7228e9ba171342e"),
        (216116, "00000000000001b4f4b433e81ee46494af945cf96014816a4e2370f11b23df4e"),
        (225430, "00000000000001c108384350f74090433e7fcf79a606b8e797f065b130575932"),
        (250000, "000000000000003887df1f29024b06fc2200b55f8af8f35453d7be294df2d214"),
        (279000, "0000000000000001ae8c72a0b0c301f67e3afca10e819efa9041e458e9bd7e40"),
        (295000, "00000000000000004d9b4ef50f0f9d686fd69db2e03af35a100370c64632a983"),
    ),
)

TESTNET3 = ChainParams(
    name="testnet3",
    magic=bytes.fromhex("0b110907"),
    default_port=18333,
    genesis_header=_genesis(1296688602, 414098458, 0x1D00FFFF),
    pow_limit=_LIMIT_32_ZERO_BITS,
    pow_limit_bits=0x1D00FFFF,
    timespan=14 * _DAY,
    spacing=600,
    bip34_height=21111,
    bip66_height=330776,
    bip65_height=581885,
    allow_min_difficulty=True,
    no_retargeting=False,
    bip94=False,
    minimum_chain_work=Work(0xF209695166BE8B61FA9),
    checkpoints=_checkpoints(
        (546, "000000002a936ca763904c3c35fce2f3556c559c0214345d31b1bcebf76acb70"),
    ),
)

TESTNET4 = ChainParams(
    name="testnet4",
    magic=bytes.fromhex("1c163f28"),
    default_port=48333,
    genesis_header=_genesis(1714777860, 393743547, 0x1D00FFFF, _TESTNET4_MERKLE_ROOT),
    pow_limit=_LIMIT_32_ZERO_BITS,
    pow_limit_bits=0x1D00FFFF,
    timespan=14 * _DAY,
    spacing=600,
    bip34_height=1,
    bip66_height=1,
    bip65_height=1,
    allow_min_difficulty=True,
    no_retargeting=False,
    bip94=True,
    minimum_chain_work=Work(0x5FAA15D02E6202F3BA),
)

SIGNET = ChainParams(
    name="signet",
    # First four bytes of the double SHA-256 of the default challenge script (BIP325).
    magic=bytes.fromhex("0a03cf40"),
    default_port=38333,
    genesis_header=_genesis(1598918400, 52613770, 0x1E0377AE),
    pow_limit=0x377AE << 216,
    pow_limit_bits=0x1E0377AE,
    timespan=14 * _DAY,
    spacing=600,
    bip34_height=1,
    bip66_height=1,
    bip65_height=1,
    allow_min_difficulty=False,
    no_retargeting=False,
    bip94=False,
    minimum_chain_work=Work(0x25DBD66E58F),
)

REGTEST = ChainParams(
    name="regtest",
    magic=bytes.fromhex("fabfb5da"),
    default_port=18444,
    genesis_header=_genesis(1296688602, 2, 0x207FFFFF),
    pow_limit=(1 << 255) - 1,
    pow_limit_bits=0x207FFFFF,
    timespan=_DAY,
    spacing=600,
    bip34_height=1,
    bip66_height=1,
    bip65_height=1,
    allow_min_difficulty=True,
    no_retargeting=True,
    bip94=True,
    minimum_chain_work=Work(0),
    addresses=AddressForm(0x6F, 0xC4, "bcrt"),
    checkpoints=_checkpoints(
        (0, "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206"),
    ),
)

NETWORKS: Mapping[str, ChainParams] = MappingProxyType(
    {params.name: params for params in (BITCOIN, TESTNET3, TESTNET4, SIGNET, REGTEST)}
)
"""Every network by the name that flags, config and store use."""
