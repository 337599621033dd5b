"""The rooms inside the room: everything that names libp2p lives here.

Importing this package imports libp2p, the light way. Nothing outside ``p2p.host`` may do so, and ``p2p.host`` does it
only when a host is opened.
"""

from p2p.host import lite

lite.install()
