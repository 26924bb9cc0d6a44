"""Which cluster profiles are shipped? YAML files, chosen by their names (`hpc.profiles`)."""
