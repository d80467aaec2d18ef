"""Many runs: a launcher for parallel jobs, hyperparameter search, and summaries of sweeps."""
