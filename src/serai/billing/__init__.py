"""What usage costs: prices of an account, metrics, files, budgets and statements."""
