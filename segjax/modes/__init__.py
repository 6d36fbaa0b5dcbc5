"""What a command line can ask for: one module a mode, each with `run(experiment, options) -> exit
code`."""
