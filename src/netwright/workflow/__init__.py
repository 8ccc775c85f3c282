"""The main job in order: look, split, baselines, design, check, train, compare, attack, explain, report."""
