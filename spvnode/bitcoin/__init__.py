"""The rules of Bitcoin-like chains: parameters, header checks, fork choice. Sans-IO; no clock and no randomness."""
