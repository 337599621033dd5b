"""The light client's part of the Beacon API (github:ethereum/beacon-APIs v4), for other light clients to sync from.

All of it is ``GET`` and wants no cookie: what it gives out is public, signed by sync committees, and checked by whoever
reads it. What a light client cannot know is left out or answered with 404, never made up.
"""
