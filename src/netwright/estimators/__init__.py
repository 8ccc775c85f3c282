"""Scikit-learn shells over Recipe -> Model: classes of rows, and numbers from rows."""
