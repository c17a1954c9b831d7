"""A report for whoever decides whether to ship: one page that needs nothing else."""
