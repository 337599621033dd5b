"""The Electrum protocol, for what a node of headers can honestly answer. Reads views only."""
