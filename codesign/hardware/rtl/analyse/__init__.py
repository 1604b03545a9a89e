"""Analysis of what the generator emits, before synthesis: its gates, and the area, delay and toggles of them."""
