"""The exhibits of the gallery: one small program a system, each of which draws a figure and says what to see in it."""
