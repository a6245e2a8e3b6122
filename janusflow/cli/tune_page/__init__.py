"""The page that `janusflow tune` leaves: before and after."""
