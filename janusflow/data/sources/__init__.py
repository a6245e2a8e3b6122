"""Rows of files and of the hub, by the layout that people publish them in, as samples."""
