"""The page that `janusflow demo` makes."""
