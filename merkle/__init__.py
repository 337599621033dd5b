"""What a header proof is: the tree, its branches, the bundle, the offline verifier. Pure functions."""
