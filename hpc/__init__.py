"""How does a study get run? Plans, executors and the `lam` command line."""
