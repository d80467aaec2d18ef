"""The suites of `bench`, and the baselines that our code is timed against."""
