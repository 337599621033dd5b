"""The rules of Ethereum's consensus as a light client sees them: networks and forks as tables, SSZ containers, the
sync protocol. Pure: no I/O, no clock, no randomness, nothing asynchronous."""
