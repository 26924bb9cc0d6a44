"""What does each `lam` command do? One module a group of commands; `hpc.cli` puts them together."""
