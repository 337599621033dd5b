"""Looking into blocks for watches: what the RPC lists, and peers must serve."""
