"""The command line: one thin file a command, importing what is heavy only when it runs."""
