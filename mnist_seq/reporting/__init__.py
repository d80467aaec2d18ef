"""What a run shows: plots and tables, made without a screen. The only home of matplotlib."""
