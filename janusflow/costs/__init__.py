"""What running a module costs, counted from its operators."""
