"""The terminal page, ``spvnode top``: a process of its own on the RPC and its stream of events. Needs the extra ``top``
(Textual), which only ``app`` imports."""
