"""Node Discovery v5.1 and Ethereum Node Records: how to find beacon nodes without being told of one.

``Discovery`` is the service, ``Enr`` a record. The rest is in layers that do no I/O: ``enr`` and ``packet`` and
``messages`` (codecs), ``session`` (handshakes), ``table`` and ``walk`` (Kademlia), ``fence`` (rates).
"""

from __future__ import annotations

from p2p.discv5.bootnodes import bootnodes
from p2p.discv5.enr import Enr, EnrError
from p2p.discv5.enr import make as make_enr
from p2p.discv5.enr import parse as parse_enr
from p2p.discv5.service import Discovery, Statistics

__all__ = ["Discovery", "Enr", "EnrError", "Statistics", "bootnodes", "make_enr", "parse_enr"]
