"""Apply cleaning rules and match returns to purchases."""
