"""Where weights come from, and how names map."""
