"""The header mesh: frames, sessions, serving, gossip, and the service that ties them to peers. No consensus
rule."""
