"""Checks a beacon bundle once more, with nothing of the product (``beacon_check``). Asserts what it finds wrong.
Source: consensus-specs ``{altair,..,fulu}/light-client``."""

from __future__ import annotations

from tests.support.beacon_check import Chain, FastAggregateVerify, Reader, Update, read_bootstrap, read_update


class Checked:
    """What a bundle shows, after each of its items. ``committees``: public keys by period."""

    def __init__(self, data: bytes, chain: Chain, checkpoint: bytes, bls: FastAggregateVerify) -> None:
        self.chain, self.bls, self.participants = chain, bls, 0
        reader = Reader(data)
        assert reader.number(1) == 2
        reader.take(reader.number(1))
        assert reader.take(32) == chain.genesis_validators_root
        assert reader.take(32) == checkpoint
        reader.take(4)
        items = [reader.take(reader.number(4)) for _ in range(reader.number(2))]
        assert reader.at == len(data)
        assert items[0][0] == 0
        header, keys = read_bootstrap(items[0][5:], chain.fork_of(items[0][1:5]), chain)
        assert header.root == checkpoint
        self.finalized = self.optimistic = header
        self.committees = {chain.period(header.slot): keys}
        for place, item in enumerate(items[1:], 2):
            assert item[0] == 1 or (item[0] in (2, 3) and place == len(items))
            self._step(item[0], read_update(item[0], item[5:], chain.fork_of(item[1:5]), chain))

    def _step(self, kind: int, update: Update) -> None:
        """The signature; then headers and committees move."""
        chain, attested, final = self.chain, update.attested, update.final
        self.participants = update.check_signature(chain, self.committees[chain.period(update.slot)], self.bls)
        assert kind == 3 or 3 * self.participants >= 2 * chain.committee_size
        if final and update.keys and chain.period(final.slot) == chain.period(attested.slot):
            self.committees[chain.period(attested.slot) + 1] = update.keys
        self.finalized = final if final and final.slot > self.finalized.slot else self.finalized
        self.optimistic = max(self.optimistic, self.finalized, attested, key=lambda header: header.slot)
