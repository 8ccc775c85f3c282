"""The words that every other package uses: specs, findings, entries, errors, seeds, and safe files. Needs no torch."""
