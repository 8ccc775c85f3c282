"""Findings in the shapes in which people read them: terminal lines, figures, one self-contained page, `summary.json`."""
