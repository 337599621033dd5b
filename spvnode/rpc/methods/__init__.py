"""The methods themselves: plain functions from a view of the node to a JSON-ready reply."""
