"""How bytes move between peers. Knows no consensus rule."""
