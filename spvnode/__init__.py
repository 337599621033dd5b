"""A light node daemon: follows block headers, checks every one, and proves them."""
