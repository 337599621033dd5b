"""How a chain is followed: one pure machine, one trio driver that interprets its effects."""
