"""Plugins: WebAssembly modules of the operator's that filter events and look at new headers.

``guest`` is one compiled module and its fence; ``room`` holds those of a configuration, in one worker thread, and
counts; ``checks`` feeds them new headers. What a plugin did wrong is data (``faults``), as with a peer. docs/plugins.md
tells how to write one.

A plugin decides nothing that others rely on: no rule of a chain, no commit, no answer of the RPC. An event that a
faulty filter was asked about is kept.
"""
