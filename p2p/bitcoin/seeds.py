"""Where a node without an address book begins: names whose DNS records are peers, and a few fixed addresses for when
no name answers. Any of them may be dead or lie; they are used only until the address book has better.

Source: Bitcoin Core. Names from ``src/kernel/chainparams.cpp`` of v28.1; addresses from ``nodes_main.txt`` (commit
0022c84), ``nodes_signet.txt`` and ``nodes_testnet4.txt`` (commit 35cdce3) in ``contrib/seeds``, at most one of each
address group. Testnet3 has no fixed ones there that still run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class Seeds:
    """``dns``: names to look up. ``fixed``: text as ``netaddr.parse_endpoint`` reads it."""

    dns: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()

    @property
    def any(self) -> bool:
        """Whether there are any: a regtest network has none."""
        return bool(self.dns or self.fixed)


_BITCOIN: Final = Seeds(
    dns=(
        "seed.bitcoin.sipa.be",
        "dnsseed.bluematt.me",
        "dnsseed.bitcoin.dashjr-list-of-p2p-nodes.us",
        "seed.bitcoin.jonasschnelli.ch",
        "seed.btc.petertodd.net",
        "seed.bitcoin.sprovoost.nl",
        "dnsseed.emzy.de",
        "seed.bitcoin.wiz.biz",
        "seed.mainnet.achownodes.xyz",
    ),
    fixed=(
        "92.205.232.47:8333",
        "93.115.26.6:8333",
        "94.19.128.204:8333",
        "95.211.152.100:8333",
        "96.41.133.58:8333",
        "99.95.54.159:8333",
        "101.32.127.143:8333",
        "103.99.169.110:8333",
        "104.128.201.183:8333",
        "107.155.67.210:8333",
        "108.26.149.161:8333",
        "109.235.247.122:8333",
        "111.90.158.123:8333",
        "115.140.124.99:8333",
        "116.86.195.192:8333",
        "121.98.22.147:8333",
        "128.2.12.38:8333",
        "129.10.85.103:8333",
        "130.180.211.123:8333",
        "131.153.203.205:8333",
        "133.3.249.155:8333",
        "134.195.196.65:8333",
        "136.62.152.251:8333",
        "138.2.110.216:8333",
        "141.0.155.19:8333",
        "142.202.48.124:8333",
        "144.2.104.35:8333",
        "147.32.95.62:8333",
        "149.28.116.34:8333",
        "152.117.88.43:8333",
        "154.26.130.95:8333",
        "155.4.142.33:8333",
        "158.248.34.141:8333",
        "159.196.227.196:8333",
        "160.16.110.6:8333",
        "161.97.151.9:8333",
        "162.55.122.93:8333",
        "165.22.229.88:8333",
        "166.70.211.78:8333",
        "173.181.35.50:8333",
        "176.74.136.237:8333",
        "178.38.6.52:8333",
        "185.70.43.193:8333",
        "188.213.92.39:8333",
        "189.32.136.9:8333",
        "190.64.134.52:8333",
        "193.218.118.13:8333",
        "195.154.172.177:8333",
        "197.155.6.43:8333",
        "198.27.174.140:8333",
        "202.186.41.219:8333",
        "203.51.11.167:8333",
        "209.141.37.57:8333",
        "211.221.42.143:8333",
        "212.51.129.60:8333",
        "213.227.147.244:8333",
        "217.155.244.170:8333",
        "219.79.200.233:8333",
        "[2001:13d8:1c01:21:215:17ff:fe63:2a7e]:8333",
        "[2001:1620:542c:210::100]:8333",
        "[2001:41d0:203:52c2::]:8333",
        "[2001:470:88ff:2e::1]:8333",
        "[2001:569:5079:abd2::c9]:8333",
        "[2001:638:a000:4140::ffff:47]:8333",
        "[2001:67c:26b4:ff00::44]:8333",
        "[2001:8b0:1301:1000::60]:8333",
        "[2001:b07:6461:7811:489:d2da:e07:1af7]:8333",
        "[2001:bc8:700:2313::1]:8333",
        "[2001:e68:5425:2834:618e:9069:a977:5c66]:8333",
        "[2400:2411:3e05:cc00:46a:1744:4d0f:d26b]:8333",
        "[2401:d002:2103:400:211:32ff:fe9e:7ae3]:8333",
        "[2404:4408:6397:8201::250]:8333",
        "[2600:1700:488:10::421]:8333",
        "ws52h2nbknubs5hwrlkad7trtrpu3a5kqqjtiig7eulwkg7775vytryd.onion:8333",
        "ybji2ssvc4je4cqzbad2pczrhancohnyy66ogsbpg3d6bspvh6au7iqd.onion:8333",
    ),
)
_TESTNET3: Final = Seeds(
    dns=(
        "testnet-seed.bitcoin.jonasschnelli.ch",
        "seed.tbtc.petertodd.net",
        "seed.testnet.bitcoin.sprovoost.nl",
        "testnet-seed.bluematt.me",
        "seed.testnet.achownodes.xyz",
    ),
)
_TESTNET4: Final = Seeds(
    dns=("seed.testnet4.bitcoin.sprovoost.nl", "seed.testnet4.wiz.biz"),
    fixed=(
        "2.59.134.244:48333",
        "5.182.4.106:48333",
        "35.201.167.154:48333",
        "45.41.204.8:48333",
        "51.158.61.33:48333",
        "65.108.143.22:48333",
        "71.13.92.62:48333",
        "80.253.94.252:48333",
        "82.67.102.15:48333",
        "89.58.9.219:48333",
        "95.141.35.117:48333",
        "103.99.169.203:48333",
        "104.237.131.138:48333",
        "121.98.22.147:48333",
        "158.69.118.2:48333",
        "195.154.199.2:48333",
        "203.132.94.196:48333",
        "217.31.57.128:48333",
        "222.66.94.2:48333",
        "[2401:b140:3::92:201]:48333",
        "[2a02:29e0:1:420::64]:48333",
        "24i3bbceydddhykco65oai2dmxirqtvwyom3kyxwzaxbldaog4filyyd.onion:48333",
        "bv2uuihcluruxlt4zwedditinsjberjtaj7yciwd25nrhy3ufh7jjvqd.onion:48333",
    ),
)
_SIGNET: Final = Seeds(
    dns=("seed.signet.bitcoin.sprovoost.nl", "seed.signet.achownodes.xyz"),
    fixed=(
        "34.135.189.101:38333",
        "37.120.177.204:38333",
        "38.83.170.18:38333",
        "45.94.168.5:38333",
        "49.13.117.253:38333",
        "51.79.229.113:38333",
        "62.169.29.181:38333",
        "82.65.129.71:38333",
        "95.141.35.117:38333",
        "109.134.172.160:38333",
        "121.74.232.175:38333",
        "136.144.237.250:38333",
        "144.24.238.157:38333",
        "153.126.143.201:38333",
        "172.105.179.233:38333",
        "188.165.201.163:38333",
        "195.137.245.93:38333",
        "208.68.4.50:38333",
        "[2001:41d0:2005:100::c7c]:38333",
        "[2a01:4f8:13a:c56::2]:38333",
        "v7ajjeirttkbnt32wpy3c6w3emwnfr3fkla7hpxcfokr3ysd3kqtzmqd.onion:38333",
        "2uqd5pbaxn26o7fl7nqtm2khetqocislppxtxrpqg55wtbcqdrf2y5qd.onion:38333",
    ),
)

SEEDS: Final[Mapping[str, Seeds]] = MappingProxyType(
    {
        "bitcoin": _BITCOIN,
        "testnet3": _TESTNET3,
        "testnet4": _TESTNET4,
        "signet": _SIGNET,
        "regtest": Seeds(),
    }
)
"""By the name of the network. A node of one's own network is told whom to dial."""
