"""The Bitcoin wire: bytes to typed messages and back, handshakes, and the address book. Sans-IO; knows sizes and
limits, no consensus rule."""
