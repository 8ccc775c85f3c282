"""Classic methods on the same rows, intervals and paired tests, calibration, and where a network errs."""
