"""Evaluation: metrics, confidence intervals, slices, calibration and significance tests."""
