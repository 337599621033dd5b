"""One network being followed: its store, its chain, its sources, its driver. A file a kind of chain."""
