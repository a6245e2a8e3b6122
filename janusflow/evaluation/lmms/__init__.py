"""The plug-in for lmms-eval, which measures understanding."""
